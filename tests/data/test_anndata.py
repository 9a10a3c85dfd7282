"""Cells of an AnnData: in memory, in a file, sparse and dense."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.data import SourceRows, open_dataset
from mlvae.data.tables.annotated import is_anndata

anndata = pytest.importorskip("anndata")

N, D = 60, 7
RANDOM = np.random.default_rng(0)
COUNTS = RANDOM.poisson(1.0, (N, D)).astype(np.float32)
DONORS = np.array(["ann", "bob", "eve"])[np.arange(N) % 3]
PHASE = np.array(["G1", "S", "G2M"])[RANDOM.integers(0, 3, N)]


def cells(x=COUNTS, **options):
    """An AnnData with columns, a layer and an embedding."""
    obs = pd.DataFrame(
        {
            "donor": pd.Categorical(DONORS),
            "phase": pd.Categorical(PHASE),
            "genes": (COUNTS > 0).sum(1),
            "total": COUNTS.sum(1) + 1,
            "split": np.array(["train", "validation", "test"])[np.arange(N) // 20],
        },
        index=[f"cell {i}" for i in range(N)],
    )
    var = pd.DataFrame(index=[f"gene {i}" for i in range(D)])
    adata = anndata.AnnData(np.log1p(COUNTS), obs=obs, var=var, **options)
    adata.layers["counts"] = x
    adata.obsm["X_pca"] = COUNTS[:, :2] / 3
    return adata


@pytest.fixture(params=["dense", "csr", "csc", "int64", "uint8"])
def counts(request):
    """Counts of several types."""
    match request.param:
        case "dense":
            return COUNTS
        case "csr" | "csc":
            return scipy.sparse.csr_matrix(COUNTS).asformat(request.param)
        case _:
            return COUNTS.astype(request.param)


def test_cells_have_their_counts_groups_names_and_factors(counts):
    data = GroupedData.from_anndata(
        cells(counts), "donor", layer="counts", factors=["phase", "genes"], size="total"
    )
    assert torch.equal(data.batch().x, torch.from_numpy(COUNTS))
    assert data.labels.tolist() == DONORS.tolist() and data.group_names == ["ann", "bob", "eve"]
    assert data.names.tolist() == [f"cell {i}" for i in range(N)]
    # Words are numbered in sorted order.
    assert data.factors["phase"].tolist() == [["G1", "G2M", "S"].index(p) for p in PHASE]
    assert data.factors["genes"].tolist() == (COUNTS > 0).sum(1).tolist()
    assert data.given["size"].tolist() == (COUNTS.sum(1) + 1).tolist()


def test_x_and_an_embedding_are_other_observations():
    adata = cells()
    data = GroupedData.from_anndata(adata, "donor")
    assert np.allclose(data.batch().x, np.log1p(COUNTS))
    data = GroupedData.from_anndata(adata, "donor", obsm="X_pca")
    assert np.allclose(data.batch().x, COUNTS[:, :2] / 3)
    adata.obsm["X_frame"] = pd.DataFrame(COUNTS[:, :3], index=adata.obs_names)
    data = GroupedData.from_anndata(adata, "donor", obsm="X_frame")
    assert np.allclose(data.batch().x, COUNTS[:, :3])


def test_a_view_has_its_cells_and_genes(counts):
    view = cells(counts)[10:30:2, [5, 1]]
    data = GroupedData.from_anndata(view, "donor", layer="counts")
    assert torch.equal(data.batch().x, torch.from_numpy(COUNTS[10:30:2][:, [5, 1]]))
    assert data.labels.tolist() == DONORS[10:30:2].tolist()


def test_missing_words_of_a_factor_are_unknown():
    adata = cells()
    adata.obs["phase"] = adata.obs["phase"].cat.remove_categories("S")
    factor = GroupedData.from_anndata(adata, "donor", factors="phase").factors["phase"].numpy()
    assert np.isnan(factor).tolist() == (PHASE == "S").tolist()


def test_cells_are_split_by_a_column_of_words():
    adata = cells()
    data = GroupedData.from_anndata(adata, "donor")
    splits = mlvae.data.split(data, by=adata.obs["split"])
    assert [(name, len(part)) for name, part in splits] == [
        ("train", 20),
        ("validation", 20),
        ("test", 20),
    ]


# Files


def write(tmp_path, x=COUNTS, layer_as_x=False):
    adata = cells(x)
    if layer_as_x:
        adata.X = adata.layers["counts"]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


@pytest.mark.parametrize("backed", [False, True])
def test_a_dataset_is_read_from_a_file(backed, tmp_path):
    path = write(tmp_path, scipy.sparse.csr_matrix(COUNTS), layer_as_x=True)
    options = {"root": path, "group": "donor", "backed": backed, "seed": 3}
    splits = open_dataset("anndata", **options, validation=6, test=0.2)
    assert {name: len(part) for name, part in splits} == {"train": 42, "validation": 6, "test": 12}
    for _, part in splits:
        rows = [int(name.split()[1]) for name in part.names]
        assert isinstance(part.x, SourceRows)
        assert torch.equal(part.batch().x, torch.from_numpy(COUNTS[rows]))
    groups = open_dataset("anndata", **options, split="groups", validation=["bob"], test=["eve"])
    assert groups.unseen.group_names == ["eve"] and groups.train.group_names == ["ann"]
    words = open_dataset("anndata", **options, split="split")
    assert words.validation.names[0] == "cell 20"


def test_a_dense_matrix_is_read_from_a_backed_file(tmp_path):
    path = write(tmp_path, layer_as_x=True)
    train = open_dataset("anndata", root=path, group="donor", backed=True, split="split").train
    assert isinstance(train.x, SourceRows)
    assert torch.equal(train.batch([5, 0, 5]).x, torch.from_numpy(COUNTS[[5, 0, 5]]))


def test_a_folder_of_zarr_is_read(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata, on zarr's formats
        cells().write_zarr(tmp_path / "cells.zarr")
    splits = open_dataset("anndata", root=tmp_path / "cells.zarr", group="donor", layer="counts")
    assert len(splits.train) == 48 and splits.train.shape == (D,)


# Bad input


def test_an_anndata_is_no_array_and_is_refused_at_once():
    with pytest.raises(InputError, match="from_anndata"):
        GroupedData(cells(), DONORS)
    assert is_anndata(cells()) and not is_anndata(anndata.AnnData)
    assert not is_anndata(pd.DataFrame({"X": [1]})) and not is_anndata(COUNTS)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"group": "doner"}, r"group .*donor, phase.*adata\.obs, not 'doner'"),
        ({"group": 3}, "group .*3"),
        ({"layer": "raw"}, r"layer .*counts in adata\.layers, not 'raw'"),
        ({"obsm": "X_umap"}, r"obsm .*X_pca in adata\.obsm, not 'X_umap'"),
        ({"layer": "counts", "obsm": "X_pca"}, r"layer or obsm .*'counts' and 'X_pca'"),
        ({"factors": ["phases"]}, r"factors .*not 'phases'"),
        ({"factors": {"a": 1}}, "factors .*"),
        ({"size": "n_counts"}, r"size .*not 'n_counts'"),
        ({"size": "phase"}, "size .*numbers.*'[GS]"),
        ({"group": ["donor", "donor"]}, "group .*'donor' twice"),
        ({"factors": ["day"]}, "factors .*2020"),
        ({"factors": ["mixed"]}, "factors .*'one'"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(options, match):
    adata = cells()
    adata.obs["day"] = pd.date_range("2020-01-01", periods=N)
    adata.obs["mixed"] = np.array([1, "one"] * (N // 2), object)
    with pytest.raises(InputError, match=match):
        GroupedData.from_anndata(adata, **{"group": "donor", **options})


def test_words_of_a_factor_are_printed_with_their_numbers(capsys):
    GroupedData.from_anndata(cells(), "donor", factors=["phase", "total"])
    assert capsys.readouterr().out.count("phase is numbered: G1 is 0, G2M is 1, S is 2") == 1


def test_numbers_of_a_factor_stay_numbers_in_every_type():
    adata = cells()
    adata.obs["stage"] = np.array([10, 9, 2] * (N // 3), object)
    adata.obs["treated"] = pd.array([True, False, None] * (N // 3), dtype="boolean")
    factors = GroupedData.from_anndata(adata, "donor", factors=["stage", "treated"]).factors
    assert factors["stage"][:3].tolist() == [10, 9, 2]
    np.testing.assert_array_equal(factors["treated"][:3], [1, 0, np.nan])


def test_cells_without_a_group_are_refused_with_their_number():
    adata = cells()
    adata.obs["donor"] = adata.obs["donor"].cat.remove_categories("eve")
    with pytest.raises(InputError, match=r"20 of 60 .*notna"):
        GroupedData.from_anndata(adata, "donor")


def test_an_anndata_without_x_needs_a_layer():
    adata = anndata.AnnData(obs=cells().obs, layers={"counts": COUNTS})
    with pytest.raises(InputError, match=r"adata\.X .*None.*counts"):
        GroupedData.from_anndata(adata, "donor")
    assert len(GroupedData.from_anndata(adata, "donor", layer="counts")) == N


def test_anything_else_is_no_anndata():
    with pytest.raises(InputError, match=r"adata must be an AnnData"):
        GroupedData.from_anndata(cells().obs, "donor")


def test_a_backed_matrix_by_columns_or_a_part_of_a_backed_one_is_refused(tmp_path):
    path = write(tmp_path, scipy.sparse.csc_matrix(COUNTS), layer_as_x=True)
    with pytest.raises(InputError, match=r"csc.*to_memory"):
        open_dataset("anndata", root=path, group="donor", backed=True)
    assert len(open_dataset("anndata", root=path, group="donor").train) == 48
    write(tmp_path, scipy.sparse.csr_matrix(COUNTS), layer_as_x=True)
    backed = anndata.read_h5ad(path, backed="r")
    data = GroupedData.from_anndata(backed[10:20], "donor")  # a view of some rows is read
    assert torch.equal(data.batch().x, torch.from_numpy(COUNTS[10:20]))


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("none.h5ad", {}, "not there"),
        ("cells.csv", {}, r"\.h5ad or \.zarr"),
        ("damaged.h5ad", {}, "must be a file of an AnnData"),
        ("cells.h5ad", {"split": "word"}, r"dataset\.split .*'word'"),
        ("cells.h5ad", {"group": 3}, r"dataset\.group .*3"),
        ("cells.h5ad", {"backed": 2}, r"dataset\.backed .*2"),
    ],
)
def test_other_files_and_options_are_refused_in_one_line(name, options, match, tmp_path):
    write(tmp_path)
    (tmp_path / "cells.csv").write_text("a,b")
    (tmp_path / "damaged.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match=match) as caught:
        open_dataset("anndata", **{"root": tmp_path / name, "group": "donor", **options})
    assert "\n" not in str(caught.value)
