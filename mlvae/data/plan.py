"""The batches of an epoch as indices: their observations and their groups in each grouping.

Shapes: N observations, G groups, B batches in an epoch; k batches of a block, n observations each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from mlvae.batch import Batch
from mlvae.data.grouped import GroupedData
from mlvae.groups import Groups, Origin
from mlvae.observations import as_floats

__all__ = ["Block", "BlockGroups", "Plan", "PlanGroups"]


class BlockGroups(NamedTuple):
    """A grouping of k batches of n observations in G groups each, as tensors.

    Attributes:
        group: number of each observation's group within its batch, (k, n).
        sizes: members of each group, (k, G).
        label: number of each group's group in the data, (k, G).
        label_sizes: members of that group in the data, (k, G).
    """

    group: Tensor
    sizes: Tensor
    label: Tensor
    label_sizes: Tensor

    def of_batch(self, number: int, names: list) -> Groups:
        """The groups of batch ``number``; ``names`` are the labels of the groups of the data."""
        origin = Origin(self.label[number], self.label_sizes[number], names)
        return Groups.unchecked(self.group[number], self.sizes[number], origin)


@dataclass(frozen=True, eq=False)
class Block:
    """Several batches of one form, as indices: k batches of n observations in G groups each.

    Attributes:
        order: indices of observations, (k, n).
        groups: the groups of the batches.
        further: the further groupings of the batches, in the order of those of the data.
    """

    order: Tensor
    groups: BlockGroups
    further: tuple[BlockGroups, ...] = ()

    @property
    def form(self) -> tuple:
        """Shapes. Blocks of equal form fit the memory of one another."""
        return "block", *(tuple(values.shape) for values in self.tensors())

    def tensors(self) -> list[Tensor]:
        """All tensors in a fixed order."""
        return [self.order, *(v for each in (self.groups, *self.further) for v in each)]

    def clone(self) -> Block:
        """A copy in memory of its own."""
        groups, *further = (
            BlockGroups(*(values.clone() for values in each))
            for each in (self.groups, *self.further)
        )
        return Block(self.order.clone(), groups, tuple(further))

    def copy_(self, other: Block) -> None:
        """Copy all values of ``other``, a block of the same :attr:`form`, into this memory."""
        for values, others in zip(self.tensors(), other.tensors(), strict=True):
            values.copy_(others)

    def __len__(self) -> int:
        return len(self.order)

    def batch(self, number: int, data: GroupedData) -> Batch:
        """Batch ``number``, its observations gathered from ``data`` in their own type."""
        further = {
            name: each.of_batch(number, grouping.names)
            for each, (name, grouping) in zip(
                self.further, data.further_groupings.items(), strict=True
            )
        }
        groups = self.groups.of_batch(number, data.group_names)
        return data.gathered(self.order[number], groups, further)


@dataclass(frozen=True, eq=False)
class PlanGroups:
    """A grouping of all batches of an epoch.

    Attributes:
        group: number of each observation's group within its batch (N,), in the order of the plan.
        sizes: members of each group of each batch, from ``first[b]`` to ``first[b + 1]``. Further
            groupings may have groups without members there.
        origin: the groups of the data that these groups are parts of, in the same order.
        first: start of each batch in ``sizes``, B + 1 numbers on the host.
    """

    group: Tensor
    sizes: Tensor
    origin: Origin
    first: list[int]

    def of_batch(self, batch: int, rows: slice) -> Groups:
        """The groups of batch number ``batch``, which has the ``rows`` of the plan."""
        own = slice(self.first[batch], self.first[batch + 1])
        return Groups.unchecked(self.group[rows], self.sizes[own], self.origin[own])

    def of_block(self, rows: slice, batch: int, length: int) -> BlockGroups:
        """The groups of ``length`` batches of one form from number ``batch`` on."""
        own = slice(self.first[batch], self.first[batch + length])
        return BlockGroups(
            self.group[rows].view(length, -1),
            *(
                values[own].view(length, -1)
                for values in (self.sizes, self.origin.number, self.origin.sizes)
            ),
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """The batches of one epoch.

    Attributes:
        data: the observations.
        order: indices of observations (N,), on the device of the observations, the CPU for the
            disk. Batch b has those from ``rows[b]`` to ``rows[b + 1]``.
        group: number of each observation's group within its batch (N,), in the same order.
        sizes: members of each group of each batch, from ``first[b]`` to ``first[b + 1]``.
        origin: the groups of the data that these groups are parts of, in the same order.
        rows: start of each batch in ``order``, B + 1 numbers on the host.
        first: start of each batch in ``sizes``, B + 1 numbers on the host.
        further: the further groupings of the batches, in the order of those of the data.
    """

    data: GroupedData
    order: Tensor
    group: Tensor
    sizes: Tensor
    origin: Origin
    rows: list[int]
    first: list[int]
    further: tuple[PlanGroups, ...]

    def __len__(self) -> int:
        return len(self.rows) - 1

    @property
    def groups(self) -> PlanGroups:
        """The first grouping."""
        return PlanGroups(self.group, self.sizes, self.origin, self.first)

    def __getitem__(self, batch: int) -> Batch:
        """Batch number ``batch``, made on the device without a wait."""
        kept = self.kept(batch)
        return replace(kept, x=as_floats(kept.x))

    def kept(self, batch: int) -> Batch:
        """Batch number ``batch`` with observations in their own type: uint8 images as uint8."""
        batch = range(len(self))[batch]
        rows = slice(self.rows[batch], self.rows[batch + 1])
        further = {
            name: each.of_batch(batch, rows)
            for name, each in zip(self.data.further_groupings, self.further, strict=True)
        }
        groups = self.groups.of_batch(batch, rows)
        gathered = self.data.gathered(self.order[rows], groups, further)
        if batch + 1 < len(self):  # the disk reads the next batch during the step
            self.data.expect(self.order[self.rows[batch + 1] : self.rows[batch + 2]])
        return gathered

    def largest_group(self) -> int:
        """Largest number of members of a group. Waits for the device."""
        return int(self.sizes.max())

    def __iter__(self) -> Iterator[Batch]:
        return (self[batch] for batch in range(len(self)))

    def block(self, batch: int, length: int) -> Block | None:
        """``length`` batches from number ``batch`` on, without a wait for the device.

        None if the epoch has fewer left, or if their numbers of observations or groups differ.

        Example:
            >>> import torch
            >>> from mlvae.data import GroupedData, Shuffled
            >>> data = GroupedData(torch.zeros(7, 3), [0, 0, 0, 0, 0, 0, 0])
            >>> plan = Shuffled(2).plan(data, torch.Generator().manual_seed(0))
            >>> plan.block(0, 3).order.shape, plan.block(1, 3)
            (torch.Size([3, 2]), None)
        """
        end = batch + length
        if end > len(self):
            return None
        rows, first = self.rows[batch : end + 1], self.first[batch : end + 1]
        forms = {
            (b - a, d - c) for (a, b), (c, d) in zip(pairwise(rows), pairwise(first), strict=True)
        }
        if len(forms) > 1:
            return None
        own = slice(rows[0], rows[-1])
        return Block(
            self.order[own].view(length, -1),
            self.groups.of_block(own, batch, length),
            tuple(each.of_block(own, batch, length) for each in self.further),
        )
