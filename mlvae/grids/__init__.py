"""Grids of observations and of their decoded codes, with labels: what a picture shows.

A grid is numbers and texts; :mod:`mlvae.show` draws it. Observations are images (channels, height,
width) of 1 or 3 channels with values in [0, 1], or series: vectors (length,) or (channels, length)
with any values.
"""

from mlvae.grids.factorial import factorial_grid
from mlvae.grids.grid import Grid, drawable, separates
from mlvae.grids.grouped import accumulation_grid, evidence_grid, generation_grid
from mlvae.grids.single import (
    interpolation_grid,
    pictures,
    reconstruction_grid,
    swap_grid,
    traversal_grid,
)

__all__ = [
    "Grid",
    "accumulation_grid",
    "drawable",
    "evidence_grid",
    "factorial_grid",
    "generation_grid",
    "interpolation_grid",
    "pictures",
    "reconstruction_grid",
    "separates",
    "swap_grid",
    "traversal_grid",
]
