"""Data frames of pandas, polars and pyarrow as tables of narwhals, and the names in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlvae.data.row_order import index_of
from mlvae.data.tables.columns import column_names
from mlvae.errors import InputError, shown
from mlvae.groups.labels import is_missing

__all__ = ["opened", "repeated", "row_names"]


def opened(frame: Any, what: str = "frame") -> Any:
    """A frame of any library as one of narwhals.

    Raises:
        InputError: if narwhals is missing, or the value is not a frame in memory with columns of
            different names that are text.
    """
    try:
        import narwhals  # optional
    except ImportError as error:
        raise InputError("data frames need narwhals: pip install 'mlvae[tables]'") from error
    try:
        table = narwhals.from_native(frame, eager_only=True)
        names = list(table.columns)
    except Exception as error:  # narwhals raises errors of its own and of each library
        lazy = hasattr(frame, "collect")
        if not lazy and (twice := repeated(column_names(frame) or [])):
            raise InputError(
                f"{what} must have columns of different names, but two are {twice!r}; rename or "
                "drop one"
            ) from error
        if lazy:
            reason = f", not a {type(frame).__name__}; call its collect()"
        elif column_names(frame):
            reason = f": {' '.join(str(error).split())[:150]}"
        else:
            reason = f", not {shown(frame)}"
        raise InputError(
            f"{what} must be a DataFrame of pandas or polars, or a Table of pyarrow{reason}"
        ) from error
    if wrong := [name for name in names if not isinstance(name, str) or not name]:
        raise InputError(
            f"{what} must have columns with names that are text, not {_renaming(wrong[0])}"
        )
    if len(table) == 0:
        raise InputError(f"{what} must have at least one row, not none")
    return table


def repeated(names: Sequence[str]) -> str | None:
    """The first name that occurs twice."""
    return next((name for name in names if list(names).count(name) > 1), None)


def _renaming(name: object) -> str:
    """A name of a column that is no text, and how to change it."""
    if name == "":
        return "an empty one, as to_csv writes for an index; name it, or write with index=False"
    if isinstance(name, tuple):
        return (
            f"{shown(name)} of several levels; join them, for example by "
            "df.columns = ['_'.join(map(str, name)) for name in df.columns]"
        )
    return f"{shown(name)}; rename them, for example by df.columns = df.columns.astype(str)"


def row_names(frame: Any, length: int, what: str = "frame") -> np.ndarray:
    """The index of a frame of pandas, or numbers from 0.

    Raises:
        InputError: if a label of the index is missing.
    """
    if (index := index_of(frame)) is None:
        return np.arange(length)
    labels = np.asarray(index)
    if missing := sum(map(is_missing, labels.tolist() if labels.dtype.kind in "OfMm" else ())):
        raise InputError(
            f"the index of {what} must have a name for each row, but {missing} of {length} are "
            "missing; fill them, or number the rows: df.reset_index(drop=True)"
        )
    return labels
