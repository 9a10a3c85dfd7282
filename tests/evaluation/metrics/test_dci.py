import numpy as np
import pytest

from mlvae import InputError
from mlvae.evaluation import dci
from mlvae.evaluation.measures.metrics import TREES
from mlvae.evaluation.measures.metrics.dci import _concentration
from mlvae.evaluation.measures.metrics.table import split_rows

# Properties


@pytest.mark.parametrize("trees", TREES)
@pytest.mark.parametrize("continuous", [False, True])
def test_one_dimension_per_factor_scores_one_in_any_order_and_scale(grid, trees, continuous):
    factors = grid(3, 2)
    options = {"trees": trees, "continuous": continuous, "number": 30}
    for codes in (factors, factors[:, ::-1] * [-3.0, 1e4] + 5):
        found = dci(codes, factors, **options)
        assert found[:3] == pytest.approx((1, 1, 1), abs=1e-6 if trees == "forest" else 0.01)


def test_the_scores_are_entropies_of_normalised_importance():
    # Rows (1/2, 1/2) and (1, 0), to base 2: 0 and 1, weighted by 2/3 and 1/3.
    importance = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert _concentration(importance) == pytest.approx(1 / 3)
    # Columns (1/2, 1/2, 0) and (1, 0, 0), to base 3.
    expected = 2 / 3 * (1 - np.log(2) / np.log(3)) + 1 / 3
    assert _concentration(importance.T) == pytest.approx(expected)
    assert _concentration(np.zeros((3, 2))) == 0
    assert _concentration(np.ones((3, 2))) == pytest.approx(0)


def test_a_rotation_by_45_degrees_keeps_informativeness_only(rotated):
    found = dci(*rotated)
    assert found.informativeness == 1
    np.testing.assert_allclose(found.importance, 0.5, atol=0.1)
    assert max(found.disentanglement, found.completeness) < 0.03


def test_duplicated_dimensions_lower_completeness_only(grid):
    factors = grid(2, 2, times=50)
    found = dci(np.tile(factors, 2), factors)
    assert found.disentanglement == pytest.approx(1, abs=1e-6)
    # Two of four dimensions share a factor: 1 - log 2 / log 4.
    assert found.completeness == pytest.approx(1 / 2, abs=0.03)


def test_independent_codes_score_chance():
    rng = np.random.default_rng(0)
    codes, factors = rng.standard_normal((3000, 4)), rng.integers(4, size=(3000, 2))
    found = dci(codes, factors, number=50)
    assert max(found.disentanglement, found.completeness) < 0.02
    assert found.informativeness == pytest.approx(1 / 4, abs=0.04)
    assert dci(codes, factors, number=50, continuous=True).informativeness < 0.02


@pytest.mark.no_cover
def test_the_scores_agree_with_another_implementation(table):
    # Computed with the same test rows; the seed that breaks ties between splits differs.
    expected = (0.7440206851134873, 0.7262247149002077, 0.9146666666666666)
    assert dci(*table, trees="boosting")[:3] == pytest.approx(expected, abs=0.003)
    # The docstring states the larger difference of a forest.
    assert dci(*table)[:3] == pytest.approx(expected, abs=0.05)


# Behaviour


def test_the_importance_of_each_factor_sums_to_one(table):
    importance = dci(*table, number=10).importance
    np.testing.assert_allclose(importance.sum(0), 1)
    assert importance.argmax(0).tolist() == [0, 1, 2]


def test_the_seed_determines_all_scores(table):
    scores = [dci(*table, number=10, seed=seed)[:3] for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


def test_a_value_without_training_rows_is_not_predicted():
    codes = np.random.default_rng(0).standard_normal((30, 2))
    rare = np.zeros((30, 2))
    rare[:, 1] = np.arange(30) % 2
    rare[split_rows(30, 1 / 3, 0)[1][0], 0] = 1
    found = dci(codes, rare, number=5)
    assert found.importance[:, 0].tolist() == [0, 0]
    second = dci(codes, rare[:, [1, 1]], number=5).informativeness
    assert found.informativeness == pytest.approx((0.9 + second) / 2)


# Bad input


def test_invalid_options_and_tables_are_refused(grid):
    table = grid(2, 2)
    for codes, factors, options, message in [
        (table, table, {"trees": "boost"}, "trees.*'boost'.*'boosting'"),
        (table, table, {"number": 0}, r"number.* 0"),
        (table[:, :1], table, {}, r"codes.* 1"),
        (table, table[:, :1], {}, r"factors.* 1"),
    ]:
        with pytest.raises(InputError, match=message):
            dci(codes, factors, **options)
