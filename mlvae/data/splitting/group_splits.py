"""Splits by group: whole groups held out, or some observations of every group.

Each function gives the rows of every part, by the part's name in :class:`mlvae.data.Splits`.

Shapes: N observations, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.held_groups import held_groups, label_text, listed_labels
from mlvae.data.splitting.shares import check_share, count_of, is_share
from mlvae.errors import InputError, check_number, shown
from mlvae.groups import Groups

__all__ = [
    "Held",
    "Rows",
    "by_groups",
    "by_members",
    "by_words",
    "large_groups",
    "numbers_of_words",
]

#: The groups to hold out: how many, a fraction, labels, or a text file with one label a line.
Held = float | Sequence[object] | str | Path

#: Rows of the data by the name of a part, int64; empty for an empty part.
Rows = dict[str, Tensor]

#: Words of a split. The numbers are those of CelebA.
WORDS = {"train": 0, "validation": 1, "val": 1, "test": 2, "0": 0, "1": 1, "2": 2}


def by_groups(
    data: GroupedData,
    *,
    validation: Held,
    test: Held,
    within: float = 0.0,
    seed: int = 0,
    prefix: str = "",
) -> Rows:
    """Whole groups for training, for validation and for the test on unseen groups.

    Args:
        data: all observations.
        validation: groups of the validation: how many (an integer) or which fraction (a float)
            of the groups, drawn with the seed, or their labels, or a text file with one label a
            line.
        test: groups of the part ``unseen``, likewise.
        within: fraction of the observations of each training group that the part ``test`` has.
        seed: seed of the draws.
        prefix: before the names of the arguments in messages, such as "dataset.".

    Raises:
        InputError: if a label is unknown or in both lists, or no group is left to train on.
    """
    check_number(f"{prefix}within", within, minimum=0, maximum=1)
    generator = torch.Generator().manual_seed(int(seed))
    groups = data.groups.to("cpu")
    free = torch.ones(groups.num_groups, dtype=torch.bool)
    held: dict[str, Tensor] = {}
    shares = {"validation": validation, "test": test}
    # Lists first: groups are drawn from those that no list names.
    for name in sorted(shares, key=lambda name: is_share(shares[name])):
        held[name] = _drawn(data, shares[name], f"{prefix}{name}", free, generator)
        if (twice := held[name] & ~free).any():
            label = data.group_names[int(twice.nonzero()[0])]
            raise InputError(
                f"{prefix}validation and {prefix}test must not share the group {shown(label)}"
            )
        free &= ~held[name]
    if not free.any():
        raise InputError(
            f"{prefix}validation and {prefix}test must leave a group of {len(free)} to train on; "
            "have more groups, or set one to 0"
        )
    train, validated, unseen = (
        mask[groups.index].nonzero()[:, 0] for mask in (free, held["validation"], held["test"])
    )
    kept = Groups(groups.index[train].unique(return_inverse=True)[1])
    seen = by_members(kept, test=within, test_name=f"{prefix}within", seed=seed)
    return {
        "train": train[seen["train"]],
        "validation": validated,
        "test": train[seen["test"]],
        "unseen": unseen,
    }


def by_members(
    groups: Groups,
    *,
    validation: float = 0,
    test: float = 0,
    seed: int = 0,
    prefix: str = "",
    test_name: str = "",
) -> Rows:
    """Some observations of every group; each group keeps at least one to train on.

    Args:
        groups: the groups of all observations.
        validation: how many (an integer) or which fraction (a float) of each group's
            observations; a fraction is rounded.
        test: likewise.
        seed: seed of the draw.
        prefix: before the names of the arguments in messages, such as "dataset.".
        test_name: name of ``test`` in messages; "" for its own.

    Raises:
        InputError: if a fraction is not in [0, 1], or every group is too small for it.
    """
    order, rank = _shuffled(groups, seed)
    group, sizes = groups.index.cpu()[order], groups.sizes.cpu()
    taken = torch.zeros_like(sizes)
    rows: Rows = {}
    shares = {"validation": validation, "test": test}
    names = {"validation": f"{prefix}validation", "test": test_name or f"{prefix}test"}
    for part, share in shares.items():
        check_share(names[part], share, "observations of each group")
        wanted = share if isinstance(share, Integral) else (float(share) * sizes).round()
        count = torch.minimum(torch.as_tensor(wanted).long(), sizes - 1 - taken)
        chosen = (rank >= taken[group]) & (rank < (taken + count)[group])
        if share > 0 and not chosen.any():
            raise InputError(
                f"{names[part]}={share} must hold out something, but the largest group has "
                f"{int(sizes.max())} observations; raise it, or set it to 0"
            )
        rows[part] = order[chosen].sort().values
        taken = taken + count
    return {"train": order[rank >= taken[group]].sort().values, **rows}


def numbers_of_words(words: object, length: int, what: str) -> Tensor:
    """The part of each observation, (N,): 0 for training, 1 for validation, 2 for the test.

    Args:
        words: one of train, validation (or val), test, or of 0, 1, 2, for each observation: (N,).
        length: N.
        what: what the words are, first words of an error message.

    Raises:
        InputError: if there is another word or length.
    """
    array = np.asarray(words)
    texts = [label_text(word) for word in array.flat]
    wrong = sorted(set(texts) - WORDS.keys())
    if array.shape != (length,) or wrong:
        found = f"with {shown(wrong[0])}" if wrong else f"of shape {array.shape}"
        raise InputError(
            f"{what} must have one of train, validation, test (or 0, 1, 2) for each of the "
            f"{length} observations, not words {found}"
        )
    return torch.tensor([WORDS[text] for text in texts])


def by_words(groups: Groups, part: Tensor, what: str) -> Rows:
    """The parts that a word of each observation names.

    Observations of the test are the part ``test`` if their group is in training, otherwise
    ``unseen``.

    Args:
        groups: the groups of all observations.
        part: as :func:`numbers_of_words` returns them, (N,).
        what: what the words are, first words of an error message.

    Raises:
        InputError: if there is no observation to train on.
    """
    index = groups.index.cpu()
    if not (part == 0).any():
        raise InputError(
            f"{what} must leave an observation of a group that is not in unseen_groups to "
            "'train', not none"
        )
    seen = torch.zeros(groups.num_groups, dtype=torch.bool)
    seen[index[part == 0]] = True
    masks = {
        "train": part == 0,
        "validation": part == 1,
        "test": (part == 2) & seen[index],
        "unseen": (part == 2) & ~seen[index],
    }
    return {name: mask.nonzero()[:, 0] for name, mask in masks.items()}


def large_groups(
    data: GroupedData, *, minimum: int = 1, maximum: int | None = None, seed: int = 0
) -> Tensor:
    """Indices of at most ``maximum`` members of each group that has at least ``minimum``.

    The members of a larger group are drawn with the seed.

    Raises:
        InputError: if every group is smaller than ``minimum``.
    """
    sizes = data.groups.sizes.cpu()
    if int(sizes.max()) < minimum:
        raise InputError(
            f"dataset.minimum={minimum} must leave a group, but the largest has "
            f"{int(sizes.max())} images"
        )
    order, rank = _shuffled(data.groups, seed)
    kept = sizes[data.groups.index.cpu()[order]] >= minimum
    if maximum is not None:
        kept &= rank < maximum
    return order[kept].sort().values


def _shuffled(groups: Groups, seed: int) -> tuple[Tensor, Tensor]:
    """All indices by group, in random order within a group; and their ranks in the group."""
    index, sizes = groups.index.cpu(), groups.sizes.cpu()
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(int(seed)))
    order = order[index[order].argsort(stable=True)]
    first = sizes.cumsum(0) - sizes
    return order, torch.arange(len(order)) - first[index[order]]


def _drawn(
    data: GroupedData, share: Held, option: str, free: Tensor, generator: torch.Generator
) -> Tensor:
    """The groups that ``share`` names, or draws from the ``free`` ones: a mask (G,)."""
    if isinstance(share, str | Path):
        return held_groups(data, listed_labels(Path(share), option), option)
    if not is_share(share):
        if share is None or isinstance(share, bool):
            check_share(option, share, "groups")
        return held_groups(data, share, option)  # type: ignore[arg-type] # it checks the type
    check_share(option, share, "groups")
    count = count_of(cast("float", share), len(free))
    places = free.nonzero()[:, 0]
    chosen = torch.zeros_like(free)
    chosen[places[torch.randperm(len(places), generator=generator)[:count]]] = True
    return chosen
