"""Labels of groups: every type that users have, and missing ones."""

import datetime
import enum
import importlib.util

import numpy as np
import pytest
import torch

from mlvae import GroupedData, Groups, InputError
from mlvae.groups.labels import is_missing, label_index


class NA:
    """A missing value that compares as pandas.NA does: to itself, and without a truth value."""

    def __eq__(self, other):
        return self

    def __ne__(self, other):
        return self

    def __hash__(self):
        return 1

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    def __repr__(self):
        return "<NA>"


def missing_values():
    values = {
        "None": None,
        "nan": float("nan"),
        "nan of NumPy": np.float64("nan"),
        "NaT": np.datetime64("NaT"),
        "NaT of durations": np.timedelta64("NaT"),
        "NA": NA(),
    }
    if importlib.util.find_spec("pandas"):
        import pandas as pd

        values |= {"pandas.NA": pd.NA, "pandas.NaT": pd.NaT}
    return values


MISSING = missing_values()


@pytest.mark.parametrize("value", MISSING.values(), ids=MISSING)
def test_a_missing_label_is_refused_wherever_it_is(value):
    assert is_missing(value)
    for labels in ([value, "a"], ["a", value], ["a", "b", value, "c"], [value], [1, value]):
        with pytest.raises(InputError, match="missing"):
            label_index(labels)
        with pytest.raises(InputError, match="missing"):
            label_index(np.array(labels, dtype=object))
    with pytest.raises(InputError, match="missing"):
        GroupedData(np.zeros((2, 3)), ["a", value])


@pytest.mark.parametrize("label", ["a", "", "nan", "None", 0, 0.5, False, b"a"])
def test_a_word_or_a_number_is_not_missing(label):
    assert not is_missing(label)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1.0, np.nan]),
        np.array(["2024-01-01", "NaT"], "datetime64[D]"),
        torch.tensor([1.0, torch.nan]),
        np.ma.masked_array([1, 2], [False, True]),
    ],
)
def test_missing_values_of_arrays_are_refused(labels):
    with pytest.raises(InputError, match="missing"):
        label_index(labels)


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 1 has no StringDType")
def test_strings_of_variable_length():
    kind = np.dtypes.StringDType()
    index, names = label_index(np.array(["bob", "ann", "a much longer name"], kind))
    assert index.tolist() == [2, 1, 0] and names == ["a much longer name", "ann", "bob"]
    assert all(type(name) is str for name in names)
    for missing in (np.nan, None):
        kind = np.dtypes.StringDType(na_object=missing)
        assert label_index(np.array(["b", "a"], kind))[1] == ["a", "b"]
        with pytest.raises(InputError, match="missing"):
            label_index(np.array(["b", missing], kind))


@pytest.mark.parametrize("labels", [[b"bob", b"ann"], np.array([b"bob", b"ann"])])
def test_byte_strings_become_strings(labels):
    index, names = label_index(labels)
    assert index.tolist() == [1, 0] and names == ["ann", "bob"]


def test_byte_strings_of_other_encodings_are_refused():
    assert label_index(["é".encode(), b"a"])[1] == ["a", "é"]
    with pytest.raises(InputError, match=r"UTF-8.*\\xe9"):
        label_index([b"\xe9", b"a"])


@pytest.mark.parametrize("unit", ["D", "s", "ns", "Y"])
def test_dates_of_numpy_become_iso_strings_in_order(unit):
    dates = np.array(["2024-03-01", "1969-12-31", "2024-03-01"], f"datetime64[{unit}]")
    index, names = label_index(dates)
    assert index.tolist() == [1, 0, 1]
    assert names[0].startswith("1969") and names[1].startswith("2024")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (
            [datetime.date(2024, 3, 1), datetime.date(2023, 3, 1)],
            ["2023-03-01", "2024-03-01"],
        ),
        (
            [datetime.datetime(2024, 3, 1, 12), datetime.datetime(2023, 3, 1)],
            ["2023-03-01 00:00:00", "2024-03-01 12:00:00"],
        ),
    ],
)
def test_date_objects_become_strings_in_order(labels, names):
    index, found = label_index(labels)
    assert index.tolist() == [1, 0] and found == names


@pytest.mark.parametrize(
    "labels",
    [[True, False, True], np.array([True, False, True]), torch.tensor([True, False, True])],
)
def test_booleans_are_two_labels(labels):
    index, names = label_index(labels)
    assert index.tolist() == [1, 0, 1] and names == [False, True]


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.uint16, np.int64, np.float32])
def test_numbers_keep_their_values(kind):
    index, names = label_index(np.array([7, 3, 7], kind))
    assert index.tolist() == [1, 0, 1] and names == [3, 7] and index.dtype == torch.int64


