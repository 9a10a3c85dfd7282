"""MLVAE on rows with missing cells: the evidence of a group, and imputation with its content.

Shapes: N rows, C columns, D features, K content dimensions.
"""

import numpy as np
import pandas as pd
import pytest
import torch

import mlvae
from mlvae import Batch, GroupedData, InputError
from mlvae.evaluation import importance_weighted_bound
from mlvae.groups import Groups
from mlvae.likelihoods import Bernoulli, ColumnScale, MixedColumns
from mlvae.models import MLVAE, VSAE
from mlvae.networks import MLP

QUIET = mlvae.Reports(progress=False, pictures_every=None)
LIKELIHOOD = MixedColumns(
    (
        ColumnScale("income", mean=3.0, deviation=2.0),
        ColumnScale("colour", "categorical", levels=3),
        ColumnScale("visits", "count", mean=1.0, deviation=0.7),
        ColumnScale("smokes", "binary"),
    )
)
EVIDENCE = {"cells": "evidence", "accumulation": "prior_product"}
GROUPS = Groups.of([0, 1, 2] * 10)


def model(**options):
    torch.manual_seed(0)
    chosen = {"likelihood": LIKELIHOOD, "network": MLP((16,)), "content_dim": 3, "style_dim": 2}
    return MLVAE((LIKELIHOOD.num_features,), **chosen | EVIDENCE | options).eval()


