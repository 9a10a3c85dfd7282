"""The part of each file of a collection that is prepared in parts.

The groups are put in the order of a hash of their labels, which is random and the same on every
machine, and this sequence of files is cut into parts of nearly equal numbers. A group is in the
part of its middle, so it lies whole in one part. Only a group with more files than a part has
(N / P of them) is cut. Files without a label, as those that an operating system hides, are in
part 0, so that every file is accounted for in exactly one part.

Shapes: F files, N of them with a label, G groups, P parts.
"""

from __future__ import annotations

import hashlib
import zipfile
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mlvae.data.collections.columns import Columns
from mlvae.data.collections.prepare import Source, has_paths, listed
from mlvae.data.collections.regular import open_regular
from mlvae.errors import InputError, check_choice

__all__ = [
    "Assignment",
    "assign",
    "hash_of_label",
    "label_of",
    "read_assignment",
    "without_folders",
    "write_assignment",
]


@dataclass(frozen=True, eq=False)
class Assignment:
    """The part of each file, and of each group.

    Attributes:
        part: part of each file in the order of the sources, int32 (F,).
        folders: for each source, the number of folders that all of its identities begin with and
            that are no part of an identity.
        label: hash of each group's label, uint64 (G,), ascending.
        first: the first part with files of the group, int32 (G,).
        last: the last part with files of the group, int32 (G,).
    """

    part: np.ndarray
    folders: np.ndarray
    label: np.ndarray
    first: np.ndarray
    last: np.ndarray


def assign(sources: Sequence[Source], columns: Columns, *, parts: int, group: str) -> Assignment:
    """List all files of the sources, without reading them, and assign each to a part.

    Args:
        sources: the files.
        columns: gives the columns of a file.
        parts: P.
        group: the column, or columns joined by ``+``, whose values are the groups.

    Raises:
        InputError: if a column is missing, or there are fewer files than parts.
    """
    numbers: dict[tuple[int, str], int] = {}
    by_file, images = array("q"), set[tuple[int, str]]()
    endings = tuple(Image.registered_extensions())
    for root, name, known in listed(sources, columns):
        if known is None:
            by_file.append(-1)
            continue
        key = root, label_of(known, group)
        by_file.append(numbers.setdefault(key, len(numbers)))
        if name.lower().endswith(endings):
            images.add(key)
    if not numbers:
        raise InputError("dataset.parts needs files with an identity, but the root has none")
    folders = np.zeros(len(sources), np.int64)
    if columns.by_folder:  # as in a collection in one part, other files count only without images
        labels = images or set(numbers)
        by_path = [has_paths(source) for source in sources]
        folders = np.array(
            [_common(root, labels) * is_path for root, is_path in enumerate(by_path)]
        )
    hashes = np.array(
        [hash_of_label(without_folders(label, folders[root])) for root, label in numbers],
        np.uint64,
    )
    group_of = np.frombuffer(by_file, np.int64)
    labelled = group_of >= 0
    part = np.zeros(len(group_of), np.int32)
    part[labelled], *groups = _dealt(hashes[group_of[labelled]], parts)
    return Assignment(part, folders, *groups)


def _dealt(hashes: np.ndarray, parts: int) -> tuple[np.ndarray, ...]:
    """Part of each file by the hash of its label (N,); labels, first and last parts (G,)."""
    count = len(hashes)
    if count < parts:
        raise InputError(
            f"dataset.parts={parts} must not exceed the number of images, {count:,}; use fewer"
        )
    label, group, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
    end = sizes.cumsum()
    middle = (2 * end - sizes) * parts // (2 * count)
    large = sizes * parts > count
    first = np.where(large, (end - sizes) * parts // count, middle)
    last = np.where(large, (end - 1) * parts // count, middle)
    position = np.empty(count, np.int64)
    position[group.argsort(kind="stable")] = np.arange(count)
    part = np.where(large[group], position * parts // count, middle[group])
    return tuple(
        values.astype(np.int32) if values is not label else values
        for values in (part, label, first, last)
    )


def hash_of_label(label: str) -> int:
    """64 bits of a hash of a label.

    Example:
        >>> hash_of_label("ann") == hash_of_label("ann") != hash_of_label("bob")
        True
    """
    content = label.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def write_assignment(path: Path, assignment: Assignment, state: str) -> None:
    """Write an assignment in one step, with the state of the settings and of the sources."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.savez(file, state=np.array(state), **vars(assignment))
    temporary.replace(path)


def read_assignment(path: Path, state: str) -> Assignment | None:
    """The assignment in a file; None if it is missing, damaged or of another state."""
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["state"]) != state:
                return None
            return Assignment(**{name: arrays[name] for name in Assignment.__annotations__})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
        return None


def label_of(columns: dict[str, str], group: str) -> str:
    """The label of a file: empty if one of the joined columns is."""
    names = [group] if group in columns else group.split("+")
    for name in names:
        check_choice("dataset.group", name, sorted(columns))
    words = [columns[name] for name in names]
    return "+".join(words) if all(words) else ""


def _common(root: int, labels: set[tuple[int, str]]) -> int:
    """Number of folders at the beginning that the labels of a root share, not the last one."""
    paths = [label.split("/") for place, label in labels if place == root]
    if not paths:
        return 0
    low, high = min(paths), max(paths)
    same = 0
    while same < min(len(low), len(high)) - 1 and low[same] == high[same]:
        same += 1
    return same


def without_folders(label: str, folders: int) -> str:
    """A path without its first folders; a shorter path stays."""
    return "/".join(label.split("/")[folders:]) or label
