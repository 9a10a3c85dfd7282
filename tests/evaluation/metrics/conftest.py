"""Codes whose metrics have closed forms or reference values from another implementation."""

import itertools

import numpy as np
import pytest


@pytest.fixture
def grid():
    """Builds a table with every combination of factor values equally often: exact independence."""

    def build(*values, times=20):
        return np.array(list(itertools.product(*map(range, values))) * times)

    return build


@pytest.fixture
def rotated(grid):
    """Two factors of two values, and a code that is their rotation by 45 degrees."""
    factors = grid(2, 2, times=100)
    return (2 * factors - 1) @ np.array([[1, 1], [1, -1]]) / np.sqrt(2), factors


@pytest.fixture
def table():
    """3,000 noisy codes of five dimensions and three factors of 2, 3 and 5 values.

    The reference values in the tests were computed from this table by
    google-research/disentanglement_lib at commit 86a644d with scikit-learn 1.9.1.
    """
    state = np.random.RandomState(0)
    factors = np.column_stack([state.randint(values, size=3000) for values in (2, 3, 5)])
    mixing = [[2.0, 0.3, 0.0], [0.0, 1.0, 0.2], [0.1, 0.0, 0.7], [0.5, 0.0, 0.5], [0, 0, 0]]
    return factors @ np.array(mixing).T + 0.3 * state.randn(3000, 5), factors
