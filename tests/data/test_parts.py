"""A collection in parts: the same for any processes, and nothing lost or doubled."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from mlvae.data import PartedData, faces
from mlvae.data.collections import assignment, cache, prepare
from mlvae.data.collections.assignment import _dealt
from mlvae.data.sources.collection import collection
from mlvae.errors import InputError

NAMES = [f"p{number:02}" for number in range(12)]


@pytest.fixture
def root(write, people):
    """Twelve people with five photographs each, a hidden file, and one that is no image."""
    return write("people", people(NAMES, 5) | {".hidden": b"x", "p00/notes.txt": b"no image"})


@pytest.fixture
def opened(root, tmp_path):
    def build(**options):
        options = {"size": 6, "colour": False, "workers": 0, "validation": 0, "test": 0} | options
        return faces(root, **{"cache": tmp_path / "cache", "parts": 4, **options})

    return build


def files_of(folder):
    """Every file below a folder except locks, with its bytes; times of writing are in none."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("lock", "assignment.npz")
    }


def labelled(data):
    """The label and the pixels of every observation, sorted."""
    x = data.kept(torch.arange(len(data))).numpy()
    return sorted((str(label), row.tobytes()) for label, row in zip(data.labels, x, strict=True))


def the_folder(cache):
    (record,) = cache.glob("*/collection.json")
    return record.parent


# Properties


def test_the_parts_together_are_the_collection(opened, root, tmp_path):
    parted = opened().train
    options = {"size": 6, "colour": False, "workers": 0, "validation": 0, "test": 0}
    whole = faces(root, cache=tmp_path / "whole", **options).train
    assert isinstance(parted, PartedData) and len(parted) == len(whole) == 60
    assert labelled(parted) == labelled(whole) and parted.group_names == NAMES
    record = json.loads((the_folder(tmp_path / "cache") / "collection.json").read_text())
    assert (record["images"], record["skipped"], record["left_out"]) == (60, 1, 1)
    assert record["identities"] == 12 and record["without_images"] == 0


def test_a_group_lies_whole_in_one_part(opened):
    parts = [part.opened() for part in opened().train.parts]
    names = [name for part in parts for name in part.group_names]
    assert sorted(names) == NAMES
    assert all((part.groups.sizes == 5).all() for part in parts)


@pytest.mark.parametrize("seed", range(3))
def test_files_are_dealt_evenly_and_only_large_groups_are_cut(seed):
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 30, 80)
    sizes[7] = 400
    hashes = generator.permutation(np.arange(80, dtype=np.uint64).repeat(sizes))
    parts = 9
    part, label, first, last = _dealt(hashes, parts)
    of_part = np.bincount(part, minlength=parts)
    share = len(hashes) / parts
    assert abs(of_part - share).max() <= 30
    for number, low, high in zip(label, first, last, strict=True):
        found = np.unique(part[hashes == number])
        assert (found[0], found[-1]) == (low, high)
        assert len(found) == 1 or number == 7
    assert last[7] > first[7]


def test_whole_parts_are_held_out_and_share_no_group(opened):
    splits = opened(validation=1, test=0.25)
    names = [set(data.group_names) for _, data in splits]
    assert [name for name, _ in splits] == ["train", "validation", "unseen"]
    assert sum(map(len, names)) == 12 and set.union(*names) == set(NAMES)
    assert len(splits.train.parts) == 2 and len(splits.validation.names) == len(splits.validation)


def test_a_group_that_is_cut_holds_out_no_part(write, people, opened):
    opened.root = write("people", people(["p00"], 200))
    with pytest.raises(InputError, match=r"dataset\.validation .*dataset\.parts"):
        opened(validation=1)
    assert len(opened().train) == 255  # five photographs of p00 are replaced


