"""From sources to a cache: every image decoded once, every file accounted for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mlvae.data.collections.archives import Tar, Zip
from mlvae.data.collections.columns import Columns, without_common_folders
from mlvae.data.collections.decoders import Decoders, read_content
from mlvae.data.collections.journal import LINES, Journal
from mlvae.data.collections.members import Member, Refusal
from mlvae.data.collections.sources import Folder
from mlvae.errors import InputError

__all__ = ["INDEX", "MANIFEST", "SKIPPED", "hash_of", "prepare"]

INDEX, MANIFEST, SKIPPED = "index.npz", "manifest.json", "skipped.txt"

#: Files and bytes that a decoder is given at once.
CHUNK_FILES, CHUNK_BYTES = 32, 2**23

Source = Folder | Zip | Tar


class _File(NamedTuple):
    """A file on its way.

    Attributes:
        line: what is known of it.
        content: its bytes, or what reads them; None where it is not to be read.
        size: in bytes.
    """

    line: dict[str, object]
    content: object = None
    size: int = 0


def prepare(
    folder: Path,
    sources: Sequence[Source],
    columns: Columns,
    header: dict[str, object],
    *,
    strict: bool,
    workers: int | None,
) -> None:
    """Make the cache in ``folder``, or go on where an interrupted preparation was.

    The manifest is written last, and whole: a folder without one is not finished.

    Args:
        folder: of the cache; it is there, and nobody else writes to it.
        sources: where the files are; the order of everything is theirs.
        columns: what is known of a file.
        header: settings and state of the sources, for the manifest.
        strict: fail at the first file that must be skipped.
        workers: as of :class:`~mlvae.data.collections.decoders.Decoders`.

    Raises:
        InputError: if no image can be used, a disk is full, or for ``strict``.
    """
    settings = header["settings"]
    options = {name: settings[name] for name in ("size", "channels", "crop")}
    row_bytes = settings["channels"] * settings["size"] ** 2
    (folder / MANIFEST).unlink(missing_ok=True)
    with Journal(folder, header, row_bytes) as journal, Decoders(workers, options) as decoders:
        _fill(journal, decoders, sources, columns, settings["limit"], strict)
        journal.sync()
        lines = journal.lines
    _report(folder / SKIPPED, lines)
    used = [line for line in lines if "crc32" in line]
    if not used:
        raise InputError(_nothing(sources, lines, folder / SKIPPED))
    _index(folder / INDEX, used, columns.by_folder)
    counts = {name: sum(name in line for line in lines) for name in ("skipped", "left_out")}
    manifest = header | {
        "images": len(used),
        **counts,
        "sha256": {name: hash_of(folder / name) for name in (INDEX, LINES)},
    }
    _write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode())


def _fill(
    journal: Journal,
    decoders: Decoders,
    sources: Sequence[Source],
    columns: Columns,
    limit: int | None,
    strict: bool,
) -> None:
    """Decode what the journal lacks, and append it."""
    first = {line["sha256"]: line for line in journal.lines if "crc32" in line}
    done = len(journal.lines)
    # How many files a tar has is known at its end.
    total = None if any(isinstance(each, Tar) for each in sources) else sum(map(len, sources))
    chunks: list[list[_File]] = []  # those whose answers are awaited

    def contents() -> Iterator[list[object]]:
        for chunk in _chunks(_files(sources, columns, done)):
            chunks.append(chunk)
            yield [file.content for file in chunk if file.content is not None]

    _check_strict(strict, journal.lines)
    bar = tqdm(total=total, initial=done, unit="file", desc="preparing", disable=None)
    with bar, contextlib.closing(decoders.attempts(contents())) as attempts:
        for answers in attempts:
            answers = iter(answers)
            lines, pixels = [], []
            for line, content, _ in chunks.pop(0):
                if limit is not None and journal.num_images + len(pixels) == limit:
                    break
                if content is not None:
                    pixels += _settle(line, next(answers), first)
                lines.append(line)
            journal.append(lines, pixels)
            _check_strict(strict, lines)
            bar.update(len(lines))
            if journal.num_images == limit:
                return


def _files(sources: Sequence[Source], columns: Columns, done: int) -> Iterator[_File]:
    """Every file of the sources, and those that only the table has; all but the first ``done``."""
    number = 0
    for place, source in enumerate(sources):
        for member in source.members():
            line = {"root": place, "file": member.name}
            # Also of those that are done: the table remembers which of its lines are taken.
            known = member if isinstance(member, Refusal) else columns.of(member.name)
            if number >= done:
                yield _file(line, known, member, source.streamed)
            number += 1
    for file in columns.missing():
        if number >= done:
            yield _File({"root": 0, "file": file, "skipped": "is in the table and nowhere else"})
        number += 1


def _file(line: dict[str, object], known: object, member: Member, streamed: bool) -> _File:
    if isinstance(known, Refusal):
        return _File(line | {"skipped": known.reason})
    if isinstance(known, str):
        return _File(line | {"skipped": known})
    if known is None:
        return _File(line | {"left_out": "is not in the table, or does not match the pattern"})
    content = read_content(member.read) if streamed else member.read
    return _File(line | {"columns": known}, content, member.size)


def _chunks(files: Iterator[_File]) -> Iterator[list[_File]]:
    """Files in lists of a few, fewer where they are large."""
    chunk, size = [], 0
    for file in files:
        chunk.append(file)
        size += file.size
        if len(chunk) == CHUNK_FILES or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _settle(line: dict, attempt: object, first: dict[str, dict]) -> list[np.ndarray]:
    """Complete the line of a file; its pixels, if it is used."""
    line["sha256"] = attempt.sha256
    if attempt.pixels is None:
        line["skipped"] = attempt.reason
        return []
    if (same := first.setdefault(attempt.sha256, line)) is line:
        return [attempt.pixels]
    # Joined collections may overlap; within one, or of two identities, it is a mistake.
    overlap = same["root"] != line["root"] and same["columns"] == line["columns"]
    line["left_out" if overlap else "skipped"] = f"is the same as {same['file']}"
    return []


def _check_strict(strict: bool, lines: list[dict]) -> None:
    line = next((line for line in lines if "skipped" in line), None)
    if strict and line is not None:
        raise InputError(
            f"dataset.strict=true allows no file to be skipped, but {line['file']} "
            f"{line['skipped']}; remove it, or set dataset.strict=false"
        )


def _report(path: Path, lines: list[dict]) -> None:
    """Every file that was skipped and why, under the counts."""
    skipped = [line for line in lines if "skipped" in line]
    left_out = [line for line in lines if "left_out" in line]
    used = len(lines) - len(skipped) - len(left_out)
    text = [f"{used} used, {len(skipped)} skipped, {len(left_out)} left out as told\n"]
    text += [f"skipped: {line['file']} {line['skipped']}\n" for line in skipped]
    text += [f"left out: {line['file']} {line['left_out']}\n" for line in left_out]
    _write_whole(path, "".join(text).encode("utf-8", "backslashreplace"))


def _nothing(sources: Sequence[Source], lines: list[dict], report: Path) -> str:
    roots = ", ".join(str(source.root) for source in sources)
    why = next((line for key in ("skipped", "left_out") for line in lines if key in line), None)
    if why is None:
        return f"dataset.root={roots} must hold images, <identity>/<image>, but holds no file"
    reason = why.get("skipped") or why.get("left_out")
    return (
        f"dataset.root={roots} must hold images, but none of its {len(lines)} files can be used: "
        f"{why['file']} {reason}; see {report}"
    )


def _index(path: Path, used: list[dict], by_folder: bool) -> None:
    """Columns as numbers and the distinct values they stand for, and the pixels' checksums."""
    if by_folder:
        for root in {line["root"] for line in used}:
            of_root = [line for line in used if line["root"] == root]
            paths = without_common_folders([line["columns"]["identity"] for line in of_root])
            for line, identity in zip(of_root, paths, strict=True):
                line["columns"]["identity"] = identity
    arrays = {"crc32": np.array([line["crc32"] for line in used], np.uint32)}
    for name in used[0]["columns"]:
        column = [line["columns"][name] for line in used]
        number = {value: place for place, value in enumerate(sorted(set(column)))}
        arrays[f"values/{name}"] = np.array(list(number))
        arrays[f"codes/{name}"] = np.array([number[value] for value in column], np.int32)
    with path.with_suffix(".tmp").open("wb") as file:
        np.savez(file, **arrays)
    path.with_suffix(".tmp").replace(path)


def _write_whole(path: Path, content: bytes) -> None:
    """The file is the old or the new one, whole, at any moment."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def hash_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
