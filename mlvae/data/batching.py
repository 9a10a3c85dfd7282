"""How the batches of an epoch are drawn: random observations, or groups of a given size.

A few tensor operations on the device of the data plan a whole epoch, without worker processes and
without Python loops over groups or observations. Every epoch visits every observation once.

Shapes: N observations, G groups, B batches in an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from mlvae.arguments import check_generator, check_type
from mlvae.data.grouped import GroupedData, origin_of
from mlvae.data.plan import Plan, PlanGroups
from mlvae.data.strata import by_stratum
from mlvae.errors import (
    InputError,
    check_choice,
    check_flag,
    check_integer,
    check_text,
    check_texts,
)
from mlvae.groups import Grouping
from mlvae.groups.grouping import product_of

__all__ = ["Grouped", "Shuffled"]


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
        first, *further = (
            _by_label(grouping, order, bounds, exact=number == 0)
            for number, grouping in enumerate(data.groupings.values())
        )
        return _plan(data, order, bounds, first, further)


@dataclass(frozen=True)
class Grouped:
    """Batches of a fixed number of groups with a fixed number of members.

    Every group of the data is cut at random into groups of ``members`` observations and a last one
    with the rest. These are shuffled, and a batch has ``groups`` of them. With few labels, a batch
    may have several groups of one label; each is accumulated by itself.

    Data with several groupings are cut by one of them, or by the product of some: ``members``
    observations of one speaker and one digit, for example. In the groupings that are not cut, the
    observations of one label in a batch are a group, as in :class:`Shuffled`.

    Args:
        groups: groups in a batch; the last batch of an epoch has the rest.
        members: observations in a group.
        small_groups: action for a label with fewer than ``members`` observations: "error", or
            "keep" it as a group of its own size.
        span_ranks: as in :class:`Shuffled`.
        by: name of the grouping that is cut, or names of several, whose product is cut; None is
            the first grouping.
        within: name of a grouping. All observations of a batch are then of one group of it: some
            characters by some writers of one alphabet, for example. Each group of it has its own
            batches, the last of which has the rest. None: a batch has groups of any.

    Example:
        >>> labels = {"speaker": [0, 0, 1, 1] * 6, "digit": [7, 8] * 12}
        >>> data = GroupedData(torch.zeros(24, 3), groups=labels)
        >>> batching = Grouped(groups=2, members=3, by=("speaker", "digit"))
        >>> [len(batch) for batch in batching.plan(data, torch.Generator().manual_seed(0))]
        [6, 6, 6, 6]
        >>> within = Grouped(groups=2, members=3, within="speaker", by="digit")
        >>> batch = within.plan(data, torch.Generator().manual_seed(0))[0]
        >>> batch.groupings["speaker"].num_groups
        1
    """

    groups: int = 16
    members: int = 16
    small_groups: str = "error"
    span_ranks: bool = False
    by: str | tuple[str, ...] | None = None
    within: str | None = None

    def __post_init__(self) -> None:
        check_integer("batching.groups", self.groups, minimum=1)
        check_integer("batching.members", self.members, minimum=1)
        check_choice("batching.small_groups", self.small_groups, ("error", "keep"))
        check_flag("batching.span_ranks", self.span_ranks)
        if isinstance(self.by, list | tuple) and self.by:
            check_texts("batching.by", self.by)
            object.__setattr__(self, "by", tuple(self.by))
        elif self.by is not None:
            check_text("batching.by", self.by)
        if self.within is not None:
            check_text("batching.within", self.within)

    def for_evaluation(self) -> Grouped:
        """The batching for evaluation data, whose groups may be smaller."""
        return replace(self, small_groups="keep")

    def num_batches(self, data: GroupedData) -> int:
        """B, the same in every epoch."""
        _check_data(data)
        cut = self._cut(data)
        cuts = self._cuts(cut)
        if self.within is None:
            return -(-int(cuts.sum()) // self.groups)
        stratum = self._strata(data, cut).repeat_interleave(cuts)
        return int((-(-torch.bincount(stratum) // self.groups)).sum())

    def _chosen(self, data: GroupedData) -> list[Grouping]:
        """The groupings whose product is cut."""
        names = (self.by,) if isinstance(self.by, str) else self.by or (data.grouping,)
        for name in names:
            check_choice("batching.by", name, data.groupings)
        return [data.groupings[name] for name in names]

    def _cut(self, data: GroupedData) -> Grouping:
        """The grouping that is cut. A product has no labels of its own: pairs of labels."""
        chosen = self._chosen(data)
        if self.within is not None:
            check_choice("batching.within", self.within, data.groupings)
            upper = data.groupings[self.within]
            if None in upper.names:
                raise InputError(
                    "batching.within must be a grouping with a label for each observation, but "
                    f"{self.within} has none for {upper.names.count(None)} of them"
                )
            chosen = [*(each for each in chosen if each.groups is not upper.groups), upper]
        return chosen[0] if len(chosen) == 1 else product_of(chosen)

    def _strata(self, data: GroupedData, cut: Grouping) -> Tensor:
        """The group of ``within`` of each label of the grouping that is cut, (labels,)."""
        assert self.within is not None
        stratum = data.groupings[self.within].groups.index
        found = stratum.new_zeros(cut.groups.num_groups)
        return found.index_copy(0, cut.groups.index, stratum)

    def _cuts(self, grouping: Grouping) -> Tensor:
        """Number of groups that each label's observations are cut into, (labels,)."""
        sizes = grouping.groups.sizes
        if self.small_groups == "error" and int(sizes.min()) < self.members:
            smallest = int(sizes.argmin())
            raise InputError(
                f"batching.members={self.members} must not exceed the size of a group, but group "
                f"{grouping.names[smallest]!r} has {int(sizes[smallest])}; lower it, or set "
                "batching.small_groups=keep"
            )
        return (sizes + self.members - 1) // self.members

    @property
    def pieces(self) -> int:
        """Pieces of a batch, which are groups."""
        return self.groups

    def num_pieces(self, sizes: Tensor, counts: Tensor) -> int:
        """Pieces of an epoch of data in parts: ``counts[i]`` groups have ``sizes[i]`` members.

        Raises:
            InputError: if a group is smaller than ``members``, and that is an error, or with
                ``within``: data in parts have one grouping.
        """
        if self.within is not None:
            raise InputError(
                f"batching.within={self.within} needs data with that grouping, but data in parts "
                "have one grouping; leave out dataset.parts, or batching.within"
            )
        if self.small_groups == "error" and (smallest := int(sizes.min())) < self.members:
            raise InputError(
                f"batching.members={self.members} must not exceed the size of a group, but one "
                f"has {smallest}; lower it, or set batching.small_groups=keep"
            )
        return int(((sizes + self.members - 1) // self.members * counts).sum())

    def plan(self, data: GroupedData, generator: torch.Generator | None) -> Plan:
        """Batches of one epoch; ``generator`` is on the device of the data."""
        _check_data(data)
        return self.plan_between(None, data, generator)

    def plan_between(
        self, bounds: list[int] | None, data: GroupedData, generator: torch.Generator | None
    ) -> Plan:
        """Batches of one epoch; batch b has the groups between two of ``bounds`` (B + 1).

        None: each batch has ``groups`` groups.
        """
        check_generator(generator)
        device, grouping = data.device, self._cut(data)
        cuts, sizes, index = self._cuts(grouping), grouping.groups.sizes, grouping.groups.index
        # Observations by label, in random order within a label; then the cut each one is in.
        order = torch.randperm(len(data), generator=generator, device=device)
        order = order[index[order].argsort(stable=True)]
        label = index[order]
        rank = torch.arange(len(data), device=device) - (sizes.cumsum(0) - sizes)[label]
        cut = (cuts.cumsum(0) - cuts)[label] + rank // self.members
        # The cuts in random order; then the observations in the order of their cuts.
        count = int(cuts.sum())
        places = torch.randperm(count, generator=generator, device=device)
        if self.within is not None:
            stratum = self._strata(data, grouping).repeat_interleave(cuts)
            places, bounds = by_stratum(places, stratum, self.groups, generator)
        bounds = bounds or [*range(0, count, self.groups), count]
        place = places[cut]
        by_place = place.argsort(stable=True)
        order, place = order[by_place], place[by_place]
        sizes = torch.bincount(place)
        ends = torch.cat((sizes.new_zeros(1), sizes.cumsum(0)))
        rows = ends[bounds].tolist()
        starts = torch.tensor(bounds, device=device)[_batch_of(bounds, device)]
        firsts = order[ends[:-1]]
        own = [each.groups for each in self._chosen(data)]
        first, *further = (
            PlanGroups(
                place - starts[place], sizes, origin_of(each, each.groups.index[firsts]), bounds
            )
            if len(own) == 1 and each.groups is own[0]
            else _by_label(each, order, rows, exact=number == 0)
            for number, each in enumerate(data.groupings.values())
        )
        return _plan(data, order, rows, first, further)


def _plan(
    data: GroupedData,
    order: Tensor,
    rows: list[int],
    first: PlanGroups,
    further: Sequence[PlanGroups],
) -> Plan:
    """The plan of batches with these groups."""
    order = order.to(data.x.device)
    return Plan(
        data, order, first.group, first.sizes, first.origin, rows, first.first, tuple(further)
    )


def _by_label(grouping: Grouping, order: Tensor, rows: list[int], *, exact: bool) -> PlanGroups:
    """The groups of batches in which the observations of one label are a group.

    Args:
        grouping: the labels of the data.
        order: the observations of all batches, (N,).
        rows: start of each batch in ``order``, B + 1 numbers.
        exact: whether a batch has only groups with members. Otherwise a batch of n observations
            has as many groups as there are labels, at most n, so that batches of one length have
            one form. Groups without members are the last ones.
    """
    num_labels, num_batches = grouping.groups.num_groups, len(rows) - 1
    device = order.device
    batch = _batch_of(rows, device)
    present, group, sizes = (batch * num_labels + grouping.groups.index[order]).unique(
        return_inverse=True, return_counts=True
    )
    start = _starts(present // num_labels, num_batches)
    label, group = present % num_labels, group - start[batch]
    if exact:
        return PlanGroups(group, sizes, origin_of(grouping, label), start.tolist())
    widths = [min(num_labels, end - begin) for begin, end in pairwise(rows)]
    first = [0, *accumulate(widths)]
    own = present // num_labels
    place = torch.tensor(first, device=device)[own] - start[own]
    place = place + torch.arange(len(present), device=device)
    padded = sizes.new_zeros(first[-1]).index_copy(0, place, sizes)
    label = label.new_zeros(first[-1]).index_copy(0, place, label)
    return PlanGroups(group, padded, origin_of(grouping, label), first)


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
