"""Splits by fields of observations, such as the take of a recording or the speaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.shares import check_share, count_of
from mlvae.data.splitting.splits import SPLIT_BY, Splits, held_rows, split_by
from mlvae.errors import InputError, check_choice, check_integer, check_number, shown

__all__ = ["chosen_rows", "split_by_fields"]


def split_by_fields(
    data: GroupedData,
    fields: Mapping[str, np.ndarray],
    *,
    split: str | None = None,
    validation: Any = 0.1,
    test: Any = 0.1,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """Split by values of fields where ``validation`` or ``test`` names some, else by ``split``.

    ``test={"take": [0, 1]}`` puts the observations whose take is 0 or 1 into the test. With
    several fields all must agree. Test observations whose group is not in training are
    ``Splits.unseen``.

    Args:
        data: all observations.
        fields: texts (N,) by name.
        split: as ``by`` of :func:`mlvae.data.split`; None is "groups", and must be None where a
            part is given by fields.
        validation: values by field; or the size of the part. Beside a test by fields, it is a
            number or a fraction of the other observations, drawn at random.
        test: values by field, or the size of the part, likewise.
        within: as in :func:`mlvae.data.split`.
        unseen_groups: labels of groups to keep out of the other parts.
        seed: seed of all draws.

    Raises:
        InputError: if a field or a value is unknown, or no observation is left to train on.
    """
    if split is not None:
        check_choice("dataset.split", split, SPLIT_BY)
    check_number("dataset.within", within, minimum=0, maximum=1)
    parts = {"validation": validation, "test": test}
    if not any(isinstance(part, Mapping) for part in parts.values()):
        sizes = {"validation": validation, "test": test, "within": within, "seed": seed}
        by = split or "groups"
        return split_by(data, by, unseen_groups=unseen_groups, **sizes)
    if split is not None:
        raise InputError(
            f"dataset.split={shown(split)} must be null where dataset.validation or dataset.test "
            "names values of fields"
        )
    if within != 0:
        raise InputError(f"dataset.within={shown(within)} needs dataset.split=groups")
    check_integer("dataset.seed", seed, minimum=0)
    words = np.full(len(data), "train", dtype="<U10")
    for name, part in parts.items():
        if isinstance(part, Mapping):
            rows = chosen_rows(fields, part, f"dataset.{name}")
            if (words[rows] != "train").any():
                raise InputError(
                    "dataset.validation and dataset.test must not share observations, but "
                    f"{int((words[rows] != 'train').sum())} are in both"
                )
            words[rows] = name
    seen, _ = held_rows(data, unseen_groups, "dataset.unseen_groups")
    for name, part in parts.items():
        if not isinstance(part, Mapping):
            check_share(f"dataset.{name}", part, "observations")
            rest = seen.numpy()[words[seen.numpy()] == "train"]
            generator = torch.Generator().manual_seed(int(seed))
            order = torch.randperm(len(rest), generator=generator).numpy()
            words[rest[order[: count_of(part, len(rest))]]] = name
    return split_by(data, words, unseen_groups=unseen_groups, words="the split by fields")


def chosen_rows(fields: Mapping[str, np.ndarray], part: Mapping, option: str) -> np.ndarray:
    """A mask (N,) of the observations whose fields have the values of ``part``."""
    mask = np.ones(len(next(iter(fields.values()))), dtype=bool)
    if not part:
        raise InputError(f"{option} must name a field, or be a number, not {{}}")
    for name, values in part.items():
        check_choice(f"a field of {option}", name, sorted(fields))
        values = values if isinstance(values, list | tuple) else [values]
        texts = [str(value) for value in values]
        if unknown := sorted(set(texts) - set(fields[name].tolist())):
            known = sorted(set(fields[name].tolist()))
            raise InputError(
                f"{option} must have values of the field {name} ({', '.join(known[:10])}"
                f"{', ...' if len(known) > 10 else ''}), not {shown(unknown[0])}"
            )
        mask &= np.isin(fields[name], texts)
    if not mask.any():
        raise InputError(f"{option}={shown(dict(part))} must select an observation, not none")
    return mask
