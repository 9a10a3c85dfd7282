"""Cells of a table that are hidden on purpose, with the values that they had.

A model that trains on the table cannot see these values: they are in no batch. The question
``imputation`` compares imputed values with them.

Shapes: N rows, C columns, D features.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlvae.data.tables.mechanisms import MECHANISMS, cell_values, hidden
from mlvae.errors import InputError, check_choice, check_number

if TYPE_CHECKING:
    from mlvae.data.grouped import GroupedData

__all__ = ["HiddenCells", "check_fraction", "features", "with_fraction_hidden", "with_hidden"]


@dataclass(frozen=True, eq=False)
class HiddenCells:
    """Cells that were hidden on purpose.

    Attributes:
        x: features with the true values of the hidden cells, float32 (N, D).
        cells: the hidden cells, booleans (N, C).
    """

    x: np.ndarray
    cells: np.ndarray

    def subset(self, rows: np.ndarray) -> HiddenCells:
        """The record of some rows."""
        return HiddenCells(self.x[rows], self.cells[rows])


def with_hidden(data: GroupedData, cells: np.ndarray) -> GroupedData:
    """A table without the values of some cells, which are kept in ``data.hidden``.

    Their features are 0, as those of missing cells.

    Args:
        data: a table with ``given["observed"]``, on the CPU.
        cells: the cells to hide, booleans (N, C). Missing cells stay missing cells.
    """
    observed = data.given["observed"]
    cells = cells & observed.numpy()
    kept = observed & ~torch.from_numpy(cells)
    found = copy.copy(data)
    found.hidden = HiddenCells(features(data), cells)
    found.x = torch.where(_of_features(data, kept), torch.as_tensor(data.x), 0.0)
    found.given = {**data.given, "observed": kept}
    return found


def with_fraction_hidden(
    data: GroupedData, fraction: float, *, mechanism: str, seed: int | Sequence[int]
) -> GroupedData:
    """:func:`with_hidden` of cells that are drawn.

    Args:
        data: a table with ``given["observed"]``, on the CPU.
        fraction: expected fraction of the observed cells to hide; 0: the data as they are.
        mechanism: one of :data:`mlvae.data.tables.mechanisms.MECHANISMS`.
        seed: seed of the draw.
    """
    if fraction == 0:
        return data
    observed = data.given["observed"].numpy()
    values = cell_values(features(data), _levels(data), observed)
    return with_hidden(data, hidden(values, observed, fraction, mechanism, seed))


def check_fraction(fraction: object, mechanism: object = "mcar") -> None:
    """Raise :class:`InputError` unless ``dataset.hidden`` is a fraction from 0, below 1."""
    check_number("dataset.hidden", fraction, minimum=0, maximum=1)
    if fraction == 1:
        raise InputError("dataset.hidden must be below 1: a cell of each column must stay")
    check_choice("dataset.mechanism", mechanism, MECHANISMS)


def features(data: GroupedData) -> np.ndarray:
    """The features (N, D) of a table."""
    assert isinstance(data.x, torch.Tensor)
    return data.x.numpy()


def _levels(data: GroupedData) -> list[int]:
    """Number of features of each column."""
    assert data.columns is not None
    return [len(column.features) for column in data.columns.features]


def _of_features(data: GroupedData, cells: torch.Tensor) -> torch.Tensor:
    """Values of cells (N, C) repeated for each feature, (N, D)."""
    return cells.repeat_interleave(torch.tensor(_levels(data)), 1)
