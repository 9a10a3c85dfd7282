"""What is known of a file beside its pixels: whose it is, and any other column.

It stands in a table, or in the path of the file.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from mlvae.errors import InputError

__all__ = ["Columns", "without_common_folders"]

#: How a file that lies in no folder names its identity: Ann_0001.jpg is of Ann.
FLAT = re.compile(r"(?P<identity>.+?)[ ._-]+\d+(\.\w+)?")

#: Columns of a table that does not name them.
HEADLESS = ("file", "identity", "split")


class Columns:
    """From the name of a file to its columns.

    Without a pattern and a table, the identity is the folder in which a file lies, by its whole
    path (so that ``ann/1`` and ``bob/1`` are two), or, in no folder, its name without the number.

    Args:
        pattern: regular expression that the end of a file's path must match, whose named groups
            are the columns.
        table: a CSV file whose first line names its columns, among them ``file`` and
            ``identity``; or lines of file, identity and possibly split, between commas, tabs or
            spaces. ``file`` is a path, or the end of one. Files that are not in it are left out.

    Raises:
        InputError: if the pattern or the table cannot be read.
    """

    def __init__(self, pattern: str | None = None, table: Path | None = None) -> None:
        self.pattern = _compiled(pattern)
        self.table = table
        self.names, self.lines, self.sha256 = (), {}, None
        if table is not None:
            content = _text(table)
            self.sha256 = hashlib.sha256(content.encode()).hexdigest()
            try:
                self.names, self.lines = _read(table, content)
            except csv.Error as error:
                raise InputError(f"dataset.table={table} must be a table: {error}") from error
        self.taken: set[str] = set()

    @property
    def by_folder(self) -> bool:
        """Whether identities are paths of folders."""
        return self.pattern is None and self.table is None

    def of(self, name: str) -> dict[str, str] | str | None:
        """The columns of a file; a reason why it cannot be used; or None if it is not meant."""
        columns: dict[str, str] = {}
        if self.pattern is not None:
            if (match := self.pattern.search(name)) is None:
                return None
            columns |= {key: value or "" for key, value in match.groupdict().items()}
        if self.table is not None:
            if (file := self._line(name)) is None:
                return None
            if file in self.taken:
                return f"is {file!r} of {self.table.name}, as another file is"
            self.taken.add(file)
            columns |= dict(zip(self.names, self.lines[file], strict=True))
        return columns if columns else _by_folder(name)

    def missing(self) -> Iterator[str]:
        """Files of the table that no source has had."""
        return (file for file in self.lines if file not in self.taken)

    def _line(self, name: str) -> str | None:
        parts = name.split("/")
        ends = ("/".join(parts[i:]) for i in range(len(parts)))
        return next((end for end in ends if end in self.lines), None)


def without_common_folders(paths: list[str]) -> list[str]:
    """Paths of folders without the folders that all of them begin with."""
    split = [path.split("/") for path in paths]
    low, high = min(split), max(split)
    same = 0
    while same < len(low) - 1 and same < len(high) - 1 and low[same] == high[same]:
        same += 1
    return ["/".join(parts[same:]) for parts in split]


def _by_folder(name: str) -> dict[str, str] | str:
    folder, _, file = name.rpartition("/")
    if folder:
        return {"identity": folder}
    if (match := FLAT.fullmatch(file)) is not None:
        return {"identity": match["identity"]}
    return "lies in no identity's folder, and is not called <identity>_<number>"


def _compiled(pattern: str | None) -> re.Pattern | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(f"(?:^|/){pattern}$")
    except re.error as error:
        raise InputError(f"dataset.pattern must be a regular expression: {error}") from error
    if not compiled.groupindex:
        raise InputError(
            f"dataset.pattern must name its columns, as (?P<identity>[^/]+), not {pattern!r}"
        )
    return compiled


def _text(table: Path) -> str:
    try:
        return table.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"dataset.table={table} must be readable: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"dataset.table={table} must be text in UTF-8: {error}") from error


def _read(table: Path, content: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Names of the columns but ``file``, and the values of each file."""
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"dataset.table={table} must have a line for each file, not none")
    mark = next((mark for mark in ",\t;" if mark in lines[0]), None)
    cells = csv.reader(lines, delimiter=mark) if mark else (line.split() for line in lines)
    first = [cell.strip() for cell in next(cells)]
    header = first if "file" in first else list(HEADLESS[: len(first)])
    if len(header) != len(first) or len(set(header)) != len(header) or len(header) < 2:
        raise InputError(
            f"dataset.table={table} must name its columns in the first line, among them file, or "
            f"have file, identity and possibly split, not {', '.join(first)[:80]!r}"
        )
    rows: dict[str, tuple[str, ...]] = {}
    place = header.index("file")
    for number, row in enumerate([] if header is first else [first], 1):
        _add(rows, row, place, len(header), f"line {number} of {table}")
    for number, row in enumerate(cells, 2):
        _add(rows, row, place, len(header), f"line {number} of {table}")
    return tuple(name for name in header if name != "file"), rows


def _add(rows: dict, row: list[str], place: int, length: int, where: str) -> None:
    row = [cell.strip() for cell in row]
    if len(row) != length:
        raise InputError(f"{where} must have {length} cells as the first line, not {len(row)}")
    file = row.pop(place).replace("\\", "/").removeprefix("./")
    if file in rows:
        raise InputError(f"{where} must name a file that no other line names, not {file!r}")
    rows[file] = tuple(row)
