import numpy as np
import pytest

from mlvae import InputError
from mlvae.evaluation import modularity

# Properties


def test_a_factor_for_each_dimension_has_one_in_however_many_dimensions(grid):
    factors = grid(4, 3, 5)
    for columns in ([0, 1, 2], [2, 1, 0], [0, 0, 1, 2, 2]):
        codes = factors[:, columns] * np.linspace(-9, 8, len(columns)) + 1
        assert modularity(codes, factors) == pytest.approx(1, abs=1e-12)


def test_dimensions_of_two_factors_alike_have_nothing(rotated):
    codes, factors = rotated
    assert modularity(codes, factors) == pytest.approx(0, abs=1e-12)
    half = np.column_stack([factors[:, 0], codes[:, 0]])
    assert modularity(half, factors) == pytest.approx(1 / 2, abs=1e-12)


def test_the_other_factors_count_by_the_square_of_what_is_known_of_them(grid):
    # The first factor, and the second one where the first is 0: frequencies 1/2, 1/4, 1/4. It
    # tells the bit of the first and, of 3/2 bits less the 1 that the second leaves open, half of
    # that of the second.
    factors = grid(2, 2)
    codes = np.where(factors[:, :1] == 0, factors[:, 1:], 2)
    assert modularity(codes, factors) == pytest.approx(1 - (1 / 2) ** 2, abs=1e-12)


def test_a_dimension_that_says_nothing_counts_as_nothing(grid):
    factors = grid(4, 3)
    codes = np.column_stack([factors, np.zeros((len(factors), 2))])
    assert modularity(codes, factors) == pytest.approx(1 / 2, abs=1e-12)


def test_it_agrees_with_another_implementation(table):
    assert modularity(*table) == pytest.approx(0.9627952216123218, abs=1e-12)


# Bad input


def test_one_factor_is_refused(grid):
    with pytest.raises(InputError, match="factors of at least 2 columns"):
        modularity(grid(2, 2), grid(2, 2)[:, :1])
