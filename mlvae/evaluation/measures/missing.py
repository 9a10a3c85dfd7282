"""Errors of values that stand in place of hidden cells.

Shapes: N rows, C columns, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlvae.likelihoods import ColumnScale

__all__ = ["Errors", "errors"]


class Errors(NamedTuple):
    """Errors of imputed cells. An error without columns of its kind is NaN.

    Attributes:
        numbers: root mean squared error over the standard deviation of the column, the mean over
            columns of numbers ("NRMSE").
        pooled: root of the mean over all hidden numbers of the squared error over the variance of
            the column. A column with more hidden cells counts more.
        categories: fraction of wrong categories, the mean over binary, ordinal and categorical
            columns ("PFC").
        hivae: the mean over all columns of the error of A. Nazábal, P. M. Olmos, Z. Ghahramani,
            I. Valera: Handling Incomplete Heterogeneous Data using VAEs. Pattern Recognition 107,
            2020: of numbers the root mean squared error over the range of the column, of binary
            and categorical columns the fraction of wrong categories, of ordinal columns the mean
            distance of the levels over their number.
        cells: number of imputed cells.
    """

    numbers: float
    pooled: float
    categories: float
    hivae: float
    cells: int


def errors(
    imputed: np.ndarray,
    true: np.ndarray,
    cells: np.ndarray,
    columns: Sequence[ColumnScale],
    known: np.ndarray,
) -> Errors:
    """The errors of imputed features.

    Args:
        imputed: features (N, D) in raw units; of a column with levels, scores of the levels.
        true: the true features, likewise.
        cells: the imputed cells, booleans (N, C).
        columns: kind and levels of each column.
        known: the cells whose true value is known, (N, C); deviation and range of a column are
            theirs.
    """
    numbers, squares, categories, hivae, place = [], [], [], [], 0
    for number, column in enumerate(columns):
        rows, at = cells[:, number], slice(place, place + column.levels)
        place += column.levels
        if not rows.any():
            continue
        found, right = imputed[rows, at], true[rows, at]
        if column.kind in ("ordinal", "categorical"):
            shift = np.abs(found.argmax(1) - right.argmax(1))
            categories.append(np.mean(shift > 0))
            ordinal = column.kind == "ordinal"
            hivae.append(np.mean(shift) / column.levels if ordinal else categories[-1])
        elif column.kind == "binary":
            categories.append(np.mean((found[:, 0] >= 0.5) != (right[:, 0] >= 0.5)))
            hivae.append(categories[-1])
        elif (deviation := true[known[:, number], at].std()) > 0:
            square = np.square(found - right)[:, 0]
            numbers.append(np.sqrt(square.mean()) / deviation)
            squares.append(square / deviation**2)
            hivae.append(np.sqrt(square.mean()) / np.ptp(true[known[:, number], at]))
    pooled = np.sqrt(np.concatenate(squares).mean()) if squares else np.nan
    return Errors(_mean(numbers), float(pooled), _mean(categories), _mean(hivae), int(cells.sum()))


def _mean(values: list) -> float:
    """The mean of errors of columns; NaN without any."""
    return float(np.mean(values)) if values else float("nan")
