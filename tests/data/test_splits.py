"""Splits: every observation in exactly one part, unseen groups in one part only."""

import re

import numpy as np
import pytest
import torch

from mlvae.data import GroupedData, Splits, split
from mlvae.data.splitting.splits import hold_out
from mlvae.errors import InputError

SIZES = {"ann": 9, "bob": 1, "eve": 20, "joe": 10}
LABELS = [name for name, size in SIZES.items() for _ in range(size)]


def people():
    """Forty observations of four people. Observation i has the single feature i."""
    return GroupedData(torch.arange(40.0)[:, None], LABELS)


def numbers(data):
    return [] if data is None else data.x[:, 0].long().tolist()


def names(data):
    return [data.group_names[group] for group in data.groups.index.tolist()]


# Properties


@pytest.mark.parametrize(
    ("validation", "test", "unseen"),
    [(0, 0, []), (7, 0, ["eve"]), (0, 5, []), (4, 5, ["bob", "joe"])],
)
def test_parts_are_disjoint_and_complete(validation, test, unseen):
    parts = split(people(), validation=validation, test=test, unseen_groups=unseen)
    visited = [number for _, part in parts for number in numbers(part)]
    assert sorted(visited) == list(range(40))


def test_unseen_groups_do_not_change_the_sizes_of_the_other_parts():
    parts = split(people(), validation=4, test=5, unseen_groups=["eve"])
    assert len(parts.validation) == 4
    assert len(parts.test) == 5
    assert len(parts.train) == 40 - 4 - 5 - SIZES["eve"]


def test_every_observation_keeps_its_label():
    for _, part in split(people(), validation=7, test=9, unseen_groups=["joe"], seed=3):
        assert names(part) == [LABELS[number] for number in numbers(part)]


@pytest.mark.parametrize("unseen", [["bob"], ["eve", "ann"]])
def test_unseen_groups_are_complete_and_in_no_other_split(unseen):
    parts = split(people(), validation=4, test=3, unseen_groups=unseen)
    assert parts.unseen.group_names == sorted(unseen)
    assert parts.unseen.groups.sizes.tolist() == [SIZES[name] for name in sorted(unseen)]
    for part in (parts.train, parts.validation, parts.test):
        assert not set(part.group_names) & set(unseen)


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    first, again, other = (
        split(people(), validation=10, test=10, seed=seed) for seed in (0, 0, 1)
    )
    for (name, part), (_, same), (_, different) in zip(first, again, other, strict=True):
        assert numbers(part) == numbers(same), name
        assert set(numbers(part)) != set(numbers(different)), name


def test_every_observation_is_drawn_equally_often():
    counts = torch.zeros(40)
    for seed in range(400):
        counts[numbers(split(people(), test=10, seed=seed).test)] += 1
    # Binomial(400, 1/4): mean 100, standard deviation 8.7; five of them on each side.
    assert counts.min() > 100 - 5 * 8.7
    assert counts.max() < 100 + 5 * 8.7


