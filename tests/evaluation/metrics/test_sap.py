import numpy as np
import pytest

from mlvae import InputError
from mlvae.evaluation import sap
from mlvae.evaluation.measures.metrics.table import split_rows

# Properties


def test_one_dimension_per_quantity_scores_one_in_any_order_and_scale(grid):
    factors = grid(4, 3, 5)
    for codes in (factors, factors[:, [2, 0, 1]] * [-3.0, 1e4, 1e-3] + 5):
        assert sap(codes, factors, continuous=True) == pytest.approx(1, abs=1e-12)


def test_two_equally_frequent_values_have_a_gap_of_at_most_one_half(grid):
    # Accuracy 1 minus chance, 1/2.
    factors = grid(2, 2, times=5000)
    assert sap(8 * factors, factors) == pytest.approx(1 / 2, abs=0.02)


def test_a_rotation_by_45_degrees_has_no_gap(rotated):
    codes, factors = rotated
    assert sap(codes, factors, continuous=True) == pytest.approx(0, abs=1e-12)
    # R2 of the first factor: 1 and 1/2; of the second: 1/2 and 0.
    half = np.column_stack([factors[:, 0], codes[:, 0]])
    assert sap(half, factors, continuous=True) == pytest.approx(1 / 2, abs=1e-12)


@pytest.mark.parametrize("continuous", [True, False])
def test_duplicated_dimensions_have_no_gap(grid, continuous):
    factors = grid(4, 3)
    assert sap(np.tile(factors, 2), factors, continuous=continuous) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("continuous", [True, False])
def test_independent_codes_score_almost_zero(continuous):
    rng = np.random.default_rng(0)
    codes, factors = rng.standard_normal((6000, 4)), rng.integers(3, size=(6000, 2))
    assert 0 <= sap(codes, factors, continuous=continuous) < 0.04


def test_the_score_agrees_with_another_implementation(table):
    # The reference uses the same test rows for categories, and all rows for quantities.
    assert sap(*table) == pytest.approx(0.282, abs=1e-3)
    assert sap(*table, continuous=True) == pytest.approx(0.5531640700588812, abs=1e-12)


# Behaviour


def test_quantities_and_categories_can_be_mixed(table):
    single = [sap(table[0], table[1][:, [k]], continuous=k == 2) for k in range(3)]
    mixed = sap(*table, continuous=[False, False, True])
    assert mixed == pytest.approx(np.mean(single), abs=1e-12)


def test_the_seed_determines_the_test_rows(table):
    assert sap(*table, seed=1) == sap(*table, seed=1) != sap(*table, seed=0)


def test_constant_dimensions_predict_nothing(grid):
    factors = grid(3, 3)
    codes = np.column_stack([factors, np.full((len(factors), 2), 0.1)])
    assert sap(codes, factors, continuous=True) == pytest.approx(1, abs=1e-12)


def test_a_value_without_training_rows_has_no_gap():
    codes = np.random.default_rng(0).standard_normal((30, 2))
    rare = np.zeros((30, 1))
    rare[split_rows(30, 1 / 3, 0)[1][0]] = 1
    assert sap(codes, rare) == 0


# Bad input


def test_invalid_tables_are_refused(grid):
    factors = grid(2, 2)
    with pytest.raises(InputError, match=r"codes.* 2 columns, not 1"):
        sap(factors[:, :1], factors)
    with pytest.raises(InputError, match=r"continuous.* 2 .* 1"):
        sap(factors, factors, continuous=[True])
    with pytest.raises(InputError, match=r"factor 0 .*factor_bins"):
        sap(factors, np.random.default_rng(0).random(factors.shape))
