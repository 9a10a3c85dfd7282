"""The record of a grid, and what all grids need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlvae.arguments import check_type
from mlvae.batch import Batch
from mlvae.errors import InputError, shown
from mlvae.groups import Groups
from mlvae.models.protocol import has_codes
from mlvae.observations import as_floats, check_shape
from mlvae.posteriors import Family

__all__ = [
    "Grid",
    "drawable",
    "drawable_batch",
    "first_of_each",
    "in_range",
    "labelled_grid",
    "means_of",
    "names",
    "separates",
]


@dataclass(frozen=True, eq=False)
class Grid:
    """Observations in rows and columns, with the texts beside them.

    Attributes:
        tiles: observations (rows, columns, ...) on the host; images have values in [0, 1].
        rows: label of each row.
        columns: label of each column.
        down: title of the rows.
        across: title of each block of columns: first column of the block -> title.
        below: first row of each block of rows after the first.
        filled: cells that have an observation, (rows, columns).
        marked: cells with a frame, (rows, columns).
        note: one sentence that explains the cells.
        features: names of the D features, if the observations are rows of a table.
    """

    tiles: Tensor
    rows: Sequence[str]
    columns: Sequence[str]
    down: str
    across: Mapping[int, str]
    filled: Tensor
    marked: Tensor
    note: str
    below: Sequence[int] = ()
    features: Sequence[str] = ()

    @property
    def images(self) -> bool:
        """Whether the observations are images; otherwise they are series."""
        return self.tiles.ndim == 5


def separates(codes: Mapping[str, object]) -> bool:
    """Whether the codes of a model include a content and a style."""
    check_type("codes", codes, Mapping, "codes by name, as model.codes(batch)")
    return {"content", "style"} <= codes.keys()


def drawable(shape: Sequence[int]) -> bool:
    """Whether observations of ``shape`` can be drawn.

    These are images of 1 or 3 channels, trajectories of such images (frames, channels, height,
    width), and series.

    Example:
        >>> [drawable(shape) for shape in ((3, 64, 64), (2, 64, 64), (6, 128), (561,))]
        [True, False, True, True]
    """
    shape = check_shape(shape)
    if len(shape) in (3, 4):
        return shape[-3] in (1, 3)
    return len(shape) in (1, 2) and shape[-1] >= 2


def labelled_grid(
    tiles: Tensor,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    down: str = "",
    across: Mapping[int, str] | None = None,
    below: Sequence[int] = (),
    filled: Tensor | None = None,
    marked: Tensor | None = None,
    note: str,
) -> Grid:
    """A grid on the host; without labels, blocks or empty cells where they are left out.

    A trajectory of images becomes one image, its frames below each other.
    """
    if tiles.ndim == 6:  # (rows, columns, frames, channels, height, width)
        tiles = tiles.movedim(2, 3).flatten(3, 4)
    height, width = tiles.shape[:2]
    none = torch.zeros(height, width, dtype=torch.bool)
    return Grid(
        tiles=tiles.cpu(),
        rows=list(rows or [""] * height),
        columns=list(columns or [""] * width),
        down=down,
        across=dict(across or {}),
        filled=~none if filled is None else filled,
        marked=none if marked is None else marked,
        note=note,
        below=list(below),
    )


def drawable_batch(model: object, batch: object, *, least: int = 1) -> Batch:
    """``batch`` with float observations.

    Raises:
        InputError: if the model has no codes, the batch has fewer than ``least`` observations, or
            they cannot be drawn.
    """
    if not has_codes(model):
        raise InputError(f"model must have codes and decode, as a MLVAE, not {shown(model)}")
    check_type("batch", batch, Batch, "a Batch, as data.singles([0, 1])")
    assert isinstance(batch, Batch)
    if not drawable(batch.x.shape[1:]) or len(batch) < least:
        raise InputError(
            f"batch must have at least {least} images of 1 or 3 channels, trajectories of them, "
            f"or series (length,) or (channels, length), not the shape {tuple(batch.x.shape)}"
        )
    return replace(batch, x=as_floats(batch.x))


def first_of_each(groups: Groups) -> Tensor:
    """The index of the first observation of each group, (G,)."""
    order = groups.index.argsort(stable=True)
    return order[groups.sizes.cumsum(0) - groups.sizes]


def names(groups: Groups) -> list[str]:
    """The label of each group, or its number from 1 if the groups have no origin."""
    if groups.origin is None:
        return [str(number + 1) for number in range(groups.num_groups)]
    return [str(groups.origin.names[number]) for number in groups.origin.number.tolist()]


def means_of(codes: Mapping[str, Family]) -> dict[str, Tensor]:
    """The mean (N, D) of every code."""
    return {name: q.mean for name, q in codes.items()}


def in_range(decoded: Tensor, like: Tensor) -> Tensor:
    """Decoded observations; images have values in [0, 1]."""
    decoded = decoded.to(like)
    return decoded.clamp(0, 1) if like.ndim in (4, 5) else decoded
