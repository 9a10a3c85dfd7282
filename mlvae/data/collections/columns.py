"""The columns of a file: its identity and other values, from a table or from its path."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from mlvae.data.collections.members import escaped, is_system_part, printable
from mlvae.data.collections.regular import read_regular
from mlvae.errors import InputError, shown

__all__ = ["NO_IDENTITY", "Columns", "without_common_folders"]

#: Largest table in bytes.
MAX_TABLE = 2**30

#: The name of a file in no folder, which begins with its identity: Ann_0001.jpg has Ann.
FLAT = re.compile(r"(?P<identity>.+?)[ ._-]+\d+(\.\w+)?")

#: The reason of a file whose path has no identity.
NO_IDENTITY = "is in no folder of an identity, and its name is not <identity>_<number>"

#: Columns of a table without a header.
HEADLESS = ("file", "identity", "split")

#: Names that a header may have for the column ``file``.
FILE_NAMES = ("file", "filename", "image", "path")


class Columns:
    """A map from the name of a file to its columns.

    Without a pattern and a table, the identity is the whole path of the file's folder (``ann/1``
    and ``bob/1`` are two identities), or, in no folder, the file's name without its number.

    Args:
        pattern: regular expression that the end of a file's path must match. Its named groups are
            the columns.
        table: a CSV file whose first line names its columns, among them ``file`` and
            ``identity``; or lines of file, identity and possibly split, between commas, tabs or
            spaces. ``file`` is a path, or the end of one. Files that are not in it are left out.

    Raises:
        InputError: if the pattern or the table cannot be read.
    """

    def __init__(self, pattern: str | None = None, table: Path | None = None) -> None:
        self.pattern = _compiled(pattern)
        self.table = table
        self.names: tuple[str, ...] = ()
        self.lines: dict[str, tuple[str, ...]] = {}
        self.sha256: str | None = None
        if table is not None:
            content = _text(table)
            self.sha256 = hashlib.sha256(content.encode()).hexdigest()
            try:
                self.names, self.lines = _read(table, content)
            except csv.Error as error:
                raise InputError(
                    f"dataset.table={printable(str(table))} must be a table: {error}"
                ) from error
        self.taken: set[str] = set()

    @property
    def by_folder(self) -> bool:
        """Whether identities are paths of folders."""
        return self.pattern is None and self.table is None

    def of(self, name: str, root: str = "") -> dict[str, str] | str | None:
        """The columns of a file.

        Args:
            name: path of the file within its source, not escaped.
            root: path of the source if it is a folder: a table may name the file by it.

        Returns:
            Columns by name, their values escaped; or the reason why the file is skipped; or None
            if the table or the pattern leaves it out.
        """
        columns: dict[str, str] = {}
        if self.pattern is not None:
            if (match := self.pattern.search(name)) is None:
                return None
            columns |= {key: escaped(value or "") for key, value in match.groupdict().items()}
        if self.table is not None:
            if (file := self._line(name, root)) is None:
                return None
            if file in self.taken:
                return f"is {file!r} of {printable(self.table.name)}, as another file is"
            self.taken.add(file)
            columns |= dict(zip(self.names, self.lines[file], strict=True))
        return columns if columns else _by_folder(name)

    def is_system(self, name: str, root: str = "") -> bool:
        """Whether a file is hidden or a system's own, and the table does not name it as such."""
        parts = name.split("/")
        last = max((i for i, part in enumerate(parts) if is_system_part(part)), default=None)
        if last is None:
            return False
        line = self._line(name, root)
        return line is None or line.count("/") < len(parts) - 1 - last

    def missing(self) -> Iterator[str]:
        """Files of the table that no source has, escaped."""
        return (escaped(file) for file in self.lines if file not in self.taken)

    def _line(self, name: str, root: str) -> str | None:
        """The longest end of the file's path that the table has."""
        path = f"{root}/{name}" if root else name
        parts = unicodedata.normalize("NFC", path).split("/")
        ends = ("/".join(parts[i:]) for i in range(len(parts)))
        return next((end for end in ends if end in self.lines), None)


