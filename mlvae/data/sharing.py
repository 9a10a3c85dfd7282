"""Shards of a plan of an epoch: every rank makes the same plan and takes its own share.

Shapes: N observations, G groups, B batches in an epoch; n observations of a share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.data.batching import Plan
from mlvae.groups import Share, SpanningShare

__all__ = ["SharedPlan", "share"]


@dataclass(frozen=True, eq=False)
class SharedPlan(Plan):
    """One rank's share of the batches of an epoch. The rank reads only its share.

    Attributes:
        rank: number of the rank.
        whole: the plan of whole batches.
        place: place of each observation in its whole batch, (n,).
        first_group: for each batch, the number of the share's first group in the whole batch.
        counts: for each batch, False if the share is borrowed; see
            :class:`~mlvae.groups.shares.Share`.
        span: whether the members of a group are on several ranks.
    """

    rank: int
    whole: Plan
    place: Tensor
    first_group: list[int]
    counts: list[bool]
    span: bool

    def kept(self, batch: int) -> Batch:
        """The share of batch number ``batch``, with observations in their own type."""
        batch = range(len(self))[batch]
        gathered = super().kept(batch)
        kind = SpanningShare if self.span else Share
        groups = kind(
            gathered.groups,
            rank=self.rank,
            rows=self.place[self.rows[batch] : self.rows[batch + 1]],
            num_rows=self.whole.rows[batch + 1] - self.whole.rows[batch],
            first_group=self.first_group[batch],
            whole_groups=self.whole.first[batch + 1] - self.whole.first[batch],
            counts=self.counts[batch],
        )
        return replace(gathered, groups=groups)


def share(plan: Plan, *, rank: int, ranks: int, span: bool = False) -> SharedPlan:
    """The share of ``plan`` of rank number ``rank``.

    Args:
        plan: whole batches, the same plan on all ranks.
        rank: in [0, ranks).
        ranks: number of ranks.
        span: False: each batch is split between groups, as evenly in observations as that allows.
            True: each batch is split at any observation, into shares whose sizes differ by one at
            most; a rank has members of any group.

    Example:
        >>> from mlvae.data import Grouped, GroupedData
        >>> data = GroupedData(torch.zeros(12, 3), [0, 1, 2] * 4)
        >>> plan = Grouped(groups=3, members=4).plan(data, torch.Generator().manual_seed(0))
        >>> [share(plan, rank=rank, ranks=2)[0].groups.num_groups for rank in (0, 1)]
        [1, 2]
        >>> [len(share(plan, rank=rank, ranks=2, span=True)[0].x) for rank in (0, 1)]
        [6, 6]
    """
    batch, place, size = _places(plan.rows, plan.group.device)
    if span:
        own = place * ranks // size[batch] == rank
        return _taken(plan, rank, own, batch, place, span=True)
    own, counts = _whole_groups(plan, rank, ranks, size)
    starts = torch.tensor(plan.first, device=batch.device)
    kept = own[starts[batch] + plan.group]
    shared = _taken(plan, rank, kept, batch, place, span=False)
    # The groups of a share are consecutive: subtract the number of the first one.
    of_batch, number, _ = _places(plan.first, batch.device)
    first = _bounds(of_batch[own], len(plan))
    first_group = number[own][first[:-1]]
    return replace(
        shared,
        group=shared.group - first_group[batch[kept]],
        sizes=plan.sizes[own],
        origin=plan.origin[own],
        first=first,
        first_group=first_group.tolist(),
        counts=counts,
    )


def _taken(
    plan: Plan, rank: int, own: Tensor, batch: Tensor, place: Tensor, *, span: bool
) -> SharedPlan:
    """The share with the observations where ``own`` (N,) is true, and with all groups."""
    return SharedPlan(
        data=plan.data,
        order=plan.order[own.to(plan.order.device)],
        group=plan.group[own],
        sizes=plan.sizes,
        origin=plan.origin,
        rows=_bounds(batch[own], len(plan)),
        first=plan.first,
        rank=rank,
        whole=plan,
        place=place[own],
        first_group=[0] * len(plan),
        counts=[True] * len(plan),
        span=span,
    )


def _whole_groups(plan: Plan, rank: int, ranks: int, size: Tensor) -> tuple[Tensor, list[bool]]:
    """Mask of the rank's groups, and for each batch whether the rank counts them."""
    batch, number, _ = _places(plan.first, plan.sizes.device)
    end = plan.sizes.cumsum(0) - torch.tensor(plan.rows, device=batch.device)[batch]
    # The middle of a group decides its rank, with observations split evenly.
    twice_the_middle = 2 * end - plan.sizes
    own = twice_the_middle * ranks // (2 * size[batch]) == rank
    counts = torch.bincount(batch[own], minlength=len(plan)) > 0
    return own | ((number == 0) & ~counts[batch]), counts.tolist()


def _places(bounds: list[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Batch and place in it of each element between ``bounds``, and the length of each batch."""
    size = torch.tensor(bounds, device=device).diff()
    batch = torch.arange(len(size), device=device).repeat_interleave(size)
    start = size.cumsum(0) - size
    return batch, torch.arange(len(batch), device=device) - start[batch], size


def _bounds(batch: Tensor, num_batches: int) -> list[int]:
    """Start of each batch in the ascending ``batch``, and the length: B + 1 numbers."""
    return [0, *torch.bincount(batch, minlength=num_batches).cumsum(0).tolist()]
