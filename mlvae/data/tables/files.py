"""Tables in files: comma-separated values, tab-separated values, and Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlvae.data.collections.members import first_line
from mlvae.data.collections.regular import open_regular
from mlvae.errors import InputError

__all__ = ["TABLES", "is_table", "read_table"]

#: Ends of file names, and the kind of file.
TABLES = {
    **dict.fromkeys((".csv", ".csv.gz", ".tsv", ".tsv.gz"), "text"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}


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

    Raises:
        InputError: if pyarrow is missing, or the file is of another kind or damaged.
    """
    name = path.name.lower()
    if not is_table(path):
        raise InputError(
            f"dataset.root={path} must be a file whose name ends with {', '.join(TABLES)}; for "
            "others use mlvae.GroupedData.from_frame"
        )
    try:
        from pyarrow import CompressedInputStream, csv, parquet  # optional
    except ImportError as error:
        raise InputError("tables need pyarrow: pip install 'mlvae[tables]'") from error
    try:
        with open_regular(path) as stream:
            if name.endswith((".parquet", ".pq")):
                return parquet.read_table(stream)
            tabs = name.endswith((".tsv", ".tsv.gz"))
            content: Any = (
                CompressedInputStream(stream, "gzip") if name.endswith(".gz") else stream
            )
            convert = csv.ConvertOptions(strings_can_be_null=markers is not None)
            convert.null_values = [*convert.null_values, *(markers or ())]
            read = csv.ReadOptions(column_names=columns, autogenerate_column_names=not header)
            table = csv.read_csv(
                content,
                convert_options=convert,
                read_options=read,
                parse_options=csv.ParseOptions(
                    delimiter="\t" if tabs else ",", newlines_in_values=texts
                ),
            )
            if header or columns is not None:
                return table
            return table.rename_columns([str(place + 1) for place in range(table.num_columns)])
    except Exception as error:  # pyarrow raises many types for a damaged file
        raise InputError(
            f"dataset.root={path} must be a table, the first line with the names of its columns: "
            f"{first_line(error)}"
        ) from error
