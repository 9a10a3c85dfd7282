"""A partition of observations into groups, and sums, maxima and draws within each group.

Shapes: N observations, G groups, ... any trailing shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.arguments import as_device, integer_tensor
from mlvae.errors import InputError, check_flag, check_integer, shown
from mlvae.groups.labels import label_index
from mlvae.groups.origin import Origin
from mlvae.kernels import segment
from mlvae.noise import per_group, uniform

__all__ = ["Groups"]


class Groups:
    """A partition of N observations into G non-empty groups.

    Args:
        index: group of each observation, integers of shape (N,) in [0, G): a tensor, an array or
            a list.
        num_groups: G; None is the largest index plus one.

    Attributes:
        index: group of each observation, (N,).
        sizes: number of members of each group, (G,).
        origin: the groups of the data set that these groups are parts of. Batches of
            :class:`~mlvae.data.GroupedData` have it; it is None elsewhere.

    Raises:
        InputError: if ``index`` is not a vector of integers, leaves [0, G), or skips a group.

    Example:
        >>> groups = Groups(torch.tensor([0, 1, 0]))
        >>> groups.sum(torch.tensor([[1.0], [2.0], [3.0]]))
        tensor([[4.],
                [2.]])
    """

    def __init__(
        self, index: Tensor | np.ndarray | Sequence[int], num_groups: int | None = None
    ) -> None:
        index = integer_tensor("a group index", index, "integers of shape (N,)")
        if num_groups is not None:
            check_integer("num_groups", num_groups, minimum=1)
        if index.ndim != 1:
            raise InputError(
                f"a group index must be integers of shape (N,), not of shape {tuple(index.shape)}"
            )
        if len(index) == 0:
            raise InputError("a group index must name at least one observation's group, not none")
        low, high = (int(end) for end in index.aminmax())
        if low < 0 or (num_groups is not None and high >= num_groups):
            raise InputError(
                f"a group index must lie in [0, {num_groups if num_groups is not None else 'G'}), "
                f"not in [{low}, {high}]; Groups.of(labels) numbers any labels"
            )
        count = high + 1 if num_groups is None else int(num_groups)
        # More groups than members have an empty one. Their sizes may not fit into memory.
        sizes = torch.bincount(index[index <= len(index)], minlength=min(count, len(index) + 1))
        if (empty := (sizes == 0).nonzero()).numel():
            raise InputError(
                f"group {int(empty[0])} of {count} has no members; "
                "number the groups without gaps, as Groups.of(labels) does"
            )
        self.index = index.long()
        self.sizes = sizes
        self.origin: Origin | None = None

    @classmethod
    def of(cls, labels: object) -> Groups:
        """Return the groups of any labels of length N, numbered in sorted order of the labels.

        Groups are returned unchanged.
        """
        return labels if isinstance(labels, Groups) else cls(label_index(labels)[0])

    @classmethod
    def singletons(
        cls,
        num_observations: int,
        device: torch.device | None = None,
        *,
        origin: Origin | None = None,
    ) -> Groups:
        """Return N groups of one observation each."""
        if not torch.compiler.is_compiling():  # a compiler's lengths are symbols
            check_integer("num_observations", num_observations, minimum=0)
        return cls.unchecked(
            torch.arange(num_observations, device=device),
            torch.ones(num_observations, dtype=torch.int64, device=device),
            origin,
        )

    @classmethod
    def unchecked(cls, index: Tensor, sizes: Tensor, origin: Origin | None = None) -> Groups:
        """Return groups without checks of the values. ``sizes`` (G,) must be those of ``index``.

        It is for training steps: a check would synchronise the device with the host.
        """
        groups = cls.__new__(cls)
        groups.index, groups.sizes, groups.origin = index, sizes, origin
        return groups

    def singles(self, rows: Tensor) -> Groups:
        """Return the observations at ``rows`` (n,) as groups of one, with their origins."""
        origin = None if self.origin is None else self.origin[self.index[rows]]
        return Groups.singletons(len(rows), rows.device, origin=origin)

    def __repr__(self) -> str:
        return f"Groups({self.num_observations} observations in {self.num_groups} groups)"

    @property
    def num_observations(self) -> int:
        """N."""
        return len(self.index)

    @property
    def num_groups(self) -> int:
        """G."""
        return len(self.sizes)

    def to(self, device: torch.device | str) -> Groups:
        """Return a copy on another device."""
        device = as_device(device)
        origin = None if self.origin is None else self.origin.to(device)
        return Groups.unchecked(self.index.to(device), self.sizes.to(device), origin)

    def clone(self) -> Groups:
        """Return a copy in new memory."""
        origin = None if self.origin is None else self.origin.clone()
        return Groups.unchecked(self.index.clone(), self.sizes.clone(), origin)

    def copy_(self, other: Groups) -> None:
        """Overwrite with ``other``, which has the same numbers of observations and groups.

        Either both have an origin in the same data set, or neither has an origin.
        """
        self.index.copy_(other.index)
        self.sizes.copy_(other.sizes)
        if self.origin is not None and other.origin is not None:
            self.origin.copy_(other.origin)

    def sum(self, values: Tensor) -> Tensor:
        """Sum ``values`` (N, ...) over the members of each group: (G, ...). A segment sum."""
        self._check("values", values, self.num_observations)
        total = values.new_zeros(self.num_groups, *values.shape[1:])
        return total.index_add_(0, self.index, values)

    def max(self, values: Tensor) -> Tensor:
        """Return the largest of ``values`` (N, ...) in each group: (G, ...). A segment maximum."""
        self._check("values", values, self.num_observations)
        if segment.worthwhile(values, self.num_groups):
            return segment.largest(values, self.index, self.num_groups)
        low = values.new_full((self.num_groups, *values.shape[1:]), -torch.inf)
        index = self.index.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
        return low.scatter_reduce_(0, index, values, "amax")

    def logsumexp(self, values: Tensor) -> Tensor:
        r"""Return :math:`\log \sum_{i \in G} e^{v_i}` of ``values`` (N, ...): (G, ...).

        It does not overflow or underflow. A group without members has minus infinity.
        """
        self._check("values", values, self.num_observations)
        # The largest value cancels from the result, so it needs no gradient.
        scale = self.max(values.detach())
        scale = scale.masked_fill(scale == -torch.inf, 0)
        total = self.sum((values - self.spread(scale)).exp())
        empty = total == 0
        return (scale + total.masked_fill(empty, 1).log()).masked_fill(empty, -torch.inf)

    def spread(self, values: Tensor) -> Tensor:
        """Gather the row of ``values`` (G, ...) of each observation's group: (N, ...)."""
        self._check("values", values, self.num_groups)
        return values.index_select(0, self.index)

    @staticmethod
    def _check(name: str, values: Any, rows: int) -> None:
        """Raise :class:`InputError` unless ``values`` is a tensor of ``rows`` rows.

        The shape is on the host, so the check waits for no device.
        """
        if torch.compiler.is_compiling():
            return
        fits = isinstance(values, Tensor) and values.ndim > 0 and values.shape[0] == rows
        if not fits or values.is_complex():
            raise InputError(
                f"{name} must be a real tensor of {rows} rows, ({rows}, ...), not {shown(values)}"
            )

    def count_once(self, values: Tensor) -> Tensor:
        """Return ``values`` (G, ...) for a loss that is summed over ranks: here unchanged.

        In :class:`mlvae.groups.shares.SpanningShare`, all ranks but one return zeros.
        """
        return values

    def all_reduce(self, total: Tensor) -> Tensor:
        """Return the all-reduce sum of ``total`` () over ranks: here ``total`` itself.

        See :class:`mlvae.groups.shares.Share`.
        """
        return total

    def rank_share(self, cost: Tensor) -> Tensor:
        """Return this process's part of a ``cost`` () of the whole batch: here all of it.

        See :class:`mlvae.groups.shares.Share`.
        """
        return cost

    def random_subset(
        self, *, generator: torch.Generator | None = None, proper: bool = False
    ) -> Tensor:
        r"""Draw a random subset of the members of each group: a mask (N,).

        The number m of members of a group of n is log-uniform,
        :math:`P(m) = \log\frac{m + 1}{m} / \log(n + 1)` for m from 1 to n. Small subsets are then
        as frequent as large ones. All subsets of m members have equal probability.

        Args:
            generator: source of the draw, on the device of the index; None is torch's default.
            proper: whether to leave out at least one member: m is at most n - 1. A group of one
                keeps its member.
        """
        check_flag("proper", proper)
        device = self.index.device
        most = (self.sizes - 1).clamp_min(1) if proper else self.sizes
        share = uniform((self.num_groups,), generator=per_group(generator), device=device)
        number = torch.exp(share * torch.log1p(most)).long().clamp(max=most)
        order, start = self.shuffled(generator=generator)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=device)
        return rank - self.spread(start) < self.spread(number)

    def fellow_members(self, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw another member of each observation's group: indices (N,), a permutation.

        All other members have equal probability. In a group of one, it is the observation itself.
        """
        order, start = self.shuffled(generator=generator)
        start, size = (self.spread(values)[order] for values in (start, self.sizes))
        position = torch.arange(len(order), device=order.device)
        fellow = torch.empty_like(order)
        fellow[order] = order[start + (position - start + 1) % size]
        return fellow

    def shuffled(self, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw a random order within each group: indices sorted by group (N,), and starts (G,)."""
        score = uniform((self.num_observations,), generator=generator, device=self.index.device)
        order = score.argsort()
        order = order[self.index[order].argsort(stable=True)]
        return order, self.sizes.cumsum(0) - self.sizes
