"""MNIST and Fashion-MNIST from IDX files: small generated ones, and the real ones if given."""

import gzip
import shutil
import struct
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets

from mlvae.data import fashion_mnist, mnist
from mlvae.errors import InputError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
READERS = {"MNIST": mnist, "FashionMNIST": fashion_mnist}


def idx(values):
    """The IDX file of a uint8 array: magic number, big-endian dimensions, values."""
    values = np.asarray(values, np.uint8)
    return (
        struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes()
    )


def small_files():
    """60 training and 20 test images of 5 x 4, all different. Image i has label i % 10."""
    images = np.random.default_rng(0).integers(0, 256, (80, 5, 4), dtype=np.uint8)
    labels = np.arange(80) % 10
    return {
        IMAGES: idx(images[:60]),
        LABELS: idx(labels[:60]),
        TEST_IMAGES: idx(images[60:]),
        TEST_LABELS: idx(labels[60:]),
    }


def write(root, files, *, packed=False, name="MNIST"):
    raw = root / name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        if packed:
            (raw / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (raw / file).write_bytes(content)
    return raw


def expected_pairs(part):
    """Label and image of each observation of the train or the t10k files, sorted."""
    files = small_files()
    images = np.frombuffer(files[f"{part}-images-idx3-ubyte"][16:], np.uint8).reshape(-1, 20)
    labels = np.frombuffer(files[f"{part}-labels-idx1-ubyte"][8:], np.uint8)
    return sorted(zip(labels.tolist(), images.tolist(), strict=True))


def pairs(*parts):
    """Label and image of each observation, sorted."""
    return sorted(
        (part.group_names[group], image)
        for part in parts
        for group, image in zip(
            part.groups.index.tolist(), part.x.flatten(1).tolist(), strict=True
        )
    )


def fake_download(dataset):
    """Write the files that a download leaves: each packed and unpacked."""
    for packed in (True, False):
        write(Path(dataset.root), small_files(), packed=packed, name=type(dataset).__name__)


def snapshot(folder):
    """Size and time of change of the folder and all its files."""
    paths = [folder, *sorted(folder.rglob("*"))]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Downloads fail as they do without a network."""

    def download(self):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nTried mirror, got:\n")

    monkeypatch.setattr(datasets.MNIST, "download", download)


@pytest.fixture(params=[False, True], ids=["raw", "gz"])
def packed(request):
    return request.param


# Properties


@pytest.mark.parametrize(("name", "packed"), [("MNIST", False), ("FashionMNIST", True)])
def test_every_image_occurs_once_with_its_label(tmp_path, name, packed):
    write(tmp_path, small_files(), packed=packed, name=name)
    parts = READERS[name](tmp_path, validation=10)
    assert pairs(parts.train, parts.validation) == expected_pairs("train")
    assert pairs(parts.test) == expected_pairs("t10k")


def test_the_same_seed_gives_the_same_split_and_another_seed_another(tmp_path):
    write(tmp_path, small_files())
    first, again, other = (mnist(tmp_path, validation=10, seed=seed) for seed in (0, 0, 1))
    for part in ("train", "validation"):
        assert torch.equal(getattr(first, part).x, getattr(again, part).x)
        assert not torch.equal(getattr(first, part).x, getattr(other, part).x)
    # The test images are the standard ones, whatever the seed.
    assert torch.equal(first.test.x, other.test.x)


@pytest.mark.parametrize("unseen", [[7, 8, 9], ["0"]])
def test_unseen_digits_are_complete_from_both_files_and_in_no_other_split(tmp_path, unseen):
    write(tmp_path, small_files())
    parts = mnist(tmp_path, validation=10, unseen_groups=unseen)
    digits = [int(label) for label in unseen]
    both = expected_pairs("train") + expected_pairs("t10k")
    assert pairs(parts.unseen) == sorted(pair for pair in both if pair[0] in digits)
    assert pairs(parts.test) == [p for p in expected_pairs("t10k") if p[0] not in digits]
    for part in (parts.train, parts.validation, parts.test):
        assert not set(part.group_names) & set(digits)


def test_packed_and_unpacked_files_give_the_same(tmp_path):
    write(tmp_path / "raw", small_files())
    write(tmp_path / "gz", small_files(), packed=True)
    raw, gz = (mnist(tmp_path / kind, validation=10) for kind in ("raw", "gz"))
    for (name, part), (_, same) in zip(raw, gz, strict=True):
        assert torch.equal(part.x, same.x), name
        assert torch.equal(part.groups.index, same.groups.index), name


def test_reading_works_without_write_permission_and_changes_no_file(tmp_path, packed):
    raw = write(tmp_path, small_files(), packed=packed)
    folders = [tmp_path, raw.parent, raw]
    before = snapshot(tmp_path)
    for folder in folders:
        folder.chmod(0o555)
    try:
        mnist(tmp_path, validation=10)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    # The superuser can always write; the comparison holds for every user.
    assert snapshot(tmp_path) == before


# Behaviour


def test_images_are_uint8_with_a_channel(tmp_path):
    write(tmp_path, small_files())
    for _, part in mnist(tmp_path, validation=10):
        assert part.x.dtype == torch.uint8
        assert part.shape == (1, 5, 4)


def test_test_images_keep_the_order_of_the_file(tmp_path):
    write(tmp_path, small_files())
    test = mnist(tmp_path, validation=10).test
    assert test.x.numpy().tobytes() == small_files()[TEST_IMAGES][16:]


def test_some_files_may_be_packed_and_others_not(tmp_path):
    files = small_files()
    write(tmp_path, {name: files[name] for name in (IMAGES, TEST_LABELS)}, packed=True)
    write(tmp_path, {name: files[name] for name in (LABELS, TEST_IMAGES)})
    parts = mnist(tmp_path, validation=0)
    assert parts.validation is None
    assert pairs(parts.train) == expected_pairs("train")


def test_a_root_may_be_a_string_with_a_tilde(tmp_path, monkeypatch):
    write(tmp_path / "data", small_files())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(mnist("~/data", validation=10).train) == 50


def test_the_two_datasets_have_folders_of_their_own(tmp_path):
    write(tmp_path, small_files(), name="FashionMNIST")
    with pytest.raises(InputError, match=r"raw .* MNIST,"):
        mnist(tmp_path, validation=10)


@pytest.mark.parametrize(("name", "packed"), [("MNIST", False), ("FashionMNIST", True)])
def test_missing_files_are_downloaded_and_existing_files_stay(tmp_path, monkeypatch, name, packed):
    # The existing file has other images than the downloaded one.
    own = {IMAGES: idx(np.full((60, 5, 4), 77))}
    (path,) = write(tmp_path, own, packed=packed, name=name).iterdir()
    before = path.stat().st_mtime_ns, path.read_bytes()

    monkeypatch.setattr(datasets.MNIST, "download", fake_download)
    parts = READERS[name](tmp_path, validation=10)
    assert (parts.train.x == 77).all()
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert pairs(parts.test) == expected_pairs("t10k")


def test_downloaded_files_are_read_from_then_on(tmp_path, monkeypatch):
    with monkeypatch.context() as online:
        online.setattr(datasets.MNIST, "download", fake_download)
        first = mnist(tmp_path, validation=10)
    # Offline again.
    assert torch.equal(mnist(tmp_path, validation=10).train.x, first.train.x)
    # No other file is left: only the four files, packed.
    remaining = sorted(path.name for path in (tmp_path / "MNIST" / "raw").iterdir())
    assert remaining == sorted(f"{file}.gz" for file in small_files())


def test_a_download_cut_short_leaves_no_file_that_looks_whole(tmp_path, monkeypatch):
    def copyfile(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:30])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(datasets.MNIST, "download", fake_download)
        full.setattr(shutil, "copyfile", copyfile)
        with pytest.raises(InputError, match=r"raw .* MNIST, .*No space left"):
            mnist(tmp_path, validation=10)
    assert not list(tmp_path.rglob("*.gz"))
    # The next attempt succeeds when there is room.
    monkeypatch.setattr(datasets.MNIST, "download", fake_download)
    assert len(mnist(tmp_path, validation=10).train) == 50


# Bad input


def test_missing_files_without_a_network_are_named_with_three_remedies(tmp_path):
    with pytest.raises(InputError) as caught:
        fashion_mnist(tmp_path)
    message = str(caught.value)
    assert "FashionMNIST" in message
    for file in small_files():
        assert f"{file}.gz" in message
    assert "(Error downloading train-images-idx3-ubyte.gz)" in message
    for remedy in ("dataset.root", "MLVAE_DATA", "dataset=digits"):
        assert remedy in message
    # torchvision's own message has several lines.
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (URLError("no route to host"), "no route to host"),
        (ConnectionResetError(), "ConnectionResetError"),
        (IncompleteRead(b"x"), "IncompleteRead"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_failure_of_a_download_is_one_error(tmp_path, monkeypatch, error, reason):
    def download(self):
        raise error

    monkeypatch.setattr(datasets.MNIST, "download", download)
    with pytest.raises(InputError, match=rf"raw .*\(.*{reason}.*\)"):
        mnist(tmp_path)


def test_only_missing_files_are_named_and_the_others_stay(tmp_path):
    files = small_files()
    del files[TEST_LABELS]
    raw = write(tmp_path, files)
    before = snapshot(raw)
    with pytest.raises(InputError, match=rf"MNIST, but {TEST_LABELS}\.gz could"):
        mnist(tmp_path, validation=10)
    assert snapshot(raw) == before


@pytest.mark.parametrize("name", [IMAGES, TEST_LABELS])
def test_a_file_truncated_anywhere_is_refused(tmp_path, name):
    path = write(tmp_path, small_files()) / name
    whole = path.read_bytes()
    start = 16 if name == IMAGES else 8
    for length in range(4):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=rf"{name} .* not 0x{whole[:length].hex()};"):
            mnist(tmp_path, validation=10)
    # Within the dimensions, within the values, all but one byte.
    for length in (4, 7, 9, 20, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=rf"{name} .* {max(0, length - start)};"):
            mnist(tmp_path, validation=10)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_must_have_the_number_of_bytes_of_its_shape(tmp_path, change):
    files = small_files()
    files[TEST_IMAGES] = (files[TEST_IMAGES] + b"0")[: 16 + 400 + change]
    write(tmp_path, files)
    with pytest.raises(
        InputError, match=rf"{TEST_IMAGES} .* 400 .*\[20, 5, 4\], .* {400 + change};"
    ):
        mnist(tmp_path, validation=10)


def test_a_file_without_images_is_refused(tmp_path):
    files = small_files() | {IMAGES: idx(np.zeros((0, 5, 4)))}
    write(tmp_path, files)
    with pytest.raises(InputError, match=rf"{IMAGES} .* 0 bytes .*\[0, 5, 4\]"):
        mnist(tmp_path, validation=10)


def test_a_gz_truncated_anywhere_is_refused(tmp_path):
    path = write(tmp_path, small_files(), packed=True) / f"{LABELS}.gz"
    whole = path.read_bytes()
    # Within the header, within the values, within the checksum.
    for length in (1, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=rf"{path.name} .*gzip.*\(.*\);"):
            mnist(tmp_path, validation=10)


def test_a_whole_gz_of_a_truncated_file_is_refused(tmp_path):
    files = small_files()
    files[LABELS] = files[LABELS][:-1]
    write(tmp_path, files, packed=True)
    with pytest.raises(InputError, match=rf"{LABELS}\.gz .* 60 .*\[60\], .* 59;"):
        mnist(tmp_path, validation=10)


def test_a_gz_that_is_not_one_is_refused(tmp_path):
    raw = write(tmp_path, small_files(), packed=True)
    # An unpacked file with the name of a packed one.
    (raw / f"{LABELS}.gz").write_bytes(small_files()[LABELS])
    with pytest.raises(InputError, match=rf"{LABELS}\.gz .*Not a gzipped"):
        mnist(tmp_path, validation=10)


@pytest.mark.parametrize(
    ("place", "reason"), [(10, "invalid block type"), (-8, "CRC check failed")]
)
def test_a_damaged_gz_is_refused(tmp_path, place, reason):
    # The first byte after the header, which is the kind of packing; the checksum.
    raw = write(tmp_path, small_files(), packed=True)
    path = raw / f"{IMAGES}.gz"
    content = bytearray(path.read_bytes())
    content[place] = 0xFF if place > 0 else content[place] ^ 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{IMAGES}\.gz .*{reason}"):
        mnist(tmp_path, validation=10)


@pytest.mark.parametrize(
    "magic",
    ["00000802", "00000d03", "03080000", "3c21444f"],
    ids=["flat images", "floats", "little-endian", "a web page"],
)
def test_a_file_with_another_magic_number_is_refused(tmp_path, magic):
    files = small_files()
    files[IMAGES] = bytes.fromhex(magic) + files[IMAGES][4:]
    write(tmp_path, files)
    with pytest.raises(InputError, match=rf"{IMAGES} .* 0x00000803, not 0x{magic};"):
        mnist(tmp_path, validation=10)


def test_swapped_images_and_labels_are_refused(tmp_path, packed):
    files = small_files()
    files[IMAGES], files[LABELS] = files[LABELS], files[IMAGES]
    write(tmp_path, files, packed=packed)
    with pytest.raises(InputError, match=rf"{IMAGES}.* 0x00000803, not 0x00000801;"):
        mnist(tmp_path, validation=10)


def test_labels_must_be_an_idx_file_of_labels(tmp_path):
    files = small_files()
    files[LABELS] = files[IMAGES]
    write(tmp_path, files)
    with pytest.raises(InputError, match=rf"{LABELS} .* 0x00000801, not 0x00000803;"):
        mnist(tmp_path, validation=10)


@pytest.mark.parametrize(
    ("name", "part", "num_images", "num_labels"),
    [(LABELS, "train", 60, 61), (TEST_LABELS, "t10k", 20, 19)],
)
def test_every_image_must_have_a_label(tmp_path, name, part, num_images, num_labels):
    files = small_files()
    files[name] = idx(np.arange(num_labels) % 10)
    write(tmp_path, files)
    with pytest.raises(InputError, match=rf"{part} .*{num_images} images .*{num_labels} labels"):
        mnist(tmp_path, validation=10)


def test_training_and_test_images_have_one_size(tmp_path):
    files = small_files()
    files[TEST_IMAGES] = idx(np.zeros((20, 4, 5)))
    write(tmp_path, files)
    with pytest.raises(InputError, match=r"\(5, 4\) and \(4, 5\)"):
        mnist(tmp_path, validation=10)


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    def is_file(self):
        raise PermissionError(13, "Permission denied")

    # By a patched method, because the superuser can list every folder.
    monkeypatch.setattr(Path, "is_file", is_file)
    with pytest.raises(InputError, match=r"raw .*Permission denied"):
        mnist(tmp_path)


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    def read_bytes(self):
        raise PermissionError(13, "Permission denied")

    write(tmp_path, small_files(), packed=True)
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(InputError, match=rf"{IMAGES}\.gz .*Permission denied"):
        mnist(tmp_path)


def test_a_validation_set_without_training_images_left_is_refused(tmp_path):
    # Test images do not count.
    write(tmp_path, small_files())
    with pytest.raises(InputError, match=r"validation=60 .* 60 "):
        mnist(tmp_path, validation=60)


@pytest.mark.parametrize(
    ("unseen", "words"),
    [
        ([10], r"\(0, 1, .*, 9\), not '10'"),
        (list(range(10)), "none"),
        ("789", "not '789'"),
        (0, "not 0"),
        (None, "not None"),
    ],
    ids=["unknown", "all", "a string", "a number", "None"],
)
def test_unseen_groups_must_be_a_list_of_existing_digits(tmp_path, unseen, words):
    write(tmp_path, small_files())
    with pytest.raises(InputError, match=rf"unseen_groups .*{words}"):
        mnist(tmp_path, validation=10, unseen_groups=unseen)


# The real files, where there are any


@pytest.mark.parametrize(
    ("reader", "counts"),
    [
        # Published counts of the 60,000 training images; Fashion-MNIST has equal classes.
        (mnist, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        (fashion_mnist, [6000] * 10),
    ],
    ids=READERS,
)
def test_the_real_files_give_50000_10000_and_10000_images(data_root, reader, counts):
    parts = reader(data_root)
    assert [len(part) for _, part in parts] == [50_000, 10_000, 10_000]
    for _, part in parts:
        assert part.shape == (1, 28, 28)
        assert part.group_names == list(range(10))
    assert (parts.train.groups.sizes + parts.validation.groups.sizes).tolist() == counts


@pytest.mark.parametrize(
    ("reader", "counts"),
    [(mnist, [7293, 6825, 6958]), (fashion_mnist, [7000, 7000, 7000])],
    ids=READERS,
)
def test_three_real_classes_can_be_kept_unseen(data_root, reader, counts):
    parts = reader(data_root, unseen_groups=[7, 8, 9])
    assert parts.unseen.group_names == [7, 8, 9]
    assert parts.unseen.groups.sizes.tolist() == counts
    assert sum(len(part) for _, part in parts) == 70_000
    for part in (parts.train, parts.validation, parts.test):
        assert part.group_names == list(range(7))
