r"""The batches of an epoch of data in parts, of which each rank plans its own.

For an epoch the parts are dealt at random into H hands. Each hand orders its own observations at
random, as :class:`~mlvae.data.Shuffled` or :class:`~mlvae.data.Grouped` do, and a batch has a
slice of every hand. With pieces of a batch (observations, or groups) in :math:`K = \sum_h K_h`
pieces of an epoch, :math:`B = \lceil K / k \rceil` batches of at most k pieces, and
:math:`C_h = \sum_{g \le h} K_g`, batch b ends in hand h at piece

.. math:: \lfloor t_b C_h / K \rfloor - \lfloor t_b C_{h-1} / K \rfloor,
          \qquad t_b = \lfloor b K / B \rfloor.

So all batches have equal numbers of pieces, up to one, and every epoch has every observation
once. The batches depend on the seed, the epoch and the hands alone: a rank plans the slices of
one or several hands, and the whole batches are the same for any number of ranks.

A group is one group of a batch only within a part.

Shapes: P parts, H hands, B batches, n observations of a share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.data.grouped import GroupedData
from mlvae.data.plan import Plan
from mlvae.errors import InputError
from mlvae.groups import Origin, Share

__all__ = ["DealtPlan", "bounds_of_hand", "deal", "num_batches", "side_by_side"]

#: Largest number of pieces of an epoch: the product of two of them fits 63 bits.
MOST = 3_000_000_000


@dataclass(frozen=True, eq=False)
class DealtPlan(Plan):
    """One rank's slices of the batches of an epoch; groups are numbered from 0 in each slice.

    Attributes:
        rank: number of the rank.
        start_row: for each batch, the number of observations of the ranks before this one.
        num_rows: for each batch, the number of observations of all ranks.
        start_group: for each batch, the number of groups of the ranks before this one.
        num_groups: for each batch, the number of groups of all ranks.
    """

    rank: int
    start_row: list[int]
    num_rows: list[int]
    start_group: list[int]
    num_groups: list[int]

    def kept(self, batch: int) -> Batch:
        """The share of batch number ``batch``, with observations in their own type."""
        batch = range(len(self))[batch]
        gathered = super().kept(batch)
        start = self.start_row[batch]
        groups = Share(
            gathered.groups,
            rank=self.rank,
            rows=torch.arange(start, start + len(gathered.x), device=self.group.device),
            num_rows=self.num_rows[batch],
            first_group=self.start_group[batch],
            whole_groups=self.num_groups[batch],
        )
        return replace(gathered, groups=groups)


def deal(parts: int, hands: int, generator: torch.Generator) -> list[list[int]]:
    """The parts of each hand, in random order; their numbers differ by one at most.

    Example:
        >>> hands = deal(5, 2, torch.Generator().manual_seed(0))
        >>> sorted(map(len, hands)), sorted(hands[0] + hands[1])
        ([2, 3], [0, 1, 2, 3, 4])
    """
    order = torch.randperm(parts, generator=generator).tolist()
    return [order[hand::hands] for hand in range(hands)]


def num_batches(pieces: int, of_batch: int) -> int:
    """B, for the pieces of an epoch and of a batch."""
    return -(-pieces // of_batch)


def bounds_of_hand(pieces: Sequence[int], hand: int, of_batch: int) -> list[int]:
    """Where each batch starts in a hand, and the hand's number of pieces: B + 1 numbers.

    Args:
        pieces: pieces of each hand, length H.
        hand: number of the hand.
        of_batch: pieces of a batch.

    Raises:
        InputError: if a batch is so small that a hand has no piece of it, or the epoch so large
            that the numbers do not fit.

    Example:
        >>> [bounds_of_hand([6, 4], hand, 5) for hand in (0, 1)]
        [[0, 3, 6], [0, 2, 4]]
    """
    total = sum(pieces)
    if total > MOST:
        raise InputError(f"an epoch of data in parts must have at most {MOST:,} pieces")
    batches = num_batches(total, of_batch)
    ends = torch.arange(batches + 1) * total // batches
    before = sum(pieces[:hand])
    bounds = ends * (before + pieces[hand]) // total - ends * before // total
    if int(bounds.diff().min()) < 1:
        raise InputError(
            f"a batch must have a piece of each of the {len(pieces)} hands into which the parts "
            f"are dealt, but {of_batch} are too few; raise batching.batch_size or "
            f"batching.groups to {2 * len(pieces)} or more, or use fewer hands"
        )
    return bounds.tolist()


def side_by_side(plans: Sequence[Plan], data: GroupedData) -> Plan:
    """The plan whose batches are those of several plans, side by side.

    Args:
        plans: plans with equal numbers of batches, each of its own observations.
        data: the observations of all plans, one after the other, with separate groups.
    """
    if len(plans) == 1:
        return replace(plans[0], data=data)
    device, length = data.device, len(plans[0])
    lengths = torch.tensor([plan.rows for plan in plans], device=device).diff()
    groups = torch.tensor([plan.first for plan in plans], device=device).diff()
    before = groups.cumsum(0) - groups  # groups of the same batch in earlier plans
    row_batch = [_repeated(each) for each in lengths]
    group_batch = [_repeated(each) for each in groups]
    by_row = torch.cat(row_batch).argsort(stable=True)
    by_group = torch.cat(group_batch).argsort(stable=True)
    start = _starts([len(plan.data) for plan in plans])
    label = _starts([len(plan.data.group_names) for plan in plans])
    order = torch.cat([plan.order + at for plan, at in zip(plans, start, strict=True)])
    group = torch.cat(
        [plan.group + at[batch] for plan, at, batch in zip(plans, before, row_batch, strict=True)]
    )
    number = torch.cat([plan.origin.number + at for plan, at in zip(plans, label, strict=True)])
    origin = Origin(number, torch.cat([plan.origin.sizes for plan in plans]), data.group_names)
    return Plan(
        data=data,
        order=order[by_row.to(order.device)],
        group=group[by_row],
        sizes=torch.cat([plan.sizes for plan in plans])[by_group],
        origin=origin[by_group],
        rows=_bounds(lengths.sum(0), length),
        first=_bounds(groups.sum(0), length),
        further=(),  # data in parts have one grouping
    )


def _repeated(lengths: Tensor) -> Tensor:
    """The number of the batch of each element."""
    return torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)


def _starts(lengths: list[int]) -> list[int]:
    return [sum(lengths[:place]) for place in range(len(lengths))]


def _bounds(lengths: Tensor, length: int) -> list[int]:
    assert len(lengths) == length
    return [0, *lengths.cumsum(0).tolist()]
