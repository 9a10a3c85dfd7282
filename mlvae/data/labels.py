"""The labels of groups as numbers: in sorted order, or by the names that a model knows.

Shapes: N observations, K groupings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, check_choice, shown
from mlvae.groups import label_index

if TYPE_CHECKING:
    from mlvae.data.grouped import GroupedData

__all__ = ["joined_labels", "numbered", "positions"]


def numbered(group: object, length: int) -> tuple[Tensor, list]:
    """The number of each of N labels, and the labels in order of their numbers."""
    if group is None:
        raise InputError(
            "group must be the label of each observation's group, or groups the labels of several "
            "groupings by name, not None"
        )
    index, names = label_index(group)
    if len(index) != length:
        raise InputError(
            f"group must have one label for each of the {length} observations, not {len(index)}"
        )
    return index, names


def positions(data: GroupedData, names: Any) -> Tensor:
    """The position of each observation's label in ``names``, int64 (N,).

    With labels by the name of a grouping, a column for each, (N, K).
    """
    if isinstance(names, Mapping):
        if not names:
            raise InputError("names must have the labels of a grouping, not be empty")
        columns = []
        for grouping, labels in names.items():
            check_choice("a grouping of names", grouping, list(data.groupings))
            columns.append(positions(data.regrouped(grouping), labels))
        return torch.stack(columns, 1)
    if isinstance(names, np.ndarray | Tensor):
        names = names.tolist()
    listed = isinstance(names, Sequence) and not isinstance(names, str | bytes)
    if not listed or not all(isinstance(name, str | Number) for name in names):
        raise InputError(f"names must be a list of group labels, not {shown(names)}")
    number = {name: i for i, name in enumerate(names)}
    if unknown := [name for name in data.group_names if name not in number]:
        raise InputError(
            f"the model knows the {len(number)} groups of its training data, but these data "
            f"have the group {shown(unknown[0])}; leave out observations of other groups, or "
            "use MLVAE"
        )
    table = torch.tensor([number[name] for name in data.group_names], device=data.device)
    return table[data.groups.index]


def joined_labels(option: str, columns: Sequence[np.ndarray]) -> np.ndarray:
    """The words of several columns joined by ``+``, (N,).

    Args:
        option: the option that joins them, for messages.
        columns: words (N,) of each column.

    Raises:
        InputError: if different words are joined to one label.

    Example:
        >>> joined_labels("group", [np.array(["Greek", "Latin"]), np.array(["07", "01"])]).tolist()
        ['Greek+07', 'Latin+01']
    """
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    owners: dict[str, tuple] = {}
    for words in rows:
        if (other := owners.setdefault("+".join(words), words)) != words:
            raise InputError(
                f"{option} must join different words to different labels, but {shown(other)} and "
                f"{shown(words)} become {shown('+'.join(words))}; rename one of them"
            )
    return np.array(["+".join(words) for words in rows], dtype=str)
