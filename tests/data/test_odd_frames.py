"""Data frames that users have by accident: odd names, indices, labels and types of cells."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mlvae import GroupedData, InputError

GROUP = ["a", "a", "b", "b"]


def frame(**columns):
    return pd.DataFrame({"g": GROUP, "x": [1.0, 2.0, 3.0, 4.0], **columns})


def refused(frame, group="g", match="", **options):
    """The line that refuses a frame."""
    with pytest.raises(InputError, match=match) as raised:
        GroupedData.from_frame(frame, group, **options)
    line = str(raised.value)
    assert "\n" not in line and len(line) <= 400
    return line


# Names


LEVELS = pd.MultiIndex.from_tuples([("x", "mean"), ("x", "std"), ("g", "")])


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["x", "x", "g"], "'x'"),
        (["x", "g", "g"], "'g'"),
        ([0, 1, "g"], r"0.*astype\(str\)"),
        (["", "x", "g"], "index=False"),
        (LEVELS, r"'_'\.join"),
    ],
)
def test_names_of_columns_that_cannot_be_used_are_shown_with_a_remedy(names, match):
    refused(pd.DataFrame([[1.0, 2.0, "a"], [3.0, 4.0, "b"]], columns=names), match=match)


def test_the_advice_for_names_of_several_levels_works():
    table = pd.DataFrame([[1.0, 2.0, "a"]], columns=LEVELS)
    table.columns = ["_".join(map(str, name)) for name in table.columns]
    assert GroupedData.from_frame(table, "g_").feature_names == ["x_mean", "x_std"]


@pytest.mark.parametrize("index", [["g"], ["h", "g"]])
def test_a_group_in_the_index_is_found_by_its_name(index):
    refused(frame(h=range(4)).set_index(index), match=r"'g'.*reset_index\(\)")


@pytest.mark.parametrize(
    "index", [[1, 2, np.nan, 4], ["a", None, "c", "d"], pd.to_datetime(["2020", None] * 2)]
)
def test_an_index_with_missing_names_is_refused(index):
    refused(frame().set_index(pd.Index(index)), match="index of frame.*missing.*reset_index")


def test_names_of_features_may_be_an_index_or_an_array():
    for names in (pd.Index(["y"]), np.array(["y"])):
        data = GroupedData.from_frame(frame(y=range(4)), "g", features=names)
        assert data.feature_names == ["y"]


# Groups


@pytest.mark.parametrize(
    ("group", "match"),
    [
        (["gg", "hh"], r"columns of frame \(g, x\).*4 rows.*'gg', 'hh'"),
        (["gg", "hh", "g"], "'gg'"),
        (3, "label for each row, not 3"),
        (["a", "b", None], "4 observations, not 3"),
    ],
)
def test_a_group_that_names_no_column_and_no_rows_is_refused_before_the_features(group, match):
    refused(frame(), group, match=match)


def test_labels_of_rows_may_be_names_of_columns():
    data = GroupedData.from_frame(frame()[["x"]], ["x", "y", "x", "y"])
    assert data.labels.tolist() == ["x", "y", "x", "y"] and data.feature_names == ["x"]


# Cells


@pytest.mark.parametrize(
    ("column", "match"),
    [
        ([np.zeros(2)] * 4, "ndarray"),
        ([1, "2", 3, 4], "str such as '2' beside 1"),
        ([None, [1], None, None], r"list such as \[1\]"),
        (["1", "2.5", "3", "4"], "to_numeric"),
        ([None] * 4, "no value"),
        (pd.period_range("2020", periods=4), "Period"),
        (pd.cut([1, 5, 2, 6], [0, 3, 10]), r"Interval.*astype\(str\)"),
    ],
)
def test_cells_that_are_no_features_are_shown(column, match):
    refused(frame(y=column), match=f"column y .*{match}")


@pytest.mark.parametrize(
    "table",
    [
        frame(y=pd.arrays.SparseArray([0, 0, 1, 0])),
        pl.DataFrame(frame()).with_columns(y=pl.Series([0, 0, 1, 0], dtype=pl.Int128)),
        pa.Table.from_pandas(frame()).append_column(
            "y", pa.array(map(Decimal, "0010"), pa.decimal256(40, 2))
        ),
    ],
)
def test_numbers_of_rare_types_are_numbers(table):
    data = GroupedData.from_frame(table, "g")
    assert data.x[:, data.feature_names.index("y")].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("cell", [True, "1", [1]])
def test_a_category_of_another_type_is_unknown(cell):
    data = GroupedData.from_frame(frame(y=[1, 2, 1, 2]), "g", categories="y")
    with pytest.raises(InputError, match="categories of the training table"):
        GroupedData.from_frame(frame(y=[cell, 1, 1, 1]), like=data)


def test_the_order_of_words_is_not_guessed():
    words = ["low", "high", "low", "high"]
    refused(frame(y=pd.Categorical(words)), kinds={"y": "ordinal"}, match="order is unknown")
    stated = pd.Categorical(words, categories=["low", "high"], ordered=True)
    data = GroupedData.from_frame(frame(y=stated), "g", kinds={"y": "ordinal"})
    assert data.feature_names == ["x", "y=low", "y=high"]


@pytest.mark.parametrize("order", [["low"], ["low", "high", "low"], [], ["low", "high", None]])
def test_an_order_lists_every_value_once(order):
    table = frame(y=["low", "high", "low", "high"])
    refused(table, kinds={"y": order}, match="kinds of column y must list")


def test_long_values_and_lists_in_a_split_stay_short_lines():
    long = ["x" * 1000, "y" * 1000, "x" * 1000, "y" * 1000]
    refused(frame(y=long), kinds={"y": "ordinal"}, match="order is unknown")
    refused(frame(y=[[1]] * 4), split="y", match="column y must have one of train")
