"""New values in cells of a frame: types of columns of integers."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mlvae.data.tables.columns import Column
from mlvae.data.tables.filled import filled_frame

ROW = np.array([[False], [True], [False]])


def filled(table, value, kind="count"):
    x = np.array([[1.0], [value], [3.0]], np.float32)
    return filled_frame(table, [Column("n", kind)], x, ROW)["n"]


FRAMES = {
    "pandas": lambda kind: pd.DataFrame({"n": pd.array([1, None, 3], dtype=kind)}),
    "polars": lambda kind: pl.DataFrame({"n": pl.Series([1, None, 3], dtype=getattr(pl, kind))}),
    "pyarrow": lambda kind: pa.table({"n": pa.array([1, None, 3], getattr(pa, kind.lower())())}),
}


@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("Int8", 127.0, "int8"),
        ("Int8", 300.0, "int64"),
        ("UInt8", 255.0, "uint8"),
        ("UInt8", -1.0, "int64"),
        ("Int16", 2.0**40, "int64"),
        ("Int64", 2.0**70, "float64"),
        ("Int32", 0.5, "float64"),
    ],
)
def test_a_column_of_integers_gets_a_type_that_holds_the_new_value(library, kind, value, found):
    column = filled(FRAMES[library](kind), value)
    name = str(getattr(column, "dtype", None) or column.type).lower()
    assert name == ("double" if (library, found) == ("pyarrow", "float64") else found)
    values = column.to_pylist() if library == "pyarrow" else column.to_list()
    assert values == [1, value, 3]