def test_a_split_does_not_change_the_global_generator():
    before = torch.get_rng_state()
    split(people(), validation=4, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


# Behaviour


def test_parts_of_size_zero_are_none():
    parts = split(people())
    assert (parts.validation, parts.test, parts.unseen) == (None, None, None)
    assert sorted(numbers(parts.train)) == list(range(40))


def test_iterating_gives_name_and_data_of_each_part_in_order():
    parts = split(people(), validation=1, test=2, unseen_groups=["joe"])
    assert [name for name, _ in parts] == ["train", "validation", "test", "unseen"]
    assert dict(parts)["test"] is parts.test
    assert [name for name, _ in Splits(parts.train, unseen=parts.unseen)] == ["train", "unseen"]


def test_splits_print_one_line_per_part():
    parts = split(people(), validation=4, unseen_groups=["joe"])
    lines = str(parts).splitlines()
    assert [line.split(":")[0] for line in lines] == ["train", "validation", "unseen"]
    assert lines[-1] == "unseen: GroupedData(10 observations of shape (1,) in 1 groups)"


def test_one_observation_is_enough_to_train_on():
    assert len(split(people(), validation=30, test=9).train) == 1


@pytest.mark.parametrize(
    "unseen", [[2], ["2"], (2, "2"), np.array([2]), np.array(["2"])], ids=repr
)
def test_labels_match_as_text(unseen):
    # A config or a command line may give the label 2 as a number or as a word.
    data = GroupedData(torch.zeros(6, 1), [0, 1, 2, 0, 1, 2])
    parts = split(data, unseen_groups=unseen)
    assert parts.unseen.group_names == [2]
    assert parts.train.group_names == [0, 1]


@pytest.mark.parametrize("unseen", [[1], ["1"]])
def test_a_whole_float_label_matches_an_integer(unseen):
    # A table with a missing value gives its integers as floats; a config has 1.
    data = GroupedData(torch.zeros(4, 1), [0.0, 1.0, 1.5, 1.0])
    parts = split(data, unseen_groups=unseen)
    assert parts.unseen.group_names == [1.0]
    assert parts.train.group_names == [0.0, 1.5]


def test_labels_match_in_both_unicode_forms():
    # A name typed as a letter and an accent, or as one character.
    data = GroupedData(torch.zeros(2, 1), ["Jos\u00e9", "Jose"])
    assert split(data, unseen_groups=["Jose\u0301"]).unseen.group_names == ["Jos\u00e9"]


def test_splits_are_equal_only_to_themselves():
    # They hold tensors: comparing values would be ambiguous and slow.
    parts, same = split(people()), split(people())
    assert parts == parts
    assert parts != same
    assert len({parts, same}) == 2


def test_holding_out_no_group_returns_the_same_data():
    data = people()
    rest, unseen = hold_out(data, [])
    assert rest is data
    assert unseen is None


def test_holding_out_keeps_the_order_of_the_observations():
    data = people().subset(torch.arange(39, -1, -1))
    rest, unseen = hold_out(data, ["ann", "joe"])
    assert numbers(unseen) == [*range(39, 29, -1), *range(8, -1, -1)]
    assert numbers(rest) == list(range(29, 8, -1))


def test_a_split_does_not_change_the_data():
    data = people()
    split(data, validation=10, unseen_groups=["eve"])
    assert numbers(data) == list(range(40))
    assert names(data) == LABELS


def test_sizes_may_be_fractions_of_the_observations_that_are_left():
    parts = split(people(), validation=0.25, test=0.1, unseen_groups=["eve"])
    assert len(parts.validation) == 5 and len(parts.test) == 2 and len(parts.train) == 13
    same = split(people(), validation=5, test=2, unseen_groups=["eve"])
    assert numbers(parts.test) == numbers(same.test)


# Bad input


@pytest.mark.parametrize(("name", "value"), [("validation", -1), ("test", 0.5j), ("seed", -1)])
def test_sizes_and_the_seed_are_whole_numbers(name, value):
    with pytest.raises(InputError, match=rf"{name} .*not {re.escape(repr(value))}"):
        split(people(), **{name: value})


@pytest.mark.parametrize(("validation", "test"), [(40, 0), (20, 20)])
def test_an_observation_must_be_left_to_train_on(validation, test):
    with pytest.raises(InputError, match=rf"validation={validation} and test={test} .* 40 "):
        split(people(), validation=validation, test=test)


def test_sizes_are_checked_without_the_unseen_groups():
    with pytest.raises(InputError, match=r"validation=15 and test=5 .* 20 "):
        split(people(), validation=15, test=5, unseen_groups=["eve"])


def test_an_unknown_label_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"unseen_groups .*\(ann, bob, eve, joe\), not 'eva'"):
        split(people(), unseen_groups=["ann", "eva"])


def test_of_many_labels_the_message_names_ten():
    data = GroupedData(torch.zeros(12, 1), list(range(12)))
    with pytest.raises(InputError, match=r"\(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.\), not '12'"):
        split(data, unseen_groups=[12])


def test_all_groups_cannot_be_unseen():
    with pytest.raises(InputError, match=r"unseen_groups .*none"):
        split(people(), unseen_groups=list(SIZES))


@pytest.mark.parametrize("value", ["eve", None, {"eve"}])
def test_unseen_groups_must_be_a_list(value):
    # A string would otherwise be a list of letters.
    with pytest.raises(InputError, match=rf"unseen_groups .* not {value!r}"):
        split(people(), unseen_groups=value)
