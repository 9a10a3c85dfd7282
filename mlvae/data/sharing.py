"""A plan of an epoch, shared by ranks: every rank makes the same plan and takes its own share.

Shapes: N observations, G groups, B batches in an epoch; n observations of a share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.data.batching import Plan
from mlvae.shares import Share, SpanningShare

__all__ = ["SharedPlan", "share"]


@dataclass(frozen=True, eq=False)
class SharedPlan(Plan):
    """What one rank has of the batches of an epoch; only that is read.

    Attributes:
        rank: whose share it is.
        whole: the plan of whole batches.
        place: place of each observation in its whole batch, (n,).
        first_group: for each batch, the number of the share's first group in the whole one.
        counts: for each batch, False if the share is borrowed; see :class:`~mlvae.shares.Share`.
        span: whether groups lie on several ranks.
    """

    rank: int
    whole: Plan
    place: Tensor
    first_group: list[int]
    counts: list[bool]
    span: bool

    def kept(self, batch: int) -> Batch:
        """The share of batch number ``batch``, its observations as they are kept."""
        batch = range(len(self))[batch]
        x, groups = super().kept(batch)
        kind = SpanningShare if self.span else Share
        mine = kind(
            groups,
            rank=self.rank,
            rows=self.place[self.rows[batch] : self.rows[batch + 1]],
            num_rows=self.whole.rows[batch + 1] - self.whole.rows[batch],
            first_group=self.first_group[batch],
            whole_groups=self.whole.first[batch + 1] - self.whole.first[batch],
            counts=self.counts[batch],
        )
        return Batch(x, mine)


def share(plan: Plan, *, rank: int, ranks: int, span: bool = False) -> SharedPlan:
    """What rank number ``rank`` of ``ranks`` has of ``plan``.

    Args:
        plan: of whole batches, the same on all ranks.
        rank: in [0, ranks).
        ranks: how many there are.
        span: False parts each batch between groups, at the places that come next to the same
            number of observations for each rank. True parts it anywhere, in numbers that differ
            by one at most: a rank has members of any groups.

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
        mine = place * ranks // size[batch] == rank
        return _taken(plan, rank, mine, batch, place, span=True)
    mine, counts = _whole_groups(plan, rank, ranks, size)
    starts = torch.tensor(plan.first, device=batch.device)
    kept = mine[starts[batch] + plan.group]
    shared = _taken(plan, rank, kept, batch, place, span=False)
    # A share's groups follow each other, so the number of its first one numbers all anew.
    of_batch, number, _ = _places(plan.first, batch.device)
    first = _bounds(of_batch[mine], len(plan))
    first_group = number[mine][first[:-1]]
    return replace(
        shared,
        group=shared.group - first_group[batch[kept]],
        sizes=plan.sizes[mine],
        origin=plan.origin[mine],
        first=first,
        first_group=first_group.tolist(),
        counts=counts,
    )


def _taken(
    plan: Plan, rank: int, mine: Tensor, batch: Tensor, place: Tensor, *, span: bool
) -> SharedPlan:
    """The observations where ``mine`` (N,) is true, with all groups."""
    return SharedPlan(
        data=plan.data,
        order=plan.order[mine.to(plan.order.device)],
        group=plan.group[mine],
        sizes=plan.sizes,
        origin=plan.origin,
        rows=_bounds(batch[mine], len(plan)),
        first=plan.first,
        rank=rank,
        whole=plan,
        place=place[mine],
        first_group=[0] * len(plan),
        counts=[True] * len(plan),
        span=span,
    )


def _whole_groups(plan: Plan, rank: int, ranks: int, size: Tensor) -> tuple[Tensor, list[bool]]:
    """Which of all groups the rank has, and for each batch whether it counts them."""
    batch, number, _ = _places(plan.first, plan.sizes.device)
    end = plan.sizes.cumsum(0) - torch.tensor(plan.rows, device=batch.device)[batch]
    # A group goes where its middle lies when observations are parted evenly.
    twice_the_middle = 2 * end - plan.sizes
    mine = twice_the_middle * ranks // (2 * size[batch]) == rank
    counts = torch.bincount(batch[mine], minlength=len(plan)) > 0
    return mine | ((number == 0) & ~counts[batch]), counts.tolist()


def _places(bounds: list[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of what lies between ``bounds``, B + 1 numbers: batch, place in it, and length of each."""
    bounds = torch.tensor(bounds, device=device)
    size = bounds.diff()
    batch = torch.arange(len(size), device=device).repeat_interleave(size)
    return batch, torch.arange(len(batch), device=device) - bounds[batch], size


def _bounds(batch: Tensor, num_batches: int) -> list[int]:
    """Where each batch begins in the ascending ``batch``, and the length: B + 1 numbers."""
    return [0, *torch.bincount(batch, minlength=num_batches).cumsum(0).tolist()]
