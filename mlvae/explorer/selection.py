"""The observations of a page: some members of some groups, of known and of unseen groups.

Shapes: N observations of a part of the data, M observations of the page, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.data import GroupedData, Splits
from mlvae.errors import InputError, shown

__all__ = ["Grouping", "Selection", "groupings_of", "selected"]


@dataclass
class Grouping:
    """A partition of the observations of a page.

    Attributes:
        name: name of the grouping; "group" if the data have one without a name.
        labels: label of each group, length G.
        unseen: whether each group is in no training observation, length G.
        sizes: number of observations of each group in its part of the data, length G.
        index: group of each observation of the page, length M.
    """

    name: str
    labels: list = field(default_factory=list)
    unseen: list[bool] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Selection:
    """Observations of a page.

    Attributes:
        parts: parts of the data, and the rows (n,) of each that the page has.
        groupings: the partitions of these M observations, by name.
    """

    parts: Sequence[tuple[GroupedData, Tensor]]
    groupings: Mapping[str, Grouping]


def groupings_of(data: GroupedData) -> dict[str, tuple[np.ndarray, list]]:
    """Group of each observation (N,), and the labels of the groups, of each grouping by name."""
    return {
        name: (record.groups.index.cpu().numpy(), list(record.names))
        for name, record in data.groupings.items()
    }


def selected(data: GroupedData | Splits, *, groups: int, members: int, seed: int = 0) -> Selection:
    """Choose the observations of a page.

    Of splits the page has test observations of groups that were trained on, or training
    observations if there are none, and observations of groups that were not.

    Args:
        data: all observations of one kind, or splits.
        groups: largest number of groups of the first grouping.
        members: number of members of each group, as far as it has them.
        seed: seed of the choice of members.

    Raises:
        InputError: if the data are of another type.
    """
    parts = _parts(data)
    known = _known_labels(data)
    share = _shares([part.groups.num_groups for part in parts], groups)
    rows = [_rows(part, number, members, seed) for part, number in zip(parts, share, strict=True)]
    pairs = list(zip(parts, rows, strict=True))
    return Selection(pairs, _joined(pairs, known))


def _parts(data: GroupedData | Splits) -> list[GroupedData]:
    """The parts of the data that a page draws from: known groups first."""
    if isinstance(data, GroupedData):
        return [data]
    if not isinstance(data, Splits):
        raise InputError(
            f"data must be Splits or GroupedData, as mlvae.data.digits(), not {shown(data)}"
        )
    trained = set(data.train.group_names)
    test = data.test
    if test is None:
        return [data.train, *([] if data.unseen is None else [data.unseen])]
    if trained & set(test.group_names):
        return [test, *([] if data.unseen is None else [data.unseen])]
    return [data.train, data.unseen if data.unseen is not None else test]


def _known_labels(data: GroupedData | Splits) -> dict[str, set] | None:
    """The labels of the training groups of each grouping; None: all groups are known."""
    if isinstance(data, GroupedData):
        return None
    return {name: set(labels) for name, (_, labels) in groupings_of(data.train).items()}


def _shares(numbers: Sequence[int], most: int) -> list[int]:
    """How many groups each part has in the page: equal shares, and what others leave."""
    found, left = [0] * len(numbers), most
    for place in sorted(range(len(numbers)), key=lambda place: numbers[place]):
        waiting = sum(1 for number in found if number == 0)
        found[place] = max(1, min(numbers[place], left // waiting))
        left -= found[place]
    return found


def _rows(data: GroupedData, groups: int, members: int, seed: int) -> Tensor:
    """Rows (n,) of ``members`` members of ``groups`` groups at even distances."""
    partitions = [index for index, _ in groupings_of(data).values()]
    total = data.groups.num_groups
    places = np.linspace(0, total - 1, min(groups, total)).round().astype(int)
    wanted = np.zeros(total, dtype=bool)
    wanted[places] = True
    counts = [np.zeros(int(index.max()) + 1, dtype=int) for index in partitions]
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).numpy()
    kept = []
    for row in order[wanted[partitions[0][order]]]:
        if any(
            count[index[row]] < members for count, index in zip(counts, partitions, strict=True)
        ):
            kept.append(row)
            for count, index in zip(counts, partitions, strict=True):
                count[index[row]] += 1
    first = partitions[0][kept]
    return torch.from_numpy(np.array(kept)[np.argsort(first, kind="stable")]).to(data.device)


def _joined(
    pairs: Sequence[tuple[GroupedData, Tensor]], known: dict[str, set] | None
) -> dict[str, Grouping]:
    """The groupings of all chosen observations; equal labels of two parts are one group."""
    found: dict[str, Grouping] = {}
    for data, rows in pairs:
        for name, (index, labels) in groupings_of(data).items():
            grouping = found.setdefault(name, Grouping(name))
            sizes = np.bincount(index, minlength=len(labels))
            chosen = index[rows.cpu().numpy()]
            places = {}
            for group in np.unique(chosen).tolist():  # in the order of the labels
                places[group] = _place(grouping, labels[group], known)
                grouping.sizes[places[group]] += int(sizes[group])
            grouping.index += [places[group] for group in chosen.tolist()]
    return found


def _place(grouping: Grouping, label: Any, known: dict[str, set] | None) -> int:
    """The number of the group with a label, which is appended if it is new."""
    if label is not None and label in grouping.labels:
        return grouping.labels.index(label)
    grouping.labels.append(label)
    grouping.unseen.append(known is not None and label not in known.get(grouping.name, set()))
    grouping.sizes.append(0)
    return len(grouping.labels) - 1
