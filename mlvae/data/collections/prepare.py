"""Prepare a cache from sources: decode every image once, account for every file."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from mlvae.data.collections.archives import Tar, Zip
from mlvae.data.collections.columns import NO_IDENTITY, Columns, without_common_folders
from mlvae.data.collections.conventions import hint
from mlvae.data.collections.decoders import Content, Decoders, read_content
from mlvae.data.collections.images import Attempt, Options
from mlvae.data.collections.journal import LINES, MAX_LINES, Journal, Line, kind_of, num_files
from mlvae.data.collections.members import Member, Refusal, printable
from mlvae.data.collections.parquet import Parquet
from mlvae.data.collections.regular import open_regular
from mlvae.data.collections.samples import Samples
from mlvae.data.collections.sources import Folder
from mlvae.errors import InputError

__all__ = [
    "INDEX",
    "LINES",
    "MANIFEST",
    "SKIPPED",
    "Header",
    "Own",
    "Source",
    "has_paths",
    "hash_of",
    "listed",
    "prepare",
    "write_whole",
]

#: The reason of a line of the table without a file.
ONLY_IN_TABLE = "is in the table and nowhere else"

INDEX, MANIFEST, SKIPPED = "index.npz", "manifest.json", "skipped.txt"

#: Largest number of files, and of bytes, that a decoder receives at once.
CHUNK_FILES, CHUNK_BYTES = 32, 2**23

Source = Folder | Zip | Tar | Parquet | Samples


def has_paths(source: Source) -> bool:
    """Whether the identities of a source are paths of folders, not columns of its own."""
    return not isinstance(source, Parquet | Samples)


#: Settings and state of the sources, as JSON values.
Header = dict[str, Any]


class Own(NamedTuple):
    """The files of one part of a collection.

    Attributes:
        files: whether each file of the sources is of the part, booleans (F,).
        folders: for each source, the number of folders at the beginning of its paths that are no
            part of an identity.
    """

    files: np.ndarray
    folders: np.ndarray


class _File(NamedTuple):
    """A file between its source and the journal.

    Attributes:
        line: its line of the journal, not yet complete.
        content: its bytes, or a function that reads them; None if it is not to be decoded.
        size: in bytes.
    """

    line: Line
    content: Content | None = None
    size: int = 0


def prepare(
    folder: Path,
    sources: Sequence[Source],
    columns: Columns,
    header: Header,
    *,
    strict: bool,
    workers: int | None,
    own: Own | None = None,
) -> None:
    """Make the cache in ``folder``, or continue an interrupted preparation.

    The manifest is written last, in one step: a folder without one is not finished.

    Args:
        folder: folder of the cache; it exists, and no other process writes to it.
        sources: the files, in the order in which images are stored.
        columns: gives the columns of a file.
        header: settings and state of the sources, for the manifest.
        strict: fail at the first file that is skipped.
        workers: as of :class:`~mlvae.data.collections.decoders.Decoders`.
        own: the files to prepare; None for all.

    Raises:
        InputError: if no image can be used, a disk is full, or ``strict`` forbids a file.
    """
    settings = header["settings"]
    options = Options(size=settings["size"], channels=settings["channels"], crop=settings["crop"])
    row_bytes = settings["channels"] * settings["size"] ** 2
    (folder / MANIFEST).unlink(missing_ok=True)
    with Journal(folder, header, row_bytes) as journal, Decoders(workers, options) as decoders:
        files = None if own is None else own.files
        limit = settings["limit"]
        _fill(journal, decoders, sources, columns, files, limit=limit, strict=strict)
        journal.sync()
        lines = journal.lines
    _report(folder / SKIPPED, lines)
    used = [line for line in lines if "crc32" in line]
    if not used:
        raise InputError(_nothing_used(sources, lines, folder / SKIPPED, columns))
    _check_columns(used, sources)
    if columns.by_folder:
        by_path = {place for place, each in enumerate(sources) if has_paths(each)}
        _shorten_identities(used, by_path, None if own is None else own.folders)
    _write_index(folder / INDEX, used)
    counts = {
        name: sum(num_files(line) for line in lines if name in line)
        for name in ("skipped", "left_out", "remark")
    }
    manifest = header | {
        "images": len(used),
        **counts,
        "sha256": {name: hash_of(folder / name) for name in (INDEX, LINES)},
    }
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode())


def _fill(
    journal: Journal,
    decoders: Decoders,
    sources: Sequence[Source],
    columns: Columns,
    own: np.ndarray | None,
    *,
    limit: int | None,
    strict: bool,
) -> None:
    """Decode the files that the journal lacks, and append them."""
    first: dict[str, Line] = {line["sha256"]: line for line in journal.lines if "crc32" in line}
    done = journal.num_files
    # The number of files in a tar is known at its end only.
    sizes = [None if isinstance(source, Tar | Samples) else len(source) for source in sources]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    total = total if own is None else int(own.sum())
    chunks: list[list[_File]] = []  # sent to the decoders, not yet answered

    def contents() -> Iterator[list[Content]]:
        for chunk in _chunks(_files(sources, columns, done, own)):
            chunks.append(chunk)
            yield [file.content for file in chunk if file.content is not None]

    _check_strict(strict, journal.lines)
    bar = tqdm(total=total, initial=done, unit="file", desc="preparing", disable=None)
    with bar, contextlib.closing(decoders.attempts(contents())) as results:
        for attempts in results:
            decoded = iter(attempts)
            lines: list[Line] = []
            pixels: list[np.ndarray] = []
            for line, content, _ in chunks.pop(0):
                if limit is not None and journal.num_images + len(pixels) == limit:
                    break
                if content is not None:
                    pixels += _complete(line, next(decoded), first)
                lines.append(line)
            journal.append(lines, pixels)
            _check_strict(strict, lines)
            bar.update(len(lines))
            if journal.num_images == limit:
                return


def listed(
    sources: Sequence[Source], columns: Columns
) -> Iterator[tuple[int, str, dict[str, str] | None]]:
    """Every file in the order of :func:`prepare`, not read: number of its source, name, columns.

    The columns are None for a file that is not to be decoded.
    """
    for file in _found(sources, columns):
        yield file.line["root"], file.line["file"], file.line.get("columns")


def _files(
    sources: Sequence[Source], columns: Columns, done: int, own: np.ndarray | None
) -> Iterator[_File]:
    """The own files without the first ``done`` of them; a file of a stream has its content."""
    kept = 0
    for number, file in enumerate(_found(sources, columns)):
        if own is not None and not own[number]:
            continue
        if kept >= done:
            if sources[file.line["root"]].streamed and callable(file.content):
                file = file._replace(content=read_content(file.content))
            yield file
        kept += 1


def _found(sources: Sequence[Source], columns: Columns) -> Iterator[_File]:
    """Every file of the sources, then those that only the table has.

    Columns are looked up for all files, because the table counts which lines are taken.
    """
    for place, source in enumerate(sources):
        root = str(source.root) if isinstance(source, Folder) else ""
        for member in source.members():
            yield _file({"root": place, "file": member.name}, member, source, columns, root)
    for name in columns.missing():
        yield _File({"root": 0, "file": name, "skipped": ONLY_IN_TABLE})


def _file(
    line: Line, member: Member | Refusal, source: Source, columns: Columns, root: str
) -> _File:
    # A refusal of the whole source, as of a damaged archive, is never left out.
    whole = isinstance(member, Refusal) and (source.streamed or member.name.startswith("/"))
    real = member.name if isinstance(member, Refusal) else member.real
    if not whole and columns.is_system(real, root):
        return _File(line | {"left_out": "is hidden, or belongs to an operating system"})
    if isinstance(member, Refusal):
        return _File(line | {"skipped": member.reason})
    known = member.columns
    if known is None or not columns.by_folder:  # a pattern or a table of the user's
        known = columns.of(member.real, root)
    if known is None:
        return _File(line | {"left_out": "is not in the table, or does not match the pattern"})
    if isinstance(known, str):
        return _File(line | {"skipped": known})
    return _File(line | {"columns": known}, member.read, member.size)


def _chunks(files: Iterator[_File]) -> Iterator[list[_File]]:
    """Lists of at most CHUNK_FILES files, fewer if they are large."""
    chunk: list[_File] = []
    size = 0
    for file in files:
        chunk.append(file)
        size += file.size
        if len(chunk) == CHUNK_FILES or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _complete(line: Line, attempt: Attempt, first: dict[str, Line]) -> list[np.ndarray]:
    """Add the outcome to a file's line; return its pixels if it is used."""
    line["sha256"] = attempt.sha256
    if attempt.pixels is None:
        line["skipped"] = attempt.reason
        return []
    if (same := first.setdefault(attempt.sha256, line)) is line:
        if attempt.reason:
            line["remark"] = attempt.reason
        return [attempt.pixels]
    # Joined collections may overlap. An image twice in one, or of two identities, is a fault.
    overlap = same["root"] != line["root"] and same["columns"] == line["columns"]
    line["left_out" if overlap else "skipped"] = f"is the same as {same['file']}"
    return []