def rows(number=30, missing=0.4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    zeros = torch.zeros(number, 2, LIKELIHOOD.num_features)
    x = LIKELIHOOD.sample(zeros, generator=generator)
    return x, torch.rand(number, 4, generator=generator) > missing


def batch(x, observed=None, groups=GROUPS):
    return Batch(x, groups, {} if observed is None else {"observed": observed})


def content(mlvae_model, x, observed=None, groups=GROUPS):
    """The content posterior of each group."""
    given = None if observed is None else {"observed": observed}
    return mlvae_model.rule(mlvae_model.posteriors(x, given)[0], groups)


VARIANTS = [
    {},
    {"cells": "mask"},
    {"style_given_content": True},
    {"evidence_from": "others"},
    {"separation": mlvae.costs.Separation(mmd=1.0, swap=1.0)},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_values_of_missing_cells_change_nothing_bit_for_bit(options):
    x, observed = rows()
    other = torch.where(LIKELIHOOD.spread(observed), x, torch.randn_like(x) * 100)
    found = []
    for values in (x, other):
        one = model(**options).train()
        objective = one(batch(values, observed), generator=torch.Generator().manual_seed(3))
        objective.loss.backward()
        codes = one.eval().codes(batch(values, observed))
        gradients = [p.grad for p in one.parameters() if p.grad is not None]
        parts = [part for q in codes.values() for part in (q.mean, q.log_variance)]
        found.append([objective.loss, *gradients, *parts])
    assert all(a.equal(b) and a.isfinite().all() for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("options", VARIANTS[:3], ids=str)
def test_complete_rows_have_the_posterior_of_data_without_a_mask(options):
    x, observed = rows()
    one = model(**options)
    complete, masked = content(one, x), content(one, x, torch.ones_like(observed))
    assert complete.mean.equal(masked.mean)
    assert complete.log_variance.equal(masked.log_variance)
    assert not complete.mean.allclose(content(one, x, observed).mean)


def test_the_posterior_is_wider_with_every_further_missing_cell():
    x, _ = rows()
    one = model().double()
    x = x.double()
    order = torch.rand(30, 4, generator=torch.Generator().manual_seed(1)).argsort(1)
    variance = content(one, x).variance
    for gone in range(1, 5):  # each row loses one cell after another
        observed = order >= gone
        wider = content(one, x, observed).variance
        assert (wider > variance).all()
        variance = wider
    assert variance.equal(torch.ones_like(variance))  # no cell: the prior
    assert content(one, x, order >= 4).mean.eq(0).all()


def test_one_missing_cell_of_one_row_widens_its_own_group_alone():
    x, _ = rows()
    one, observed = model().double(), torch.ones(30, 4, dtype=torch.bool)
    before = content(one, x.double(), observed).variance
    observed[4, 2] = False  # a row of the second group
    after = content(one, x.double(), observed).variance
    assert (after[1] > before[1]).all()
    assert after[[0, 2]].equal(before[[0, 2]])


def test_evidence_of_cells_adds_up_over_the_rows_of_a_group():
    """A row has the posterior of four rows that have one of its cells each."""
    x, _ = rows(number=1)
    one = model().double()
    x = x.double()
    together = content(one, x, groups=Groups.of([0]))
    alone = torch.eye(4, dtype=torch.bool)
    apart = content(one, x.expand(4, -1), alone, Groups.of([0] * 4))
    assert together.mean.allclose(apart.mean) and together.variance.allclose(apart.variance)
    # The natural parameters are those of the prior and of the four cells.
    cells = [content(one, x, alone[[j]], Groups.of([0])) for j in range(4)]
    precision = 1 + sum(1 / q.variance - 1 for q in cells)
    weighted = sum(q.mean / q.variance for q in cells)
    assert torch.allclose(1 / together.variance, precision)
    assert torch.allclose(together.mean / together.variance, weighted)


def test_the_bound_has_the_terms_of_observed_cells_alone():
    x, observed = rows()
    one = model()
    objective = one(batch(x, observed), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    q, style_given = one.posteriors(x, {"observed": observed})
    c = one.rule(q, GROUPS).sample_members(GROUPS, generator=generator)
    style = style_given(c)
    parameters = one.decoder(torch.cat((c, style.sample(generator=generator)), 1))
    cells = LIKELIHOOD.cell_log_prob(parameters, x)
    expected = GROUPS.sum((cells * observed).sum(1) - style.kl()) - one.rule(q, GROUPS).kl()
    assert torch.allclose(objective.elbo, expected, rtol=1e-5)


def test_methods_use_the_mask_of_grouped_data():
    x, observed = rows()
    data = GroupedData(x, GROUPS.index.numpy(), given={"observed": observed}, kind="array")
    one = model(style_given_content=True)
    codes = one.codes(data.batch())
    found = one.infer_content(data)
    assert found.mean[GROUPS.index].allclose(codes["content"].mean)
    style = one.infer_style(data, found[GROUPS.index])
    assert style.mean.allclose(codes["style"].mean)
    expected = one.decode(codes["content"], codes["style"])
    assert one.reconstruct(data).allclose(expected, atol=1e-5)
    assert not one.infer_content(x, GROUPS).mean.allclose(found.mean)
    encoded = mlvae.encode(one, data)
    assert np.allclose(encoded.content, found.mean.detach(), atol=1e-5)
    assert np.allclose(encoded.style, style.mean.detach(), atol=1e-5)


def test_the_importance_weighted_bound_is_of_observed_cells():
    x, observed = rows()
    one, found = model(), []
    for values in (x, torch.where(LIKELIHOOD.spread(observed), x, 7.5 * torch.ones_like(x))):
        data = GroupedData(
            values, GROUPS.index.numpy(), given={"observed": observed}, kind="array"
        )
        found.append(importance_weighted_bound(one, data, num_content=3, num_style=2))
    assert found[0].equal(found[1]) and found[0].isfinite().all()


# Several groupings


def test_each_of_several_groupings_has_the_evidence_of_its_cells():
    x, observed = rows()
    labels = {"site": [0, 1] * 15, "donor": np.arange(30) % 5}
    data = GroupedData(x, groups=labels, given={"observed": observed}, kind="array")
    one = model(content_dim={"site": 2, "donor": 3}, style_given_content=True)
    contents = one.infer_contents(data)
    assert {name: tuple(q.mean.shape) for name, q in contents.items()} == {
        "site": (2, 2),
        "donor": (5, 3),
    }
    fewer = observed.clone()
    fewer[0] = False  # a row of site 0 and donor 0
    less = GroupedData(x, groups=labels, given={"observed": fewer}, kind="array")
    for name, q in one.infer_contents(less).items():
        assert (q.variance[0] > contents[name].variance[0]).all()
        assert q.variance[1:].equal(contents[name].variance[1:])
    found = mlvae.impute(one, data, samples=2)
    seen = LIKELIHOOD.spread(observed)
    assert found[seen].equal(x[seen]) and found.isfinite().all()
    alone = mlvae.impute(one, data, groups={name: range(30) for name in labels}, samples=2)
    assert not alone.equal(found)
    assert one(data.batch()).loss.isfinite()


# Imputation


def table(number=60, members=6, missing=0.6, seed=0):
    """Rows of groups: four numbers of a mean of the group and a little noise; and its truth."""
    random = np.random.default_rng(seed)
    level = np.repeat(random.normal(size=(number, 1)), members, 0)
    numbers = level * [1, -1, 2, 1] + 0.2 * random.normal(size=(number * members, 4))
    frame = pd.DataFrame(numbers * [1, 10, 1, 1] + [0, 50, 0, 5], columns=list("abcd"))
    frame["word"] = np.where(level[:, 0] > 0, "high", "low")
    gone = random.random(frame.shape) < missing
    hidden = frame.mask(gone)
    hidden.insert(0, "donor", np.repeat(np.arange(number), members))
    return hidden, frame, gone


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    hidden, _, _ = table()
    data = GroupedData.from_frame(hidden, "donor", categories=["word"], missing="keep")
    torch.manual_seed(0)
    one = MLVAE(
        data.shape,
        likelihood=MixedColumns.of(data),
        network=MLP((32,)),
        content_dim=2,
        style_dim=2,
        **EVIDENCE,
    )
    run = tmp_path_factory.mktemp("runs") / "donors"
    mlvae.train(one, data, run=run, epochs=60, optimizer=mlvae.Adam(5e-3), reports=QUIET)
    return mlvae.load(run)


def test_the_group_of_a_row_improves_its_imputed_cells(trained):
    hidden, true, gone = table(seed=1)  # other groups than those of the training
    errors = {}
    for name, groups in {"group": None, "row": np.arange(len(hidden))}.items():
        found = mlvae.impute(trained, hidden, groups=groups, samples=20)
        assert not found.isna().any().any() and list(found) == list(hidden)
        error = (found["a"] - true["a"])[gone[:, 0]]
        errors[name] = np.sqrt(np.square(error).mean())
        right = (found["word"] == true["word"])[gone[:, 4]].mean()
        assert right > (0.97 if name == "group" else 0.8)
    assert errors["group"] < 0.75 * errors["row"], errors


def test_an_observed_cell_of_another_row_changes_a_draw_of_the_group(trained):
    frame = pd.DataFrame(
        {
            "donor": ["x", "x", "y", "y"],
            "a": [None, 2.0, None, -2.0],
            "b": [None] * 4,
            "c": [None] * 4,
            "d": [None] * 4,
            "word": pd.Series([None] * 4, dtype=object),
        }
    ).astype({"b": float, "c": float, "d": float})
    draws = mlvae.impute(trained, frame, draws=30)
    first = np.array([draw["c"].to_numpy() for draw in draws])
    assert first[:, 0].mean() > 2 and first[:, 2].mean() < -2
    # A draw of the content is that of all rows of the group.
    noise = first - first.mean(0)
    assert np.corrcoef(noise[:, 0], noise[:, 1])[0, 1] > 0.3
    pd.testing.assert_frame_equal(mlvae.impute(trained, frame, draws=1)[0], draws[0])


def test_groups_are_named_by_a_column_by_labels_or_by_the_data(trained):
    hidden, _, _ = table(number=5, seed=2)
    expected = mlvae.impute(trained, hidden, samples=3)
    labels = hidden["donor"].to_numpy()
    renamed = hidden.rename(columns={"donor": "who"})
    for frame, groups in ((renamed, "who"), (renamed, labels)):
        found = mlvae.impute(trained, frame, groups=groups, samples=3)
        assert found["a"].equals(expected["a"]) and found["word"].equals(expected["word"])
    data = GroupedData.from_frame(
        hidden, like=trained.table_columns, missing="keep", group="donor"
    )
    found = mlvae.impute(trained, data, samples=3)
    assert np.allclose(found[:, 0], expected["a"])
    by_labels = mlvae.impute(trained, data, groups=labels, samples=3)
    assert by_labels.equal(found)
    parts = mlvae.impute(trained, hidden, samples=3, batch_size=7)  # groups of six, divided
    assert not parts.isna().any().any()


def test_models_and_groups_that_do_not_fit_are_refused(trained):
    hidden, _, _ = table(number=5)
    data = GroupedData.from_frame(hidden, "donor", categories=["word"], missing="keep")
    plain = MLVAE(data.shape, likelihood=MixedColumns.of(data))
    with pytest.raises(InputError, match=r"cells.*MLVAE"):
        mlvae.impute(plain, data)
    with pytest.raises(InputError, match="cells"):
        plain.imputed(data.batch(), samples=1)
    vsae = VSAE(data.shape, likelihood=MixedColumns.of(data))
    with pytest.raises(InputError, match="groups"):
        mlvae.impute(vsae, data, groups=range(len(data)))
    with pytest.raises(InputError, match=r"group.*30"):
        mlvae.impute(trained, hidden, groups=[1, 2])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"cells": "rows"}, "cells.*'rows'"),
        ({"cells": True}, "cells.*True"),
        ({"accumulation": "product"}, "cells=evidence.*accumulation=prior_product"),
        ({"likelihood": Bernoulli()}, r"cells.*MixedColumns\.of"),
        ({"likelihood": MixedColumns()}, r"cells.*MixedColumns\.of"),
        ({"content_family": "dirichlet"}, "cells=evidence.*content_family=gaussian"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        model(**options)


def test_the_mask_takes_content_on_the_simplex():
    x, observed = rows()
    one = model(cells="mask", content_family="dirichlet")
    q = content(one, x, observed)
    assert torch.allclose(q.mean.sum(1), torch.ones(3))