def test_small_and_large_groups_are_counted_without_opening(write, people, opened):
    write("people", people(["p00"], 9))
    parted = opened(minimum=3, maximum=4, parts=2).train
    sizes = [part.groups.sizes for part in (each.opened() for each in parted.parts)]
    assert torch.cat(sizes).tolist() == [4] * 12 and len(parted) == 48
    with pytest.raises(InputError, match=r"must leave a part"):
        opened(minimum=10, parts=2)


def test_a_prepared_collection_is_opened_without_its_sources(opened, root, tmp_path):
    expected = labelled(opened().train)
    folder = the_folder(tmp_path / "cache")
    root.rename(tmp_path / "gone")
    found = collection(folder, validation=0, test=0)
    assert labelled(found.train) == expected
    assert len(collection(folder).validation) + len(collection(folder).unseen) < 60


@pytest.mark.parametrize("packed", ["people.zip", "people.tar.gz"])
def test_an_archive_gives_the_parts_of_its_folder(opened, write, people, root, tmp_path, packed):
    expected = labelled(opened().train)
    archive = write(packed, people(NAMES, 5))
    options = {"size": 6, "colour": False, "workers": 0, "validation": 0, "test": 0}
    found = faces(archive, parts=4, cache=tmp_path / "packed", **options).train
    assert labelled(found) == expected
    assert [len(part) for part in found.parts] == [len(part) for part in opened().train.parts]


# Many processes

CODE = (
    "from mlvae.data import faces\n"
    "from mlvae.data.collections import prepare\n"
    "prepare.CHUNK_FILES = 2\n"
    "faces('people', size=6, colour=False, workers=1, cache='two', parts=2, part=0)\n"
)


def test_two_processes_of_which_one_is_killed_give_the_collection_of_one(write, people, tmp_path):
    root = write("people", people(NAMES, 40))
    options = {"size": 6, "colour": False, "workers": 0, "parts": 2, "validation": 0, "test": 0}
    killed = subprocess.Popen([sys.executable, "-c", CODE], cwd=tmp_path)
    faces(root, cache=tmp_path / "two", part=1, **options)  # this process is the other one
    deadline = time.monotonic() + 120  # its imports take seconds, on a busy machine many
    while time.monotonic() < deadline:
        written = [path.stat().st_size for path in tmp_path.glob("two/*/part-00000*/images.u8")]
        if written and written[0] > 0:
            break
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (unfinished,) = tmp_path.glob("two/*/part-00000*")
    assert not (unfinished / "manifest.json").exists()
    faces(root, cache=tmp_path / "two", **options)
    faces(root, cache=tmp_path / "one", **options)
    two, one = (the_folder(tmp_path / name) for name in ("two", "one"))
    assert two.name == one.name and files_of(two) == files_of(one)


def test_one_part_alone_is_prepared_and_the_rest_later(opened, tmp_path):
    part = opened(part=2).train
    assert not isinstance(part, PartedData)
    (folder,) = (tmp_path / "cache").iterdir()
    assert {path.name for path in folder.glob("part-*")} == {"part-00002-of-00004"}
    before = (folder / "part-00002-of-00004" / "images.u8").stat().st_mtime_ns
    assert labelled(opened().train.parts[2].opened()) == labelled(part)
    assert (folder / "part-00002-of-00004" / "images.u8").stat().st_mtime_ns == before


def test_a_part_that_another_process_prepares_is_left_for_the_end(opened, monkeypatch, tmp_path):
    opened(part=0)
    order, locked = [], cache.locked

    def busy_once(folder, *, wait=True):
        order.append((folder.name, wait))
        if folder.name.startswith("part-00001") and not wait:
            raise BlockingIOError
        return locked(folder, wait=wait)

    monkeypatch.setattr("mlvae.data.collections.parts.locked", busy_once)
    assert len(opened().train) == 60
    parts = [(name[5:10], wait) for name, wait in order if name.startswith("part")]
    assert parts == [("00001", False), ("00002", False), ("00003", False), ("00001", True)]


# The merge


