"""Simple imputers to compare a model with, fitted to the same rows.

Two of them use the groups of rows. They have the mean of the other rows of the group in each
column, without the row itself, so that a cell is never a part of its own value.

Shapes: N rows, D features, n rows to complete.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlvae.errors import check_choice
from mlvae.likelihoods import ColumnScale

__all__ = ["GROUPED", "IMPUTERS", "Completion", "fitted", "means_of_others"]

#: Imputers by name, and their names in tables.
IMPUTERS = {
    "mean": "mean, most frequent category",
    "neighbours": "nearest neighbours",
    "iterative": "linear regressions in turn",
    "group": "mean of the group's other rows",
    "iterative_group": "linear regressions in turn, with these means",
}

#: Imputers that use groups, and those that are linear regressions.
GROUPED = ("group", "iterative_group")
REGRESSIONS = ("iterative", "iterative_group")

#: Kinds of columns that are standardised, and kinds with a feature for each level.
NUMBERS = ("real", "positive", "count")
LEVELS = ("ordinal", "categorical")

#: From raw rows (n, D) with NaN in missing cells and the number of each row's group (n,) to rows
#: without NaN.
Completion = Callable[[np.ndarray, np.ndarray], np.ndarray]


def fitted(
    name: str,
    rows: np.ndarray,
    group: np.ndarray,
    *,
    columns: Sequence[ColumnScale] | None = None,
    neighbours: int = 10,
    most: int | None = None,
) -> Completion:
    """An imputer that is fitted to training rows.

    Args:
        name: one of :data:`IMPUTERS`. "mean" has the mean of each column; "neighbours" the mean of
            the nearest rows; "iterative" linear regressions of each column on the others in turn,
            scikit-learn's IterativeImputer; "group" the mean of the observed cells of the other
            rows of the group, or that of the column; "iterative_group" the regressions with these
            means as further columns.
        rows: training rows, (N, D), NaN in missing cells. Features of categories are 1 and 0, so
            the distance of two rows grows with the number of different categories.
        group: number of each row's group, (N,).
        columns: kind and levels of each column; None: all are real. Numbers are standardised by
            the observed training rows. The regressions have no feature for the last level of a
            column: with all of them, a level is one minus the others, and a missing cell would
            keep its first values.
        neighbours: number of nearest rows.
        most: largest number of rows to fit to; None: all.
    """
    check_choice("imputer", name, IMPUTERS)
    columns = columns or [ColumnScale(str(place)) for place in range(rows.shape[1])]
    if name == "group":
        return _by_group(rows)
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), most or len(rows))).astype(int)
    mean, deviation = _scale(rows, columns)
    kept = _without_last_level(columns) if name in REGRESSIONS else np.ones(rows.shape[1], bool)

    def prepared(gaps: np.ndarray, index: np.ndarray) -> np.ndarray:
        z = ((gaps - mean) / deviation)[:, kept]
        return np.hstack((z, means_of_others(z, index))) if name in GROUPED else z

    imputer = _imputer(name, neighbours)
    known = prepared(rows, group)[chosen]
    _quiet(lambda: imputer.fit(known))

    def by_imputer(gaps: np.ndarray, index: np.ndarray) -> np.ndarray:
        found = np.zeros_like(gaps)
        found[:, kept] = _quiet(lambda: imputer.transform(prepared(gaps, index)))[:, : kept.sum()]
        if not kept.all():
            found = _with_last_level(found, columns)
        return np.where(np.isnan(gaps), found * deviation + mean, gaps)

    return by_imputer


def _by_group(rows: np.ndarray) -> Completion:
    """The mean of the group's other rows, or that of the column."""
    centre = np.nan_to_num(_quiet(lambda: np.nanmean(rows, 0)))

    def completed(gaps: np.ndarray, index: np.ndarray) -> np.ndarray:
        others = means_of_others(gaps, index)
        filled = np.where(np.isnan(others), centre, others)
        return np.where(np.isnan(gaps), filled, gaps)

    return completed


def _without_last_level(columns: Sequence[ColumnScale]) -> np.ndarray:
    """Features that are no last level of an ordinal or categorical column, booleans (D,)."""
    parts = [np.arange(c.levels) < c.levels - (c.kind in LEVELS) for c in columns]
    return np.concatenate(parts)


def _with_last_level(features: np.ndarray, columns: Sequence[ColumnScale]) -> np.ndarray:
    """Features (n, D) whose last level of a column is one minus the others."""
    found, place = features.copy(), 0
    for column in columns:
        last = place + column.levels - 1
        if column.kind in LEVELS:
            found[:, last] = 1 - features[:, place:last].sum(1)
        place += column.levels
    return found


def _scale(rows: np.ndarray, columns: Sequence[ColumnScale]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each feature (D,); 0 and 1 of categories."""
    scaled = np.repeat([c.kind in NUMBERS for c in columns], [c.levels for c in columns])
    mean, deviation = (_quiet(lambda f=f: f(rows, 0)) for f in (np.nanmean, np.nanstd))
    scaled &= ~np.isnan(mean)
    return np.where(scaled, mean, 0.0), np.where(scaled & (deviation > 0), deviation, 1.0)


def means_of_others(rows: np.ndarray, group: np.ndarray) -> np.ndarray:
    """For each cell the mean of the observed cells of the other rows of the group, (N, D).

    It is NaN where no other row of the group has the cell.

    Example:
        >>> nan = np.nan
        >>> means_of_others(np.array([[1.0], [nan], [5.0], [7.0]]), np.array([0, 0, 0, 1]))[:, 0]
        array([ 5.,  3.,  1., nan])
    """
    _, index = np.unique(group, return_inverse=True)
    seen = ~np.isnan(rows)
    values = np.where(seen, rows, 0.0)
    sums, counts = (np.zeros((index.max() + 1, rows.shape[1])) for _ in range(2))
    np.add.at(sums, index, values)
    np.add.at(counts, index, seen)
    number = counts[index] - seen
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(number > 0, (sums[index] - values) / number, np.nan)


def _imputer(name: str, neighbours: int) -> Any:
    """An imputer of scikit-learn."""
    if name.startswith("iterative"):
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401
        from sklearn.impute import IterativeImputer

        return IterativeImputer(random_state=0, keep_empty_features=True)
    from sklearn.impute import KNNImputer, SimpleImputer

    if name == "neighbours":
        return KNNImputer(n_neighbors=neighbours, keep_empty_features=True)
    return SimpleImputer(keep_empty_features=True)


def _quiet(function: Callable[[], Any]) -> Any:
    """The result without warnings, which are of convergence and of empty columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()
