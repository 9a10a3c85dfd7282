"""A frame with new values in some of its cells.

Shapes: N rows, C columns, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlvae.data.tables.columns import LEVELLED, Column
from mlvae.data.tables.opened import opened

__all__ = ["filled_frame"]


def filled_frame(table: Any, columns: Sequence[Column], x: np.ndarray, changed: np.ndarray) -> Any:
    """The frame with values of features in some cells, in the words and types of the frame.

    Args:
        table: a frame of pandas, polars or pyarrow.
        columns: the columns of the features.
        x: features (N, D).
        changed: the cells that get values, booleans (N, C).
    """
    import narwhals as nw  # the frame came through it

    frame, place, retyped = opened(table, "table"), 0, False
    for number, column in enumerate(columns):
        width = len(column.features)
        cells = x[:, place : place + width]
        place += width
        rows = np.flatnonzero(changed[:, number])
        if len(rows) == 0:
            continue
        series = frame[column.name]
        values = series.to_list()
        for row in rows:
            values[row] = _value(column, cells[row], series.dtype)
        kind = series.dtype
        if kind.is_integer() and (wider := _wider(kind, values)) is not None:
            kind, retyped = wider, True
            if kind == nw.Float64:
                values = [float(value) for value in values]
        filled = nw.new_series(
            column.name,
            values,
            dtype=nw.Float64() if kind == nw.Object else kind,
            backend=nw.get_native_namespace(frame),
        )
        frame = frame.with_columns(filled)
    native = frame.to_native()
    if retyped and hasattr(native, "replace_schema_metadata"):  # pyarrow keeps types for pandas
        native = native.replace_schema_metadata(None)
    return native


def _wider(kind: Any, values: list[Any]) -> Any:
    """The type that holds the values of a column of integers: None if its own does."""
    import narwhals as nw

    numbers = [value for value in values if isinstance(value, int | float)]
    if not all(float(value).is_integer() for value in numbers):
        return nw.Float64()
    low, high = min(numbers, default=0), max(numbers, default=0)
    bits = int(str(kind).lstrip("UInt"))
    bottom, top = -(2 ** (bits - 1)), 2 ** (bits - 1)
    if kind.is_unsigned_integer():
        bottom, top = 0, 2**bits
    if low >= bottom and high < top:
        return None
    return nw.Int64() if low >= -(2**63) and high < 2**63 else nw.Float64()


def _value(column: Column, features: np.ndarray, kind: Any) -> Any:
    """The value of a cell in the words and the type of the table."""
    import narwhals as nw

    if column.kind in LEVELLED:
        return column.categories[int(features.argmax())]
    value = float(features[0])
    if kind == nw.Boolean:
        return value >= 0.5
    return int(value) if kind.is_integer() and value.is_integer() else value
