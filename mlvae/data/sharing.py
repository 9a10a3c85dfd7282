"""Shards of a plan of an epoch: every rank makes the same plan and takes its own share.

Shapes: N observations, G groups, B batches in an epoch; n observations of a share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.data.plan import Plan
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
        counts: for each batch, False if the share is borrowed or empty; see
            :class:`~mlvae.groups.shares.Share`.
        counting: for each batch, the first rank whose share is not borrowed.
        span: whether the members of a group are on several ranks.
    """

    rank: int
    whole: Plan
    place: Tensor
    first_group: list[int]
    counts: list[bool]
    counting: list[int]
    span: bool

    def kept(self, batch: int) -> Batch:
        """The share of batch number ``batch``, with observations in their own type."""
        batch = range(len(self))[batch]
        gathered = super().kept(batch)
        own = {
            "rank": self.rank,
            "rows": self.place[self.rows[batch] : self.rows[batch + 1]],
            "num_rows": self.whole.rows[batch + 1] - self.whole.rows[batch],
            "counts": self.counts[batch],
        }
        counting, first = self.counting[batch], self.first_group[batch]
        # Members of a group of a further grouping are on any rank.
        further = {
            name: SpanningShare(each, whole_groups=each.num_groups, counting=counting, **own)
            for name, each in gathered.further_groups.items()
        }
        number = self.whole.first[batch + 1] - self.whole.first[batch]
        if self.span:
            groups = SpanningShare(gathered.groups, whole_groups=number, counting=counting, **own)
        else:
            groups = Share(gathered.groups, first_group=first, whole_groups=number, **own)
        return replace(gathered, groups=groups, further_groups=further)


def share(plan: Plan, *, rank: int, ranks: int, span: bool = False) -> SharedPlan:
    """The share of ``plan`` of rank number ``rank``.

    Args:
        plan: whole batches, the same plan on all ranks.
        rank: in [0, ranks).
        ranks: number of ranks.
        span: False: each batch is split between groups of the first grouping, as evenly in
            observations as that allows. The groups of further groupings are then on several ranks.
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
    own, counts, counting = _whole_groups(plan, rank, ranks, size)
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
        counting=counting,
    )


def _taken(
    plan: Plan, rank: int, own: Tensor, batch: Tensor, place: Tensor, *, span: bool
) -> SharedPlan:
    """The share with the observations where ``own`` (N,) is true, and with all groups.

    A rank without observations of a batch counts nothing of it. Rank 0 has the first one.
    """
    rows = _bounds(batch[own], len(plan))
    return SharedPlan(
        data=plan.data,
        order=plan.order[own.to(plan.order.device)],
        group=plan.group[own],
        sizes=plan.sizes,
        origin=plan.origin,
        rows=rows,
        first=plan.first,
        further=tuple(replace(each, group=each.group[own]) for each in plan.further),
        rank=rank,
        whole=plan,
        place=place[own],
        first_group=[0] * len(plan),
        counts=[start < end for start, end in pairwise(rows)],
        counting=[0] * len(plan),
        span=span,
    )


def _whole_groups(
    plan: Plan, rank: int, ranks: int, size: Tensor
) -> tuple[Tensor, list[bool], list[int]]:
    """Mask of the rank's groups; for each batch, whether the rank counts and which rank is first.

    The first rank is the first one that counts.
    """
    batch, number, _ = _places(plan.first, plan.sizes.device)
    end = plan.sizes.cumsum(0) - torch.tensor(plan.rows, device=batch.device)[batch]
    # The middle of a group decides its rank, with observations split evenly.
    twice_the_middle = 2 * end - plan.sizes
    owner = twice_the_middle * ranks // (2 * size[batch])
    own = owner == rank
    counts = torch.bincount(batch[own], minlength=len(plan)) > 0
    counting = owner[number == 0]  # owners ascend with the number of the group
    return own | ((number == 0) & ~counts[batch]), counts.tolist(), counting.tolist()


def _places(bounds: list[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Batch and place in it of each element between ``bounds``, and the length of each batch."""
    size = torch.tensor(bounds, device=device).diff()
    batch = torch.arange(len(size), device=device).repeat_interleave(size)
    start = size.cumsum(0) - size
    return batch, torch.arange(len(batch), device=device) - start[batch], size


def _bounds(batch: Tensor, num_batches: int) -> list[int]:
    """Start of each batch in the ascending ``batch``, and the length: B + 1 numbers."""
    return [0, *torch.bincount(batch, minlength=num_batches).cumsum(0).tolist()]
