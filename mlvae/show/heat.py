"""Series of many channels, such as spectrograms, as heat maps.

Shapes: R rows and C columns of a grid, channels and length of a series.
"""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import torch

from mlvae.grids import Grid

__all__ = ["MOST_LINES", "heat_maps"]

#: Largest number of channels that are drawn as lines, a colour each.
MOST_LINES = 8


def heat_maps(grid: Grid) -> Grid:
    """A grid of series of more than 8 channels as a grid of images; any other grid as it is.

    The first channel is at the bottom: the lowest frequency of a spectrogram. All cells have one
    scale, from the smallest to the largest finite value.
    """
    tiles = grid.tiles
    if tiles.ndim != 4 or tiles.shape[2] <= MOST_LINES:
        return grid
    shown = tiles[grid.filled]
    finite = shown[shown.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    share = ((tiles.double() - low) / (high - low or 1.0)).flip(2)
    colours = matplotlib.colormaps["magma"](share.nan_to_num(0.0).numpy())[..., :3]
    note = (
        f"{grid.note} Rows of a cell: the {tiles.shape[2]} channels, the first at the bottom. "
        f"Colours: {low:.3g} (dark) to {high:.3g} (light)."
    )
    return replace(grid, tiles=torch.from_numpy(colours).float().movedim(-1, 2), note=note)
