"""Splits by fields of observations."""

import numpy as np
import pytest

from mlvae.data import GroupedData
from mlvae.data.splitting.field_splits import split_by_fields
from mlvae.errors import InputError

TAKE = np.array([str(i % 5) for i in range(40)])
ROOM = np.array([str(i // 20) for i in range(40)])
FIELDS = {"take": TAKE, "room": ROOM}


def data():
    x = np.arange(40.0)[:, None]
    return GroupedData(x, np.arange(40) // 5 % 4)


def rows(part):
    return [] if part is None else part.x[:, 0].long().tolist()


def test_the_test_has_the_named_values_and_every_observation_is_in_one_part():
    splits = split_by_fields(data(), FIELDS, test={"take": [0, 3]}, validation=0.25)
    assert set(TAKE[rows(splits.test)]) == {"0", "3"} and len(rows(splits.test)) == 16
    assert len(rows(splits.validation)) == 6 and splits.unseen is None
    assert sorted(rows(splits.train) + rows(splits.validation) + rows(splits.test)) == [*range(40)]


def test_several_fields_must_agree_and_one_value_needs_no_list():
    splits = split_by_fields(data(), FIELDS, test={"take": "1", "room": [0]}, validation=0)
    expected = np.flatnonzero((TAKE == "1") & (ROOM == "0"))
    assert rows(splits.test) == expected.tolist() and splits.validation is None


def test_the_validation_may_be_named_and_the_test_drawn():
    splits = split_by_fields(data(), FIELDS, validation={"take": [4]}, test=8, seed=1)
    assert set(TAKE[rows(splits.validation)]) == {"4"} and len(rows(splits.test)) == 8
    again = split_by_fields(data(), FIELDS, validation={"take": [4]}, test=8, seed=1)
    other = split_by_fields(data(), FIELDS, validation={"take": [4]}, test=8, seed=2)
    assert rows(again.test) == rows(splits.test) != rows(other.test)


def test_unseen_groups_are_in_no_other_part():
    options = {"test": {"take": [0]}, "validation": 4, "unseen_groups": [2]}
    splits = split_by_fields(data(), FIELDS, **options)
    assert rows(splits.unseen) == np.flatnonzero(np.arange(40) // 5 % 4 == 2).tolist()
    assert splits.train.group_names == splits.test.group_names == [0, 1, 3]


def test_without_fields_the_split_is_that_of_its_name():
    splits = split_by_fields(data(), FIELDS, validation=1, test=1)
    assert len(splits.unseen.group_names) == 1 and len(splits.train.group_names) == 2
    splits = split_by_fields(data(), FIELDS, split="members", validation=0, test=2)
    assert splits.test.groups.sizes.tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": {"tke": [0]}}, r"dataset\.test .*take.*'tke'"),
        ({"test": {"take": [7]}}, r"dataset\.test .*0, 1, 2, 3, 4.*'7'"),
        ({"test": {}}, r"dataset\.test .*\{\}"),
        ({"test": {"take": [0]}, "validation": {"room": [0]}}, r"share .*4 "),
        ({"test": {"take": [0]}, "split": "groups"}, r"dataset\.split='groups'"),
        ({"test": {"take": [0]}, "within": 0.5}, r"dataset\.within=0\.5"),
        ({"test": {"take": [0, 1, 2, 3, 4]}, "validation": 0}, "train"),
        ({"test": {"take": [0]}, "validation": [1]}, r"dataset\.validation .*\[1\]"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        split_by_fields(data(), FIELDS, **options)
