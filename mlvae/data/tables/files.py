"""Tables in files: comma-separated values, tab-separated values, and Parquet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlvae.data.collections.members import first_line
from mlvae.data.collections.regular import open_regular
from mlvae.errors import InputError, shown

__all__ = ["TABLES", "is_table", "read_table"]

#: Ends of file names, and the kind of file.
TABLES = {
    **dict.fromkeys((".csv", ".csv.gz", ".tsv", ".tsv.gz"), "text"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}

#: Names of the columns that pandas writes for an index without a name.
INDEX = re.compile(r"__index_level_\d+__")


def is_table(path: Path) -> bool:
    """Whether the name of a file ends as that of a table."""
    return path.name.lower().endswith(tuple(TABLES))


def read_table(
    path: Path,
    columns: Sequence[str] | None = None,
    *,
    texts: bool = False,
    markers: Sequence[str] | None = None,
    header: bool = True,
    labels: Sequence[str] = (),
) -> Any:
    """The table of a file, as a Table of pyarrow.

    Args:
        path: the file.
        columns: names of the columns of a text file without a first line of names; None: the
            first line has them.
        texts: whether a value may have several lines, in quotation marks.
        markers: words that stand for a missing cell, as an empty cell does, in all columns. None:
            an empty text is a text.
        header: whether the first line of a text file has the names of the columns, if ``columns``
            does not. False: the names are "1", "2" and so on.
        labels: names of columns of labels. They stay text in a text file if their numbers would
            be written in another way, as those of 01 and 1.

    Raises:
        InputError: if pyarrow is missing, or the file is of another kind or damaged.
    """
    if not is_table(path):
        raise InputError(
            f"dataset.root={path} must be a file whose name ends with {', '.join(TABLES)}; for "
            "others use mlvae.GroupedData.from_frame"
        )
    try:
        from pyarrow import parquet  # optional
    except ImportError as error:
        raise InputError("tables need pyarrow: pip install 'mlvae[tables]'") from error
    options = {"columns": columns, "texts": texts, "markers": markers, "header": header}
    try:
        if path.name.lower().endswith((".parquet", ".pq")):
            with open_regular(path) as stream:
                return _without_index(path, parquet.read_table(stream))
        table = _read_text(path, **options)
        _check_text(path, table, header=header)
        names = table.column_names
        if found := [name for name in labels if name in names]:
            written = _read_text(path, **options, strings=found)
            for name in found:
                column = _labels(table[name], written[name])
                table = table.set_column(names.index(name), name, column)
    except InputError:
        raise
    except Exception as error:  # pyarrow raises many types for a damaged file
        raise InputError(
            f"dataset.root={path} must be a table, the first line with the names of its columns: "
            f"{first_line(error)}"
        ) from error
    return table


def _read_text(
    path: Path,
    *,
    columns: Sequence[str] | None,
    texts: bool,
    markers: Sequence[str] | None,
    header: bool,
    strings: Sequence[str] = (),
) -> Any:
    """The table of a text file, with the columns ``strings`` as text."""
    import pyarrow  # the caller has checked it
    from pyarrow import csv

    numbered = not header and columns is None
    raw = [f"f{int(name) - 1}" if numbered else name for name in strings]  # names of pyarrow
    name = path.name.lower()
    tabs = name.endswith((".tsv", ".tsv.gz"))
    with open_regular(path) as stream:
        content: Any = stream
        if name.endswith(".gz"):
            content = pyarrow.CompressedInputStream(stream, "gzip")
        convert = csv.ConvertOptions(
            strings_can_be_null=markers is not None,
            column_types=dict.fromkeys(raw, pyarrow.string()),
        )
        convert.null_values = [*convert.null_values, *(markers or ())]
        table = csv.read_csv(
            content,
            convert_options=convert,
            read_options=csv.ReadOptions(
                column_names=columns, autogenerate_column_names=not header
            ),
            parse_options=csv.ParseOptions(
                delimiter="\t" if tabs else ",", newlines_in_values=texts
            ),
        )
    if numbered:
        return table.rename_columns([str(place + 1) for place in range(table.num_columns)])
    return table


def _labels(values: Any, texts: Any) -> Any:
    """The values of labels, or their texts where values are fewer or are written otherwise."""
    import pyarrow
    from pyarrow import compute as functions

    compute: Any = functions  # whose functions are made at run time
    kind = pyarrow.types
    if kind.is_null(values.type):
        return values
    same = compute.count_distinct(values).as_py() == compute.count_distinct(texts).as_py()
    if kind.is_integer(values.type):
        written = compute.equal(values.cast(pyarrow.string()), texts)
        same = compute.all(written).as_py() is not False
    elif kind.is_floating(values.type) and (largest := compute.max(compute.abs(values)).as_py()):
        same = same and largest < 2**53  # larger numbers are not exact
    return values if same else texts


def _without_index(path: Path, table: Any) -> Any:
    """A table without the columns that pandas writes for an index without a name."""
    found = [name for name in table.column_names if INDEX.fullmatch(name)]
    if found:
        print(f"dataset.root={path}: the index of pandas is left out", flush=True)
    return table.drop_columns(found)


def _check_text(path: Path, table: Any, *, header: bool) -> None:
    """Raise :class:`InputError` if a text file has another separator, or is not in UTF-8."""
    import pyarrow

    first = table.column_names[:1] if header else table[0].slice(0, 1).to_pylist()
    line = first[0] if table.num_columns == 1 and first else None
    if isinstance(line, str) and any(mark in line for mark in ";\t|,"):
        raise InputError(
            f"dataset.root={path} must have values that are separated by commas, or by tabs in a "
            f".tsv file, but has one column, {shown(line)}; write it with that separator"
        )
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pyarrow.types.is_binary(column.type):
            raise InputError(
                f"dataset.root={path} must be a text file in UTF-8, but column {name} has other "
                "bytes; save it in UTF-8"
            )
