"""One grouping of several: a partition of all observations with the labels of its groups.

Shapes: N observations, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, shown
from mlvae.groups.groups import Groups
from mlvae.groups.labels import is_missing, label_index

__all__ = ["Grouping", "check_grouping_name", "grouping_of", "groupings_of", "product_of"]

#: The name of a grouping without a name.
UNNAMED = "group"

#: Names that a grouping cannot have, because codes and methods have them.
RESERVED = ("style", "content", "size")


@dataclass(frozen=True, eq=False)
class Grouping:
    """A partition of the observations of a data set.

    Attributes:
        groups: the partition into G groups.
        names: label of each group, length G. None is the name of a group of one observation
            without a label.

    Example:
        >>> grouping_of("speaker", ["theo", None, "ann", None, "theo"]).names
        ['ann', 'theo', None, None]
    """

    groups: Groups
    names: list

    @property
    def labels(self) -> np.ndarray:
        """Label of the group of each observation, length N."""
        return np.array(self.names)[self.groups.index.cpu().numpy()]

    @property
    def labelled(self) -> Tensor:
        """Whether each observation has a label in this grouping: a mask (N,)."""
        known = [name is not None for name in self.names]
        return torch.tensor(known, device=self.groups.index.device)[self.groups.index]

    def to(self, device: torch.device | str) -> Grouping:
        """The same grouping on another device."""
        return Grouping(self.groups.to(device), self.names)

    def subset(self, rows: Tensor) -> Grouping:
        """The grouping of the observations at ``rows`` (n,), without empty groups."""
        kept, index = self.groups.index[rows].unique(return_inverse=True)
        return Grouping(Groups(index), [self.names[group] for group in kept.tolist()])


def groupings_of(groups: Any, length: int) -> dict[str, Grouping]:
    """The groupings of N observations, from their labels by the name of the grouping.

    Args:
        groups: labels of length N by name; or a table with a column for each grouping.
        length: N.

    Raises:
        InputError: if there is no grouping, a name is no name of Python, or labels are wrong.
    """
    if not isinstance(groups, Mapping) and hasattr(groups, "columns"):
        groups = {name: groups[name] for name in groups.columns}
    if not isinstance(groups, Mapping) or not groups:
        raise InputError(
            "groups must be labels by the name of a grouping, as groups={'speaker': [...], "
            f"'digit': [...]}}, not {shown(groups)}; pass the labels of one grouping as group"
        )
    for name in groups:
        check_grouping_name(name)
    return {name: grouping_of(name, labels, length) for name, labels in groups.items()}


def check_grouping_name(name: object) -> None:
    """Raise :class:`InputError` unless ``name`` can be a part of the name of an argument."""
    if not isinstance(name, str) or not name.isidentifier() or name in RESERVED:
        raise InputError(
            f"the name of a grouping must be letters, digits and _, and none of "
            f"{', '.join(RESERVED)}, not {shown(name)}"
        )


def grouping_of(name: str, labels: Any, length: int | None = None) -> Grouping:
    """The grouping of N labels. Each observation without a label is a group of its own.

    The groups with labels are numbered in sorted order of the labels. Those of observations
    without a label (None, NaN, NaT, pandas.NA) follow in the order of the observations.

    Args:
        name: name of the grouping, for messages.
        labels: label of each observation's group, length N.
        length: N; None: any.

    Raises:
        InputError: if the labels are not as :func:`mlvae.groups.label_index` takes them.
    """
    labels = labels.index if isinstance(labels, Groups) else labels
    absent = _missing(labels)
    if length is not None and absent.shape != (length,):
        raise InputError(
            f"groups {name} must have one label for each of the {length} observations, not shape "
            f"{absent.shape}"
        )
    if not absent.any():
        return Grouping(*_numbered(name, labels))
    if absent.ndim != 1:
        raise InputError(f"groups {name} must have the shape (N,), not {absent.shape}")
    index, names = torch.empty(len(absent), dtype=torch.int64), []
    if not absent.all():
        known, names = _numbered(name, _at(labels, ~absent))
        index[torch.from_numpy(~absent)] = known.index.cpu()
    alone = torch.arange(int(absent.sum())) + len(names)
    index[torch.from_numpy(absent)] = alone
    return Grouping(Groups(index), [*names, *[None] * len(alone)])


def product_of(groupings: Sequence[Grouping]) -> Grouping:
    """The product of groupings: its groups are the combinations of labels that occur.

    Example:
        >>> speaker, digit = grouping_of("speaker", [0, 0, 1]), grouping_of("digit", [7, 8, 7])
        >>> product_of([speaker, digit]).names
        [(0, 7), (0, 8), (1, 7)]
    """
    index = torch.stack([each.groups.index for each in groupings])
    pairs, index = index.unique(dim=1, return_inverse=True)
    labels = [
        tuple(each.names[number] for each, number in zip(groupings, pair, strict=True))
        for pair in pairs.T.tolist()
    ]
    return Grouping(Groups(index), labels)


def _numbered(name: str, labels: Any) -> tuple[Groups, list]:
    try:
        index, names = label_index(labels)
    except InputError as error:
        raise InputError(f"groups {name}: {error}") from error
    return Groups(index), names


def _missing(labels: Any) -> np.ndarray:
    """Whether each label is missing, in the shape of the labels."""
    if isinstance(labels, Tensor):
        return labels.isnan().cpu().numpy()
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "biuUS":
        return np.ma.getmaskarray(labels)
    if isinstance(labels, str | bytes) or not hasattr(labels, "__len__"):
        raise InputError(f"labels of groups must be a list of length N, not {shown(labels)}")
    hidden = np.ma.getmaskarray(labels) if isinstance(labels, np.ma.MaskedArray) else False
    objects = np.asarray(labels, dtype=object)
    flags = np.fromiter(map(is_missing, objects.flat), bool, objects.size)
    return flags.reshape(objects.shape) | hidden


def _at(labels: Any, known: np.ndarray) -> Any:
    """The labels where ``known`` (N,) is true."""
    if isinstance(labels, Tensor):
        return labels[torch.from_numpy(known).to(labels.device)]
    if isinstance(labels, np.ndarray):
        return np.asarray(labels)[known]
    if isinstance(labels, Sequence):
        return [label for label, there in zip(labels, known, strict=True) if there]
    return np.asarray(labels, dtype=object)[known]