def test_an_image_of_two_parts_is_used_once_and_named(write, people, opened, tmp_path):
    files = people(NAMES, 5)
    write(
        "people", {f"p05/again_{name[:3]}.png": files[f"{name}/{name}_0001.png"] for name in NAMES}
    )
    parted = opened().train
    report = (the_folder(tmp_path / "cache") / "skipped.txt").read_text().splitlines()
    named = [line for line in report if " is the same as " in line]
    within = 12 - len(named)  # copies in the part of the original are found by its preparation
    assert len(parted) == 60 and len(named) > 0
    assert report[0].startswith(f"60 used, {1 + within + len(named)} skipped, 1 left out")
    with pytest.raises(InputError, match=r"dataset\.strict"):
        opened(strict=True)


def test_a_lost_or_foreign_identity_is_found_by_the_merge(opened, monkeypatch, tmp_path):
    opened()
    folder = the_folder(tmp_path / "cache")
    (folder / "collection.json").unlink()
    path = folder / "part-00001-of-00004"
    manifest = json.loads((path / "manifest.json").read_text())
    index = dict(np.load(path / "index.npz"))

    def written(**changes):
        with (path / "index.npz").open("wb") as file:
            np.savez(file, **(index | changes))
        hashes = manifest["sha256"] | {"index.npz": prepare.hash_of(path / "index.npz")}
        (path / "manifest.json").write_text(json.dumps(manifest | {"sha256": hashes}, indent=1))

    written(**{"codes/identity": index["codes/identity"] * 0})
    with pytest.raises(InputError, match=r"part-00001.* identities of its files"):
        opened()
    written()
    (path / "manifest.json").write_text(
        json.dumps(manifest | {"skipped": manifest["skipped"] + 1}, indent=1)
    )
    with pytest.raises(InputError, match=r"part-00001.* files of part 1"):
        opened()
    written()
    assert len(opened().train) == 60


def test_an_identity_in_the_part_of_another_is_found(opened, monkeypatch):
    opened(part=0)
    real = assignment.assign

    def other(*arguments, **options):
        found = real(*arguments, **options)
        return assignment.Assignment(
            found.part, found.folders, found.label, found.first * 0, found.last * 0
        )

    monkeypatch.setattr("mlvae.data.collections.parts.assign", other)
    monkeypatch.setattr("mlvae.data.collections.parts.read_assignment", lambda *a: None)
    with pytest.raises(InputError, match=r"identity .* of another part"):
        opened()


@pytest.mark.parametrize("name", ["index.npz", "images.u8", "manifest.json"])
def test_a_damaged_part_is_detected_when_it_is_opened(opened, tmp_path, name):
    parted = opened().train
    path = the_folder(tmp_path / "cache") / "part-00001-of-00004" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(InputError, match="part-00001"):
        parted.parts[1].opened()


# Bad input


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"parts": 0}, r"dataset\.parts"),
        ({"parts": 100_000}, r"dataset\.parts"),
        ({"parts": 70}, r"dataset\.parts=70"),
        ({"parts": None, "part": 1}, r"dataset\.part=1"),
        ({"parts": None, "hands": 1}, r"dataset\.hands=1"),
        ({"part": 4}, r"dataset\.part=4 .*dataset\.parts=4"),
        ({"limit": 5}, r"dataset\.limit"),
        ({"within": 0.5}, r"dataset\.within"),
        ({"split": "images"}, r"dataset\.split"),
        ({"validation": ["p00"]}, r"dataset\.validation"),
        ({"validation": 2, "test": 2}, r"dataset\.validation and dataset\.test"),
        ({"validation": 3, "test": 2}, r"dataset\.test"),
        ({"hands": 5}, r"hands=5"),
        ({"group": "donor"}, r"dataset\.group"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(opened, options, match):
    with pytest.raises(InputError, match=match):
        opened(**options)


def test_a_folder_without_a_merged_collection_is_refused(opened, tmp_path):
    opened(part=0)
    (folder,) = (tmp_path / "cache").iterdir()
    with pytest.raises(InputError, match=r"dataset\.root.*collection\.json"):
        collection(folder)
