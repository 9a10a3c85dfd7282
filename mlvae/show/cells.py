"""The places of the cells of a figure, in pixels."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["GAP", "Cells"]

#: Pixels between cells.
GAP = 6


class Cells(NamedTuple):
    """The places of the cells, in pixels from the top left.

    Attributes:
        tops: upper edges of the rows.
        lefts: left edges of the columns.
        height: of a cell.
        width: of a cell.
    """

    tops: list[int]
    lefts: list[int]
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of all cells together."""
        return self.tops[-1] + self.height + GAP, self.lefts[-1] + self.width + GAP
