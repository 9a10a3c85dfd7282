"""Your own observations, from a file of NumPy arrays."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlvae.arguments import as_path
from mlvae.data.collections.npz import read_npz
from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import SPLIT_BY, Splits, split_by
from mlvae.errors import InputError, check_choice, check_texts, shown
from mlvae.groups.labels import report_words

__all__ = ["arrays"]

#: Names of the arrays in a file.
ARRAYS = ("x", "group", "split", "names")

#: Beginning of the names of arrays with the labels of one grouping of several.
PREFIX = "group_"


def arrays(
    root: str | Path,
    *,
    group: str | Sequence[str] | None = None,
    split: str | None = None,
    validation: Held = 0.1,
    test: Held = 0.1,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
    kind: str = "auto",
) -> Splits:
    """Observations from a ``.npz`` file that ``numpy.savez(file, x=x, group=group)`` has written.

    The file has ``x`` of shape (N, ...) and ``group`` of length N, both as
    :class:`~mlvae.data.GroupedData` takes them. For several groupings it has an array of labels
    for each, ``group_speaker`` and ``group_digit`` for example, instead of ``group``. It may have
    ``split`` of length N with the words train, validation and test, and ``names`` of length N with
    a name of each observation. Pickled objects are refused; arrays of other names are ignored.

    Args:
        root: the file.
        group: names of the groupings, as ["speaker", "digit"], or one name; the first one is the
            primary one. None: the array ``group``, or all arrays ``group_...`` in their order.
        split: what is divided, "observations", "members" or "groups", as ``by`` in
            :func:`mlvae.data.split`. None: the array ``split`` of the file; if it has none,
            observations.
        validation: size of the validation part, if the file does not say, as in
            :func:`mlvae.data.split`: a count, or a fraction of the observations (with
            split="groups", of the groups).
        test: size of the test, likewise.
        within: with split="groups", fraction of the observations of each training group that
            ``Splits.test`` has.
        unseen_groups: labels of groups to keep out of training, validation and test.
        seed: seed of the split.
        kind: "image", "array" or "auto", as in :class:`~mlvae.data.GroupedData`.

    Raises:
        InputError: if the file is not as described.
    """
    if split is not None:
        check_choice("dataset.split", split, SPLIT_BY)
    path = as_path("dataset.root", root)
    content = _load(path)
    labels = _labels(content, group, path)
    one = not isinstance(labels, dict)
    data = GroupedData(
        content["x"],
        labels if one else None,
        groups=None if one else labels,
        names=content.get("names"),
        kind=kind,
    )
    for grouping in data.groupings.values():
        report_words(grouping.names, str(path))
    if split is None and "split" in content:
        words = f"the array split in {path}"
        return split_by(data, content["split"], unseen_groups=unseen_groups, words=words)
    return split_by(
        data,
        split or "observations",
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
    )


def _labels(content: dict[str, np.ndarray], group: object, path: Path) -> Any:
    """The labels of the groups, or of several groupings by name."""
    found = {n.removeprefix(PREFIX): v for n, v in content.items() if n.startswith(PREFIX)}
    if group is None:
        return content.get("group", found)
    names = [group] if isinstance(group, str) else group
    check_texts("dataset.group", names)
    assert isinstance(names, list | tuple)
    if not names:
        raise InputError("dataset.group must name a grouping, not be empty")
    if missing := [name for name in names if name not in found]:
        known = ", ".join(found) or "none"
        raise InputError(
            f"dataset.group must name arrays {PREFIX}... in {path} ({known}), not "
            f"{shown(missing[0])}"
        )
    return {name: found[name] for name in names}


def _load(path: Path) -> dict[str, np.ndarray]:
    content, names = read_npz(
        path,
        lambda name: name in ARRAYS or name.startswith(PREFIX),
        form="a file written by numpy.savez(file, x=x, group=group), with arrays of numbers or "
        "strings, as group.astype(str)",
    )
    for optional in ("split", "names"):
        close = difflib.get_close_matches(optional, set(names) - set(ARRAYS), 1, 0.8)
        if optional not in content and close:
            raise InputError(
                f"{path} must not have an array {close[0]!r}; call it {optional}, or remove it"
            )
    several = any(name.startswith(PREFIX) for name in content)
    for name in ("x", *([] if several else ["group"])):
        if name not in content:
            raise InputError(f"{path} must have the arrays x and group, but {name} is missing")
    return content
