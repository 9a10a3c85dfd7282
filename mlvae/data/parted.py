"""Observations in parts, of which each rank opens its own.

Shapes: N observations, P parts.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlvae.arguments import check_type
from mlvae.data.grouped import GroupedData
from mlvae.data.rows.joined import JoinedRows
from mlvae.data.rows.source import SourceRows
from mlvae.errors import InputError, check_integer, shown
from mlvae.groups import Groups
from mlvae.groups.labels import label_index

__all__ = ["Part", "PartedData", "joined"]


@dataclass(frozen=True, eq=False)
class Part:
    """One part: its counts, and the function that opens it.

    Attributes:
        open: returns the observations, the same ones at every call.
        sizes: distinct numbers of members of the groups, ascending, int64.
        counts: number of groups of each of these sizes, int64.
    """

    open: Callable[[], GroupedData]
    sizes: Tensor
    counts: Tensor

    @classmethod
    def of(cls, open_it: Callable[[], GroupedData]) -> Part:
        """The part that a function opens. It is opened once, to count its groups.

        Raises:
            InputError: if ``open_it`` is no function.

        Example:
            >>> part = Part.of(lambda: GroupedData(torch.zeros(3, 2), ["ann", "ann", "bob"]))
            >>> part.sizes.tolist(), part.counts.tolist(), len(part)
            ([1, 2], [1, 1], 3)
        """
        if not callable(open_it):
            raise InputError(f"a part must be a function that returns data, not {shown(open_it)}")
        return cls(open_it, *open_it().groups.sizes.cpu().unique(return_counts=True))

    def __len__(self) -> int:
        """Number of observations."""
        return int((self.sizes * self.counts).sum())

    def opened(self) -> GroupedData:
        """The observations.

        Raises:
            InputError: if they are not as many as the part has.
        """
        data = self.open()
        check_type("a part", data, GroupedData, "GroupedData")
        if len(data) != len(self):
            raise InputError(
                f"a part must have the {len(self):,} observations with which it was counted, not "
                f"{len(data):,}; prepare it again"
            )
        return data


class PartedData(GroupedData):
    """Grouped data in parts. Training opens only the parts of a rank, one deal after the other.

    It is :class:`~mlvae.data.GroupedData`: everything else than :func:`mlvae.train`, such as an
    evaluation, joins all parts at its first use, in one process. See
    :mod:`mlvae.data.dealing` for the batches of a training.

    Args:
        parts: P parts. A group lies whole in one part, or its pieces are groups of their own in
            training.
        hands: number of shares into which the parts are dealt for an epoch, at most P. It fixes
            the batches, for any number of ranks up to it. None: the number of ranks that start
            the training.

    Raises:
        InputError: if there is no part, or there are more hands than parts.

    Example:
        >>> parts = [Part.of(lambda: GroupedData(torch.zeros(4, 2), [0, 0, 1, 1])) for _ in "ab"]
        >>> PartedData(parts)
        PartedData(8 observations in 2 parts)
    """

    def __init__(self, parts: Sequence[Part], *, hands: int | None = None) -> None:
        if not isinstance(parts, list | tuple) or not parts:
            raise InputError(f"parts must be a list of at least one Part, not {shown(parts)}")
        for part in parts:
            check_type("a part", part, Part, "Part.of(function)")
        if hands is not None:
            check_integer("hands", hands, minimum=1)
        if hands is not None and hands > len(parts):
            raise InputError(
                f"hands={hands} must not exceed the {len(parts)} parts; use fewer hands, or "
                "prepare more parts"
            )
        self.parts, self.hands = list(parts), hands
        self.known: GroupedData | None = None
        self.opened: GroupedData | None = None

    def __getattr__(self, name: str) -> Any:
        """An attribute of all observations, whose parts are joined at the first use."""
        if name.startswith("__") or name in ("parts", "hands", "known", "opened"):
            raise AttributeError(name)
        return getattr(self.whole(), name)

    def __repr__(self) -> str:
        return f"PartedData({len(self)} observations in {len(self.parts)} parts)"

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one observation, for which the first part is opened."""
        return self.first.shape

    @property
    def first(self) -> GroupedData:
        """The first part."""
        if self.opened is None:
            self.opened = self.parts[0].opened()
        return self.opened

    def whole(self) -> GroupedData:
        """All parts joined, their groups numbered together. This needs memory for all groups."""
        if self.known is None:
            self.known = joined([part.opened() for part in self.parts], same_labels=True)
        return self.known

    def fingerprint(self) -> dict[str, object]:
        """The counts of the parts, without opening them."""
        checksum = 0
        for part in self.parts:
            for values in (part.sizes, part.counts):
                checksum = zlib.crc32(values.numpy().tobytes(), checksum)
        groups = int(sum(part.counts.sum() for part in self.parts))
        return {
            "parts": len(self.parts),
            "observations": len(self),
            "groups": groups,
            "checksum": checksum,
        }

    def _with(self, **changed: Any) -> GroupedData:
        """All observations joined, with other values of some attributes."""
        data = copy.copy(self.whole())
        data.__dict__ |= changed
        return data


