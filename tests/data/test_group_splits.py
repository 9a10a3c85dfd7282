"""Splits by group: a group that is held out is in one part only."""

import numpy as np
import pytest
import torch

from mlvae.data import GroupedData, split
from mlvae.data.splitting.group_splits import large_groups
from mlvae.data.splitting.splits import split_by
from mlvae.errors import InputError

# Twenty people with one to twenty images. Image i has the single feature i.
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
def test_whole_groups_are_in_one_part_only(seed, within):
    parts = split(people(), by="groups", validation=0.2, test=0.3, within=within, seed=seed)
    assert_complete(parts)
    assert len(names(parts.validation)) == 4 and len(names(parts.unseen)) == 6
    assert not names(parts.train) & names(parts.validation)
    assert not names(parts.unseen) & (names(parts.train) | names(parts.validation))
    # Images held out within groups belong to training groups.
    assert names(parts.test) <= names(parts.train)
    assert (parts.test is None) == (within == 0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_group_keeps_an_observation_to_train_on(seed):
    parts = split(people(), by="members", validation=0.2, test=0.5, seed=seed)
    assert_complete(parts)
    assert parts.train.group_names == PEOPLE
    sizes = dict(zip(parts.test.group_names, parts.test.groups.sizes.tolist(), strict=True))
    assert sizes["person10"] == 5 and sizes["person20"] == 10 and "person01" not in sizes


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    first, again, other = (split(people(), by="groups", test=0.1, seed=seed) for seed in (0, 0, 1))
    assert numbers(first.train) == numbers(again.train)
    assert names(first.unseen) != names(other.unseen)


# Behaviour


def test_groups_may_be_named_and_others_drawn(tmp_path):
    (tmp_path / "people.txt").write_text("person03\t17\nperson04\n\n")
    for test in (["person03", "person04"], str(tmp_path / "people.txt")):
        parts = split(people(), by="groups", validation=0.1, test=test)
        assert_complete(parts)
        assert names(parts.unseen) == {"person03", "person04"}
        assert len(names(parts.validation)) == 2


def test_a_fraction_is_of_all_groups_and_at_least_one():
    parts = split(people(), by="groups", validation=0.001)
    assert len(names(parts.validation)) == 1 and parts.unseen is None


def test_a_column_names_the_split():
    words = np.array(["train"] * len(LABELS), dtype="U10")
    words[0] = "test"  # all of person01
    words[-1] = "2"  # one of twenty, in CelebA's numbers
    words[1:3] = "validation"
    parts = split(people(), by=words)
    assert_complete(parts)
    assert numbers(parts.unseen) == [0] and numbers(parts.test) == [len(LABELS) - 1]
    assert numbers(parts.validation) == [1, 2]


def test_small_groups_are_left_out_and_large_groups_cut():
    rows = large_groups(people(), minimum=5, maximum=7)
    sizes = people().subset(rows).groups.sizes.tolist()
    assert sizes == [5, 6] + [7] * 14
    assert rows.tolist() == sorted(rows.tolist())
    assert not torch.equal(rows, large_groups(people(), minimum=5, maximum=7, seed=1))
    assert torch.equal(large_groups(people()), torch.arange(len(LABELS)))


def test_a_number_of_groups_is_held_out():
    parts = split(people(), by="groups", validation=3, test=np.int64(5))
    assert_complete(parts)
    assert len(names(parts.validation)) == 3 and len(names(parts.unseen)) == 5


def test_a_number_of_observations_of_each_group_is_held_out():
    parts = split(people(), by="members", validation=2, test=3)
    assert_complete(parts)
    sizes = dict(zip(parts.test.group_names, parts.test.groups.sizes.tolist(), strict=True))
    assert sizes["person06"] == sizes["person20"] == 3
    assert sizes["person04"] == 1  # one stays to train on, and the validation has two
    assert "person03" not in sizes and "person02" in parts.validation.group_names


def test_unseen_groups_are_taken_out_before_members_are_divided():
    parts = split(people(), by="members", test=0.5, unseen_groups=["person20"])
    assert_complete(parts)
    assert names(parts.unseen) == {"person20"} and "person20" not in names(parts.test)


def test_unseen_groups_are_taken_out_of_a_column_of_words():
    words = ["train", "test"] * (len(LABELS) // 2)
    parts = split(people(), by=words, unseen_groups=["person20"])
    assert_complete(parts)
    # The only image of person01 is in training; the only ones of no group are in the test.
    assert "person20" in names(parts.unseen) and not names(parts.unseen) & names(parts.train)


def test_messages_name_the_arguments_in_python_and_the_options_of_a_dataset():
    for prefix, option in (("", "by"), ("dataset.", "dataset.split")):
        with pytest.raises(InputError, match=rf"^{prefix}test.*1\.5"):
            split_by(people(), "groups", test=1.5, prefix=prefix)
        with pytest.raises(InputError, match=rf"^{option} .*groups.*'group'"):
            split_by(people(), "group", prefix=prefix)
        with pytest.raises(InputError, match=rf"^{prefix}within=0\.1 .*{option}=groups.*members"):
            split_by(people(), "members", within=0.1, prefix=prefix)
        with pytest.raises(InputError, match=rf"^{prefix}seed .*-1"):
            split_by(people(), "groups", seed=-1, prefix=prefix)


# Bad input


def test_words_and_sizes_exclude_each_other():
    with pytest.raises(InputError, match=r"validation and test .*by"):
        split(people(), by=["train"] * len(LABELS), test=0.1)


def test_words_are_one_for_each_observation():
    with pytest.raises(InputError, match=r"^by .* 210 .*\(2,\)"):
        split(people(), by=["train", "test"], unseen_groups=["person01"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"validation": ["eve"]},
            r"dataset\.validation .*person01.* not 'eve'",
        ),
        (
            {"validation": ["person01"], "test": ["person01", "person02"]},
            r"dataset\.validation and dataset\.test .*'person01'",
        ),
        ({"test": 1.0}, r"dataset\.validation and dataset\.test .* 20 "),
        ({"test": PEOPLE, "validation": 0.0}, r"dataset\.validation and dataset\.test .* 20 "),
        ({"test": 1.5}, r"dataset\.test.* groups.*\[0, 1\], not 1\.5"),
        ({"test": 20}, r"dataset\.validation and dataset\.test .* 20 "),
        ({"test": -1}, r"dataset\.test .* 0, not -1"),
        ({"test": None}, r"dataset\.test .*not None"),
        ({"test": True}, r"dataset\.test .*not True"),
        ({"unseen_groups": ["person01"]}, r"dataset\.unseen_groups .*dataset\.test.*person01"),
        ({"test": "nowhere.txt"}, r"dataset\.test .*nowhere\.txt"),
        ({"test": 0, "within": 0.001}, r"dataset\.within=0\.001 .* 20 "),
    ],
)
def test_an_impossible_option_gives_one_line(options, words):
    with pytest.raises(InputError, match=words) as error:
        split_by(people(), "groups", **options)
    assert "\n" not in str(error.value)