def _check_strict(strict: bool, lines: list[Line]) -> None:
    line = next((line for line in lines if "skipped" in line), None)
    if strict and line is not None:
        raise InputError(
            f"dataset.strict=true allows no file to be skipped, but {line['file']} "
            f"{line['skipped']}; remove it, or set dataset.strict=false"
        )


def _report(path: Path, lines: list[Line]) -> None:
    """Write the counts, then every file that was not used, with the reason; then remarks.

    Of many files with one reason or remark, the first are named and the others are counted.
    """
    keys = {"skipped": "skipped", "left_out": "left out", "remark": "used"}
    counts = {key: sum(num_files(line) for line in lines if key in line) for key in keys}
    used = sum("crc32" in line for line in lines)
    text = [f"{used} used, {counts['skipped']} skipped, {counts['left_out']} left out\n"]
    for key, word in keys.items():
        named, more = Counter[str](), Counter[str]()
        for line in (line for line in lines if key in line):
            kind = kind_of(line[key])
            named[kind] += "file" in line
            if "file" in line and named[kind] <= MAX_LINES:
                text.append(f"{word}: {line['file']} {line[key]}\n")
            else:
                more[kind] += num_files(line)
        text += [f"{word}: {count:,} more files: {kind}\n" for kind, count in more.items()]
    write_whole(path, "".join(text).encode("utf-8", "backslashreplace"))


