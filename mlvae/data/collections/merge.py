"""The merge of the parts of a collection: checks, and the record of the whole.

The merge fails unless every file of the sources is accounted for in exactly one part, and every
identity lies in the parts that the assignment deals it to, with as many images as the lines of its
files. An image that two parts have is used once, in the first of them.

Shapes: N images of all parts, P parts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlvae.data.collections.assignment import Assignment, hash_of_label, label_of, without_folders
from mlvae.data.collections.cache import Cache, read_cache
from mlvae.data.collections.journal import Line
from mlvae.data.collections.members import printable
from mlvae.data.collections.prepare import (
    LINES,
    MANIFEST,
    SKIPPED,
    Header,
    hash_of,
    write_whole,
)
from mlvae.data.collections.regular import open_regular
from mlvae.errors import InputError

__all__ = ["COLLECTION", "histogram", "merge"]

COLLECTION = "collection.json"


class _Read(NamedTuple):
    """What the merge keeps of a part.

    Attributes:
        codes: number of each image's label.
        known: whether each label is not empty.
        sha256: first 64 bits of the hash of each image's file.
        record: its entry of ``collection.json``, not yet complete.
    """

    codes: np.ndarray
    known: np.ndarray
    sha256: np.ndarray
    record: dict[str, Any]


def merge(
    folder: Path,
    parts: Sequence[Path],
    header: Header,
    assignment: Assignment,
) -> None:
    """Check all parts and write ``collection.json``.

    Args:
        folder: folder of the collection.
        parts: folder of each part.
        header: settings and state of the sources.
        assignment: the part of each file.

    Raises:
        InputError: if a part is not finished, or a file or an identity is lost or doubled.
    """
    images = np.zeros(len(assignment.label), np.int64)
    files = np.bincount(assignment.part, minlength=len(parts))
    read = []
    for number, path in enumerate(parts):
        settings = header["settings"] | {"part": number}
        if (cache := read_cache(path, header | {"settings": settings})) is None:
            raise InputError(
                f"{printable(str(path))} must be a finished part; prepare it by "
                f"dataset.part={number}"
            )
        read.append(_part(number, cache, assignment, images, int(files[number])))
    dropped, text, left_out = _doubles(parts, [part.sha256 for part in read])
    cut = _with_a_cut_group(assignment, len(parts))
    records = [
        _complete(part, rows) | {"whole": not of_cut}
        for part, rows, of_cut in zip(read, dropped, cut.tolist(), strict=True)
    ]
    record = header | {
        "images": sum(part["images"] for part in records),
        "identities": int((images > 0).sum()),
        "without_images": int((images == 0).sum()),
        "skipped": sum(part["skipped"] for part in records) + len(text) - left_out,
        "left_out": sum(part["left_out"] for part in records) + left_out,
        "parts": records,
    }
    counts = f"{record['images']} used, {record['skipped']} skipped, {record['left_out']} left out"
    lines = [f"{counts}; each part has a {SKIPPED} of its own", *text]
    content = "".join(f"{line}\n" for line in lines)
    write_whole(folder / SKIPPED, content.encode("utf-8", "backslashreplace"))
    write_whole(folder / COLLECTION, json.dumps(record, indent=1).encode())


def _part(
    number: int, cache: Cache, assignment: Assignment, images: np.ndarray, files: int
) -> _Read:
    """Check a part, and add its images to those of each label, (G,)."""
    manifest, where = cache.manifest, printable(str(cache.folder))
    found = sum(manifest[name] for name in ("images", "skipped", "left_out"))
    if found != files:
        raise InputError(
            f"{where} must account for the {files:,} files of part {number}, not for {found:,}; "
            "remove it and prepare it again"
        )
    group = manifest["settings"]["group"]
    values, codes = cache.codes(group, "dataset.group")
    counts = np.bincount(codes, minlength=len(values))
    hashes = np.array([hash_of_label(value) for value in values.tolist()], np.uint64)
    by_lines, sha256 = _of_lines(cache, group, assignment)
    if by_lines != dict(zip(hashes.tolist(), counts.tolist(), strict=True)):
        raise InputError(
            f"{where} must have in its index the identities of its files; remove it and prepare "
            "it again"
        )
    place = np.searchsorted(assignment.label, hashes).clip(max=len(images) - 1)
    right = assignment.label[place] == hashes
    right &= (assignment.first[place] <= number) & (number <= assignment.last[place])
    if not right.all():
        name = values[int(np.flatnonzero(~right)[0])]
        raise InputError(
            f"{where} has the identity {name!r} of another part; remove it and prepare it again"
        )
    images[place] += counts
    record = {name: manifest[name] for name in ("images", "skipped", "left_out")}
    record["manifest"] = hash_of(cache.folder / MANIFEST)
    return _Read(codes, values != "", sha256, record)


def _of_lines(
    cache: Cache, group: str, assignment: Assignment
) -> tuple[dict[int, int], np.ndarray]:
    """By the lines: images of each hash of a label, and 64 bits of the hash of each file."""
    counts: dict[int, int] = {}
    known: dict[tuple[int, str], int] = {}
    sha256 = np.empty(len(cache), np.uint64)
    by_folder = assignment.folders.any()
    for row, line in enumerate(_used_lines(cache.folder)):
        label, root = label_of(line["columns"], group), line["root"]
        if (root, label) not in known:
            short = without_folders(label, int(assignment.folders[root])) if by_folder else label
            known[root, label] = hash_of_label(short)
        number = known[root, label]
        counts[number] = counts.get(number, 0) + 1
        sha256[row] = int(line["sha256"][:16], 16)
    return counts, sha256


def _used_lines(folder: Path) -> Iterator[Line]:
    """The lines of the images of a part, in their order."""
    with open_regular(folder / LINES) as file:
        next(file)  # the header
        for content in file:
            if "crc32" in (line := json.loads(content)):
                yield line


def _doubles(
    parts: Sequence[Path], sha256: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[str], int]:
    """Rows of each part that an earlier part has too, their lines of the report, and how many of
    these lines are of joined collections that overlap.
    """
    ends = np.cumsum([len(part) for part in sha256])
    _, first, inverse = np.unique(np.concatenate(sha256), return_index=True, return_inverse=True)
    first = first[inverse]
    again = np.flatnonzero(first != np.arange(len(first)))
    starts = ends - [len(part) for part in sha256]
    part_of = np.searchsorted(ends, again, side="right")
    dropped = [again[part_of == number] - start for number, start in enumerate(starts.tolist())]
    if not len(again):
        return dropped, [], 0
    lines = _lines_at(parts, starts, {*again.tolist(), *first[again].tolist()})
    text, left_out = [], 0
    for row in again.tolist():
        line, same = lines[row], lines[int(first[row])]
        overlap = same["root"] != line["root"] and same["columns"] == line["columns"]
        left_out += overlap
        word = "left out" if overlap else "skipped"
        text.append(f"{word}: {line['file']} is the same as {same['file']} of another part")
    return dropped, text, left_out


def _lines_at(parts: Sequence[Path], starts: np.ndarray, rows: set[int]) -> dict[int, Line]:
    """The lines of images by their rows in all parts."""
    return {
        row: line
        for path, start in zip(parts, starts.tolist(), strict=True)
        for row, line in enumerate(_used_lines(path), start=start)
        if row in rows
    }


def _with_a_cut_group(assignment: Assignment, parts: int) -> np.ndarray:
    """Whether each part has a piece of a group that lies on several parts, (P,)."""
    several = assignment.first < assignment.last
    several &= assignment.label != hash_of_label("")  # no group
    starts = np.bincount(assignment.first[several], minlength=parts + 1)
    ends = np.bincount(assignment.last[several] + 1, minlength=parts + 1)
    return (starts - ends).cumsum()[:parts] > 0


def _complete(part: _Read, dropped: np.ndarray) -> dict[str, Any]:
    """The entry of a part in ``collection.json``: its counts without the dropped rows."""
    codes = np.delete(part.codes, dropped)
    sizes = histogram(codes, part.known)
    return part.record | {
        "images": len(codes),
        "known": sum(size * count for size, count in sizes),
        "sizes": sizes,
        "dropped": dropped.tolist(),
    }


def histogram(codes: np.ndarray, known: np.ndarray) -> list[tuple[int, int]]:
    """Sizes of groups and how many groups have each, ascending.

    Args:
        codes: number of each image's label.
        known: whether each label is one; those that are not are not counted.

    Example:
        >>> histogram(np.array([0, 0, 1, 2, 2]), np.array([True, True, True]))
        [(1, 1), (2, 2)]
    """
    groups = np.bincount(codes, minlength=len(known))[known]
    sizes, counts = np.unique(groups[groups > 0], return_counts=True)
    return list(zip(sizes.tolist(), counts.tolist(), strict=True))
