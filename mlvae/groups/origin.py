"""Maps the groups of a batch to the groups of a data set and to their labels.

Shapes: G groups of a batch, L groups of the data set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Origin"]


@dataclass(frozen=True, eq=False)
class Origin:
    """For each group of a batch, the group of the data set that it is a part of.

    Several groups of a batch may be parts of one group of the data set.

    Attributes:
        number: number of the group in the data set, integers in [0, L), shape (G,).
        sizes: number of members of that group in the whole data set, shape (G,).
        names: labels of the groups of the data set in order of their numbers, length L, on the
            host.

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
        """Return the origin of some groups, selected by a slice, indices or a mask (G,)."""
        return Origin(self.number[groups], self.sizes[groups], self.names)

    def to(self, device: torch.device | str) -> Origin:
        """Return a copy on another device."""
        return Origin(self.number.to(device), self.sizes.to(device), self.names)

    def clone(self) -> Origin:
        """Return a copy in new memory."""
        return Origin(self.number.clone(), self.sizes.clone(), self.names)

    def copy_(self, other: Origin) -> None:
        """Overwrite with ``other``, which has the same data set and the same number of groups."""
        self.number.copy_(other.number)
        self.sizes.copy_(other.sizes)
