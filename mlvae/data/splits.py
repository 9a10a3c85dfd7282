"""Splits of observations: training, validation, test, and groups that training never sees."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from mlvae.arguments import check_type
from mlvae.data.grouped import GroupedData
from mlvae.errors import InputError, check_integer, shown

__all__ = ["Splits", "held_groups", "held_rows", "hold_out", "split"]


@dataclass(frozen=True, eq=False)
class Splits:
    """The observations of a dataset by purpose; None for an empty part.

    Every part numbers its own groups, because a small part may lack some. Equal ``group_names``
    identify the same group in two parts.

    Attributes:
        train: observations for training.
        validation: observations for model selection, of groups seen in training; or, where whole
            groups are split, of groups of their own.
        test: observations for the reported results; other observations of groups seen in training.
        unseen: all observations of the groups that are in no other part: the test on groups that
            the model has never seen.
    """

    train: GroupedData
    validation: GroupedData | None = None
    test: GroupedData | None = None
    unseen: GroupedData | None = None

    def __post_init__(self) -> None:
        for part in fields(self):
            value = vars(self)[part.name]
            if not isinstance(value, GroupedData) and (value is not None or part.name == "train"):
                raise InputError(f"the split {part.name} must be GroupedData, not {shown(value)}")

    def __iter__(self) -> Iterator[tuple[str, GroupedData]]:
        """Name and observations of every part that is not None."""
        for field in fields(self):
            if (data := vars(self)[field.name]) is not None:
                yield field.name, data

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {data}" for name, data in self)


def split(
    data: GroupedData,
    *,
    validation: int = 0,
    test: int = 0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """Split observations by a seeded permutation, and whole groups by name.

    Args:
        data: all observations.
        validation: number of observations drawn for validation.
        test: number of observations drawn for the test.
        unseen_groups: labels of groups to keep out of the other parts; they are taken out first.
        seed: seed of the permutation.

    Raises:
        InputError: if no observation is left to train on, or a label is unknown.
    """
    check_type("data", data, GroupedData, "GroupedData")
    check_integer("validation", validation, minimum=0)
    check_integer("test", test, minimum=0)
    check_integer("seed", seed, minimum=0)
    data, unseen = hold_out(data, unseen_groups)
    if validation + test >= len(data):
        raise InputError(
            f"validation={validation} and test={test} must leave at least one of the "
            f"{len(data)} observations to train on"
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(int(seed)))
    return Splits(
        train=data.subset(order[validation + test :]),
        validation=data.subset(order[test : test + validation]) if validation else None,
        test=data.subset(order[:test]) if test else None,
        unseen=unseen,
    )


def hold_out(
    data: GroupedData, unseen_groups: Sequence[object]
) -> tuple[GroupedData, GroupedData | None]:
    """``data`` without the groups of these labels, and these groups (None if there are none)."""
    seen, unseen = held_rows(data, unseen_groups)
    if len(unseen) == 0:
        return data, None
    if len(seen) == 0:
        raise InputError("unseen_groups must leave at least one group to train on, not none")
    return data.subset(seen), data.subset(unseen)


def held_rows(data: GroupedData, unseen_groups: Sequence[object]) -> tuple[Tensor, Tensor]:
    """Indices of the observations outside, and inside, the groups with these labels."""
    held = held_groups(data, unseen_groups, "unseen_groups")[data.groups.index.cpu()]
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]


def held_groups(data: GroupedData, labels: Sequence[object], option: str) -> Tensor:
    """A mask (G,) of the groups with these labels; ``option`` is named in errors."""
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise InputError(f"{option} must be a list of group labels, not {shown(labels)}")
    chosen = torch.zeros(len(data.group_names), dtype=torch.bool)
    texts: dict[str, list[int]] = {}
    for index, name in enumerate(data.group_names):
        for text in {_text(name), str(name)}:
            texts.setdefault(text, []).append(index)
    for label in labels:
        found = texts.get(str(label)) or texts.get(_text(label)) or []
        if len(found) > 1:  # the same text, as of 7 and "7"
            found = [i for i in found if _same(data.group_names[i], label)] or found
        if not found:
            names = [_text(name) for name in data.group_names[:10]]
            examples = ", ".join(names) + (", ..." if len(data.group_names) > 10 else "")
            raise InputError(
                f"{option} must be labels of groups ({examples}), not {shown(_text(label))}"
            )
        if len(found) > 1:
            several = [data.group_names[i] for i in found]
            raise InputError(
                f"{option} must name one group each, but {shown(label)} may be any of "
                f"{shown(several)}"
            )
        chosen[found] = True
    return chosen


def _same(name: object, label: object) -> bool:
    """Whether a group's name is a label exactly: words as words, numbers as numbers."""
    return isinstance(name, str) == isinstance(label, str) and name == label


def _text(label: object) -> str:
    """A label as on a command line: 7 for 7 and 7.0, words in Unicode normal form C."""
    if isinstance(label, float | np.floating) and label.is_integer():
        return str(int(label))
    return unicodedata.normalize("NFC", str(label))
