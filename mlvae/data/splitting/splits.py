"""Splits of observations: training, validation, test, and groups that training never sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from mlvae.arguments import check_type
from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.group_splits import (
    Held,
    Rows,
    by_groups,
    by_members,
    by_words,
    numbers_of_words,
)
from mlvae.data.splitting.held_groups import held_groups
from mlvae.data.splitting.shares import check_share, count_of
from mlvae.errors import InputError, check_choice, check_integer, check_number, shown
from mlvae.groups import Groups

__all__ = ["SPLIT_BY", "Splits", "held_rows", "hold_out", "split", "split_by"]

#: What a split divides.
SPLIT_BY = ("observations", "members", "groups")


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
            Where single observations are split (``by="observations"``), a small group may be in
            one part alone.
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
    by: object = "observations",
    validation: Held = 0,
    test: Held = 0,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """Split data into training, validation, test, and groups that training never sees.

    Args:
        data: all observations.
        by: what is divided.

            - "observations": observations, by a seeded permutation of all.
            - "members": observations of every group; each group keeps one to train on.
            - "groups": whole groups. Those of the test are ``Splits.unseen``.
            - a list or a column of words, train, validation or test (or 0, 1, 2), one for each
              observation. Test observations whose group is not in training are
              ``Splits.unseen``.
        validation: size of the validation part: an integer counts observations (with "members",
            observations of each group; with "groups", groups), and a float is a fraction of them.
            With "groups" also a list of labels, or a text file with one label a line.
        test: size of the test, likewise.
        within: with "groups", fraction of the observations of each training group that
            ``Splits.test`` has.
        unseen_groups: labels of groups to keep out of the other parts; they are taken out first.
            With "groups", ``test`` takes them.
        seed: seed of all draws.

    Raises:
        InputError: if no observation is left to train on, a label is unknown, or a value is of
            another kind.

    Example:
        >>> data = GroupedData(np.zeros((60, 5)), [group for group in range(20) for _ in range(3)])
        >>> split(data, by="groups", validation=2, test=0.25)
        train: GroupedData(39 observations of shape (5,) in 13 groups)
        validation: GroupedData(6 observations of shape (5,) in 2 groups)
        unseen: GroupedData(15 observations of shape (5,) in 5 groups)
    """
    check_type("data", data, GroupedData, "GroupedData")
    if not isinstance(by, str) and (validation, test) != (0, 0):
        raise InputError("validation and test must be 0 where `by` has a word of each observation")
    return split_by(
        data,
        by,
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
        prefix="",
    )


def split_by(
    data: GroupedData,
    by: object,
    *,
    validation: Held = 0,
    test: Held = 0,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
    words: str = "by",
    prefix: str = "dataset.",
) -> Splits:
    """:func:`split` for the function of a dataset: messages name ``dataset.split`` and so on.

    A dataset with the options ``split``, ``validation``, ``test``, ``within``, ``unseen_groups``
    and ``seed`` passes them on::

        return split_by(data, split, validation=validation, test=test, within=within,
                        unseen_groups=unseen_groups, seed=seed)

    If its file has a column of words, it passes the column instead::

        return split_by(data, column, unseen_groups=unseen_groups, words="the column split")

    Args:
        data: all observations.
        by: as in :func:`split`.
        validation: as in :func:`split`.
        test: as in :func:`split`.
        within: as in :func:`split`.
        unseen_groups: as in :func:`split`.
        seed: as in :func:`split`.
        words: what a ``by`` of words is, first words of a message.
        prefix: before the names of the options in messages; "" names arguments of :func:`split`.
    """
    option = f"{prefix}split" if prefix else "by"
    check_integer(f"{prefix}seed", seed, minimum=0)
    check_number(f"{prefix}within", within, minimum=0, maximum=1)
    if isinstance(by, str):
        check_choice(option, by, SPLIT_BY)
        if by == "groups":
            _check_empty(f"{prefix}unseen_groups", unseen_groups, f"{prefix}test")
            return _of_rows(
                data,
                by_groups(
                    data, validation=validation, test=test, within=within, seed=seed, prefix=prefix
                ),
            )
    if within != 0:
        raise InputError(f"{prefix}within={shown(within)} needs {option}=groups, not {shown(by)}")
    seen, held = held_rows(data, unseen_groups, f"{prefix}unseen_groups")
    groups = Groups(data.groups.index.cpu()[seen].unique(return_inverse=True)[1])
    sizes = {"validation": validation, "test": test, "seed": seed, "prefix": prefix}
    if not isinstance(by, str):
        rows = by_words(groups, numbers_of_words(by, len(data), words)[seen], words)
    elif by == "members":
        rows = by_members(groups, **sizes)
    else:
        rows = _by_observations(len(seen), **sizes)
    rows = {name: seen[part] for name, part in rows.items()}
    rows["unseen"] = torch.cat((rows.get("unseen", held[:0]), held)).sort().values
    return _of_rows(data, rows)


def _by_observations(
    length: int, *, validation: float, test: float, seed: int, prefix: str
) -> Rows:
    """Rows of ``length`` observations in the order of a seeded permutation."""
    check_share(f"{prefix}validation", validation, "observations")
    check_share(f"{prefix}test", test, "observations")
    validated, tested = count_of(validation, length), count_of(test, length)
    if validated + tested >= length:
        raise InputError(
            f"{prefix}validation={validation} and {prefix}test={test} must leave at least one of "
            f"the {length} observations to train on"
        )
    order = torch.randperm(length, generator=torch.Generator().manual_seed(int(seed)))
    return {
        "train": order[validated + tested :],
        "validation": order[tested : tested + validated],
        "test": order[:tested],
    }


def _of_rows(data: GroupedData, rows: Rows) -> Splits:
    """The splits of these rows. A part that has all rows in order is the data themselves."""
    parts = {
        name: data
        if len(part) == len(data) and bool((part.diff() == 1).all())
        else data.subset(part)
        for name, part in rows.items()
        if len(part)
    }
    return Splits(**parts)


def _check_empty(option: str, labels: object, other: str) -> None:
    """Raise :class:`InputError` unless ``labels`` is an empty list; ``other`` takes labels."""
    if not isinstance(labels, Sequence | np.ndarray) or len(labels):
        raise InputError(
            f"{option} must be empty where groups are split: give the labels as {other}, not "
            f"{shown(labels)}"
        )


def hold_out(
    data: GroupedData, unseen_groups: Sequence[object]
) -> tuple[GroupedData, GroupedData | None]:
    """``data`` without the groups of these labels, and these groups (None if there are none)."""
    seen, unseen = held_rows(data, unseen_groups)
    if len(unseen) == 0:
        return data, None
    return data.subset(seen), data.subset(unseen)


def held_rows(
    data: GroupedData, unseen_groups: Sequence[object], option: str = "unseen_groups"
) -> tuple[Tensor, Tensor]:
    """Indices of the observations outside, and inside, the groups with these labels.

    Raises:
        InputError: if a label is unknown, or all groups have one of the labels.
    """
    groups = held_groups(data, unseen_groups, option)
    if groups.all():
        raise InputError(f"{option} must leave at least one group to train on, not none")
    held = groups[data.groups.index.cpu()]
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]