def without_common_folders(paths: list[str]) -> list[str]:
    """Paths of folders without the folders at the beginning that all of them share."""
    split = [path.split("/") for path in paths]
    low, high = min(split), max(split)
    same = 0
    while same < len(low) - 1 and same < len(high) - 1 and low[same] == high[same]:
        same += 1
    return ["/".join(parts[same:]) for parts in split]


def _by_folder(name: str) -> dict[str, str] | str:
    folder, _, file = name.rpartition("/")
    if folder:
        return {"identity": escaped(folder)}
    if (match := FLAT.fullmatch(file)) is not None:
        return {"identity": escaped(match["identity"])}
    return NO_IDENTITY


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(f"(?:^|/){unicodedata.normalize('NFC', pattern)}$")
    except re.error as error:
        raise InputError(f"dataset.pattern must be a regular expression: {error}") from error
    if not compiled.groupindex:
        raise InputError(
            f"dataset.pattern must name its columns, as (?P<identity>[^/]+), not {shown(pattern)}"
        )
    return compiled


def _text(table: Path) -> str:
    try:
        return read_regular(table, MAX_TABLE).decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"dataset.table={printable(str(table))} must be readable: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"dataset.table={printable(str(table))} must be text in UTF-8: {error}"
        ) from error


def _read(table: Path, content: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Names of the columns without ``file``, and the values of each file."""
    where = printable(str(table))
    rows = _rows(content)
    number, first = next(rows, (0, []))
    if not first:
        raise InputError(f"dataset.table={where} must have one line per file, not none")
    header = list(HEADLESS[: len(first)])
    # Other names than `file` may be words of a table without a header, whose files have a dot.
    names = FILE_NAMES[:1] if any("." in cell for cell in first) else FILE_NAMES
    lower = [cell.lower() for cell in first]
    if named := next((name for name in names if name in lower), None):
        header = ["file" if cell == named else own for cell, own in zip(lower, first, strict=True)]
    header = [escaped(name) for name in header]
    if len(header) != len(first) or len(set(header)) != len(header) or len(header) < 2:
        raise InputError(
            f"dataset.table={where} must name its columns in the first line, among them file, or "
            f"have file, identity and possibly split, not {', '.join(first)[:80]!r}"
        )
    lines: dict[str, tuple[str, ...]] = {}
    place = header.index("file")
    if not named:
        _add(lines, first, place, len(header), f"line {number} of {where}")
    for number, row in rows:
        _add(lines, row, place, len(header), f"line {number} of {where}")
    return tuple(name for name in header if name != "file"), lines


def _rows(content: str) -> Iterator[tuple[int, list[str]]]:
    """The number of each line that is not empty, and its cells."""
    first = next((line for line in re.split("[\r\n]+", content) if line.strip()), "")
    mark = next((mark for mark in ",\t;" if mark in first), None)
    if mark is None:
        # Only spaces and tabs separate: a wide space, as in a Japanese name, belongs to a cell.
        for number, line in enumerate(re.split("\r\n|\r|\n", content), 1):
            if cells := re.findall("[^ \t]+", line):
                yield number, cells
    else:
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=mark)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip(" \t\r\n") for cell in cells]


def _add(
    lines: dict[str, tuple[str, ...]], row: list[str], place: int, length: int, where: str
) -> None:
    if len(row) != length:
        raise InputError(f"{where} must have {length} cells as the first line, not {len(row)}")
    file = unicodedata.normalize("NFC", row[place].replace("\\", "/").removeprefix("./"))
    if not file or file in lines:
        raise InputError(f"{where} must name a file that no other line names, not {file!r}")
    lines[file] = tuple(escaped(cell) for i, cell in enumerate(row) if i != place)
