"""The fingerprint of data: every change of labels, given values or pixels changes it."""

import numpy as np
import pytest
import torch

from mlvae.data import GroupedData, StoredImages


def images(rows=100):
    return np.random.default_rng(0).integers(0, 256, (rows, 1, 4, 5), dtype=np.uint8)


def data(x=None, labels=None, **given):
    x = images() if x is None else x
    return GroupedData(x, np.arange(len(x)) % 4 if labels is None else labels, given=given)


def test_equal_data_have_equal_fingerprints():
    mask = np.arange(300).reshape(100, 3) % 2 == 0
    assert data(mask=mask).fingerprint() == data(mask=mask.copy()).fingerprint()
    assert data().subset(slice(0, 100)).fingerprint() == data().fingerprint()


def test_two_swapped_labels_change_it():
    labels = np.arange(100) % 4
    swapped = labels.copy()
    swapped[[41, 42]] = labels[[42, 41]]
    assert data(labels=swapped).fingerprint() != data(labels=labels).fingerprint()


def test_permuted_labels_of_equal_sizes_change_it():
    labels = np.arange(100) % 4
    permuted = np.array([2, 0, 3, 1])[labels]
    before, after = data(labels=labels).fingerprint(), data(labels=permuted).fingerprint()
    # The keys of older runs do not see it.
    assert before["checksum"] == after["checksum"]
    assert before != after


def test_another_name_of_a_group_changes_it():
    names = np.array(["ann", "bob", "eve", "joe"])[np.arange(100) % 4]
    other = np.where(names == "eve", "eva", names)
    assert data(labels=other).fingerprint() != data(labels=names).fingerprint()


@pytest.mark.parametrize("row", [0, 1, 50, 98, 99])
@pytest.mark.parametrize("pixel", [(0, 0, 0), (0, 3, 4)])
def test_a_changed_pixel_anywhere_changes_it(row, pixel):
    changed = images()
    changed[(row, *pixel)] ^= 1
    assert data(changed).fingerprint() != data().fingerprint()


def test_a_changed_value_in_a_later_part_of_a_large_array_changes_it():
    x = torch.zeros(5, 2**22)
    before = data(x).fingerprint()
    x[4, -1] = 1
    assert data(x).fingerprint() != before


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.int64, torch.uint8, torch.bfloat16, torch.float32, torch.float64]
)
def test_a_changed_given_value_changes_it(dtype):
    values = torch.zeros(100, 3).to(dtype)
    before = data(action=values).fingerprint()
    values[77, 2] = 1
    assert data(action=values).fingerprint() != before
    assert data(other=values).fingerprint() != data(action=values).fingerprint()
    assert data().fingerprint() != before


def test_given_values_named_x_do_not_hide_the_observations():
    given = np.zeros(100)
    changed = images()
    changed[1, 0, 0, 0] ^= 1
    one = GroupedData(images(), np.arange(100) % 4, given={"x": given})
    other = GroupedData(changed, np.arange(100) % 4, given={"x": given})
    third = GroupedData(images(), np.arange(100) % 4, given={"x": given + 1})
    assert len({str(d.fingerprint()) for d in (one, other, third)}) == 3


def test_images_on_the_disk_are_not_read(tmp_path):
    (tmp_path / "images.u8").write_bytes(images().tobytes())
    stored = data(StoredImages(tmp_path / "images.u8", images().shape))
    before = stored.fingerprint()
    (tmp_path / "images.u8").write_bytes(bytes(images().size))
    assert stored.fingerprint() == before and "x" not in before
    swapped = np.arange(100) % 4
    swapped[[1, 2]] = swapped[[2, 1]]
    again = data(StoredImages(tmp_path / "images.u8", images().shape), swapped)
    assert again.fingerprint() != before


def test_the_keys_of_older_runs_keep_their_values():
    # Computed by the version before labels and given values were added: such runs can resume.
    squares = [["ann", "bob", "eve"][i * i % 3] for i in range(100)]
    vectors = GroupedData(np.arange(300.0).reshape(100, 3) / 7, squares)
    bytes_ = np.arange(96, dtype=np.uint8).reshape(4, 2, 3, 4)
    expected = {"observations": 100, "groups": 2, "checksum": 920995032}
    assert expected.items() <= vectors.fingerprint().items()
    expected = {"observations": 4, "groups": 3, "checksum": 3669654645}
    assert expected.items() <= GroupedData(bytes_, [3, 1, 3, 2]).fingerprint().items()
