"""One's own observations, from a file of NumPy arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlvae.data.grouped import GroupedData
from mlvae.data.splits import Splits, hold_out, split
from mlvae.errors import InputError, check_number

__all__ = ["arrays"]

SPLITS = ("train", "validation", "test")


def arrays(
    root: str | Path,
    *,
    validation: float = 0.1,
    test: float = 0.1,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """Observations from a ``.npz`` file, as ``numpy.savez(file, x=x, group=group)`` writes it.

    The file has ``x`` of shape (N, ...) and ``group`` of length N, both as
    :class:`~mlvae.data.GroupedData` takes them, and may have ``split`` of length N with the words
    train, validation and test. Pickled objects in it are refused.

    Args:
        root: the file.
        validation: fraction of the observations drawn for validation, if the file has no
            ``split``.
        test: fraction drawn for the test, likewise.
        unseen_groups: labels of groups to keep out of the other splits.
        seed: of the split.

    Raises:
        InputError: if the file is not as described.
    """
    check_number("dataset.validation", validation, minimum=0, maximum=1)
    check_number("dataset.test", test, minimum=0, maximum=1)
    path = Path(root).expanduser()
    content = _load(path)
    data = GroupedData(content["x"], content["group"])
    if "split" not in content:
        rest, unseen = hold_out(data, unseen_groups)
        parts = split(
            rest,
            validation=round(validation * len(rest)),
            test=round(test * len(rest)),
            seed=seed,
        )
        return Splits(parts.train, parts.validation, parts.test, unseen)
    return _given(path, data, content["split"], unseen_groups)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in ("x", "group", "split") if name in file}
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"dataset.root={path} must be a file written by numpy.savez(file, x=x, group=group), "
            f"with arrays of numbers or strings: {str(error).splitlines()[0]}"
        ) from error
    for name in ("x", "group"):
        if name not in content:
            raise InputError(f"{path} must have the arrays x and group, but {name} is missing")
    return content


def _given(
    path: Path, data: GroupedData, names: np.ndarray, unseen_groups: Sequence[object]
) -> Splits:
    """The splits that the file itself names."""
    if names.shape != (len(data),) or not np.isin(names, SPLITS).all():
        raise InputError(
            f"split in {path} must have one of {', '.join(SPLITS)} for each of the {len(data)} "
            f"observations, not shape {names.shape} with {sorted(map(str, set(names.flat)))[:5]}"
        )
    parts = {}
    for name in SPLITS:
        rows = np.flatnonzero(names == name)
        if len(rows):
            kept = set(map(str, data.subset(rows).group_names))
            away = [label for label in unseen_groups if str(label) in kept]
            parts[name] = hold_out(data.subset(rows), away)[0]
    if "train" not in parts:
        raise InputError(f"split in {path} must name at least one observation 'train', not none")
    return Splits(**parts, unseen=hold_out(data, unseen_groups)[1])
