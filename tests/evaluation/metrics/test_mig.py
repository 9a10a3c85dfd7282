import numpy as np
import pytest

from mlvae import InputError
from mlvae.evaluation import mig

# Properties


def test_a_dimension_for_each_factor_has_one_whatever_its_place_and_scale(grid):
    factors = grid(4, 3, 7)
    for codes in (factors, factors[:, [2, 0, 1]] * [-3.0, 1e4, 1e-3] + 5):
        assert mig(codes, factors) == pytest.approx(1, abs=1e-12)


def test_saying_everything_twice_leaves_no_gap(grid):
    factors = grid(4, 3)
    assert mig(np.tile(factors, 2), factors) == pytest.approx(0, abs=1e-12)
    assert mig(factors[:, [0, 1, 1]], factors) == pytest.approx(1 / 2, abs=1e-12)


def test_a_turn_by_45_degrees_leaves_no_gap_and_half_a_turned_code_half(rotated):
    codes, factors = rotated
    assert mig(codes, factors) == pytest.approx(0, abs=1e-12)
    # Of the first factor, 1 bit and 1/2; of the second, 1/2 and nothing.
    half = np.column_stack([factors[:, 0], codes[:, 0]])
    assert mig(half, factors) == pytest.approx(1 / 2, abs=1e-12)


def test_independent_codes_have_next_to_nothing():
    rng = np.random.default_rng(0)
    assert 0 <= mig(rng.random((5000, 6)), rng.integers(4, size=(5000, 3))) < 0.005


def test_it_agrees_with_another_implementation(table):
    # 20 intervals of equal width there as here; in nats there, which cancels.
    assert mig(*table) == pytest.approx(0.5277788843584744, abs=1e-12)


# Behaviour


def test_too_few_intervals_cannot_tell_the_values_apart(grid):
    factors = grid(4, 4)
    assert mig(factors, factors, bins=2) == pytest.approx(1 / 2, abs=1e-12)


def test_quantities_are_cut(grid):
    quantity = np.linspace(0, 1, 1000)[:, None] ** [1, 1]
    quantity[:, 1] = np.roll(quantity[:, 1], 500)
    codes = np.column_stack([quantity, np.zeros(1000)])
    assert mig(codes[:, [0, 2]], quantity[:, :1], factor_bins=20) == pytest.approx(1, abs=1e-12)
    with pytest.raises(InputError, match="cut it into intervals with factor_bins"):
        mig(codes, quantity)


# Bad input


def test_a_gap_needs_two_dimensions(grid):
    with pytest.raises(InputError, match="codes of at least 2 columns"):
        mig(grid(2, 2)[:, :1], grid(2, 2))
