"""Of which groups of the data the groups of a batch are parts.

Shapes: G groups of a batch, L groups of the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Origin"]


@dataclass(frozen=True, eq=False)
class Origin:
    """Where the groups of a batch come from; several may be parts of one group of the data.

    Attributes:
        number: of each group's group in the data, integers in [0, L), shape (G,).
        sizes: how many members that has in all the data, shape (G,).
        names: label of each group of the data by number, length L, on the host.

    Example:
        >>> from mlvae.data import GroupedData, Shuffled
        >>> data = GroupedData(torch.zeros(5, 3), ["ann", "bob", "bob", "bob", "bob"])
        >>> plan = Shuffled(batch_size=5).plan(data, torch.Generator().manual_seed(0))
        >>> plan[0].groups.origin.sizes
        tensor([1, 4])
    """

    number: Tensor
    sizes: Tensor
    names: list

    def __getitem__(self, groups: slice | Tensor) -> Origin:
        """That of some of the groups, by a slice, indices or a mask."""
        return Origin(self.number[groups], self.sizes[groups], self.names)

    def to(self, device: torch.device | str) -> Origin:
        """The same on another device."""
        return Origin(self.number.to(device), self.sizes.to(device), self.names)

    def clone(self) -> Origin:
        """The same in memory of its own."""
        return Origin(self.number.clone(), self.sizes.clone(), self.names)

    def copy_(self, other: Origin) -> None:
        """Take the numbers of ``other``, which is of the same data and number of groups."""
        self.number.copy_(other.number)
        self.sizes.copy_(other.sizes)
