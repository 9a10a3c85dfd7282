"""Kinds of columns from a file in the form of HI-VAE's ``data_types.csv``.

The file has a line for each column of the table, in order: ``type,dim,nclass``. It is the form of
the tables of A. Nazábal, P. M. Olmos, Z. Ghahramani, I. Valera: Handling Incomplete Heterogeneous
Data using VAEs. Pattern Recognition 107, 2020, arXiv:1807.03653.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from mlvae.arguments import as_path
from mlvae.data.collections.regular import read_regular
from mlvae.data.tables.columns import KINDS, LEVELLED, few
from mlvae.errors import InputError, shown

__all__ = ["kinds_of_file"]

#: Kinds by the words of such files, and by those of this library.
WORDS = {
    "pos": "positive",
    "cat": "categorical",
    **{kind: kind for kind in KINDS},
}

#: Largest size of a file in bytes.
MAX_BYTES = 2**20


def kinds_of_file(path: str | Path, names: Sequence[str]) -> dict[str, str]:
    """The kind of each column by its name.

    Args:
        path: the file. Its first line has the names ``type``, ``dim`` and ``nclass``; ``dim`` must
            be 1, or of a categorical or ordinal column ``nclass``, which has no other effect: a
            column has the levels that occur in it.
        names: names of the columns of the table that become features, in order.

    Raises:
        InputError: if the file cannot be read, or has another number of lines or an unknown type.
    """
    path = as_path("kinds", path)
    try:
        lines = read_regular(path, MAX_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"kinds={path} must be 'inferred', or a file with a line type,dim,nclass for each "
            f"column: {error}"
        ) from error
    rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    first = [cell.strip() for cell in rows[0]] if rows else []
    if "type" not in first:
        raise InputError(
            f"the first line of kinds={path} must be type,dim,nclass, not {shown(','.join(first))}"
        )
    found = [dict(zip(first, map(str.strip, row), strict=False)) for row in rows[1:]]
    if len(found) != len(names):
        raise InputError(
            f"kinds={path} must have a line for each of the {len(names)} columns "
            f"({few(names)}), not {len(found)} lines"
        )
    return {name: _kind(path, name, row) for name, row in zip(names, found, strict=True)}


def _kind(path: Path, name: str, row: dict[str, str]) -> str:
    """The kind that a line states."""
    word = row.get("type", "")
    if word not in WORDS:
        raise InputError(
            f"the type of column {name} in kinds={path} must be {', '.join(WORDS)}, not "
            f"{shown(word)}"
        )
    one = ("", "1", row.get("nclass", "1")) if WORDS[word] in LEVELLED else ("", "1")
    if row.get("dim", "1") not in one:
        raise InputError(
            f"the dim of column {name} in kinds={path} must be {' or '.join(filter(None, one))}, "
            f"not {row['dim']}: a column of the table has one value in each row"
        )
    return WORDS[word]
