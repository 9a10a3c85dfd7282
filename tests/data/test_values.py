"""Known values of observations are columns of any library."""

import importlib
import importlib.util
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse
import torch

from mlvae.data import GroupedData
from mlvae.errors import InputError
from mlvae.models import MLVAE


class Frame:
    """A column of a filtered table: its rows have no number 0."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, row):
        raise KeyError(row)


@pytest.mark.parametrize(
    "values",
    [
        Frame([1.0, np.nan, 3.0]),
        [1, None, 3],
        np.array([1, np.nan, 3], ">f8"),
        np.array([3, np.nan, 1.0])[::-1],
    ],
    ids=["column", "None", "big-endian", "reversed"],
)
def test_factors_are_columns_of_any_kind_with_missing_values(values):
    data = GroupedData(np.zeros((3, 2)), [0, 0, 1], {"light": values})
    light = data.factors["light"].tolist()
    assert light[0] == 1 and np.isnan(light[1]) and light[2] == 3
    given = GroupedData(np.zeros((2, 2)), [0, 1], given={"light": np.array([2, 1], ">i4")[::-1]})
    assert given.given["light"].tolist() == [1, 2]


def tables():
    """Columns of a filtered, shuffled table: what they are, and the values by position."""
    values = {}
    if importlib.util.find_spec("pandas"):
        import pandas as pd

        ages = pd.Series([5.0, 7.0, 6.0], index=[10, 7, 8], name="age")
        values |= {
            "pandas": (ages, [5, 7, 6]),
            "pandas.Int64": (ages.astype("Int64"), [5, 7, 6]),
            "pandas.NA": (pd.Series([5, pd.NA, 6], [4, 0, 2], dtype="Int64"), [5, None, 6]),
            "pandas.boolean": (pd.Series([True, pd.NA, False], dtype="boolean"), [1, None, 0]),
            "pandas.category": (ages.astype("category"), [5, 7, 6]),
            "pandas.object": (pd.Series([5, None, 6], dtype=object), [5, None, 6]),
        }
    if importlib.util.find_spec("polars"):
        pl = importlib.import_module("polars")
        values |= {
            "polars": (pl.Series([5, 7, 6]), [5, 7, 6]),
            "polars.null": (pl.Series([5, None, 6]), [5, None, 6]),
        }
    masked = np.ma.array([5, 99, 6], mask=[False, True, False])
    decimals = [Decimal(5), Decimal("nan"), Decimal(6)]
    scalars = [torch.tensor(5.0, requires_grad=True), torch.tensor(7.0), torch.tensor(6.0)]
    halves = [torch.tensor(v, dtype=torch.bfloat16) for v in (5, 7, 6)]
    read_only = np.array([5.0, 7.0, 6.0])
    read_only.flags.writeable = False
    return values | {
        "masked": (masked, [5, None, 6]),
        "decimal": (decimals, [5, None, 6]),
        "fractions": ([Fraction(5), Fraction(7), Fraction(6)], [5, 7, 6]),
        "tensors with gradients": (scalars, [5, 7, 6]),
        "bfloat16": (halves, [5, 7, 6]),
        "read-only": (read_only, [5, 7, 6]),
    }


TABLES = tables()


@pytest.mark.parametrize(("column", "expected"), TABLES.values(), ids=TABLES)
def test_columns_of_tables_are_factors_in_the_order_of_their_rows(column, expected):
    data = GroupedData(np.zeros((3, 2)), [0, 0, 1], {"age": column})
    numbers = [None if np.isnan(v) else v for v in data.factors["age"].tolist()]
    assert numbers == expected


@pytest.mark.parametrize(
    "column", [column for column, expected in TABLES.values() if None not in expected]
)
def test_columns_of_tables_are_given_values_in_the_order_of_their_rows(column):
    data = GroupedData(np.zeros((3, 2)), [0, 0, 1], given={"age": column})
    assert data.given["age"].tolist() == [5, 7, 6]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", "b", "c"], "factorize|unique"),
        (np.array(["2024-01-01"] * 3, "datetime64[D]"), "days"),
        (np.array([1, 2, 3], "timedelta64[s]"), "days"),
        ((i for i in range(3)), "object"),
        (np.zeros((3, 1)), r"\(3, 1\)"),
        ([[1], [2, 3], [4]], "shape"),
        (scipy.sparse.csr_array(np.eye(3)), "toarray"),
        (scipy.sparse.coo_matrix(np.eye(3)), "toarray"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_factors_are_refused_with_the_way_to_convert_them(values, words):
    with pytest.raises(InputError, match=rf"factor age .*{words}") as raised:
        GroupedData(np.zeros((3, 2)), [0, 0, 1], {"age": values})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "values",
    [[1, None, 3], np.ma.array([1, 2, 3], mask=[True, False, False]), [Decimal("nan")] * 3],
)
def test_given_values_that_are_missing_are_refused(values):
    with pytest.raises(InputError, match=r"given age .*(missing|masked)"):
        GroupedData(np.zeros((3, 2)), [0, 0, 1], given={"age": values})


class Table:
    """A table of columns, as of pandas or polars, without a truth value."""

    columns = ("age", "size")

    def __getitem__(self, name):
        return Frame({"age": [5.0, 7.0, 6.0], "size": [1, 2, 3]}[name])

    def __bool__(self):
        raise ValueError("ambiguous")


def test_a_table_has_factors_and_given_values_by_the_names_of_its_columns():
    data = GroupedData(np.zeros((3, 2)), [0, 0, 1], Table(), given=Table())
    assert {name: v.tolist() for name, v in data.factors.items()} == {
        "age": [5, 7, 6],
        "size": [1, 2, 3],
    }
    assert data.given["size"].tolist() == [1, 2, 3]
    for wrong in ([1, 2, 3], Frame([1, 2, 3]), 5):
        with pytest.raises(InputError, match="factors"):
            GroupedData(np.zeros((3, 2)), [0, 0, 1], wrong)


@pytest.mark.parametrize(
    "kind", ["csr_matrix", "csr_array", "coo_matrix", "lil_matrix", "dok_array"]
)
def test_sparse_observations_are_data_and_a_model_refuses_them_by_name(kind):
    x = getattr(scipy.sparse, kind)(np.eye(3, dtype=np.float32))
    assert GroupedData(x, [0, 0, 1]).batch().x.equal(torch.eye(3))
    with pytest.raises(InputError, match=rf"{kind}.*toarray"):
        MLVAE((3,)).infer_content(x, [0, 0, 1])


@pytest.mark.parametrize("kind", ["Int64", "Float64", "string", "boolean", "object"])
def test_nullable_columns_of_a_table_are_refused_by_name(kind):
    pd = pytest.importorskip("pandas")
    values = {"string": ["a", "b", None], "boolean": [True, False, None]}.get(kind, [1, 2, None])
    table = pd.DataFrame({"first": [1.0, 2.0, 3.0], "second": pd.Series(values, dtype=kind)})
    for use in (lambda: GroupedData(table, [0, 0, 1]), lambda: MLVAE((2,)).infer_style(table)):
        with pytest.raises(InputError, match=rf"second is {kind}.*astype"):
            use()
