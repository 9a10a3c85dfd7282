"""Effects of an intervention: methods against closed forms, and the question.

Shapes: N rows.
"""

import numpy as np
import pytest
import torch

import mlvae
from mlvae import InputError
from mlvae.data import Splits
from mlvae.data.sources.scm import TOTAL_EFFECT
from mlvae.evaluation import Counterfactual, Subject, leakage
from mlvae.evaluation.measures.effects import (
    Rows,
    effect_of,
    regression,
    strata,
    stratification,
)
from mlvae.evaluation.measures.fairness import fairness, fitted
from mlvae.evaluation.measures.interventions import Interventions
from mlvae.likelihoods import MixedColumns
from mlvae.models import DCEVAE, VAE, Roles
from mlvae.networks import MLP


def confounded(number=4000, seed=0):
    """Rows whose cause r of a and y adds to the effect, which is 1 + r."""
    random = np.random.default_rng(seed)
    r = random.integers(2, size=number).astype(float)
    a = (random.random(number) < 0.2 + 0.6 * r).astype(float)
    y = a * (1 + r) + 3 * r + 0.1 * random.normal(size=number)
    return r[:, None], Rows(a, y[:, None])


def test_adjustments_find_an_effect_that_the_difference_of_groups_does_not():
    r, rows = confounded()
    everyone = np.ones(len(r), bool)
    cells = [everyone, r[:, 0] == 0, r[:, 0] == 1]
    for method in (
        stratification(rows, *strata(r, r, 10)),
        regression(rows, r, r),
    ):
        found = effect_of(method, len(r), cells)
        means = [cell[0].mean for cell in found]
        assert means == pytest.approx([1 + r.mean(), 1, 2], abs=0.03)
        assert all(0.001 < cell[0].sampling_error < 0.02 for cell in found)
    groups = stratification(rows, *(np.zeros(len(r), int),) * 2)
    assert effect_of(groups, len(r), [everyone])[0][0].mean > 2.5


def test_a_stratum_with_one_value_of_the_intervention_has_no_effect():
    rows = Rows(np.array([0.0, 1.0, 1.0]), np.array([[1.0], [3.0], [9.0]]))
    effects = stratification(rows, np.array([0, 0, 1]), np.array([0, 1, -1]))(np.ones(3))
    assert effects[0, 0] == 2 and np.isnan(effects[1:]).all()


def test_the_error_of_the_bootstrap_is_that_of_the_formula():
    random = np.random.default_rng(1)
    a = np.repeat([0.0, 1.0], 2000)
    rows = Rows(a, random.normal(size=(4000, 1)))
    method = stratification(rows, np.zeros(4000, int), np.zeros(1, int))
    error = effect_of(method, 4000, [np.ones(1, bool)])[0][0].sampling_error
    assert error == pytest.approx(np.sqrt(2 / 2000), rel=0.3)


def test_numbers_are_divided_at_quantiles():
    train = np.arange(100.0)[:, None]
    index, other = strata(train, np.array([[3.0], [96.0]]), 4)
    assert np.bincount(index).tolist() == [26, 25, 25, 24] or len(np.unique(index)) == 4
    assert other.tolist() == [index[3], index[96]]


def test_a_predictor_of_probabilities_is_the_logistic_regression_of_their_draws():
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, 2))
    p = 1 / (1 + np.exp(-(x @ [1.0, -2.0] + 0.5)))
    assert fitted(x, p, binary=True)(x) == pytest.approx(p, abs=0.02)
    assert fitted(np.zeros((4, 0)), np.array([0.0, 1, 1, 1]), binary=True)(x)[0] == 0.75
    line = x @ [1.0, 2.0] + 3
    assert fitted(x, line, binary=False)(x) == pytest.approx(line, abs=1e-4)


def test_the_error_of_numbers_is_the_root_of_the_mean_square():
    y, a = np.array([1.0, 2.0, 3.0]), np.array([0, 1, 1])
    found = fairness(y + 2, (y, y), y, a, binary=False)
    assert found.error.mean == 2 and found.gap.mean == 0 and found.parity.mean == 1.5


def test_the_area_is_the_probability_of_the_right_order():
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    label = torch.arange(4000) % 2
    auc = leakage(x + label[:, None], label.tolist(), probes=("logistic",), curve=False).auc
    assert auc == pytest.approx(0.760, abs=0.03)  # the normal distribution at 1 / sqrt(2)
    three = leakage(x, (torch.arange(4000) % 3).tolist(), probes=("logistic",), curve=False)
    assert np.isnan(three.auc)


def dcevae(data, **options):
    torch.manual_seed(0)
    return DCEVAE(
        data.shape,
        roles=Roles("a", "y", ("d1", "d2")),
        likelihood=MixedColumns.of(data),
        network=MLP((8,)),
        **options,
    ).eval()


@pytest.fixture(scope="module")
def splits():
    return mlvae.data.scm(rows=1500)