def joined(data: Sequence[GroupedData], *, same_labels: bool) -> GroupedData:
    """Data one after the other.

    Args:
        data: observations of one shape, with the same factors and given values.
        same_labels: whether groups with equal labels become one group. Otherwise every group
            stays a group of its own.

    Raises:
        InputError: if data have several groupings, or differ in shape, factors or given values.

    Example:
        >>> two = [GroupedData(torch.zeros(2, 3), ["ann", name]) for name in ("bob", "eve")]
        >>> joined(two, same_labels=True).group_names
        ['ann', 'bob', 'eve']
        >>> joined(two, same_labels=False).groups.index
        tensor([0, 1, 2, 3])
    """
    first = data[0]
    if first.further_groupings:
        raise InputError("data in parts must have one grouping, not several; name one of them")
    if len(data) == 1:
        return first
    names = [name for part in data for name in part.group_names]
    sizes = torch.cat([part.groups.sizes for part in data])
    starts = torch.tensor([0, *(len(part.group_names) for part in data)]).cumsum(0).tolist()
    index = torch.cat(
        [part.groups.index + start for part, start in zip(data, starts, strict=False)]
    )
    if same_labels:
        number, names = label_index(names)
        number = number.to(index.device)
        sizes = sizes.new_zeros(len(names)).index_add_(0, number, sizes)
        index = number[index]
    return first._with(
        x=_joined_rows([part.x for part in data]),
        groups=Groups.unchecked(index, sizes),
        group_names=names,
        factors=_joined_values([part.factors for part in data], "factors"),
        given=_joined_values([part.given for part in data], "given"),
        names=_joined_names(data),
    )


def _joined_rows(x: list[Any]) -> Tensor | SourceRows:
    if all(isinstance(rows, Tensor) for rows in x):
        if len({(rows.shape[1:], rows.dtype) for rows in x}) > 1:
            raise InputError("parts must have observations of one shape and type, not of several")
        return torch.cat(x)
    if any(isinstance(rows, Tensor) for rows in x):
        raise InputError("parts must all be in memory or all be sources, not some of each")
    return SourceRows(JoinedRows(x))


def _joined_values(values: list[dict[str, Tensor]], what: str) -> dict[str, Tensor]:
    if any(part.keys() != values[0].keys() for part in values):
        raise InputError(f"parts must have the same {what}, not different ones")
    return {name: torch.cat([part[name] for part in values]) for name in values[0]}


def _joined_names(data: Sequence[GroupedData]) -> Any:
    import numpy as np

    names = [part.names for part in data if part.names is not None]
    return np.concatenate(names) if len(names) == len(data) else None
