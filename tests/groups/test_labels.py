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


def test_bytes_and_strings_of_one_word_are_different_labels():
    with pytest.raises(InputError, match="2 different"):
        label_index([b"a", "a"])


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


@pytest.mark.parametrize("labels", [[1, "1"], ["True", True], [1.5, "1.5"], ["None", 1, "1"]])
def test_labels_of_mixed_types_that_would_merge_are_refused(labels):
    with pytest.raises(InputError, match=rf"{len(labels)} different"):
        label_index(labels)


def test_labels_of_mixed_types_that_stay_different_are_strings():
    index, names = label_index(["a", 1, "a"])
    assert index.tolist() == [1, 0, 1] and names == ["1", "a"]


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