def _nothing_used(
    sources: Sequence[Source], lines: list[Line], report: Path, columns: Columns
) -> str:
    roots = ", ".join(printable(str(source.root)) for source in sources)
    example = next(
        (line for key in ("skipped", "left_out") for line in lines if key in line), None
    )
    if example is None:
        return f"dataset.root={roots} must hold images, <identity>/<image>, but holds no file"
    reason = example.get("skipped") or example.get("left_out")
    text = (
        f"dataset.root={roots} must hold images, but none of its {sum(map(num_files, lines))} "
        f"files can be used: {example['file']} {reason}; see {printable(str(report))}"
    )
    missing = [line["file"] for line in lines if line.get("skipped") == ONLY_IN_TABLE]
    others = [line["file"] for line in lines if "left_out" in line and "file" in line]
    if missing and others:
        close = difflib.get_close_matches(missing[0], others[:MAX_LINES], n=1, cutoff=0)
        text += f"; the table has {missing[0]!r}, the root has {close[0]!r}"
    if columns.by_folder:
        unnamed = [line["file"] for line in lines if line.get("skipped", "") == NO_IDENTITY]
        if advice := hint(unnamed, [""] * len(unnamed)):
            text += f"; {advice}"
    return text


def _check_columns(used: list[Line], sources: Sequence[Source]) -> None:
    """Raise :class:`InputError` unless all used files have the same columns."""
    first = used[0]
    other = next(
        (line for line in used if line["columns"].keys() != first["columns"].keys()), None
    )
    if other is not None:
        names = [printable(str(sources[line["root"]].root)) for line in (first, other)]
        raise InputError(
            f"dataset.root must be sources with the same columns, but {names[0]} has "
            f"{', '.join(first['columns'])}, and {names[1]} {', '.join(other['columns'])}"
        )


def _shorten_identities(used: list[Line], by_path: set[int], folders: np.ndarray | None) -> None:
    """Remove the folders that all identities of a source share.

    Args:
        used: lines of the used files.
        by_path: the sources whose identities are paths.
        folders: number of these folders by source; None: found here.
    """
    for root in by_path & {line["root"] for line in used}:
        lines = [line for line in used if line["root"] == root]
        paths = [line["columns"]["identity"] for line in lines]
        if folders is None:
            paths = without_common_folders(paths)
        else:
            paths = ["/".join(path.split("/")[folders[root] :]) or path for path in paths]
        for line, identity in zip(lines, paths, strict=True):
            line["columns"]["identity"] = identity


def _write_index(path: Path, used: list[Line]) -> None:
    """Write each column as its distinct values and their codes, and the checksums of pixels."""
    arrays: dict[str, Any] = {"crc32": np.array([line["crc32"] for line in used], np.uint32)}
    for name in used[0]["columns"]:
        column = [line["columns"][name] for line in used]
        number = {value: place for place, value in enumerate(sorted(set(column)))}
        arrays[f"values/{name}"] = np.array(list(number))
        arrays[f"codes/{name}"] = np.array([number[value] for value in column], np.int32)
    with path.with_suffix(".tmp").open("wb") as file:
        np.savez(file, **arrays)
    path.with_suffix(".tmp").replace(path)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: at any moment it is the old one or the new one, whole."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def hash_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
