import numpy as np
import pytest

from mlvae import InputError
from mlvae.evaluation import mig

# Properties


def test_one_dimension_per_factor_scores_one_in_any_order_and_scale(grid):
    factors = grid(4, 3, 7)
    for codes in (factors, factors[:, [2, 0, 1]] * [-3.0, 1e4, 1e-3] + 5):
        assert mig(codes, factors) == pytest.approx(1, abs=1e-12)


def test_duplicated_dimensions_have_no_gap(grid):
    factors = grid(4, 3)
    assert mig(np.tile(factors, 2), factors) == pytest.approx(0, abs=1e-12)
    assert mig(factors[:, [0, 1, 1]], factors) == pytest.approx(1 / 2, abs=1e-12)


def test_a_rotation_by_45_degrees_of_one_dimension_halves_the_gap_and_of_both_removes_it(rotated):
    codes, factors = rotated
    assert mig(codes, factors) == pytest.approx(0, abs=1e-12)
    # Information about the first factor: 1 bit and 1/2 bit; about the second: 1/2 bit and 0.
    half = np.column_stack([factors[:, 0], codes[:, 0]])
    assert mig(half, factors) == pytest.approx(1 / 2, abs=1e-12)


def test_independent_codes_score_almost_zero():
    rng = np.random.default_rng(0)
    assert 0 <= mig(rng.random((5000, 6)), rng.integers(4, size=(5000, 3))) < 0.005


def test_the_score_agrees_with_another_implementation(table):
    # The reference also uses 20 intervals of equal width. It uses nats; the unit cancels.
    assert mig(*table) == pytest.approx(0.5277788843584744, abs=1e-12)


# Behaviour


def test_too_few_intervals_lower_the_score(grid):
    factors = grid(4, 4)
    assert mig(factors, factors, bins=2) == pytest.approx(1 / 2, abs=1e-12)


def test_quantities_are_cut_into_intervals(grid):
    quantity = np.linspace(0, 1, 1000)[:, None] ** [1, 1]
    quantity[:, 1] = np.roll(quantity[:, 1], 500)
    codes = np.column_stack([quantity, np.zeros(1000)])
    assert mig(codes[:, [0, 2]], quantity[:, :1], factor_bins=20) == pytest.approx(1, abs=1e-12)
    with pytest.raises(InputError, match=r"1000 values.*factor_bins"):
        mig(codes, quantity)


# Bad input


def test_a_code_of_one_dimension_is_refused(grid):
    with pytest.raises(InputError, match=r"codes.* 2 columns, not 1"):
        mig(grid(2, 2)[:, :1], grid(2, 2))