def test_a_list_of_groups_is_utf_8_with_or_without_a_byte_order_mark(tmp_path):
    data = GroupedData(torch.arange(3.0)[:, None], ["Jos\u00e9", "佐藤\u3000花子", "eve"])
    text = "Jos\u00e9\r\n佐藤\u3000花子\r\n"
    for start in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "test.txt").write_bytes(start + text.encode())
        parts = split(data, by="groups", validation=0.0, test=tmp_path / "test.txt")
        assert names(parts.unseen) == {"Jos\u00e9", "佐藤\u3000花子"}


def test_a_split_within_groups_depends_on_its_seed():
    first, again, other = (
        split(people(), by="members", test=0.5, seed=seed) for seed in (0, 0, 1)
    )
    assert numbers(first.test) == numbers(again.test)
    assert numbers(first.test) != numbers(other.test)


def test_a_column_of_splits_has_three_words_one_of_them_train():
    with pytest.raises(InputError, match=r"^by .*train, validation, test .* 210 .*'trian'"):
        split(people(), by=np.array(["trian"] * len(LABELS)))
    with pytest.raises(InputError, match=r"^by .*'train'"):
        split(people(), by=np.array(["test"] * len(LABELS)))


def test_a_minimum_must_leave_a_group():
    with pytest.raises(InputError, match=r"dataset\.minimum=21 .* 20 "):
        large_groups(people(), minimum=21)
