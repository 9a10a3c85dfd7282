"""Your own observations, from a file of NumPy arrays."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlvae.arguments import as_path
from mlvae.data.collections.members import first_line
from mlvae.data.collections.regular import open_regular
from mlvae.data.grouped import GroupedData
from mlvae.data.splits import Splits, held_rows, hold_out, split
from mlvae.errors import InputError, check_integer, check_number
from mlvae.groups.labels import words_for_missing

__all__ = ["arrays"]

#: The words of the array ``split``.
WORDS = ("train", "validation", "test")


def arrays(
    root: str | Path,
    *,
    validation: float = 0.1,
    test: float = 0.1,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
    kind: str = "auto",
) -> Splits:
    """Observations from a ``.npz`` file that ``numpy.savez(file, x=x, group=group)`` has written.

    The file has ``x`` of shape (N, ...) and ``group`` of length N, both as
    :class:`~mlvae.data.GroupedData` takes them. It may have ``split`` of length N with the words
    train, validation and test. Pickled objects are refused; arrays of other names are ignored.

    Args:
        root: the file.
        validation: fraction of the observations for validation, drawn at random, if the file has
            no ``split``.
        test: fraction of the observations for the test, likewise.
        unseen_groups: labels of groups to keep out of training, validation and test.
        seed: seed of the split.
        kind: "image", "array" or "auto", as in :class:`~mlvae.data.GroupedData`.

    Raises:
        InputError: if the file is not as described.
    """
    check_number("dataset.validation", validation, minimum=0, maximum=1)
    check_number("dataset.test", test, minimum=0, maximum=1)
    check_integer("dataset.seed", seed, minimum=0)
    path = as_path("dataset.root", root)
    content = _load(path)
    data = GroupedData(content["x"], content["group"], kind=kind)
    for word in words_for_missing(data.group_names):
        print(f"{path}: {word!r} is one group; leave it out if it stands for unknown", flush=True)
    if "split" not in content:
        rest, unseen = hold_out(data, unseen_groups)
        parts = split(
            rest,
            validation=round(validation * len(rest)),
            test=round(test * len(rest)),
            seed=seed,
        )
        return Splits(parts.train, parts.validation, parts.test, unseen)
    return _split_by_words(path, data, content["split"], unseen_groups)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with open_regular(path) as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it is a single array")
            with file:
                names = file.files
                content = {name: file[name] for name in ("x", "group", "split") if name in file}
    except Exception as error:  # numpy and zipfile raise many types for a damaged file
        raise InputError(
            f"dataset.root={path} must be a file written by numpy.savez(file, x=x, group=group), "
            f"with arrays of numbers or strings, as group.astype(str): {first_line(error)}"
        ) from error
    if "split" not in content and (close := difflib.get_close_matches("split", names, 1, 0.8)):
        raise InputError(
            f"{path} must not have an array {close[0]!r}; call it split, or remove it"
        )
    for name in ("x", "group"):
        if name not in content:
            raise InputError(f"{path} must have the arrays x and group, but {name} is missing")
    for name, value in content.items():
        if not isinstance(value, np.ndarray):
            raise InputError(f"{name} in {path} must be an array, not a file of another kind")
    return content


def _split_by_words(
    path: Path, data: GroupedData, words: np.ndarray, unseen_groups: Sequence[object]
) -> Splits:
    """The splits that the file's array ``split`` names."""
    if words.shape != (len(data),) or not np.isin(words, WORDS).all():
        raise InputError(
            f"split in {path} must have one of {', '.join(WORDS)} for each of the {len(data)} "
            f"observations, not shape {words.shape} with {sorted(map(str, set(words.flat)))[:5]}"
        )
    seen, unseen = held_rows(data, unseen_groups)
    parts = {word: seen[words[seen] == word] for word in WORDS}
    if len(parts["train"]) == 0:
        raise InputError(
            f"split in {path} must leave at least one observation of a group that is not in "
            "unseen_groups to 'train', not none"
        )
    return Splits(
        **{word: data.subset(rows) for word, rows in parts.items() if len(rows)},
        unseen=data.subset(unseen) if len(unseen) else None,
    )
