r"""Effects of a binary column on others, by methods that need no model of the whole table.

The rest of the columns, r, is what the intervention does not change. Adjustment by r,

.. math:: \mathrm{E}_r \, [\mathrm{E}[y \mid a = 1, r] - \mathrm{E}[y \mid a = 0, r]]

is the total effect of a on y if r has all common causes of both (J. Pearl: Causality. 2009,
section 3.3). Stratification estimates the expectations by means of equal rows, regression by a
linear function of r for each a. Without r it is the difference of the groups.

Shapes: N training rows, M test rows, K outcomes, R features of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mlvae.evaluation.answer import Estimate

__all__ = ["Method", "Rows", "effect_of", "regression", "strata", "stratification"]

#: Draws of the training rows for standard errors.
RESAMPLES = 50

#: Added to the diagonal of the normal equations, as a fraction of the number of rows.
RIDGE = 1e-6

#: From weights (N,) of the training rows to effects (M, K) of the test rows, NaN where unknown.
Method = Callable[[np.ndarray], np.ndarray]


class Rows(NamedTuple):
    """Rows of a table.

    Attributes:
        a: the intervention, 0 or 1, (N,).
        y: outcomes, (N, K).
    """

    a: np.ndarray
    y: np.ndarray


def strata(train: np.ndarray, test: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """The stratum of each row: a number for each combination of values of all columns.

    Args:
        train: values of the columns of the training rows, (N, columns).
        test: likewise of the test rows, (M, columns).
        bins: a column with more different values is divided at this number of quantiles.

    Returns:
        Integers (N,) and (M,); -1 of a test row whose combination no training row has.

    Example:
        >>> train, test = np.array([[0, 5], [0, 5], [1, 7]]), np.array([[1, 5], [0, 5]])
        >>> strata(train, test, bins=10)
        (array([0, 0, 1]), array([-1,  0]))
    """
    train, test = np.array(train, dtype=float), np.array(test, dtype=float)
    for column in range(train.shape[1]):
        if len(np.unique(train[:, column])) > bins:
            edges = np.unique(np.quantile(train[:, column], np.arange(1, bins) / bins))
            for rows in (train, test):
                rows[:, column] = np.searchsorted(edges, rows[:, column])
    number: dict[tuple, int] = {}
    index = [number.setdefault(tuple(row), len(number)) for row in train.tolist()]
    return np.array(index), np.array([number.get(tuple(row), -1) for row in test.tolist()])


def stratification(train: Rows, stratum: np.ndarray, test_stratum: np.ndarray) -> Method:
    """Differences of the means of both values of a in each stratum.

    Args:
        train: the training rows.
        stratum: their stratum, integers (N,).
        test_stratum: that of the test rows, (M,); -1: none.

    Returns:
        A method. The effect of a row is NaN where a stratum lacks one value of a.
    """
    number = int(stratum.max()) + 1
    place = stratum + number * train.a.astype(int)

    def effects(weights: np.ndarray) -> np.ndarray:
        total = np.bincount(place, weights, 2 * number)
        sums = [np.bincount(place, weights * y, 2 * number) for y in train.y.T]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.stack(sums, 1) / total[:, None]
        difference = means[number:] - means[:number]
        return np.vstack((difference, np.full((1, difference.shape[1]), np.nan)))[test_stratum]

    return effects


def regression(train: Rows, rest: np.ndarray, test_rest: np.ndarray) -> Method:
    """Differences of two linear regressions of the outcomes on the rest, one for each a.

    Args:
        train: the training rows.
        rest: standardised features of the rest, (N, R).
        test_rest: likewise of the test rows, (M, R).
    """
    x, other = (np.column_stack((np.ones(len(r)), r)) for r in (rest, test_rest))

    def effects(weights: np.ndarray) -> np.ndarray:
        found = []
        for value in (0, 1):
            rows = train.a == value
            weighted = x[rows] * weights[rows, None]
            moments = weighted.T @ x[rows] + RIDGE * len(x) * np.eye(x.shape[1])
            found.append(other @ np.linalg.solve(moments, weighted.T @ train.y[rows]))
        return found[1] - found[0]

    return effects


def effect_of(
    method: Method, length: int, cells: Sequence[np.ndarray], *, seed: int = 0
) -> list[list[Estimate]]:
    """Mean effects of cells of test rows, with the sampling error of the training rows.

    Args:
        method: the method.
        length: number N of training rows.
        cells: booleans (M,) of each cell. Rows without an effect are left out.
        seed: seed of the draws of the bootstrap.

    Returns:
        K estimates for each cell; NaN where no row has an effect.
    """
    means = _means(method(np.ones(length)), cells)
    random = np.random.default_rng(seed)
    draws = [
        _means(method(np.bincount(random.integers(length, size=length), minlength=length)), cells)
        for _ in range(RESAMPLES)
    ]
    error = np.std(draws, axis=0, ddof=1)
    return [
        [Estimate(float(m), np.nan, float(e)) for m, e in zip(*pair, strict=True)]
        for pair in zip(means, error, strict=True)
    ]


def _means(effects: np.ndarray, cells: Sequence[np.ndarray]) -> np.ndarray:
    """Means of the known effects (M, K) of each cell, (cells, K)."""
    known = ~np.isnan(effects)
    filled = np.where(known, effects, 0)
    number = np.stack([known[cell].sum(0) for cell in cells])
    total = np.stack([filled[cell].sum(0) for cell in cells])
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
