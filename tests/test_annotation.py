"""Codes as annotations of an AnnData."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.likelihoods import Poisson
from mlvae.networks import MLP

anndata = pytest.importorskip("anndata")

N, D = 30, 6
COUNTS = np.random.default_rng(0).poisson(2.0, (N, D))
DONORS = np.array(["ann", "bob", "eve"])[np.arange(N) % 3]


@pytest.fixture
def adata():
    obs = pd.DataFrame({"donor": DONORS, "total": 50.0}, index=[f"cell {i}" for i in range(N)])
    layers = {"counts": scipy.sparse.csr_matrix(COUNTS)}
    return anndata.AnnData(np.zeros((N, D), np.float32), obs=obs, layers=layers)


def build(kind=mlvae.models.MLVAE, **options):
    torch.manual_seed(0)
    return kind((D,), likelihood=Poisson(), network=MLP(hidden=(8,)), **options)


@pytest.mark.parametrize("options", [{}, {"style_given_content": True}])
def test_codes_of_cells_and_groups_are_written(adata, options, tmp_path):
    model = build(content_dim=3, style_dim=2, **options)
    encoded = mlvae.annotate(adata, model, "donor", layer="counts", batch_size=7)
    model.eval()
    with torch.no_grad():
        content = model.infer_content(COUNTS, DONORS)
        member = content[torch.arange(N) % 3]
        style = model.infer_style(COUNTS, member).mean
        single = model.infer_content(COUNTS).mean
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(adata.obsm["X_content"], member.mean, **close)
    np.testing.assert_allclose(adata.obsm["X_style"], style, **close)
    np.testing.assert_allclose(adata.obsm["X_content_single"], single, **close)
    found = adata.uns["mlvae"]
    assert found["group"] == "donor" and found["groups"].tolist() == ["ann", "bob", "eve"]
    np.testing.assert_allclose(found["content"], content.mean, **close)
    np.testing.assert_allclose(found["content_variance"], content.log_variance.exp(), **close)
    assert encoded.content.shape == (3, 3)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    again = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert again.uns["mlvae"]["groups"].tolist() == ["ann", "bob", "eve"]


def test_other_codes_have_their_names(adata):
    model = build(mlvae.models.VAE, latent_dim=4)
    mlvae.annotate(adata, model, "donor", layer="counts", size="total")
    assert adata.obsm["X_latent"].shape == (N, 4) and list(adata.obsm) == ["X_latent"]
    model = build(mlvae.models.ConditionalVAE, group_names=["ann", "bob", "eve"], content_dim=2)
    mlvae.annotate(adata, model, "donor", layer="counts")
    assert sorted(adata.obsm) == ["X_content", "X_latent", "X_style"]
    np.testing.assert_allclose(adata.uns["mlvae"]["content"], model.content.weight.detach())


def test_cells_and_groups_outside_of_training_are_annotated(adata):
    model = build()
    data = GroupedData.from_anndata(adata[adata.obs["donor"] != "eve"], "donor", layer="counts")
    assert data.group_names == ["ann", "bob"]
    mlvae.annotate(adata, model, "donor", layer="counts")
    assert adata.uns["mlvae"]["content"].shape == (3, 10)


def test_bad_input_is_refused_and_nothing_is_written(adata):
    for arguments, options, match in [
        ((adata.obs, build(), "donor"), {}, "AnnData"),
        ((adata, build(), "donors"), {"layer": "counts"}, "'donors'"),
        ((adata[:, :3].copy(), build(), "donor"), {"layer": "counts"}, r"\(6,\), not \(3,\)"),
        ((adata, "model", "donor"), {"layer": "counts"}, "model"),
    ]:
        with pytest.raises(InputError, match=match):
            mlvae.annotate(*arguments, **options)
    assert list(adata.obsm) == [] and "mlvae" not in adata.uns
