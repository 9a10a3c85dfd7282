"""Which observation is in which group.

Shapes: N observations, G groups, ... any trailing shape.
"""

from __future__ import annotations

from numbers import Number

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError
from mlvae.noise import per_group, uniform
from mlvae.origin import Origin

__all__ = ["Groups", "label_index"]

#: Numbers that are compared with every group at most, to find the largest of each on a GPU.
MOST_COMPARED = 2**20


def label_index(labels: object) -> tuple[Tensor, list]:
    """Number the distinct values of ``labels`` (length N, integers or strings) in sorted order.

    Returns:
        The number of each observation's label, shape (N,) on the device of ``labels``, and the
        labels by number.

    Raises:
        InputError: if ``labels`` is not one-dimensional, is empty, or has NaN or None.
    """
    if isinstance(labels, Tensor):
        _check_labels(tuple(labels.shape), labels.isnan().any() if labels.numel() else False)
        names, index = labels.unique(return_inverse=True)
        return index, names.tolist()
    if np.ma.is_masked(labels):
        _check_labels(labels.shape, some_missing=True)
    # As objects first: NumPy would turn the NaN or None of a mixed list into a word.
    array = labels if isinstance(labels, np.ndarray) else np.array(labels, dtype=object)
    if array.dtype == object:
        _check_labels(array.shape, any(name is None or name != name for name in array.flat))
        array = np.array([name if isinstance(name, Number) else str(name) for name in array.flat])
        _check_distinct(labels, array)
    _check_labels(array.shape, array.dtype.kind in "fM" and (array != array).any())
    names, index = np.unique(array, return_inverse=True)
    return torch.from_numpy(index.astype(np.int64)), names.tolist()


def _check_distinct(labels: object, names: np.ndarray) -> None:
    """Raise :class:`InputError` if labels that differ have become one name, as 1 and "1"."""
    try:
        different = len(set(np.array(labels, dtype=object).flat))
    except TypeError:  # what cannot be hashed has been told by its words
        return
    distinct = len(np.unique(names))
    if distinct < different:
        raise InputError(
            f"group labels must be all words or all numbers of one kind: {different} different "
            f"ones are {distinct} as NumPy's {names.dtype}; give them as words of your own"
        )


def _check_labels(shape: tuple[int, ...], some_missing: bool) -> None:
    if len(shape) != 1 or shape[0] == 0:
        raise InputError(
            f"group labels must be a non-empty list of length N, not of shape {shape}"
        )
    if some_missing:
        raise InputError(
            "group labels must name a group for each observation, but some are missing "
            "(NaN or None)"
        )


