import numpy as np
import pytest

from mlvae import InputError
from mlvae.evaluation import modularity

# Properties


def test_one_factor_per_dimension_scores_one_for_any_number_of_dimensions(grid):
    factors = grid(4, 3, 5)
    for columns in ([0, 1, 2], [2, 1, 0], [0, 0, 1, 2, 2]):
        codes = factors[:, columns] * np.linspace(-9, 8, len(columns)) + 1
        assert modularity(codes, factors) == pytest.approx(1, abs=1e-12)


def test_a_dimension_with_equal_information_about_two_factors_counts_as_zero(rotated):
    codes, factors = rotated
    assert modularity(codes, factors) == pytest.approx(0, abs=1e-12)
    half = np.column_stack([factors[:, 0], codes[:, 0]])
    assert modularity(half, factors) == pytest.approx(1 / 2, abs=1e-12)


def test_other_factors_count_by_the_square_of_their_information(grid):
    # The code is 2 if the first factor is 1, and the second factor otherwise: frequencies 1/2,
    # 1/4, 1/4. Information about the first factor: 1 bit. About the second: H(code) = 3/2 bits
    # minus H(code | second) = 1 bit, so 1/2 bit.
    factors = grid(2, 2)
    codes = np.where(factors[:, :1] == 0, factors[:, 1:], 2)
    assert modularity(codes, factors) == pytest.approx(1 - (1 / 2) ** 2, abs=1e-12)


def test_a_constant_dimension_counts_as_zero(grid):
    factors = grid(4, 3)
    codes = np.column_stack([factors, np.zeros((len(factors), 2))])
    assert modularity(codes, factors) == pytest.approx(1 / 2, abs=1e-12)


def test_the_score_agrees_with_another_implementation(table):
    assert modularity(*table) == pytest.approx(0.9627952216123218, abs=1e-12)


# Bad input


def test_one_factor_is_refused(grid):
    with pytest.raises(InputError, match=r"factors.* 2 columns, not 1"):
        modularity(grid(2, 2), grid(2, 2)[:, :1])
