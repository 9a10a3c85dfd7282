"""Given values of observations follow them through subsets, batches, plans and shares."""

import numpy as np
import pytest
import torch

from mlvae import Batch, Groups
from mlvae.data import Grouped, GroupedData, GroupWarp, Shuffled, StoredImages
from mlvae.data.sharing import share
from mlvae.errors import InputError

ROWS = 23
LABELS = np.arange(ROWS) * 7 % 5
BATCHINGS = [Shuffled(6), Grouped(2, 3, "keep")]
each_batching = pytest.mark.parametrize("batching", BATCHINGS, ids=repr)


def numbered(shape=(1, 4, 4)):
    """Data whose observation i has the value i / 255 in each pixel and in its given values."""
    x = np.arange(ROWS, dtype=np.uint8).reshape(-1, *[1] * len(shape))
    given = {"number": np.arange(ROWS), "pair": np.arange(2.0 * ROWS).reshape(ROWS, 2)}
    return GroupedData(np.tile(x, (1, *shape)), LABELS, given=given)


def assert_given_match(batch):
    """Each observation of a batch still has its own given values."""
    number = batch.given["number"]
    x = batch.x if batch.x.dtype == torch.uint8 else batch.x * 255
    assert number.tolist() == x.flatten(1)[:, 0].round().tolist()
    assert batch.given["pair"].tolist() == [[2 * i, 2 * i + 1] for i in number.tolist()]


def test_values_are_tensors_on_the_device_of_the_data():
    data = numbered()
    assert data.given["number"].dtype == torch.int64
    assert data.given["pair"].dtype == torch.float32  # float64 is not used in training
    moved = data.to("cpu")
    assert moved.given.keys() == data.given.keys()
    assert torch.equal(moved.given["pair"], data.given["pair"])


@pytest.mark.parametrize("rows", [[4, 0, 22, 4], slice(3, 9), LABELS == 2], ids=str)
def test_subsets_batches_and_singles_carry_them(rows):
    data = numbered()
    assert_given_match(data.subset(rows).batch())
    assert_given_match(data.subset(rows).subset([1, 0]).batch())
    assert_given_match(data.batch(rows))
    assert_given_match(data.singles(rows))
    batch = data.batch()
    assert_given_match(batch)
    assert_given_match(batch.singles(torch.tensor([4, 0, 22])))
    assert_given_match(batch.singles())


@pytest.mark.parametrize(("batching", "length"), [(BATCHINGS[0], 2), (Grouped(1, 1), 3)], ids=str)
def test_plans_and_blocks_carry_them(batching, length):
    data = numbered()
    plan = batching.plan(data, torch.Generator().manual_seed(1))
    seen = []
    for number, batch in enumerate(plan):
        assert_given_match(batch)
        assert_given_match(plan.kept(number))
        seen += batch.given["number"].tolist()
    assert sorted(seen) == list(range(ROWS))
    block = plan.block(0, length)
    for number in range(length):
        batch = block.batch(number, data)
        assert_given_match(batch)
        assert torch.equal(batch.given["number"], plan[number].given["number"])
        assert torch.equal(batch.groups.index, plan[number].groups.index)


@each_batching
@pytest.mark.parametrize("span", [False, True])
def test_shares_carry_them(batching, span):
    plan = batching.plan(numbered(), torch.Generator().manual_seed(1))
    for rank in range(3):
        for batch in share(plan, rank=rank, ranks=3, span=span):
            assert_given_match(batch)


def test_images_on_the_disk_have_them(tmp_path):
    data = numbered()
    (tmp_path / "images.u8").write_bytes(data.x.numpy().tobytes())
    stored = StoredImages(tmp_path / "images.u8", tuple(data.x.shape))
    disk = GroupedData(stored, LABELS, given=data.given)
    assert_given_match(disk.subset([5, 3]).batch())
    for batch in Shuffled(6).plan(disk, torch.Generator().manual_seed(1)):
        assert_given_match(batch)


def test_augmentation_carries_them_without_a_change():
    batch = numbered().batch()
    warped = GroupWarp()(batch, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(warped.x, batch.x)
    assert warped.given is batch.given and warped.groups is batch.groups


def test_copies_of_a_batch_have_their_own_values():
    batch = Batch(torch.rand(3, 2), Groups.of([0, 1, 1]), {"action": torch.arange(3)})
    copy = batch.clone()
    x = batch.x.clone()
    for values in (copy.x, copy.groups.index, copy.groups.sizes, copy.given["action"]):
        values.zero_()
    assert torch.equal(batch.x, x) and batch.given["action"].tolist() == [0, 1, 2]
    assert batch.groups.index.tolist() == [0, 1, 1] and batch.groups.sizes.tolist() == [1, 2]
    copy.copy_(batch)
    assert torch.equal(copy.x, x) and copy.given["action"].tolist() == [0, 1, 2]
    assert copy.groups.index.tolist() == [0, 1, 1] and copy.groups.sizes.tolist() == [1, 2]
    assert copy.form == batch.form == batch.to("cpu").form
    other = Batch(batch.x, batch.groups, {"mask": torch.arange(3)})
    assert other.form != batch.form
    with pytest.raises(AttributeError):
        batch.x = torch.rand(3, 2)


# Labels


def test_labels_are_numbered_by_the_given_names():
    data = GroupedData(
        np.zeros((4, 2)), ["bob", "ann", "bob", "eve"], given={"mask": [1, 0, 1, 1]}
    )
    labelled = data.labelled(data.group_names)
    assert labelled.given["label"].tolist() == [1, 0, 1, 2]
    assert labelled.given["mask"].tolist() == [1, 0, 1, 1] and "label" not in data.given
    part = data.subset([3, 0])
    assert part.labelled(data.group_names).given["label"].tolist() == [2, 1]
    assert part.labelled(["eve", "x", "bob"]).given["label"].tolist() == [0, 2]
    assert data.labelled(data.group_names).subset([3, 0]).given["label"].tolist() == [2, 1]
    integers = GroupedData(np.zeros((3, 2)), [7, 5, 7])
    assert integers.labelled((5, 6, 7)).given["label"].tolist() == [2, 0, 2]


def test_an_unknown_label_is_refused_by_name():
    data = GroupedData(np.zeros((3, 2)), ["bob", "ann", "eve"])
    with pytest.raises(InputError, match=r"2 groups .*'eve'"):
        data.labelled(["ann", "bob"])


# Bad input


@pytest.mark.parametrize("values", [[1, 2], np.zeros((2, 3)), 7.0], ids=str)
def test_given_values_have_a_row_for_each_observation(values):
    with pytest.raises(InputError, match=r"given mask .* 3 observations"):
        GroupedData(np.zeros((3, 2)), [0, 1, 1], given={"mask": values})


@pytest.mark.parametrize("values", [["a", "b"], [[1.0], [2.0, 3.0]], np.array([None, 1])], ids=str)
def test_given_values_are_numbers(values):
    with pytest.raises(InputError, match=r"given mask .*\(2, \.\.\.\)"):
        GroupedData(np.zeros((2, 2)), [0, 1], given={"mask": values})


def test_missing_given_values_are_refused():
    for values in ([1.0, float("nan"), 2.0], torch.tensor([1.0, torch.nan, 2.0]), [1, None, 2]):
        with pytest.raises(InputError, match=r"given age .*(missing|NaN)"):
            GroupedData(torch.rand(3, 4), [0, 1, 2], given={"age": values})
