r"""The groups of a share of a batch: what one of several processes has of it.

Either whole groups, and then a share is like a batch of its own; or any observations, and then a
group lies on several ranks and what is summed over it is summed over ranks as well. Evidence is
additive, so that is all a group larger than any machine needs: every rule that asks
:class:`~mlvae.groups.Groups` for sums and maxima is right without knowing of ranks.

Shapes: n observations and g groups of a share, N and G of the whole batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.autograd.function import FunctionCtx, once_differentiable

from mlvae.groups import Groups
from mlvae.noise import ShareGenerator

__all__ = ["Share", "SpanningShare", "sum_over_ranks"]


class Share(Groups):
    """Whole groups of a batch, numbered from 0.

    Args:
        groups: the share's own.
        rank: whose share it is.
        rows: place of each observation in the whole batch, (n,).
        num_rows: N.
        first_group: number of its first group in the whole batch; the others follow.
        whole_groups: G.
        counts: False if another rank has the same groups and counts them. A rank for which no
            group is left borrows one, so that all ranks do the same.
    """

    def __init__(
        self,
        groups: Groups,
        *,
        rank: int,
        rows: Tensor,
        num_rows: int,
        first_group: int,
        whole_groups: int,
        counts: bool = True,
    ) -> None:
        self.index, self.sizes, self.origin = groups.index, groups.sizes, groups.origin
        self.rank, self.rows, self.num_rows = rank, rows, num_rows
        self.first_group, self.whole_groups = first_group, whole_groups
        self.counts = counts

    @property
    def counts_groups(self) -> bool:
        """Whether its groups are to be counted here: each is, on one rank."""
        return self.counts

    def generator(self, whole: torch.Generator) -> ShareGenerator:
        """Draws for this share of what ``whole`` draws for the batch."""
        last = self.first_group + self.num_groups
        groups = torch.arange(self.first_group, last, device=self.rows.device)
        of_groups = ShareGenerator(whole, groups, self.whole_groups, own=self.rank)
        return ShareGenerator(whole, self.rows, self.num_rows, own=self.rank, groups=of_groups)

    def everywhere(self, total: Tensor) -> Tensor:
        """The sum over ranks of what is counted, of ``total`` (): (). All ranks must call it."""
        return sum_over_ranks(total * self.counts)

    def part(self, cost: Tensor) -> Tensor:
        """A ``cost`` () of the whole batch, over the number of ranks that count something: ().

        Each of them knows all of it, and their losses are summed. All ranks must call it.
        """
        return cost / self.everywhere(torch.ones_like(cost))

    def whole(self, values: Tensor) -> tuple[Tensor, Groups]:
        """What all ranks have of ``values`` (n, ...): (N, ...), differentiable, and its groups.

        For costs that compare all observations of a batch. All ranks must call it, and have all of
        a batch then: that is for a few numbers of each observation.
        """
        # A rank that counts nothing adds zeros: what it has is another's.
        empty = values.new_zeros(self.num_rows, *values.shape[1:])
        gathered = sum_over_ranks(empty.index_add(0, self.rows, values * self.counts))
        index = self.index.new_zeros(self.num_rows)
        index = index.index_add(0, self.rows, (self.index + self.first_group) * self.counts)
        distributed.all_reduce(index)
        sizes = torch.bincount(index, minlength=self.whole_groups)
        return gathered, Groups.unchecked(index, sizes)

    def own_groups(self, values: Tensor) -> Tensor:
        """Of ``values`` (G, ...) of the whole batch those of the share's groups: (g, ...)."""
        return values[self.first_group : self.first_group + self.num_groups]


class SpanningShare(Share):
    """Some members, or none, of each of the G groups of a batch, the others being on other ranks.

    ``index`` has the observations that are here, while ``sizes``, :meth:`sum` and :meth:`max` are
    of whole groups, the same on all ranks. All ranks must call them, in one order. Observations
    of other ranks are not here: what picks or pairs members does not work.
    """

    @property
    def counts_groups(self) -> bool:
        """Rank 0 counts all groups."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum ``values`` (n, ...) over the members of each group, wherever they are: (G, ...)."""
        return sum_over_ranks(super().sum(values))

    @torch.no_grad()
    def max(self, values: Tensor) -> Tensor:
        """Largest of ``values`` (n, ...) over the members of each group; no gradient passes."""
        largest = super().max(values)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return largest

    def once(self, values: Tensor) -> Tensor:
        """``values`` (G, ...) on rank 0, zeros elsewhere: summed over ranks, each counts once."""
        # A product, not a branch: on all ranks the backward pass must be the same.
        return values * self.counts_groups

    def own_groups(self, values: Tensor) -> Tensor:
        """``values`` (G, ...), as :meth:`once` gives them."""
        return self.once(values)


def sum_over_ranks(values: Tensor) -> Tensor:
    r"""The sum over ranks of ``values``, on each of them, differentiable.

    Rank r has the objective :math:`L_r` and all minimise :math:`\sum_r L_r`. The total
    :math:`t = \sum_q v_q` enters each of them, so

    .. math:: \frac{\partial}{\partial v_q} \sum_r L_r = \sum_r \frac{\partial L_r}{\partial t}

    which is the same sum over ranks, of gradients. All ranks must take both passes.
    """
    return _SumOverRanks.apply(values)


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return _SumOverRanks.forward(ctx, gradient)
