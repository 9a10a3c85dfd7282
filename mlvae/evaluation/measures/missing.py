r"""Cells of a table that are hidden on purpose, and the errors of values in their place.

Mechanisms are those of D. B. Rubin: Inference and Missing Data. Biometrika 63, 1976: the
probability that a cell is hidden is constant ("mcar", completely at random), a function of values
that are never hidden ("mar", at random), or of the cell's own value ("mnar", not at random).

Shapes: N rows, C columns, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlvae.errors import check_choice
from mlvae.likelihoods import ColumnScale

__all__ = ["MECHANISMS", "Errors", "errors", "hidden"]

#: How cells are hidden.
MECHANISMS = ("mcar", "mar", "mnar")

#: Slope of the logit in standard deviations of the value that it depends on.
SLOPE = 3.0

#: Halvings of the interval of the intercept.
HALVINGS = 60


class Errors(NamedTuple):
    """Errors of imputed cells.

    Attributes:
        numbers: root mean squared error over the standard deviation of the column, the mean over
            columns of numbers ("NRMSE"); NaN without such columns.
        categories: fraction of wrong categories, the mean over binary, ordinal and categorical
            columns ("PFC"); NaN without such columns.
        cells: number of imputed cells.
    """

    numbers: float
    categories: float
    cells: int


def hidden(
    values: np.ndarray, observed: np.ndarray, fraction: float, mechanism: str, seed: int
) -> np.ndarray:
    """Which observed cells are hidden, booleans (N, C).

    Args:
        values: a standardised number for each cell, (N, C); a category has its number.
        observed: which cells are there, (N, C).
        fraction: expected fraction of the observed cells to hide; of "mar", of the columns that
            may be hidden, which are half of all.
        mechanism: one of :data:`MECHANISMS`.
        seed: seed of the draw.
    """
    check_choice("mechanism", mechanism, MECHANISMS)
    random = np.random.default_rng(seed)
    number = values.shape[1]
    chance = np.full(values.shape, fraction)
    if mechanism == "mnar":
        for column in range(number):
            chance[:, column] = _chances(values[:, column], fraction)
    if mechanism == "mar" and number > 1:
        order = random.permutation(number)
        seen, other = order[: number // 2], order[number // 2 :]
        chance[:, seen] = 0
        for column in other:
            cause = random.choice(seen)
            known = np.where(observed[:, cause], values[:, cause], 0)
            chance[:, column] = _chances(known, fraction)
    return observed & (random.random(values.shape) < chance)


def _chances(values: np.ndarray, fraction: float) -> np.ndarray:
    """Logistic probabilities (N,) that rise with ``values``, with the mean ``fraction``."""
    low, high = -100.0, 100.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        chance = 1 / (1 + np.exp(-np.clip(SLOPE * values + middle, -500, 500)))
        low, high = (middle, high) if chance.mean() < fraction else (low, middle)
    return chance


def errors(
    imputed: np.ndarray,
    true: np.ndarray,
    cells: np.ndarray,
    columns: Sequence[ColumnScale],
    deviations: np.ndarray,
) -> Errors:
    """The errors of imputed features.

    Args:
        imputed: features (N, D) in raw units; of a column with levels, scores of the levels.
        true: the true features, likewise.
        cells: the imputed cells, booleans (N, C).
        columns: kind and levels of each column.
        deviations: standard deviation of each column of numbers, (C,).
    """
    numbers, categories, place = [], [], 0
    for number, column in enumerate(columns):
        rows, at = cells[:, number], slice(place, place + column.levels)
        place += column.levels
        if not rows.any():
            continue
        found, right = imputed[rows, at], true[rows, at]
        if column.kind in ("ordinal", "categorical"):
            categories.append(np.mean(found.argmax(1) != right.argmax(1)))
        elif column.kind == "binary":
            categories.append(np.mean((found[:, 0] >= 0.5) != (right[:, 0] >= 0.5)))
        elif deviations[number] > 0:
            error = np.sqrt(np.square(found - right).mean())
            numbers.append(error / deviations[number])
    means = [float(np.mean(each)) if each else float("nan") for each in (numbers, categories)]
    return Errors(means[0], means[1], int(cells.sum()))
