"""Splits by group: whole groups held out, or some observations of every group.

Shapes: N observations, G groups.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlvae.data.collections.regular import read_regular
from mlvae.data.grouped import GroupedData
from mlvae.data.splits import Splits, held_groups
from mlvae.errors import InputError, check_number

__all__ = ["large_groups", "split_groups", "split_named", "split_within"]

#: Largest file of labels in bytes.
MAX_LIST = 2**28

#: What is held out: a fraction, a list of labels, or a text file with one label a line.
Held = float | Sequence[object] | str | Path

#: Words in a column of splits. The numbers are those of CelebA.
WORDS = {"train": 0, "validation": 1, "test": 2, "0": 0, "1": 1, "2": 2}


def split_groups(
    data: GroupedData,
    *,
    validation: Held = 0.1,
    test: Held = 0.1,
    within: float = 0.0,
    seed: int = 0,
) -> Splits:
    """Split whole groups into training, validation and the test on unseen groups.

    Args:
        data: all observations.
        validation: groups of ``Splits.validation``: a fraction of the groups, drawn with the
            seed, or their labels, or a text file with one label a line.
        test: groups of ``Splits.unseen``, likewise.
        within: fraction of the images of each training group that ``Splits.test`` has.
        seed: seed of the draws.

    Raises:
        InputError: if a label is unknown or in both lists, or no group is left to train on.
    """
    generator = torch.Generator().manual_seed(int(seed))
    free = torch.ones(len(data.group_names), dtype=torch.bool)
    parts: dict[str, Tensor] = {}
    shares = {"dataset.validation": validation, "dataset.test": test}
    # Lists first: groups are drawn from those that no list names.
    for name in sorted(shares, key=lambda name: isinstance(shares[name], float | int)):
        parts[name] = _drawn(data, shares[name], name, free, generator)
        free &= ~parts[name]
    if not free.any():
        raise InputError(
            f"dataset.validation and dataset.test must leave a group of {len(free)} to train on; "
            "have more groups, set one to 0, or split each group by dataset.split=images"
        )
    train = data.subset(free[data.groups.index])
    held = {
        name: data.subset(mask[data.groups.index]) if mask.any() else None
        for name, mask in parts.items()
    }
    seen = split_within(train, test=within, test_name="dataset.within", seed=seed)
    return Splits(seen.train, held["dataset.validation"], seen.test, held["dataset.test"])


def split_within(
    data: GroupedData,
    *,
    validation: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
    test_name: str = "dataset.test",
) -> Splits:
    """Split the observations of every group; each group keeps at least one to train on.

    Args:
        data: all observations.
        validation: fraction of each group's observations, rounded.
        test: fraction of each group's observations, rounded.
        seed: seed of the draw.
        test_name: option of ``test``, for error messages.

    Raises:
        InputError: if a fraction is not in [0, 1], or every group is too small for it.
    """
    parts: list[Tensor] = []
    order, rank = _shuffled(data, seed)
    group, sizes = data.groups.index[order], data.groups.sizes
    taken = torch.zeros_like(sizes)
    for name, fraction in (("dataset.validation", validation), (test_name, test)):
        check_number(name, fraction, minimum=0, maximum=1)
        share = torch.minimum((fraction * sizes).round().long(), sizes - 1 - taken)
        chosen = (rank >= taken[group]) & (rank < (taken + share)[group])
        if fraction > 0 and not chosen.any():
            raise InputError(
                f"{name}={fraction} must hold out something, but the largest group has "
                f"{int(sizes.max())} observations; raise it, or set it to 0"
            )
        parts.append(order[chosen].sort().values)
        taken = taken + share
    rest = order[rank >= taken[group]].sort().values
    held = [data.subset(rows) if len(rows) else None for rows in parts]
    return Splits(data.subset(rest) if len(rest) < len(data) else data, *held)


def split_named(data: GroupedData, words: np.ndarray) -> Splits:
    """Split by a column of words.

    Observations of the test are ``Splits.test`` if their group is in training, otherwise
    ``Splits.unseen``.

    Args:
        data: all observations.
        words: one of train, validation, test, or of 0, 1, 2, per observation, shape (N,).

    Raises:
        InputError: if there is another word, or no observation to train on.
    """
    if wrong := sorted(set(words.tolist()) - WORDS.keys()):
        raise InputError(
            f"the column split must have train, validation or test (or 0, 1, 2), not {wrong[0]!r}"
        )
    part = torch.tensor([WORDS[word] for word in words.tolist()])
    index = data.groups.index
    if not (part == 0).any():
        raise InputError("the column split must name an observation 'train', but names none")
    seen = torch.zeros(len(data.group_names), dtype=torch.bool)
    seen[index[part == 0]] = True
    masks = [part == 1, (part == 2) & seen[index], (part == 2) & ~seen[index]]
    held = [data.subset(mask) if mask.any() else None for mask in masks]
    return Splits(data.subset(part == 0), *held)


def large_groups(
    data: GroupedData, *, minimum: int = 1, maximum: int | None = None, seed: int = 0
) -> Tensor:
    """Indices of at most ``maximum`` members of each group that has at least ``minimum``.

    The members of a larger group are drawn with the seed.

    Raises:
        InputError: if every group is smaller than ``minimum``.
    """
    sizes = data.groups.sizes
    if int(sizes.max()) < minimum:
        raise InputError(
            f"dataset.minimum={minimum} must leave a group, but the largest has "
            f"{int(sizes.max())} images"
        )
    order, rank = _shuffled(data, seed)
    kept = sizes[data.groups.index[order]] >= minimum
    if maximum is not None:
        kept &= rank < maximum
    return order[kept].sort().values


def _shuffled(data: GroupedData, seed: int) -> tuple[Tensor, Tensor]:
    """All indices by group, in random order within a group; and their ranks in the group."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(int(seed)))
    order = order[data.groups.index[order].argsort(stable=True)]
    sizes = data.groups.sizes
    first = sizes.cumsum(0) - sizes
    return order, torch.arange(len(order)) - first[data.groups.index[order]]


def _drawn(
    data: GroupedData, share: Held, name: str, free: Tensor, generator: torch.Generator
) -> Tensor:
    """The groups that ``share`` names, or draws from the ``free`` ones: a mask (G,)."""
    if isinstance(share, float | int):
        check_number(name, share, minimum=0, maximum=1)
        count = max(1, round(share * len(free))) if share > 0 else 0
        places = free.nonzero()[:, 0]
        chosen = torch.zeros_like(free)
        chosen[places[torch.randperm(len(places), generator=generator)[:count]]] = True
        return chosen
    labels = _listed(Path(share), name) if isinstance(share, str | Path) else share
    chosen = held_groups(data, labels, name)
    if (twice := chosen & ~free).any():
        label = data.group_names[int(twice.nonzero()[0])]
        raise InputError(f"dataset.validation and dataset.test must not share {label!r}")
    return chosen


def _listed(path: Path, name: str) -> list[str]:
    """Labels in a text file in UTF-8: each line up to its first tab."""
    try:
        content = read_regular(path.expanduser(), MAX_LIST).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name} must be a fraction, a list of labels or a text file of them, but {path} "
            f"cannot be read: {error}"
        ) from error
    lines = re.split("\r\n|\r|\n", content)
    return [line.split("\t")[0].strip(" ") for line in lines if line.strip()]