class Groups:
    """A partition of N observations into G groups, none of them empty.

    Args:
        index: group of each observation, integers of shape (N,) in [0, G).
        num_groups: G; None is the largest index plus one.

    Attributes:
        index: as above.
        sizes: members of each group, (G,).
        origin: of which groups of the data these are parts; None where nobody said. Batches of
            :class:`~mlvae.data.GroupedData` say it.

    Raises:
        InputError: if ``index`` is not a vector of integers, leaves [0, G), or skips a group.

    Example:
        >>> groups = Groups(torch.tensor([0, 1, 0]))
        >>> groups.sum(torch.tensor([[1.0], [2.0], [3.0]]))
        tensor([[4.],
                [2.]])
    """

    def __init__(self, index: Tensor, num_groups: int | None = None) -> None:
        if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
            raise InputError(
                "a group index must be integers of shape (N,), "
                f"not {index.dtype} of shape {tuple(index.shape)}"
            )
        if len(index) == 0:
            raise InputError("a group index must name at least one observation's group, not none")
        low, high = (int(end) for end in index.aminmax())
        if low < 0 or (num_groups is not None and high >= num_groups):
            raise InputError(
                f"a group index must lie in [0, {num_groups if num_groups is not None else 'G'}), "
                f"not in [{low}, {high}]; Groups.of(labels) numbers any labels"
            )
        sizes = torch.bincount(index, minlength=num_groups or 0)
        if (empty := (sizes == 0).nonzero()).numel():
            raise InputError(
                f"group {int(empty[0])} of {len(sizes)} has no members; "
                "number the groups without gaps, as Groups.of(labels) does"
            )
        self.index = index.long()
        self.sizes = sizes
        self.origin: Origin | None = None

    @classmethod
    def of(cls, labels: object) -> Groups:
        """Groups from any labels of length N, or unchanged if they are groups already.

        Labels are numbered in sorted order.
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
        """Every observation its own group."""
        return cls.unchecked(
            torch.arange(num_observations, device=device),
            torch.ones(num_observations, dtype=torch.int64, device=device),
            origin,
        )

    @classmethod
    def unchecked(cls, index: Tensor, sizes: Tensor, origin: Origin | None = None) -> Groups:
        """Groups whose ``sizes`` (G,) are known to be right, without a look at the values.

        For the hot loop: a look would make the device wait for the host.
        """
        groups = cls.__new__(cls)
        groups.index, groups.sizes, groups.origin = index, sizes, origin
        return groups

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
        """The same groups on another device."""
        origin = None if self.origin is None else self.origin.to(device)
        return Groups.unchecked(self.index.to(device), self.sizes.to(device), origin)

    def clone(self) -> Groups:
        """The same groups in memory of their own."""
        origin = None if self.origin is None else self.origin.clone()
        return Groups.unchecked(self.index.clone(), self.sizes.clone(), origin)

    def copy_(self, other: Groups) -> None:
        """Become ``other``, in the same memory: of as many observations and groups.

        Both have an origin in the same data, or neither has one.
        """
        self.index.copy_(other.index)
        self.sizes.copy_(other.sizes)
        if self.origin is not None:
            self.origin.copy_(other.origin)

    def sum(self, values: Tensor) -> Tensor:
        """Sum ``values`` (N, ...) over the members of each group: (G, ...). One segment sum."""
        total = values.new_zeros(self.num_groups, *values.shape[1:])
        return total.index_add_(0, self.index, values)

    def max(self, values: Tensor) -> Tensor:
        """Largest of ``values`` (N, ...) over the members of each group: (G, ...)."""
        if values.is_cuda and self.num_groups * values.numel() <= MOST_COMPARED:
            return _largest(values, self.index, self.num_groups)
        low = values.new_full((self.num_groups, *values.shape[1:]), -torch.inf)
        index = self.index.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
        return low.scatter_reduce_(0, index, values, "amax")

    def logsumexp(self, values: Tensor) -> Tensor:
        r"""The :math:`\log \sum_i e^{v_i}` of ``values`` (N, ...) over each group: (G, ...).

        It neither over- nor underflows. A group without members has minus infinity.
        """
        # The largest value cancels from the result, so no gradient needs to pass through it.
        scale = self.max(values.detach())
        scale = scale.masked_fill(scale == -torch.inf, 0)
        total = self.sum((values - self.spread(scale)).exp())
        none = total == 0
        return (scale + total.masked_fill(none, 1).log()).masked_fill(none, -torch.inf)

    def spread(self, values: Tensor) -> Tensor:
        """Give each observation its group's row of ``values`` (G, ...): (N, ...)."""
        return values.index_select(0, self.index)

    def once(self, values: Tensor) -> Tensor:
        """``values`` (G, ...), to be counted; see :class:`mlvae.shares.SpanningShare`."""
        return values

    def everywhere(self, total: Tensor) -> Tensor:
        """What ``total`` () of the observations or groups here is of the whole batch: ().

        See :class:`mlvae.shares.Share`.
        """
        return total

    def part(self, cost: Tensor) -> Tensor:
        """This share's part of a ``cost`` () of the whole batch, to be added to its loss: ()."""
        return cost

    def random_subset(
        self, *, generator: torch.Generator | None = None, proper: bool = False
    ) -> Tensor:
        r"""Some members of each group, drawn anew at every call: a mask (N,).

        Their number m in a group of n is log-uniform,
        :math:`P(m) = \log\frac{m + 1}{m} / \log(n + 1)` for m from 1 to n, so that few are as
        well represented as many; which m members is uniform.

        Args:
            generator: of the draw, on the device of the index; None is torch's own.
            proper: never all members, but of a group of one: n - 1 takes the place of n.
        """
        device = self.index.device
        most = (self.sizes - 1).clamp_min(1) if proper else self.sizes
        share = uniform((self.num_groups,), generator=per_group(generator), device=device)
        number = torch.exp(share * torch.log1p(most)).long().clamp(max=most)
        order, start = self.shuffled(generator=generator)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=device)
        return rank - self.spread(start) < self.spread(number)

    def fellow_members(self, *, generator: torch.Generator | None = None) -> Tensor:
        """For each observation another member of its group, itself if it is alone: (N,).

        Each other member is as likely as any, and each observation is the fellow of one.
        """
        order, start = self.shuffled(generator=generator)
        start, size = (self.spread(values)[order] for values in (start, self.sizes))
        place = torch.arange(len(order), device=order.device)
        fellow = torch.empty_like(order)
        fellow[order] = order[start + (place - start + 1) % size]
        return fellow

    def shuffled(self, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Observations by group, at random within (N,), and where each group begins (G,)."""
        score = uniform((self.num_observations,), generator=generator, device=self.index.device)
        order = score.argsort()
        order = order[self.index[order].argsort(stable=True)]
        return order, self.sizes.cumsum(0) - self.sizes


def _largest(values: Tensor, index: Tensor, num_groups: int) -> Tensor:
    """The same by comparing every observation with every group, whose number is ``num_groups``.

    Where many threads of a GPU write to few groups they wait for one another: on an H100 the 256
    observations of 10 groups take a tenth of the time so.
    """
    member = index == torch.arange(num_groups, device=index.device)[:, None]
    member = member.view(*member.shape, *[1] * (values.ndim - 1))
    return torch.where(member, values, -torch.inf).amax(1)
