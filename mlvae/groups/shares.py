r"""`Groups` for one process of a distributed batch.

A share holds either whole groups or any observations. A share of whole groups is like a batch. If
a share holds any observations, a group spans several ranks, and its sums and maxima are reduced
over ranks. Evidence is additive, so this suffices for a group that no machine can hold: a rule
that uses only sums and maxima of :class:`~mlvae.groups.groups.Groups` needs no code for ranks.

Four methods define how a quantity of a share enters the loss. The loss of a batch is the sum of
the losses of all ranks.

- :meth:`Groups.count_once` keeps per-group values on one rank, so that the sum counts them once.
- :meth:`Groups.all_reduce` is an all-reduce of a total.
- :meth:`Groups.rank_share` divides a cost of the whole batch by the number of ranks that add it.
- :meth:`Share.own_groups` selects the share's groups from values of the whole batch.

Shapes: n observations and g groups of a share, N and G of the whole batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.autograd.function import FunctionCtx

from mlvae.groups.groups import Groups
from mlvae.noise import ShareGenerator

__all__ = ["Share", "SpanningShare", "per_grouping", "sum_over_ranks"]


class Share(Groups):
    """Whole groups of a batch, numbered from 0.

    Args:
        groups: the groups of the share.
        rank: rank of the process that holds the share.
        rows: position of each observation in the whole batch, (n,).
        num_rows: number N of rows.
        first_group: number of the share's first group in the whole batch. The others follow it.
        whole_groups: number G of groups.
        counts: whether this rank counts the groups. It is false if another rank counts the same
            groups: a rank without groups borrows one, so that all ranks run the same operations.
        counting: number of the rank that counts groups which are on several ranks.
    """

    def __init__(
        self,
        groups: Groups,
        *,
        rank: int,
        rows: Tensor,
        num_rows: int,
        first_group: int = 0,
        whole_groups: int,
        counts: bool = True,
        counting: int = 0,
    ) -> None:
        self.index, self.sizes, self.origin = groups.index, groups.sizes, groups.origin
        self.rank, self.rows, self.num_rows = rank, rows, num_rows
        self.first_group, self.whole_groups = first_group, whole_groups
        self.counts, self.counting = counts, counting

    @property
    def counts_groups(self) -> bool:
        """Whether this rank counts the groups. Exactly one rank counts each group."""
        return self.counts

    def generator(self, whole: torch.Generator) -> ShareGenerator:
        """Return the generator that draws the share's rows of the draws of ``whole``."""
        last = self.first_group + self.num_groups
        group_rows = torch.arange(self.first_group, last, device=self.rows.device)
        groups = ShareGenerator(whole, group_rows, self.whole_groups, own=self.rank)
        return ShareGenerator(whole, self.rows, self.num_rows, own=self.rank, groups=groups)

    def all_reduce(self, total: Tensor) -> Tensor:
        """Return the all-reduce sum of ``total`` () over the ranks that count. A collective."""
        return sum_over_ranks(total * self.counts)

    def rank_share(self, cost: Tensor) -> Tensor:
        """Divide a ``cost`` () of the whole batch by the number of ranks that count. A collective.

        Each of these ranks computes the whole cost, and their losses are summed.
        """
        return cost / self.all_reduce(torch.ones_like(cost))

    def whole(self, values: Tensor) -> tuple[Tensor, Groups]:
        """Gather ``values`` (n, ...) of all ranks: (N, ...), and return the groups of all rows.

        It is differentiable and a collective. Each rank then holds the whole batch: use it for a
        few numbers per observation, in costs that compare all observations of a batch.
        """
        # A rank that does not count adds zeros, because another rank holds the same rows.
        empty = values.new_zeros(self.num_rows, *values.shape[1:])
        gathered = sum_over_ranks(empty.index_add(0, self.rows, values * self.counts))
        index = self.index.new_zeros(self.num_rows)
        index = index.index_add(0, self.rows, (self.index + self.first_group) * self.counts)
        distributed.all_reduce(index)
        sizes = torch.bincount(index, minlength=self.whole_groups)
        return gathered, Groups.unchecked(index, sizes)

    def own_groups(self, values: Tensor) -> Tensor:
        """Select the share's groups from ``values`` (G, ...) of the whole batch: (g, ...)."""
        return values[self.first_group : self.first_group + self.num_groups]


class SpanningShare(Share):
    """Any observations of a batch, possibly none of some of its G groups.

    The batch is split at any observation, or between the groups of another grouping. In the second
    case a rank may borrow rows that it does not count. ``index`` has the observations of this
    rank. ``sizes``, :meth:`sum` and :meth:`max` are of whole groups and equal on all ranks. Both
    methods are collectives: all ranks must call them in the same order.

    Warning:
        Methods that select or pair members do not work, because a rank has only its own
        observations.
    """

    @property
    def counts_groups(self) -> bool:
        """One rank counts all groups."""
        return self.rank == self.counting

    def sum(self, values: Tensor) -> Tensor:
        """Sum ``values`` (n, ...) over the members of each group on all ranks: (G, ...)."""
        own = super().sum(values)
        # A rank that does not count adds zeros, because another rank holds the same rows.
        return sum_over_ranks(own if self.counts else own * 0)

    @torch.no_grad()
    def max(self, values: Tensor) -> Tensor:
        """Return the largest of ``values`` (n, ...) in each group on all ranks. No gradient."""
        largest = super().max(values)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return largest

    def count_once(self, values: Tensor) -> Tensor:
        """Return ``values`` (G, ...) on one rank, zeros elsewhere: the all-reduce counts once."""
        # A product, not a branch: all ranks must run the same backward pass.
        return values * self.counts_groups

    def own_groups(self, values: Tensor) -> Tensor:
        """Return ``values`` (G, ...) on one rank, zeros elsewhere, as :meth:`count_once` does."""
        return self.count_once(values)


def per_grouping(
    generator: torch.Generator | None, groups: Groups
) -> torch.Generator | ShareGenerator | None:
    """The generator for draws with a row for each group of a further grouping of a batch."""
    if isinstance(generator, ShareGenerator) and isinstance(groups, Share):
        return groups.generator(generator.whole)
    return generator


def sum_over_ranks(values: Tensor) -> Tensor:
    r"""Return the all-reduce sum of ``values``, differentiable any number of times.

    Rank r has the objective :math:`L_r`, and all ranks minimise :math:`\sum_r L_r`. The total
    :math:`t = \sum_q v_q` enters the objective of each rank, so

    .. math:: \frac{\partial}{\partial v_q} \sum_r L_r = \sum_r \frac{\partial L_r}{\partial t}.

    The gradient is the all-reduce sum of the gradients. It is a collective in both passes.
    """
    return _SumOverRanks.apply(values)


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return sum_over_ranks(gradient)
