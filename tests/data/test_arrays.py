"""Arrays from a file: valid contents, the split, refused contents."""

import gc
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mlvae.data import arrays
from mlvae.errors import InputError

# Twenty observations of three people. The file may have their split.
LABELS = np.array(["ann"] * 4 + ["bob"] * 6 + ["eve"] * 10)
NUMBERS = np.arange(20.0)[:, None]
SPLIT = np.array(["train", "test", "train", "validation"] * 5)


@pytest.fixture
def write(tmp_path):
    def write(**content):
        path = tmp_path / "own.npz"
        np.savez(path, **content)
        return path

    return write


def numbers(data):
    return data.x[:, 0].long().tolist()


def names(data):
    return [data.group_names[group] for group in data.groups.index.tolist()]


class Trap:
    """Creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


# Properties


@pytest.mark.parametrize("unseen", [[], ["ann", "bob"]])
@pytest.mark.parametrize("content", [{}, {"split": SPLIT}], ids=["drawn split", "own split"])
def test_splits_are_disjoint_and_complete_and_keep_the_labels(write, content, unseen):
    parts = arrays(write(x=NUMBERS, group=LABELS, **content), unseen_groups=unseen)
    visited = [number for _, part in parts for number in numbers(part)]
    assert sorted(visited) == list(range(20))
    for _, part in parts:
        assert names(part) == LABELS[numbers(part)].tolist()


@pytest.mark.parametrize("content", [{}, {"split": SPLIT}], ids=["drawn split", "own split"])
def test_unseen_groups_are_complete_and_in_no_other_split(write, content):
    unseen = ["eve", "ann"]
    parts = arrays(write(x=NUMBERS, group=LABELS, **content), unseen_groups=unseen)
    assert numbers(parts.unseen) == np.flatnonzero(np.isin(LABELS, unseen)).tolist()
    for part in (parts.train, parts.validation, parts.test):
        assert not set(part.group_names) & set(unseen)


def test_the_same_seed_gives_the_same_split_and_another_seed_another(write):
    path = write(x=NUMBERS, group=LABELS)
    first, again, other = (numbers(arrays(path, seed=seed).train) for seed in (0, 0, 1))
    assert first == again
    assert set(first) != set(other)


# Behaviour


@pytest.mark.parametrize(
    ("validation", "test", "sizes"),
    [(0.1, 0.1, [16, 2, 2]), (0.25, 0, [15, 5, 0]), (0.45, 0.5, [1, 9, 10])],
)
def test_sizes_are_fractions_of_the_observations(write, validation, test, sizes):
    parts = arrays(write(x=NUMBERS, group=LABELS), validation=validation, test=test)
    splits = [parts.train, parts.validation, parts.test]
    assert [0 if part is None else len(part) for part in splits] == sizes


def test_fractions_refer_to_the_observations_without_the_unseen_groups(write):
    parts = arrays(write(x=NUMBERS, group=LABELS), unseen_groups=["eve"], test=0.3)
    assert [len(part) for _, part in parts] == [6, 1, 3, 10]


def test_the_split_of_the_file_is_used_unchanged(write):
    path = write(x=NUMBERS, group=LABELS, split=SPLIT)
    # The fractions and the seed have no effect.
    for parts in (arrays(path), arrays(path, validation=0, test=0.9, seed=7)):
        for word, part in parts:
            rows = np.flatnonzero(np.char.equal(SPLIT, word))
            assert numbers(part) == rows.tolist()
        assert parts.unseen is None


def test_a_file_need_not_have_every_split(write):
    words = np.resize(["train", "test"], 20)
    parts = arrays(write(x=NUMBERS, group=LABELS, split=words))
    assert [name for name, _ in parts] == ["train", "test"]


def test_an_unseen_group_need_not_be_in_every_split_of_the_file(write):
    # All of eve is in the test: no observation of eve has to leave training.
    words = np.where(LABELS == "eve", "test", "train")
    words[0] = "test"
    parts = arrays(write(x=NUMBERS, group=LABELS, split=words), unseen_groups=["eve"])
    assert numbers(parts.unseen) == list(range(10, 20))
    assert numbers(parts.train) == list(range(1, 10))
    assert numbers(parts.test) == [0]


@pytest.mark.parametrize("dtype", [int, float])
@pytest.mark.parametrize("content", [{}, {"split": SPLIT}], ids=["drawn split", "own split"])
def test_labels_match_as_text(write, content, dtype):
    path = write(x=NUMBERS, group=(np.arange(20) % 5).astype(dtype), **content)
    for unseen in ([2], ["2"]):
        parts = arrays(path, unseen_groups=unseen)
        assert parts.unseen.group_names == [2]
        assert numbers(parts.unseen) == [2, 7, 12, 17]


def test_a_split_whose_groups_are_all_unseen_is_none(write):
    words = np.where(LABELS == "eve", "test", "train")
    parts = arrays(write(x=NUMBERS, group=LABELS, split=words), unseen_groups=["eve"])
    assert [name for name, _ in parts] == ["train", "unseen"]
    assert numbers(parts.unseen) == list(range(10, 20))


def test_images_stay_uint8_and_get_a_channel(write):
    images = np.random.default_rng(0).integers(0, 256, (20, 5, 6), dtype=np.uint8)
    train = arrays(write(x=images, group=LABELS), validation=0, test=0).train
    assert train.x.dtype == torch.uint8
    assert train.shape == (1, 5, 6)
    # The split is a permutation: the same images in another order.
    assert sorted(train.x.flatten(1).tolist()) == sorted(images.reshape(20, -1).tolist())


def test_a_file_may_be_compressed_and_have_other_arrays(tmp_path):
    path = tmp_path / "own.npz"
    np.savez_compressed(path, x=NUMBERS, group=LABELS, split=SPLIT, notes=np.array("hello"))
    assert len(arrays(path).train) == 10


def test_a_path_may_be_a_string_with_a_tilde(write, monkeypatch):
    path = write(x=NUMBERS, group=LABELS)
    monkeypatch.setenv("HOME", str(path.parent))
    assert len(arrays("~/own.npz").train) == len(arrays(str(path)).train) == 16


# Bad input


@pytest.mark.parametrize("missing", ["x", "group"])
def test_both_arrays_are_needed(write, missing):
    content = {"x": NUMBERS, "group": LABELS}
    del content[missing]
    with pytest.raises(InputError, match=rf"own\.npz.* {missing} "):
        arrays(write(**content))


@pytest.mark.parametrize("name", ["splits", "Split", "_split"])
def test_a_misspelt_split_is_refused(write, name):
    # It would be ignored, and another split drawn.
    with pytest.raises(InputError, match=rf"own\.npz .*'{name}'"):
        arrays(write(x=NUMBERS, group=LABELS, **{name: SPLIT}))


def test_pickled_objects_are_refused_and_not_run(write, tmp_path):
    trap = np.array([Trap(tmp_path / "sprung")] * 20, dtype=object)
    path = write(x=NUMBERS, group=trap)
    with pytest.raises(InputError, match=r"dataset\.root=.*own\.npz.* allow_pickle"):
        arrays(path)
    assert not (tmp_path / "sprung").exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    path = tmp_path / "own.npz"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(InputError, match=r"dataset\.root=.*own\.npz.* pickled"):
        arrays(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"not an archive\n"], ids=["empty", "text"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"dataset\.root=.*own\.npz .*numpy\.savez\(file, x"):
        arrays(path)


def test_a_truncated_file_is_refused_and_closed(write):
    # A file that is left open would give a ResourceWarning, which fails the test.
    path = write(x=NUMBERS, group=LABELS)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"dataset\.root=.*own\.npz .* not a zip"):
        arrays(path)
    gc.collect()


def test_a_damaged_compressed_file_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    np.savez_compressed(path, x=NUMBERS, group=LABELS)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        header = file.getinfo("x.npy").header_offset
    # The data follow a header of 30 bytes, the name, and an extra field of the length given there.
    extra = int.from_bytes(content[header + 28 : header + 30], "little")
    content[header + 30 + len("x.npy") + extra] = 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"dataset\.root=.*own\.npz .*invalid block"):
        arrays(path)


def test_a_file_whose_members_are_no_arrays_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x", "1 2 3")
        file.writestr("group", "a b c")
    with pytest.raises(InputError, match=r"x in .*own\.npz"):
        arrays(path)


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "own.npy", NUMBERS)
    with pytest.raises(InputError, match=r"dataset\.root=.*own\.npy .*numpy\.savez\(file, x"):
        arrays(tmp_path / "own.npy")


@pytest.mark.parametrize(("name", "reason"), [("none.npz", "No such file"), (".", "folder")])
def test_a_path_that_is_no_file_is_refused(tmp_path, name, reason):
    with pytest.raises(InputError, match=rf"dataset\.root=.*{reason}"):
        arrays(tmp_path / Path(name))


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (np.where(SPLIT == "test", "tests", SPLIT), "'tests'"),
        (SPLIT[:7], r"shape \(7,\)"),
        (SPLIT[:, None], r"shape \(20, 1\)"),
        (np.full(20, 3), "'3'"),
        (SPLIT.astype("S"), ".b.*test"),
    ],
    ids=["another word", "too short", "a column", "numbers", "bytes"],
)
def test_a_split_must_have_one_of_three_words_per_observation(write, words, value):
    path = write(x=NUMBERS, group=LABELS, split=words)
    with pytest.raises(InputError, match=rf"own\.npz .*train, validation, test .*20.* {value}"):
        arrays(path)


@pytest.mark.parametrize(
    ("words", "unseen"),
    [
        (np.where(SPLIT == "train", "test", SPLIT), []),
        (np.where(LABELS == "ann", "train", "test"), ["ann"]),
    ],
    ids=["no train", "all of train unseen"],
)
def test_a_split_must_leave_an_observation_to_train_on(write, words, unseen):
    with pytest.raises(InputError, match=r"split in .*own\.npz .*unseen_groups.* 'train'"):
        arrays(write(x=NUMBERS, group=LABELS, split=words), unseen_groups=unseen)


@pytest.mark.parametrize("content", [{}, {"split": SPLIT}], ids=["drawn split", "own split"])
@pytest.mark.parametrize(
    ("unseen", "match"),
    [
        (["eva"], r".*\(ann, bob, eve\), not 'eva'"),
        ("eve", ".* not 'eve'"),
        (None, ".* not None"),
    ],
    ids=["unknown", "a string", "None"],
)
def test_unseen_groups_must_be_a_list_of_existing_labels(write, content, unseen, match):
    with pytest.raises(InputError, match=f"unseen_groups {match}"):
        arrays(write(x=NUMBERS, group=LABELS, **content), unseen_groups=unseen)


def test_all_groups_cannot_be_unseen(write):
    with pytest.raises(InputError, match=r"unseen_groups .*none"):
        arrays(write(x=NUMBERS, group=LABELS), unseen_groups=["ann", "bob", "eve"])


@pytest.mark.parametrize(
    ("name", "value", "expected"), [("validation", -0.1, r"\[0, 1\]"), ("test", 1.5, r"\[0, 1\]")]
)
def test_the_size_of_a_split_must_be_a_fraction_or_a_count(write, name, value, expected):
    path = write(x=NUMBERS, group=LABELS)
    with pytest.raises(InputError, match=rf"dataset\.{name}.* {expected}, not {value!r}"):
        arrays(path, **{name: value})


def test_whole_groups_or_members_of_every_group_are_divided_by_an_option(write):
    path = write(x=NUMBERS, group=LABELS, split=SPLIT)  # the option comes before the file's words
    parts = arrays(path, split="groups", validation=1, test=["eve"])
    assert parts.unseen.group_names == ["eve"] and len(parts.validation.group_names) == 1
    parts = arrays(path, split="members", validation=1, test=1)
    assert len(parts.test) == 3 and parts.test.group_names == ["ann", "bob", "eve"]
    with pytest.raises(InputError, match=r"dataset\.split .*observations.*'images'"):
        arrays(path, split="images")


def test_test_observations_of_groups_outside_training_are_unseen(write):
    words = np.where(LABELS == "eve", "test", "train")
    parts = arrays(write(x=NUMBERS, group=LABELS, split=words))
    assert [name for name, _ in parts] == ["train", "unseen"]
    assert parts.unseen.group_names == ["eve"]


def test_a_file_may_have_a_name_of_each_observation(write):
    names = np.array([f"row{number:02}" for number in range(20)])
    parts = arrays(write(x=NUMBERS, group=LABELS, names=names), unseen_groups=["eve"])
    for _, part in parts:
        assert part.names.tolist() == [f"row{number:02}" for number in numbers(part)]
    with pytest.raises(InputError, match=r"names .* 20 .*7"):
        arrays(write(x=NUMBERS, group=LABELS, names=names[:7]))
    with pytest.raises(InputError, match=r"own\.npz .*'name'.* names"):
        arrays(write(x=NUMBERS, group=LABELS, name=names))


def test_an_observation_must_be_left_to_train_on(write):
    with pytest.raises(InputError, match=r"validation=0\.5 and dataset\.test=0\.5 .* 20 "):
        arrays(write(x=NUMBERS, group=LABELS), validation=0.5, test=0.5)


@pytest.mark.parametrize(
    ("x", "group", "match"),
    [
        (NUMBERS[:19], LABELS, "group .* 19 .* 20"),
        (NUMBERS > 3, LABELS, "x .*bool"),
        (NUMBERS, np.full(20, np.nan), "group .* missing"),
    ],
    ids=["too few", "booleans", "NaN labels"],
)
def test_arrays_that_grouped_data_refuses_are_refused(write, x, group, match):
    with pytest.raises(InputError, match=match):
        arrays(write(x=x, group=group))


@pytest.mark.parametrize("word", ["nan", "None", "<NA>", "NaT"])
def test_a_word_for_a_missing_label_is_a_group_and_is_reported(write, capsys, word):
    x, group = np.random.default_rng(0).random((30, 3)), np.array(["a", "b", word] * 10)
    splits = arrays(write(x=x, group=group))
    assert word in splits.train.group_names and repr(word) in capsys.readouterr().out


@pytest.mark.parametrize(
    "group", [["a", "a ", "b"], ["e\u0301", "\u00e9", "b"], ["\u3000a", "a", "b"]], ids=ascii
)
def test_labels_that_look_alike_are_refused(write, group):
    x = np.random.default_rng(0).random((30, 3))
    with pytest.raises(InputError, match="group labels"):
        arrays(write(x=x, group=np.array(group * 10)))
