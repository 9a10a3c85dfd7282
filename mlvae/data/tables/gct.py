"""GCT files: a matrix of rows (genes) and columns (wells) with texts about both.

The format is that of the Broad Institute, versions 1.2 and 1.3: a line with the version; the
numbers of rows and columns, and in 1.3 of fields of rows and of columns; a header with the names
of the fields of rows and of the columns; in 1.3 a line for each field of columns; and a line for
each row.

Shapes: N columns, which become observations; D rows, which become features.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlvae.arguments import as_path
from mlvae.data.collections.regular import open_regular
from mlvae.data.values import is_number_text
from mlvae.errors import InputError, shown

__all__ = ["Gct", "read_gct"]

#: Number of counts in the second line, and the number of fields of rows that 1.2 has.
COUNTS = {"#1.2": 2, "#1.3": 4}

#: Largest product of rows and columns, 16 GB as float32.
MOST_CELLS = 2**32

#: Longest line in characters.
LONGEST = 2**28


class Gct(NamedTuple):
    """The content of a GCT file.

    Attributes:
        x: the matrix with a row for each column of the file, float32 (N, D).
        names: identifier of each column of the file, texts (N,).
        features: identifier of each row of the file, D texts.
        fields: texts about the columns by the name of the field, (N,) each.
        feature_fields: texts about the rows by the name of the field, (D,) each.
    """

    x: np.ndarray
    names: np.ndarray
    features: list[str]
    fields: dict[str, np.ndarray]
    feature_fields: dict[str, np.ndarray]


def read_gct(path: str | Path) -> Gct:
    """Read a GCT file of version 1.2 or 1.3, also compressed: ``.gct``, ``.gct.gz``.

    Args:
        path: the file.

    Returns:
        The transposed matrix. Observations are the columns of the file.

    Raises:
        InputError: if the file cannot be read, is no such file, or a cell is no finite number.

    Example::

        plate = mlvae.data.read_gct("plate.gct.gz")
        data = mlvae.GroupedData(plate.x, plate.fields["pert_iname"])
    """
    path = as_path("path", path)
    try:
        with open_regular(path) as stream:
            packed = path.name.lower().endswith(".gz")
            with (
                gzip.GzipFile(fileobj=stream) if packed else stream as binary,
                io.TextIOWrapper(binary, encoding="utf-8-sig", newline=None) as text,
            ):
                return _read(_lines(text, path), path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be a GCT file, which is text in UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} must be a readable GCT file: {reason}") from error


def _lines(text: io.TextIOWrapper, path: Path) -> Iterator[list[str]]:
    """The cells of each line."""
    number = 0
    while line := text.readline(LONGEST):
        number += 1
        if len(line) == LONGEST:
            raise InputError(f"{path} must be a GCT file, but line {number} has no end")
        yield line.rstrip("\n").split("\t")
    raise InputError(f"{path} must be a whole GCT file, but ends after line {number}")


def _read(lines: Iterator[list[str]], path: Path) -> Gct:
    version = next(lines)[0].strip()
    if version not in COUNTS:
        raise InputError(
            f"{path} must be a GCT file, whose first line is #1.2 or #1.3, not {shown(version)}"
        )
    rows, columns, row_fields, column_fields = _counts(next(lines), COUNTS[version], path)
    header = _cells(next(lines), 1 + row_fields + columns, path, "the header")
    ids = header[1 + row_fields :]
    fields = {}
    for _ in range(column_fields):
        name, *cells = _cells(next(lines), len(header), path, "a field of the columns")
        fields[name] = np.array(cells[row_fields:])
    x = np.empty((columns, rows), np.float32)
    features, about = [], []
    for row in range(rows):
        name, *cells = _cells(next(lines), len(header), path, f"row {row + 1}")
        features.append(name)
        about.append(cells[:row_fields])
        x[:, row] = _numbers(cells[row_fields:], ids, name, path)
    columns_about = np.array(about).reshape(rows, row_fields).T
    described = dict(zip(header[1 : 1 + row_fields], columns_about, strict=True))
    return Gct(x, np.array(ids), features, fields, described)


def _counts(cells: list[str], number: int, path: Path) -> tuple[int, int, int, int]:
    """Numbers of rows, of columns, of fields of rows and of fields of columns."""
    try:
        counts = [int(cell) for cell in cells[:number]]
    except ValueError:
        counts = []
    if len(counts) != number or min(counts) < 0 or 0 in counts[:2]:
        raise InputError(
            f"{path} must have the numbers of rows and columns in the second line, {number} "
            f"numbers, not {shown(' '.join(cells[:number]))}"
        )
    if counts[0] * counts[1] > MOST_CELLS:
        raise InputError(f"{path} must have at most {MOST_CELLS:,} cells, not {counts[:2]}")
    rows, columns, *fields = counts
    row_fields, column_fields = fields or (1, 0)  # version 1.2 has a description of each row
    return rows, columns, row_fields, column_fields


def _cells(cells: list[str], number: int, path: Path, what: str) -> list[str]:
    if len(cells) != number:
        raise InputError(f"{path} must have {number} cells in {what}, not {len(cells)}")
    return cells


def _numbers(cells: list[str], ids: list[str], name: str, path: Path) -> np.ndarray:
    """A row of the matrix as numbers (N,), or :class:`InputError` with its first wrong cell."""
    try:
        values = np.array(cells, dtype=np.float64)
        wrong = np.flatnonzero(~(np.abs(values) < np.finfo(np.float32).max))
    except ValueError:
        values = np.empty(0)
        wrong = np.array([i for i, cell in enumerate(cells) if not is_number_text(cell)])
    if len(wrong):
        place = int(wrong[0])
        raise InputError(
            f"{path} must have a finite number in each cell, but row {shown(name)}, column "
            f"{shown(ids[place])} has {shown(cells[place])} ({len(wrong)} such cells in the row); "
            "leave out the row or the column"
        )
    return values
