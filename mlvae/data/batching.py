"""The batches of an epoch: their observations and groups.

A few tensor operations on the device of the data plan a whole epoch, without worker processes and
without Python loops over groups or observations. Every epoch visits every observation once.

Shapes: N observations, G groups, B batches in an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from mlvae.arguments import check_generator, check_type
from mlvae.batch import Batch
from mlvae.data.grouped import GroupedData
from mlvae.errors import InputError, check_choice, check_flag, check_integer
from mlvae.groups import Groups, Origin
from mlvae.observations import as_floats

__all__ = ["Block", "Grouped", "Plan", "Shuffled"]


@dataclass(frozen=True, eq=False)
class Block:
    """Several batches of one form, as indices: k batches of n observations in G groups each.

    Attributes:
        order: indices of observations, (k, n).
        group: number of each observation's group within its batch, (k, n).
        sizes: members of each group, (k, G).
        label: number of each group's group in the data, (k, G).
        label_sizes: members of that group in the data, (k, G).
    """

    order: Tensor
    group: Tensor
    sizes: Tensor
    label: Tensor
    label_sizes: Tensor

    @property
    def form(self) -> tuple:
        """Shapes. Blocks of equal form fit the memory of one another."""
        return "block", tuple(self.order.shape), tuple(self.sizes.shape)

    def clone(self) -> Block:
        """A copy in memory of its own."""
        return Block(*(values.clone() for values in vars(self).values()))

    def copy_(self, other: Block) -> None:
        """Copy all values of ``other``, a block of the same :attr:`form`, into this memory."""
        for name, values in vars(self).items():
            values.copy_(vars(other)[name])

    def __len__(self) -> int:
        return len(self.order)

    def batch(self, number: int, data: GroupedData) -> Batch:
        """Batch ``number``, its observations gathered from ``data`` in their own type."""
        origin = Origin(self.label[number], self.label_sizes[number], data.group_names)
        groups = Groups.unchecked(self.group[number], self.sizes[number], origin)
        return data.gathered(self.order[number], groups)


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
    """

    data: GroupedData
    order: Tensor
    group: Tensor
    sizes: Tensor
    origin: Origin
    rows: list[int]
    first: list[int]

    def __len__(self) -> int:
        return len(self.rows) - 1

    def __getitem__(self, batch: int) -> Batch:
        """Batch number ``batch``, made on the device without a wait."""
        kept = self.kept(batch)
        return replace(kept, x=as_floats(kept.x))

    def kept(self, batch: int) -> Batch:
        """Batch number ``batch`` with observations in their own type: uint8 images as uint8."""
        batch = range(len(self))[batch]
        rows = slice(self.rows[batch], self.rows[batch + 1])
        of_batch = slice(self.first[batch], self.first[batch + 1])
        groups = Groups.unchecked(self.group[rows], self.sizes[of_batch], self.origin[of_batch])
        gathered = self.data.gathered(self.order[rows], groups)
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
        of_block, of_groups = slice(rows[0], rows[-1]), slice(first[0], first[-1])
        return Block(
            self.order[of_block].view(length, -1),
            self.group[of_block].view(length, -1),
            *(
                values[of_groups].view(length, -1)
                for values in (self.sizes, self.origin.number, self.origin.sizes)
            ),
        )


