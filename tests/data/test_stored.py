"""Images on the disk: rows, batches and training equal those of a tensor in memory."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import mlvae
from mlvae.data import Grouped, GroupedData, Shuffled, SourceRows, StoredImages
from mlvae.data.rows import source as source_module
from mlvae.errors import InputError

QUIET = mlvae.Reports(progress=False)
SHAPE = (30, 3, 5, 4)
LABELS = np.arange(30) % 7


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8))


@pytest.fixture
def path(tmp_path, images):
    (tmp_path / "images.u8").write_bytes(images.numpy().tobytes())
    return tmp_path / "images.u8"


def test_rows_equal_those_of_a_tensor(path, images):
    stored = SourceRows(StoredImages(path, SHAPE))
    assert stored.shape == images.shape and len(stored) == 30
    for rows in ([3, 0, 29, 3], [-1, 4], []):
        rows = torch.tensor(rows, dtype=torch.long)
        assert torch.equal(stored.index_select(0, rows), images[rows])
        assert torch.equal(stored[rows].index_select(0, torch.arange(len(rows))), images[rows])


def test_data_on_the_disk_equal_data_in_memory(path, images):
    memory, disk = (
        GroupedData(x, LABELS, {"light": np.arange(30)})
        for x in (images, StoredImages(path, SHAPE))
    )
    for a, b in (
        (memory, disk),
        (memory.subset([5, 3, 20]), disk.subset([5, 3, 20])),
        (memory.subset(LABELS > 3), disk.subset(LABELS > 3)),
        (memory.subset([9, 8, 7]).subset([2, 0]), disk.subset([9, 8, 7]).subset([2, 0])),
        (memory.to("cpu"), disk.to("cpu")),
    ):
        assert repr(a) == repr(b) and a.group_names == b.group_names
        assert torch.equal(a.batch().x, b.batch().x)
        assert torch.equal(a.groups.index, b.groups.index)
        assert torch.equal(a.factors["light"], b.factors["light"])
        assert isinstance(b.x, SourceRows)  # the images are still on the disk


@pytest.mark.parametrize("batching", [Shuffled(8), Grouped(3, 2, "keep")], ids=repr)
def test_batches_from_the_disk_equal_batches_from_memory(path, images, batching):
    plans = [
        batching.plan(GroupedData(x, LABELS), torch.Generator().manual_seed(3))
        for x in (images, StoredImages(path, SHAPE))
    ]
    for a, b in zip(*plans, strict=True):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.groups.index, b.groups.index)


@pytest.mark.parametrize("batching", [Shuffled(8), Grouped(3, 2, "keep")], ids=repr)
def test_the_next_batch_is_announced_while_a_batch_is_used(path, monkeypatch, batching):
    announced = []
    announce = StoredImages._announce

    def record(images, rows):
        announced.append(rows)
        return announce(images, rows)

    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    data = GroupedData(StoredImages(path, SHAPE), LABELS).subset(order)
    monkeypatch.setattr(StoredImages, "_announce", record)
    plan = batching.plan(data, torch.Generator().manual_seed(3))
    for _ in plan:
        pass
    ends = zip(plan.rows, plan.rows[1:], strict=False)
    batches = [order[plan.order[start:end]].tolist() for start, end in ends]
    # Reading announces the rows; every batch but the first was announced once before.
    expected = [batches[0], *(rows for rows in batches[1:] for _ in range(2))]
    assert [rows.tolist() for rows in announced] == expected


def test_training_from_the_disk_equals_training_from_memory_bit_for_bit(path, images, tmp_path):
    weights = []
    for name, x in (("memory", images), ("disk", StoredImages(path, SHAPE))):
        torch.manual_seed(0)
        model = mlvae.models.MLVAE(SHAPE[1:], network=mlvae.networks.MLP(hidden=(8,)))
        data = GroupedData(x, LABELS)
        options = {"epochs": 2, "batching": Shuffled(10), "reports": QUIET, "device": "cpu"}
        mlvae.train(model, data, validation=data, run=tmp_path / name, **options)
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_copies_read_the_same_file(path, images):
    stored = SourceRows(StoredImages(path, SHAPE))[torch.tensor([4, 2])]
    for again in (pickle.loads(pickle.dumps(stored)), copy.deepcopy(stored)):
        assert torch.equal(again.index_select(0, torch.tensor([1])), images[2:3])


def test_memory_does_not_grow_with_the_number_of_rows_read(tmp_path):
    status = Path("/proc/self/status")
    shape = (4000, 3, 64, 64)  # 49 MB

    def resident():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmRSS"].split()[0]) // 1024

    try:
        resident()
    except OSError:
        pytest.skip("no /proc on this system")
    (tmp_path / "large").write_bytes(bytes(np.prod(shape)))
    data = GroupedData(StoredImages(tmp_path / "large", shape), np.arange(4000) // 10)
    plan = Shuffled(100).plan(data, torch.Generator().manual_seed(0))
    _ = plan[0]
    before = resident()
    for _ in plan:
        pass
    assert resident() - before < 20


def test_a_replaced_file_stays_readable_for_open_images(path, images):
    stored = StoredImages(path, SHAPE)
    path.unlink()
    path.write_bytes(b"another")
    assert torch.equal(stored.index_select(0, torch.tensor([7])), images[7:8])


def test_images_move_to_a_device_with_room_for_twice_their_bytes(path, images, monkeypatch):
    stored = StoredImages(path, SHAPE)
    assert stored.to("cpu") is stored
    monkeypatch.setattr(source_module, "PIECE", 7 * 60)  # pieces of 7 images of 60 bytes
    for free, moved in ((2 * images.numel() - 1, False), (2 * images.numel(), True)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 2**40))
        x = stored.to("meta")
        assert isinstance(x, torch.Tensor) == moved
        assert not moved or (x.shape == SHAPE and x.dtype == torch.uint8)


def test_they_have_the_properties_of_a_uint8_tensor(path):
    stored = SourceRows(StoredImages(path, SHAPE))
    assert stored.dtype == torch.uint8 and not stored.is_floating_point()
    assert repr(stored[torch.tensor([1, 2])]).endswith("images.u8', (30, 3, 5, 4)))")
    assert len(stored[torch.tensor([1, 2])]) == 2


# Bad input


def test_a_file_that_is_missing_or_of_another_size_is_refused(path):
    with pytest.raises(InputError, match=r"none .*No such file"):
        StoredImages(path.with_name("none"), SHAPE)
    with pytest.raises(InputError, match=r"images\.u8 .*\(29, 3, 5, 4\), not 1,800"):
        StoredImages(path, (29, *SHAPE[1:]))


def test_a_file_that_is_cut_short_during_its_use_is_an_error(path):
    stored = StoredImages(path, SHAPE)
    with path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(InputError, match=r"images\.u8 .*cut short"):
        stored.index_select(0, torch.tensor([20]))


@pytest.mark.parametrize("index", [30, -31])
def test_rows_out_of_range_are_an_error(path, index):
    with pytest.raises(IndexError, match=r"\[-30, 30\)"):
        SourceRows(StoredImages(path, SHAPE)).index_select(0, torch.tensor([index]))


def test_a_model_and_numpy_take_images_on_the_disk(path, images):
    stored = SourceRows(StoredImages(path, tuple(images.shape)))
    np.testing.assert_array_equal(np.asarray(stored), images.numpy())
    np.testing.assert_array_equal(np.asarray(stored, dtype=np.float32), images.numpy())
    assert torch.equal(stored[2:5].index_select(0, torch.arange(3)), images[2:5])
    model = mlvae.models.MLVAE(tuple(images.shape[1:]))
    found, expected = model.infer_content(stored[:4]), model.infer_content(images[:4])
    assert torch.equal(found.mean, expected.mean)
