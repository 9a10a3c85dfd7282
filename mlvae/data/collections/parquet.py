"""Parquet files of images, each row with its columns: shards as Hugging Face datasets have them.

The images are a column of bytes, or of records with the field ``bytes``. The other columns of
texts and numbers are the columns of each image, and no pattern or table is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mlvae.data.collections import members
from mlvae.data.collections.archives import fingerprint
from mlvae.data.collections.members import Member, Refusal, escaped, first_line, printable
from mlvae.data.collections.remote import Remote
from mlvae.errors import InputError

__all__ = ["MARK", "Parquet"]

#: First bytes of a Parquet file.
MARK = b"PAR1"

#: Names of the column of images, where several columns have bytes.
NAMES = ("image", "img", "jpg", "png")

#: Largest number of rows of a group of rows, which is read as a whole.
MAX_ROWS = 2**20


class Parquet:
    """The rows of a Parquet file. The images are read one group of rows at a time.

    Args:
        path: the file.

    Raises:
        InputError: if pyarrow is not installed, the file is damaged or encrypted, or no column, or
            several, may have the images.
    """

    streamed = True

    def __init__(self, path: Path | Remote) -> None:
        self.root = path
        with self._file() as file:
            self.length = file.metadata.num_rows
            self.groups = file.metadata.num_row_groups
            schema = file.schema_arrow
        self.image = _image_column(schema, path)
        self.columns = _label_columns(schema)
        if not self.columns:
            raise InputError(
                f"dataset.root={printable(str(path))} must have a column of texts or numbers "
                "beside its images, but has none"
            )

    def __len__(self) -> int:
        return self.length

    def fingerprint(self) -> Iterator[str]:
        """One line, which changes with the file's name, size or time of change."""
        return fingerprint(self.root)

    def members(self) -> Iterator[Member | Refusal]:
        """Every row. The images of a group of rows are read at the first of its images."""
        number = 0
        with self._file() as file:
            for group in range(self.groups):
                images = _Images(file, group, self.image)
                table = file.read_row_group(group, columns=self.columns).to_pydict()
                for row in range(file.metadata.row_group(group).num_rows):
                    columns = {name: _word(table[name][row]) for name in self.columns}
                    name = f"{self.root.name}/{number:09}"
                    yield Member(name, 0, partial(images.read, row), name, columns)
                    number += 1

    @contextmanager
    def _file(self) -> Iterator[Any]:
        """The file, open."""
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise InputError(
                "Parquet files need pyarrow, which is not installed; run "
                "`pip install 'mlvae[tables]'`"
            ) from error
        with ExitStack() as stack:
            try:
                place = self.root
                if isinstance(place, Remote):
                    place = stack.enter_context(place.open())
                file = stack.enter_context(parquet.ParquetFile(place))
            except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
                raise InputError(
                    f"dataset.root={printable(str(self.root))} must be a Parquet file, but: "
                    f"{first_line(error)}"
                ) from error
            yield file


class _Images:
    """The images of one group of rows, read together when the first one is needed."""

    def __init__(self, file: Any, group: int, column: str) -> None:
        self.file, self.group, self.column = file, group, column
        self.values: Any = None

    def read(self, row: int) -> bytes:
        if self.values is None:
            if self.file.metadata.row_group(self.group).num_rows > MAX_ROWS:
                raise ValueError(f"its group of rows has more than {MAX_ROWS:,} rows")
            table = self.file.read_row_group(self.group, columns=[self.column])
            self.values = table.column(0).combine_chunks()
        value = self.values[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None:
            raise ValueError("it has no bytes")
        if len(content) > members.MAX_FILE:
            raise ValueError(f"it has more than {members.MAX_FILE:,} bytes")
        return content


def _image_column(schema: Any, path: Path | Remote) -> str:
    """The column with bytes, or with records that have them."""
    from pyarrow import types

    def has_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0
        return types.is_binary(kind) or types.is_large_binary(kind)

    found = [field.name for field in schema if has_bytes(field.type)]
    named = [name for name in NAMES if name in found]
    if len(found) != 1 and not named:
        raise InputError(
            f"dataset.root={printable(str(path))} must have one column of images as bytes, or "
            f"one named {NAMES[0]}, not {', '.join(map(printable, found)) or 'none'}"
        )
    return named[0] if named else found[0]


def _label_columns(schema: Any) -> list[str]:
    """The columns of texts, numbers and booleans."""
    from pyarrow import types

    kinds = (
        types.is_string,
        types.is_large_string,
        types.is_integer,
        types.is_floating,
        types.is_boolean,
        types.is_dictionary,
    )
    return [field.name for field in schema if any(is_kind(field.type) for is_kind in kinds)]


def _word(value: object) -> str:
    """A value as a text; a missing one is empty."""
    return "" if value is None or value != value else escaped(str(value))
