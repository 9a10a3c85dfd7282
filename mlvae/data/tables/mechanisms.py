r"""Mechanisms by which cells of a table are missing.

They are those of D. B. Rubin: Inference and Missing Data. Biometrika 63, 1976: the probability
that a cell is hidden is constant ("mcar", completely at random), a function of values that are
never hidden ("mar", at random), or of the cell's own value ("mnar", not at random).

Shapes: N rows, C columns, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlvae.errors import check_choice

__all__ = ["MECHANISMS", "cell_values", "hidden"]

#: How cells are hidden.
MECHANISMS = ("mcar", "mar", "mnar")

#: Slope of the logit in standard deviations of the value that it depends on.
SLOPE = 3.0

#: Halvings of the interval of the intercept.
HALVINGS = 60


def cell_values(features: np.ndarray, levels: Sequence[int], observed: np.ndarray) -> np.ndarray:
    """A standardised number for each cell, (N, C).

    Args:
        features: features (N, D) in any units; a column with levels has a feature for each, and
            its value is the number of the largest.
        levels: number of features of each column, length C.
        observed: which cells are there, (N, C); mean and deviation are theirs.
    """
    values, place = [], 0
    for number, width in enumerate(levels):
        cells, seen = features[:, place : place + width], observed[:, number]
        place += width
        value = cells.argmax(1).astype(float) if width > 1 else cells[:, 0]
        some = value[seen] if seen.any() else np.zeros(1)
        values.append((value - some.mean()) / (some.std() or 1.0))
    return np.stack(values, 1)


def hidden(
    values: np.ndarray,
    observed: np.ndarray,
    fraction: float,
    mechanism: str,
    seed: int | Sequence[int],
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
            chance[:, column] = _chances(values[:, column], observed[:, column], fraction)
    if mechanism == "mar" and number > 1:
        order = random.permutation(number)
        seen, other = order[: number // 2], order[number // 2 :]
        chance[:, seen] = 0
        for column in other:
            cause = random.choice(seen)
            known = np.where(observed[:, cause], values[:, cause], 0)
            chance[:, column] = _chances(known, observed[:, column], fraction)
    return observed & (random.random(values.shape) < chance)


def _chances(values: np.ndarray, seen: np.ndarray, fraction: float) -> np.ndarray:
    """Logistic probabilities (N,) that rise with ``values``.

    Their mean over the rows that are ``seen`` (N,) is ``fraction``: only these can be hidden.
    """
    if not seen.any():
        return np.full(len(values), fraction)
    low, high = -100.0, 100.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        chance = 1 / (1 + np.exp(-np.clip(SLOPE * values + middle, -500, 500)))
        low, high = (middle, high) if chance[seen].mean() < fraction else (low, middle)
    return chance
