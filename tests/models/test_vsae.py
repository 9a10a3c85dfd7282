"""VSAE: which cells a latent depends on, the bound, and imputation of tables.

Shapes: N rows, C columns, D features.
"""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import mlvae
from mlvae import Batch, GroupedData, InputError
from mlvae.groups import Groups
from mlvae.likelihoods import Bernoulli, ColumnScale, MixedColumns
from mlvae.models import MLVAE, VSAE
from mlvae.networks import MLP
from mlvae.training.checks import check_fit

QUIET = mlvae.Reports(progress=False, pictures_every=None)
LIKELIHOOD = MixedColumns(
    (
        ColumnScale("income", mean=3.0, deviation=2.0),
        ColumnScale("colour", "categorical", levels=3),
        ColumnScale("visits", "count", mean=1.0, deviation=0.7),
        ColumnScale("smokes", "binary"),
    )
)
OPTIONS = {"likelihood": LIKELIHOOD, "network": MLP((16,)), "cell_hidden": 5}


def rows(number=40, missing=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    zeros = torch.zeros(number, 2, LIKELIHOOD.num_features)
    x = LIKELIHOOD.sample(zeros, generator=generator)
    observed = torch.rand(number, 4, generator=generator) > missing
    return x, observed


def batch(x, observed=None):
    given = {} if observed is None else {"observed": observed}
    return Batch(x, Groups.singletons(len(x), x.device), given)


def model(**options):
    torch.manual_seed(0)
    return VSAE((LIKELIHOOD.num_features,), **OPTIONS | options).eval()


@pytest.mark.parametrize("mask", ["latents", "values", "none"])
@pytest.mark.parametrize("pseudo", ["none", "posterior", "prior"])
def test_values_of_missing_cells_change_nothing_bit_for_bit(mask, pseudo):
    x, observed = rows()
    noise = torch.randn_like(x) * 100
    other = torch.where(LIKELIHOOD.spread(observed), x, noise)
    found = []
    for values in (x, other):
        vsae = model(mask=mask, pseudo=pseudo).train()
        objective = vsae(batch(values, observed), generator=torch.Generator().manual_seed(3))
        objective.loss.backward()
        found.append((objective, [p.grad for p in vsae.parameters() if p.grad is not None]))
    assert found[0][0].loss.equal(found[1][0].loss) and found[0][0].loss.isfinite()
    assert all(one.equal(two) for one, two in zip(found[0][1], found[1][1], strict=True))


def test_a_block_is_of_the_own_cell_where_it_is_observed():
    x, observed = rows()
    vsae = model()
    q = vsae.posterior(x, observed)
    own = vsae.attributive(LIKELIHOOD.inputs(x))
    seen = observed.repeat_interleave(2, 1)
    assert q.mean[seen].equal(own.mean[seen]) and not q.mean[~seen].equal(own.mean[~seen])
    x[:, 0] += 1  # the first column changes its own block, and those of missing cells
    changed = vsae.posterior(x, observed).mean != q.mean
    both = observed[:, 0]
    assert changed[both, :2].all() and not changed[both, 2:][seen[both, 2:]].any()
    assert changed[both, 2:][~seen[both, 2:]].any() and not changed[~both].any()


def test_a_cell_encoder_reads_one_column_alone():
    x, _ = rows()
    x = LIKELIHOOD.inputs(x).requires_grad_()
    mean = model().attributive(x).mean
    for column, features in enumerate([[0], [1, 2, 3], [4], [5]]):
        (gradient,) = torch.autograd.grad(mean[:, 2 * column].sum(), x, retain_graph=True)
        used = gradient.ne(0).any(0).nonzero()[:, 0].tolist()
        assert set(used) <= set(features) and used


def test_the_block_of_an_attribute_is_of_all_of_its_columns():
    x, observed = rows()
    vsae = model(attributes=(2, 2), block_dim=3)
    q = vsae.posterior(x, observed)
    assert q.mean.shape == (40, 6)
    whole = torch.stack([observed[:, :2].all(1), observed[:, 2:].all(1)], 1)
    seen = whole.repeat_interleave(3, 1)
    own = vsae.attributive(LIKELIHOOD.inputs(x))
    assert q.mean[seen].equal(own.mean[seen]) and not q.mean[~seen].equal(own.mean[~seen])
    inputs = LIKELIHOOD.inputs(x).requires_grad_()
    (gradient,) = torch.autograd.grad(vsae.attributive(inputs).mean[:, :3].sum(), inputs)
    assert gradient.ne(0).any(0).tolist() == [True] * 4 + [False] * 2
    columns = model(attributes=(1, 1, 1, 1))
    assert columns.posterior(x, observed).mean.equal(model().posterior(x, observed).mean)


def test_the_bound_is_the_sum_of_its_terms_and_complete_rows_have_that_of_a_vae():
    x, observed = rows()
    objective = model()(batch(x, observed), generator=torch.Generator().manual_seed(0))
    terms = objective.per_observation
    assert set(terms) == {
        "log_likelihood",
        "kl",
        "value_log_likelihood",
        "mask_log_likelihood",
    }
    both = terms["value_log_likelihood"] + terms["mask_log_likelihood"]
    assert torch.allclose(terms["log_likelihood"], both)
    assert torch.allclose(objective.elbo, both - terms["kl"])
    assert objective.loss.allclose(-objective.elbo.mean())
    # Without missing cells and without a mask: an encoder of single cells and one decoder.
    vsae = model(mask="none")
    q = vsae.attributive(LIKELIHOOD.inputs(x))
    z = q.sample(generator=torch.Generator().manual_seed(0))
    expected = LIKELIHOOD.log_prob(vsae.decoder(z), x) - q.kl()
    for complete in (batch(x), batch(x, torch.ones_like(observed))):
        found = vsae(complete, generator=torch.Generator().manual_seed(0)).elbo
        assert torch.allclose(found, expected)


def test_pseudo_observations_add_a_term_of_missing_cells_in_training():
    x, observed = rows()
    plain, pseudo = model(), model(pseudo="posterior", pseudo_weight=0.5)
    pseudo.load_state_dict(plain.state_dict())
    run = [
        each.train()(batch(x, observed), generator=torch.Generator().manual_seed(1))
        for each in (plain, pseudo)
    ]
    extra = run[1].per_observation["pseudo_log_likelihood"]
    assert torch.allclose(run[1].loss, run[0].loss - 0.5 * extra.mean())
    assert extra[observed.all(1)].eq(0).all() and extra[~observed.all(1)].lt(0).any()


@pytest.mark.no_cover
def test_a_model_of_the_values_learns_that_large_values_are_missing(tmp_path):
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(2000, 1, generator=generator)
    x = shared + 0.3 * torch.randn(2000, 3, generator=generator)
    frame = pd.DataFrame(x.numpy(), columns=list("abc"))
    hidden = frame["a"] > 0
    data = GroupedData.from_frame(
        frame.assign(a=frame["a"].mask(hidden)), range(2000), missing="keep"
    )
    errors = {}
    for mask in ("none", "values"):
        torch.manual_seed(0)
        vsae = VSAE(data.shape, likelihood=MixedColumns.of(data), network=MLP((32,)), mask=mask)
        mlvae.train(
            vsae,
            data,
            run=tmp_path / mask,
            epochs=40,
            optimizer=mlvae.Adam(3e-3),
            reports=QUIET,
        )
        found = mlvae.impute(vsae, data, samples=20)[:, 0].numpy()
        errors[mask] = np.sqrt(np.square(found - frame["a"].to_numpy())[hidden].mean())
    assert vsae.mask.weight[0] < -0.5
    assert errors["values"] < 0.8 * errors["none"]


# Tables


def table(number=120, seed=0):
    random = np.random.default_rng(seed)
    hidden = random.normal(size=number)
    gone = random.random((number, 4)) < 0.25
    frame = pd.DataFrame(
        {
            "age": 40 + 10 * hidden,
            "visits": pd.array(random.poisson(np.exp(1 + 0.5 * hidden)), dtype="Int64"),
            "smokes": pd.array(hidden > 0, dtype="boolean"),
            "city": pd.Categorical(np.where(hidden > 0, "Rome", "Oslo")),
        },
        index=[f"row{number}" for number in range(number)],
    )
    for place, name in enumerate(frame):
        frame.loc[gone[:, place], name] = None
    return frame


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    data = GroupedData.from_frame(table(), range(120), kinds={"visits": "count"}, missing="keep")
    torch.manual_seed(0)
    vsae = VSAE(data.shape, likelihood=MixedColumns.of(data), network=MLP((16,)))
    run = tmp_path_factory.mktemp("runs") / "table"
    mlvae.train(vsae, data, run=run, epochs=20, reports=QUIET)
    return mlvae.load(run)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_frame_of_any_library_is_completed(trained, library):
    frame = table(seed=1)
    if library != "pandas":
        frame = frame.reset_index(drop=True)
    native = {"pandas": lambda f: f, "polars": pl.from_pandas, "pyarrow": pa.Table.from_pandas}
    found = mlvae.impute(trained, native[library](frame))
    assert type(found) is type(native[library](frame))
    found = found if library == "pandas" else found.to_pandas()
    assert not found.isna().any().any() and list(found.columns) == list(frame.columns)
    for name in frame:
        seen = frame[name].notna().to_numpy()
        assert (found[name].to_numpy()[seen] == frame[name].to_numpy()[seen]).all()
    if library == "pandas":
        assert found.index.equals(frame.index)
    assert set(found["city"]) <= {"Rome", "Oslo"} and found["smokes"].isin([True, False]).all()


def test_draws_differ_and_stay_possible(trained):
    frame = table(seed=1)
    one, two = mlvae.impute(trained, frame, draws=2)
    gone = frame["visits"].isna()
    assert (one["visits"][gone] != two["visits"][gone]).any()
    assert (one["visits"] % 1 == 0).all() and (one["visits"] >= 0).all()
    again = mlvae.impute(trained, frame, draws=1)[0]
    pd.testing.assert_frame_equal(one, again)
    # Another seed has no table in common with the first: tables of two calls may be pooled.
    for other in mlvae.impute(trained, frame, draws=2, seed=1):
        assert not other.equals(one) and not other.equals(two)
    pd.testing.assert_frame_equal(mlvae.impute(trained, frame), mlvae.impute(trained, frame))


def test_codes_of_a_frame_with_missing_cells(trained):
    encoded = mlvae.encode(trained, table(seed=1))
    assert encoded.latent.shape == (120, 8)


def test_models_that_take_no_missing_cells_refuse_them():
    data = GroupedData.from_frame(table(), range(120), missing="keep")
    mixed = MLVAE(data.shape, likelihood=MixedColumns.of(data))
    with pytest.raises(InputError, match=r"MLVAE.*missing cells.*VSAE"):
        check_fit(mixed, data, "training")
    with pytest.raises(InputError, match=r"model.*MLVAE"):
        mlvae.impute(mixed, table())


def test_complete_tables_of_mixed_columns_train_other_models(tmp_path):
    frame = table().dropna()
    data = GroupedData.from_frame(frame, np.arange(len(frame)) % 5, kinds={"visits": "count"})
    mixed = MLVAE(data.shape, likelihood=MixedColumns.of(data), network=MLP((8,)))
    result = mlvae.train(mixed, data, run=tmp_path / "run", epochs=2, reports=QUIET)
    assert np.isfinite(result.metrics["train/loss"])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"likelihood": Bernoulli()}, r"likelihood.*MixedColumns\.of"),
        ({"likelihood": MixedColumns()}, r"likelihood.*MixedColumns\.of"),
        ({"mask": "cells"}, "mask.*'cells'"),
        ({"pseudo": True}, "pseudo.*True"),
        ({"block_dim": 0}, "block_dim.*0"),
        ({"attributes": (2, 1)}, "attributes.*4.*3"),
        ({"attributes": (4, 0)}, "attributes.*0"),
        ({"attributes": 4}, "attributes.*4"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        model(**options)


def test_the_shape_must_be_that_of_the_columns():
    with pytest.raises(InputError, match=r"shape.*\(6,\)"):
        VSAE((5,), **OPTIONS)


def test_a_mask_of_values_has_no_bound():
    x, observed = rows()
    assert model(mask="values")(batch(x, observed)).elbo is None
    assert model(mask="latents")(batch(x, observed)).elbo is not None


@pytest.mark.parametrize("mask", [torch.ones(40, 4), torch.ones(40, 6, dtype=torch.bool)])
def test_a_mask_of_another_form_is_refused(mask):
    x, _ = rows()
    with pytest.raises(InputError, match=r"observed .*\(40, 4\)"):
        model()(batch(x, mask))


def test_data_of_another_shape_are_refused(trained):
    with pytest.raises(InputError, match=r"\(N, 5\)"):
        mlvae.impute(trained, GroupedData(torch.ones(3, 2), range(3), kind="array"))
