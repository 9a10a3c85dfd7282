"""Standard errors over observations or over groups, by bootstrap (Efron 1979).

A score of M test observations would differ for other observations. The bootstrap draws M of them
with replacement many times; the standard deviation of the scores is the standard error. If the
groups are a sample too, as unseen groups are, whole groups are drawn instead: the members of one
group are not independent.

Shapes: M observations, U units that are drawn, observations or groups.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["group_error", "mean_of_sums", "sampling_error"]

RESAMPLES, BATCH = 200, 16


def mean_of_sums(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    """The mean, from the sum and the number."""
    return total / number


def sampling_error(
    *columns: np.ndarray,
    score: Callable[..., np.ndarray] = mean_of_sums,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> float:
    """Standard error of a score that is a function of sums over observations.

    Args:
        columns: values of the observations, (M,) each.
        score: function of the sum of each column and of the number of observations, arrays of
            equal shapes; the mean of the only column by default.
        groups: index of the group of each observation, (M,): whole groups are drawn. None:
            observations are drawn.
        seed: seed of the draws.

    Returns:
        The standard error; NaN for a single unit.

    Example:
        >>> values = np.random.default_rng(0).standard_normal(400)
        >>> abs(sampling_error(values) - 1 / 20) < 0.01
        True
    """
    sums = [np.asarray(column, dtype=np.float64) for column in columns]
    sums.append(np.ones(len(sums[0])))
    if groups is not None:
        index = np.unique(groups, return_inverse=True)[1]
        sums = [np.bincount(index, weights=column) for column in sums]

    def statistic(*drawn: np.ndarray, axis: int) -> np.ndarray:
        return score(*[column.sum(axis) for column in drawn])

    return _error(sums, statistic, seed)


def group_error(score: Callable[[np.ndarray], float], num_groups: int, *, seed: int = 0) -> float:
    """Standard error over groups of a score that is no function of sums.

    Args:
        score: function of the number of times that each group is drawn, (G,); NaN for draws that
            have no score, which are left out.
        num_groups: G.
        seed: seed of the draws.

    Returns:
        The standard error; NaN for a single group.
    """

    def statistic(drawn: np.ndarray) -> float:
        return score(np.bincount(drawn, minlength=num_groups))

    return _error([np.arange(num_groups)], statistic, seed)


def _error(columns: Sequence[np.ndarray], statistic: Callable, seed: int) -> float:
    from scipy.stats import DegenerateDataWarning, bootstrap  # takes a second to import

    if len(columns[0]) < 2:
        return math.nan
    with warnings.catch_warnings():
        # It is about the confidence interval, which is not used, of draws without a score.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(
            columns,
            statistic,
            paired=True,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(seed),
            batch=BATCH,
        ).bootstrap_distribution
    found = found[np.isfinite(found)]
    return float(found.std(ddof=1)) if len(found) > 1 else math.nan
