import numpy as np
import pytest

from mlvae import InputError
from mlvae.evaluation import sap
from mlvae.evaluation.metrics.table import split_rows

# Properties


def test_a_dimension_for_each_quantity_has_one_whatever_its_place_and_scale(grid):
    factors = grid(4, 3, 5)
    for codes in (factors, factors[:, [2, 0, 1]] * [-3.0, 1e4, 1e-3] + 5):
        assert sap(codes, factors, continuous=True) == pytest.approx(1, abs=1e-12)


def test_of_two_equally_frequent_values_the_gap_is_at_most_a_half(grid):
    # 1 against 1/2 by chance.
    factors = grid(2, 2, times=5000)
    assert sap(8 * factors, factors) == pytest.approx(1 / 2, abs=0.02)


def test_a_turn_by_45_degrees_leaves_no_gap(rotated):
    codes, factors = rotated
    assert sap(codes, factors, continuous=True) == pytest.approx(0, abs=1e-12)
    # R2 of the first factor is 1 and 1/2; of the second, 1/2 and nothing.
    half = np.column_stack([factors[:, 0], codes[:, 0]])
    assert sap(half, factors, continuous=True) == pytest.approx(1 / 2, abs=1e-12)


@pytest.mark.parametrize("continuous", [True, False])
def test_saying_everything_twice_leaves_no_gap(grid, continuous):
    factors = grid(4, 3)
    assert sap(np.tile(factors, 2), factors, continuous=continuous) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("continuous", [True, False])
def test_independent_codes_have_next_to_nothing(continuous):
    rng = np.random.default_rng(0)
    codes, factors = rng.standard_normal((6000, 4)), rng.integers(3, size=(6000, 2))
    assert 0 <= sap(codes, factors, continuous=continuous) < 0.04


def test_it_agrees_with_another_implementation(table):
    # There with the rows that are tested on here, and quantities on all rows.
    assert sap(*table) == pytest.approx(0.282, abs=1e-3)
    assert sap(*table, continuous=True) == pytest.approx(0.5531640700588812, abs=1e-12)


# Behaviour


def test_quantities_and_categories_go_together(table):
    alone = [sap(table[0], table[1][:, [k]], continuous=k == 2) for k in range(3)]
    together = sap(*table, continuous=[False, False, True])
    assert together == pytest.approx(np.mean(alone), abs=1e-12)


def test_the_seed_decides_what_is_tested_on(table):
    assert sap(*table, seed=1) == sap(*table, seed=1) != sap(*table, seed=0)


def test_dimensions_that_do_not_vary_predict_nothing(grid):
    factors = grid(3, 3)
    codes = np.column_stack([factors, np.full((len(factors), 2), 0.1)])
    assert sap(codes, factors, continuous=True) == pytest.approx(1, abs=1e-12)


def test_a_value_that_is_only_tested_on_leaves_no_gap():
    codes = np.random.default_rng(0).standard_normal((30, 2))
    rare = np.zeros((30, 1))
    rare[split_rows(30, 1 / 3, 0)[1][0]] = 1
    assert sap(codes, rare) == 0


# Bad input


def test_what_cannot_be_predicted_is_refused(grid):
    factors = grid(2, 2)
    with pytest.raises(InputError, match="codes of at least 2 columns"):
        sap(factors[:, :1], factors)
    with pytest.raises(InputError, match="one for each of the 2 factors"):
        sap(factors, factors, continuous=[True])
    with pytest.raises(InputError, match="too many to be counted"):
        sap(factors, np.random.default_rng(0).random(factors.shape))