def test_the_model_is_compared_with_the_truth_and_the_controls(splits):
    model = dcevae(splits.train)
    answer = Counterfactual(probes=("logistic",), samples=2).ask(Subject(model, splits))
    effects = {(r["method"], r["column"]): r["effect"] for r in answer.metrics["effects"]}
    assert effects["truth", "y"].mean == pytest.approx(TOTAL_EFFECT, abs=1e-3)
    assert effects["truth", "d1"].mean == pytest.approx(1)
    assert effects["regression", "y"].mean == pytest.approx(TOTAL_EFFECT, abs=0.15)
    assert effects["observed", "y"].mean > 1.9
    assert abs(effects["stratification", "y"].mean - TOTAL_EFFECT) < 0.3
    through, x = Interventions(model, 2), splits.test.x
    with torch.no_grad():
        means = [q.mean for q in model.posteriors(x).values()]
        direct = float((model.decode(*means, 1) - model.decode(*means, 0))[:, 4].mean())
    assert effects["model", "y"].mean == pytest.approx(direct, abs=0.05)
    errors = {
        (r["method"], r["column"]): r["rmse"].mean for r in answer.metrics["counterfactuals"]
    }
    assert errors["regression", "y"] < 0.1 and errors["unchanged", "d1"] == pytest.approx(1)
    assert {r["latent"] for r in answer.metrics["latents"]} == {"caused", "rest"}
    assert answer.metrics["cells"] == [] and len(answer.tables) == 4
    assert list(through.affected) == ["y", "d1", "d2"]


def test_rows_of_two_parts_have_noise_of_their_own(splits, monkeypatch):
    through, x = Interventions(dcevae(splits.train), 2), splits.test.x[:1].repeat(4, 1)
    monkeypatch.setattr("mlvae.evaluation.measures.interventions.ROWS", 2)
    found = through.effects(x)
    assert (abs(found[:2] - found[2:]).max(1) > 1e-6).all()


def test_two_seeds_share_no_draw_of_the_latents(splits):
    model, x = dcevae(splits.train), splits.test.x[:4]
    draw = [Interventions(model, 1, seed).effects(x) for seed in (0, 1)]
    second = 2 * Interventions(model, 2, 0).effects(x) - draw[0]
    assert (abs(second - draw[1]).max(1) > 1e-6).all()


def test_a_predictor_without_the_intervention_is_fairer_and_the_rest_is_fair(splits):
    answer = Counterfactual(probes=("logistic",), samples=2).ask(
        Subject(dcevae(splits.train), splits)
    )
    found = {r["predictor"]: r for r in answer.metrics["predictors"]}
    gap = {name: record["gap"].mean for name, record in found.items()}
    assert gap["rest"] == gap["constant"] == 0 < gap["unaware"] < gap["all"]
    assert gap["all"] == pytest.approx(TOTAL_EFFECT, abs=0.1)
    error = {name: record["error"].mean for name, record in found.items()}
    assert error["all"] < 0.4 < error["rest"] < error["constant"]


def people(number, seed):
    import pandas

    random = np.random.default_rng(seed)
    frame = pandas.DataFrame(
        {
            "sex": random.random(number) < 0.5,
            "white": random.random(number) < 0.6,
            "job": random.choice(["clerk", "smith", "cook"], number),
            "age": random.normal(40, 10, number),
        }
    )
    frame["rich"] = random.random(number) < 0.2 + 0.3 * frame["sex"] * frame["white"]
    return frame


def test_cells_are_combinations_of_columns_without_a_role():
    data = mlvae.GroupedData.from_frame(people(600, 0), range(600), categories=["job"])
    test = mlvae.GroupedData.from_frame(people(400, 1), range(400), like=data)
    model = DCEVAE(
        data.shape, roles=Roles("sex", "rich"), likelihood=MixedColumns.of(data), network=MLP((4,))
    )
    subject = Subject(model.eval(), Splits(data, test=test))
    ask = Counterfactual(probes=("logistic",), samples=1).ask(subject)
    cells = {r["cell"]: r for r in ask.metrics["cells"] if r["method"] == "observed"}
    assert set(cells) == {"white=0", "white=1"}
    assert cells["white=1"]["effect"].mean == pytest.approx(0.3, abs=0.12)
    assert cells["white=0"]["effect"].mean == pytest.approx(0.0, abs=0.12)
    assert sum(record["rows"] for record in cells.values()) == 400
    both = Counterfactual(cells=("white", "job"), probes=("logistic",), samples=1).ask(subject)
    assert "white=1, job=cook" in {record["cell"] for record in both.metrics["cells"]}
    with pytest.raises(InputError, match=r"cells.*white.*job.*age"):
        Counterfactual(cells=("age",), probes=("logistic",)).ask(subject)


def test_models_without_counterfactuals_are_not_asked(splits):
    answer = Counterfactual().ask(Subject(VAE((5,)), splits))
    assert "counterfactuals" in answer.reason
    answer = Counterfactual().ask(Subject(dcevae(splits.train), Splits(splits.train)))
    assert "test" in answer.reason


@pytest.mark.parametrize("options", [{"samples": 0}, {"probes": ("forest",)}, {"cells": (1,)}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=r"evaluation\.counterfactual"):
        Counterfactual(**options)