@pytest.mark.parametrize(
    ("labels", "types"),
    [
        ([1, "1"], "int.*str"),
        (["True", True], "str.*bool"),
        ([1.5, "1.5"], "float.*str"),
        (["a", 1, "a"], "str.*int"),
        ([1, 1.0], "int.*float"),
        ([1, 2.5], "int.*float"),
        ([True, 1], "bool.*int"),
        ([0.0, False], "float.*bool"),
        ([b"a", "a"], "bytes.*str"),
        (["2024-01-01", datetime.date(2024, 1, 1)], "str.*date"),
        ([datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1)], "date.*datetime"),
        ([torch.tensor(1), "1"], "int.*str"),
    ],
    ids=str,
)
def test_labels_of_several_types_are_refused(labels, types):
    for kind in (labels, np.array(labels, dtype=object)):
        for refused in (label_index, Groups.of, lambda x: GroupedData(np.zeros((len(x), 3)), x)):
            with pytest.raises(InputError, match=types) as raised:
                refused(kind)
            assert "\n" not in str(raised.value)


def test_numbers_of_several_widths_have_one_type():
    labels = [np.int8(3), 7, np.uint16(3), torch.tensor(7)]
    assert label_index(labels)[1] == [3, 7] and label_index(labels)[0].tolist() == [0, 1, 0, 1]
    assert label_index([np.float32(0.5), 0.5, 1.0])[1] == [0.5, 1.0]


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "a "],
        ["a", "b", "\ta"],
        ["\u3000a", "a"],
        ["a\n", "a"],
        ["", " "],
        ["Jos\u00e9", "Jose\u0301"],
        ["\u212b", "\u00c5"],
        [" Jose\u0301", "Jos\u00e9"],
        [b"a", b"a "],
    ],
    ids=ascii,
)
def test_strings_that_look_alike_are_refused(labels):
    for kind in (labels, np.array(labels), np.array(labels, dtype=object)):
        with pytest.raises(InputError, match="group labels") as raised:
            label_index(kind)
        assert str(raised.value).isascii() and str(raised.value).isprintable()


def test_strings_that_look_different_are_different_groups():
    labels = [
        "a",
        "A",
        "a b",
        "a  b",
        "\u0430",
        "Jose",
        "Jos\u00e9",
        "",
        "1",
        "1.0",
        "01",
    ]
    index, names = label_index(labels)
    assert len(names) == len(labels) and [names[i] for i in index] == labels


def test_dates_of_a_table_have_the_strings_of_dates_of_numpy():
    dates = np.array(["2024-01-02", "2023-01-02", "2024-01-02"], "datetime64[ns]")

    class Column:
        dtype = dates.dtype

        def __array__(self, dtype=None, copy=None):
            return dates.astype(dtype) if dtype else dates

    assert label_index(Column())[1] == label_index(dates)[1] == ["2023-01-02", "2024-01-02"]


def test_members_of_an_enumeration_have_their_names():
    colour = enum.Enum("Colour", ["red", "blue"])
    assert label_index([colour.red, colour.blue])[1] == ["Colour.blue", "Colour.red"]


def test_tensors_of_one_number_are_numbers():
    index, names = label_index([torch.tensor(7), torch.tensor(3), torch.tensor(7)])
    assert index.tolist() == [1, 0, 1] and names == [3, 7]


@pytest.mark.parametrize(
    "labels",
    [
        [],
        None,
        "ann",
        3,
        np.zeros((2, 2)),
        [[1], [2, 3]],
        [(1, 2), (3, 4, 5)],
        [{}, {}],
        [{1}, {2}],
        {"a": 1},
        (label for label in "ab"),
        torch.zeros(3, dtype=torch.complex64),
        np.zeros(3, complex),
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_other_objects_are_refused_in_one_line(labels):
    with pytest.raises(InputError) as raised:
        label_index(labels)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


def test_the_index_is_on_the_device_of_the_labels_and_groups_are_sorted():
    labels = torch.tensor([5, 2, 5, 9])
    index, names = label_index(labels)
    assert index.device == labels.device and names == [2, 5, 9]
    assert torch.equal(Groups.of(labels).sizes, torch.tensor([1, 2, 1]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize("numbers", [[0, 2, 2, 5, 0, 1], [0, 9, 9, 7]], ids=str)
def test_numbers_in_a_small_range_and_beyond_are_numbered_alike(dtype, numbers):
    index, names = label_index(torch.tensor(numbers, dtype=dtype))
    expected, inverse = np.unique(numbers, return_inverse=True)
    assert names == expected.tolist() and index.tolist() == inverse.tolist()
    assert index.dtype == torch.int64