@dataclass(frozen=True)
class Shuffled:
    """Batches of random observations; observations of one label in a batch form a group.

    The first author's code does this: 256 MNIST images are about 25 of each digit.

    Args:
        batch_size: observations in a batch; the last batch of an epoch has the rest.
        span_ranks: with several processes, split batches between observations, not between
            groups. The members of a group are then on several ranks. See
            :mod:`mlvae.training.ranks`.
    """

    batch_size: int = 256
    span_ranks: bool = False

    def __post_init__(self) -> None:
        check_integer("batching.batch_size", self.batch_size, minimum=1)
        check_flag("batching.span_ranks", self.span_ranks)

    def for_evaluation(self) -> Shuffled:
        """The batching for evaluation data: the same."""
        return self

    def num_batches(self, data: GroupedData) -> int:
        """B, the same in every epoch."""
        _check_data(data)
        return -(-len(data) // self.batch_size)

    @property
    def pieces(self) -> int:
        """Pieces of a batch, which are observations."""
        return self.batch_size

    @staticmethod
    def num_pieces(sizes: Tensor, counts: Tensor) -> int:
        """Pieces of an epoch: ``counts[i]`` groups have ``sizes[i]`` members."""
        return int((sizes * counts).sum())

    def plan(self, data: GroupedData, generator: torch.Generator | None) -> Plan:
        """Batches of one epoch; ``generator`` is on the device of the data."""
        _check_data(data)
        bounds = [*range(0, len(data), self.batch_size), len(data)]
        return self.plan_between(bounds, data, generator)

    @staticmethod
    def plan_between(
        bounds: list[int], data: GroupedData, generator: torch.Generator | None
    ) -> Plan:
        """Batches of one epoch; batch b has the observations between two of ``bounds`` (B + 1)."""
        check_generator(generator)
        order = torch.randperm(len(data), generator=generator, device=data.device)
        batch = _batch_of(bounds, data.device)
        num_labels = data.groups.num_groups
        present, group, sizes = (batch * num_labels + data.groups.index[order]).unique(
            return_inverse=True, return_counts=True
        )
        first = _starts(present // num_labels, len(bounds) - 1)
        origin = data.origin(present % num_labels)
        order = order.to(data.x.device)
        return Plan(data, order, group - first[batch], sizes, origin, bounds, first.tolist())


@dataclass(frozen=True)
class Grouped:
    """Batches of a fixed number of groups with a fixed number of members.

    Every group of the data is cut at random into groups of ``members`` observations and a last one
    with the rest. These are shuffled, and a batch has ``groups`` of them. With few labels, a batch
    may have several groups of one label; each is accumulated by itself.

    Args:
        groups: groups in a batch; the last batch of an epoch has the rest.
        members: observations in a group.
        small_groups: action for a label with fewer than ``members`` observations: "error", or
            "keep" it as a group of its own size.
        span_ranks: as in :class:`Shuffled`.
    """

    groups: int = 16
    members: int = 16
    small_groups: str = "error"
    span_ranks: bool = False

    def __post_init__(self) -> None:
        check_integer("batching.groups", self.groups, minimum=1)
        check_integer("batching.members", self.members, minimum=1)
        check_choice("batching.small_groups", self.small_groups, ("error", "keep"))
        check_flag("batching.span_ranks", self.span_ranks)

    def for_evaluation(self) -> Grouped:
        """The batching for evaluation data, whose groups may be smaller."""
        return replace(self, small_groups="keep")

    def num_batches(self, data: GroupedData) -> int:
        """B, the same in every epoch."""
        _check_data(data)
        return -(-int(self._cuts(data).sum()) // self.groups)

    def _cuts(self, data: GroupedData) -> Tensor:
        """Number of groups that each label's observations are cut into, (labels,)."""
        sizes = data.groups.sizes
        if self.small_groups == "error" and int(sizes.min()) < self.members:
            smallest = int(sizes.argmin())
            raise InputError(
                f"batching.members={self.members} must not exceed the size of a group, but group "
                f"{data.group_names[smallest]!r} has {int(sizes[smallest])}; lower it, or set "
                "batching.small_groups=keep"
            )
        return (sizes + self.members - 1) // self.members

    @property
    def pieces(self) -> int:
        """Pieces of a batch, which are groups."""
        return self.groups

    def num_pieces(self, sizes: Tensor, counts: Tensor) -> int:
        """Pieces of an epoch: ``counts[i]`` groups have ``sizes[i]`` members.

        Raises:
            InputError: if a group is smaller than ``members``, and that is an error.
        """
        if self.small_groups == "error" and (smallest := int(sizes.min())) < self.members:
            raise InputError(
                f"batching.members={self.members} must not exceed the size of a group, but one "
                f"has {smallest}; lower it, or set batching.small_groups=keep"
            )
        return int(((sizes + self.members - 1) // self.members * counts).sum())

    def plan(self, data: GroupedData, generator: torch.Generator | None) -> Plan:
        """Batches of one epoch; ``generator`` is on the device of the data."""
        _check_data(data)
        count = int(self._cuts(data).sum())
        bounds = [*range(0, count, self.groups), count]
        return self.plan_between(bounds, data, generator)

    def plan_between(
        self, bounds: list[int], data: GroupedData, generator: torch.Generator | None
    ) -> Plan:
        """Batches of one epoch; batch b has the groups between two of ``bounds`` (B + 1)."""
        check_generator(generator)
        device = data.device
        cuts, sizes = self._cuts(data), data.groups.sizes
        # Observations by label, in random order within a label; then the cut each one is in.
        order = torch.randperm(len(data), generator=generator, device=device)
        order = order[data.groups.index[order].argsort(stable=True)]
        label = data.groups.index[order]
        rank = torch.arange(len(data), device=device) - (sizes.cumsum(0) - sizes)[label]
        cut = (cuts.cumsum(0) - cuts)[label] + rank // self.members
        # The cuts in random order; then the observations in the order of their cuts.
        place = torch.randperm(int(cuts.sum()), generator=generator, device=device)[cut]
        by_place = place.argsort(stable=True)
        order, place = order[by_place], place[by_place]
        sizes = torch.bincount(place)
        ends = torch.cat((sizes.new_zeros(1), sizes.cumsum(0)))
        origin = data.origin(data.groups.index[order[ends[:-1]]])
        rows = ends[bounds].tolist()
        order = order.to(data.x.device)
        starts = torch.tensor(bounds, device=device)[_batch_of(bounds, device)]
        return Plan(data, order, place - starts[place], sizes, origin, rows, bounds)


def _check_data(data: object) -> None:
    check_type("data", data, GroupedData, "GroupedData")


def _batch_of(bounds: list[int], device: torch.device) -> Tensor:
    """The batch of each piece; batch b has the pieces between two of ``bounds`` (B + 1)."""
    sizes = torch.tensor(bounds, device=device).diff()
    return torch.arange(len(sizes), device=device).repeat_interleave(sizes)


def _starts(batch: Tensor, num_batches: int) -> Tensor:
    """Start of each batch in the ascending ``batch``, and the length: B + 1 numbers."""
    bounds = torch.arange(num_batches + 1, device=batch.device)
    return torch.searchsorted(batch.contiguous(), bounds)
