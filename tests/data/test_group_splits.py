"""Splits that respect groups: nobody in two places."""

import numpy as np
import pytest
import torch

from mlvae.data import GroupedData
from mlvae.data.group_splits import large_groups, split_groups, split_named, split_within
from mlvae.errors import InputError

# Twenty people with one to twenty images; image i has the one feature i.
LABELS = [f"person{p:02}" for p in range(1, 21) for _ in range(p)]
PEOPLE = sorted(set(LABELS))


def people():
    return GroupedData(torch.arange(float(len(LABELS)))[:, None], LABELS)


def numbers(data):
    return [] if data is None else data.x[:, 0].long().tolist()


def names(data):
    return set() if data is None else set(data.group_names)


def assert_complete(parts):
    visited = [number for _, part in parts for number in numbers(part)]
    assert sorted(visited) == list(range(len(LABELS)))
    for _, part in parts:
        labels = [part.group_names[group] for group in part.groups.index.tolist()]
        assert labels == [LABELS[number] for number in numbers(part)]


# Properties


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("within", [0.0, 0.25])
def test_whole_groups_are_in_one_place_only(seed, within):
    parts = split_groups(people(), validation=0.2, test=0.3, within=within, seed=seed)
    assert_complete(parts)
    assert len(names(parts.validation)) == 4 and len(names(parts.unseen)) == 6
    assert not names(parts.train) & names(parts.validation)
    assert not names(parts.unseen) & (names(parts.train) | names(parts.validation))
    # What is held out within groups is of groups that are trained on.
    assert names(parts.test) <= names(parts.train)
    assert (parts.test is None) == (within == 0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_within_groups_each_keeps_something_to_train_on(seed):
    parts = split_within(people(), validation=0.2, test=0.5, seed=seed)
    assert_complete(parts)
    assert parts.train.group_names == PEOPLE
    sizes = dict(zip(parts.test.group_names, parts.test.groups.sizes.tolist(), strict=True))
    assert sizes["person10"] == 5 and sizes["person20"] == 10 and "person01" not in sizes


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    first, again, other = (split_groups(people(), seed=seed) for seed in (0, 0, 1))
    assert numbers(first.train) == numbers(again.train)
    assert names(first.unseen) != names(other.unseen)


# Behaviour


def test_groups_may_be_named_and_the_rest_drawn(tmp_path):
    (tmp_path / "people.txt").write_text("person03\t17\nperson04\n\n")
    for test in (["person03", "person04"], str(tmp_path / "people.txt")):
        parts = split_groups(people(), validation=0.1, test=test)
        assert_complete(parts)
        assert names(parts.unseen) == {"person03", "person04"}
        assert len(names(parts.validation)) == 2


def test_a_fraction_is_of_all_groups_and_at_least_one():
    parts = split_groups(people(), validation=0.001, test=0.0)
    assert len(names(parts.validation)) == 1 and parts.unseen is None


def test_a_column_may_name_the_split():
    words = np.array(["train"] * len(LABELS), dtype="U10")
    words[0] = "test"  # all of person01
    words[-1] = "2"  # one of twenty, in CelebA's numbers
    words[1:3] = "validation"
    parts = split_named(people(), words)
    assert_complete(parts)
    assert numbers(parts.unseen) == [0] and numbers(parts.test) == [len(LABELS) - 1]
    assert numbers(parts.validation) == [1, 2]


def test_small_groups_are_left_out_and_large_ones_cut():
    rows = large_groups(people(), minimum=5, maximum=7)
    sizes = people().subset(rows).groups.sizes.tolist()
    assert sizes == [5, 6] + [7] * 14
    assert rows.tolist() == sorted(rows.tolist())
    assert not torch.equal(rows, large_groups(people(), minimum=5, maximum=7, seed=1))
    assert torch.equal(large_groups(people()), torch.arange(len(LABELS)))


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"validation": ["eve"]},
            r"dataset.validation must be labels of groups \(.*\), not 'eve'",
        ),
        (
            {"validation": ["person01"], "test": ["person01", "person02"]},
            "dataset.validation and dataset.test must not share 'person01'",
        ),
        ({"test": 1.0}, "must leave a group of 20 to train on"),
        ({"test": PEOPLE, "validation": 0.0}, "must leave a group of 20 to train on"),
        ({"test": 1.5}, r"dataset.test must be a number in \[0, 1\], not 1.5"),
        ({"test": "nowhere.txt"}, "a fraction, a list of labels or a text file of them, but now"),
        ({"within": 0.001}, "dataset.within=0.001 must hold out something, but the largest group"),
    ],
)
def test_a_share_that_cannot_be_had_is_one_line(options, message):
    with pytest.raises(InputError, match=message):
        split_groups(people(), **options)


def test_a_column_of_splits_has_three_words():
    with pytest.raises(InputError, match=r"must have train, validation or test .*, not 'trian'"):
        split_named(people(), np.array(["trian"] * len(LABELS)))
    with pytest.raises(InputError, match="must leave something to 'train'"):
        split_named(people(), np.array(["test"] * len(LABELS)))


def test_a_minimum_must_leave_a_group():
    with pytest.raises(InputError, match="minimum=21 must leave a group, but the largest has 20"):
        large_groups(people(), minimum=21)
