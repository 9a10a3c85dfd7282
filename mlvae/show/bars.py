"""Rows of a table in the cells of a figure: a bar for each feature.

Each feature has a scale of its own, because features have different units.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.collections import PolyCollection
from torch import Tensor

from mlvae.grids import Grid
from mlvae.show.cells import Cells
from mlvae.show.text import fonts, legible

__all__ = ["BAR", "draw_bars", "name_bars", "named"]

BAR = 11  # width of a bar with its name, in pixels
MOST_NAMED = 24  # largest number of features whose names stand below the bars
MOST_LISTED = 40  # largest number of features that the note lists
COLOURS = ("#0072b2", "#d55e00")  # above and below the mean (Okabe and Ito 2008)


def named(grid: Grid) -> bool:
    """Whether the names of features stand below the bars."""
    return not grid.images and 0 < len(grid.features) <= MOST_NAMED


def draw_bars(ax: Any, grid: Grid, cells: Cells) -> str:
    """Draw the bars of all cells, and return sentences on the scale and the names."""
    tiles = grid.tiles.double()
    share = _shares(tiles, grid.filled)
    middle, half = cells.height / 2, cells.height / 2 - 3
    step = (cells.width - 6) / tiles.shape[-1]
    shapes, colours = [], []
    for i, j in grid.filled.nonzero().tolist():
        base = cells.tops[i] + middle
        for place, value in enumerate(share[i, j].tolist()):
            left = cells.lefts[j] + 3 + place * step
            right, end = left + 0.8 * step, base - value * half
            shapes.append([(left, base), (left, end), (right, end), (right, base)])
            colours.append(COLOURS[value < 0])
    ax.add_collection(PolyCollection(shapes, facecolors=colours, edgecolors="none"))
    text = (
        "A bar is a feature: its distance above (blue) or below (orange) the mean of all cells, "
        "divided by the largest distance."
    )
    if named(grid):
        return text
    listed = [legible(name) for name in grid.features[:MOST_LISTED]]
    more = "" if len(grid.features) <= MOST_LISTED else f", ... ({len(grid.features)})"
    return f"{text} From left to right: {', '.join(listed)}{more}."


def name_bars(ax: Any, grid: Grid, cells: Cells, size: float) -> list[Any]:
    """The names of the features below the bars of the first column, as texts."""
    step = (cells.width - 6) / len(grid.features)
    bottom = cells.tops[-1] + cells.height + 4
    style = {"rotation": 90, "ha": "center", "va": "top", "fontsize": 0.8 * size, "color": "0.3"}
    column = int(np.argmax(grid.filled[-1].numpy()))
    return [
        ax.text(
            cells.lefts[column] + 3 + (place + 0.4) * step,
            bottom,
            legible(name, 20),
            family=fonts(),
            clip_on=False,
            **style,
        )
        for place, name in enumerate(grid.features)
    ]


def _shares(tiles: Tensor, filled: Tensor) -> np.ndarray:
    """Distances from the mean of each feature, divided by the largest one: in [-1, 1]."""
    shown = tiles[filled].nan_to_num(0.0, 0.0, 0.0)
    distance = (tiles - shown.mean(0)).nan_to_num(0.0, 0.0, 0.0)
    largest = distance[filled].abs().amax(0).clamp_min(1e-300)
    return (distance / largest).numpy()
