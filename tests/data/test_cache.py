"""The cache: prepared once, whole or not at all, and used for its own settings only."""

import errno
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mlvae import system
from mlvae.data import faces
from mlvae.data.collections import cache, decoders, journal, prepare
from mlvae.errors import InputError


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Opens a collection with small images in this process; ``decoded`` counts them."""
    monkeypatch.chdir(tmp_path)
    decoded = []
    attempt = decoders.images.attempt
    monkeypatch.setattr(
        decoders.images, "attempt", lambda *a, **k: decoded.append(1) or attempt(*a, **k)
    )

    def build(root, **options):
        decoded.clear()
        options = {"size": 8, "colour": False, "workers": 0, "validation": 0, "test": 0} | options
        splits = faces(root, **options)
        build.decoded = len(decoded)
        return splits

    return build


def folder_of(splits):
    return splits.train.x.source.path.parent


def pixels(splits):
    return splits.train.batch().x


# Prepared once


def test_a_collection_is_decoded_once(opened, write, people):
    root = write("people", people())
    first = opened(root)
    assert opened.decoded == 12
    again = opened(root)
    assert opened.decoded == 0
    assert (pixels(first) == pixels(again)).all()
    assert first.train.group_names == ["ann", "bob", "eve"]


def test_the_folder_can_be_read_without_this_library(opened, write, people):
    folder = folder_of(opened(write("people.zip", people())))
    assert {path.name for path in folder.iterdir()} == {
        "images.u8",
        "index.npz",
        "files.jsonl",
        "skipped.txt",
        "manifest.json",
        "lock",
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["images"] == 12 and manifest["settings"]["size"] == 8
    assert np.memmap(folder / "images.u8", np.uint8).size == 12 * 64
    lines = [json.loads(line) for line in (folder / "files.jsonl").read_text().splitlines()[1:]]
    assert all(len(line["sha256"]) == 64 for line in lines)
    assert lines[0]["file"] == "ann/ann_0000.png" and lines[0]["columns"] == {"identity": "ann"}


def test_other_settings_give_other_folders(opened, write, people):
    root = write("people", people())
    folders = {
        folder_of(opened(root, **options))
        for options in ({}, {"size": 9}, {"colour": True}, {"crop": 0.5}, {"limit": 5})
    }
    assert len(folders) == 5
    opened(root)
    assert opened.decoded == 0  # no folder has replaced another
    # Choices made after decoding are no settings of the cache.
    opened(root, test=0.4, minimum=2, seed=3)
    assert opened.decoded == 0


# Prepared again


@pytest.mark.parametrize("packed", ["people", "people.zip", "people.tar.gz"])
def test_changed_sources_are_prepared_again(opened, write, people, packed):
    files = people()
    before = opened(write(packed, files))
    files["new/1.png"] = files.pop("eve/eve_0000.png")
    root = write(packed, files)
    if root.is_dir():
        (root / "eve/eve_0000.png").unlink()
    after = opened(root)
    assert after.train.group_names == ["ann", "bob", "eve", "new"]
    assert folder_of(before) == folder_of(after)
    assert len(pixels(before)) == 12  # open images stay readable


def test_a_changed_table_is_another_collection(opened, write, people, tmp_path):
    root, table = write("people", people()), tmp_path / "table.csv"
    table.write_text("file,identity\nann_0000.png,a\nann_0001.png,a\nbob_0000.png,b\n")
    assert opened(root, table=table).train.group_names == ["a", "b"]
    table.write_text("file,identity\nann_0000.png,a\nann_0001.png,c\nbob_0000.png,b\n")
    assert opened(root, table=table).train.group_names == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["images.u8", "index.npz", "files.jsonl", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "overwritten", "gone"])
def test_a_damaged_cache_is_detected_and_prepared_again(opened, write, people, name, damage):
    root = write("people", people())
    whole = pixels(opened(root))
    path = folder_of(opened(root)) / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    if damage == "overwritten":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert (pixels(opened(root)) == whole).all()
    opened(root)
    assert opened.decoded == 0


# Interrupted


class Killed(BaseException):
    pass


def test_an_interrupted_preparation_is_continued(opened, write, people, monkeypatch):
    root = write("people", people(images=40))
    monkeypatch.setattr(prepare, "CHUNK_FILES", 10)
    append = journal.Journal.append

    def fail(self, lines, rows):
        append(self, lines, rows)
        if self.num_images == 70:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "append", fail)
        with pytest.raises(Killed):
            opened(root)
    splits = opened(root)
    assert opened.decoded == 50
    whole = opened(root, cache="another")
    assert opened.decoded == 120
    assert (pixels(splits) == pixels(whole)).all()


@pytest.mark.parametrize("name", ["images.u8", "files.jsonl"])
def test_an_incomplete_line_or_image_is_decoded_again(opened, write, people, monkeypatch, name):
    root = write("people", people())
    whole = pixels(opened(root))
    folder = folder_of(opened(root))
    for bytes_lost in (1, 100):
        (folder / "manifest.json").unlink()
        with (folder / name).open("r+b") as file:
            file.truncate((folder / name).stat().st_size - bytes_lost)
        assert (pixels(opened(root)) == whole).all()
        assert 0 < opened.decoded < 12


def test_a_killed_preparation_gives_the_same_cache_when_continued(write, people, png, tmp_path):
    root = write("people", people(images=300))
    code = (
        "from mlvae.data import faces\n"
        "from mlvae.data.collections import prepare\n"
        "prepare.CHUNK_FILES = 4\n"
        "faces('people', size=8, workers=1, cache='killed')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done = [path.stat().st_size for path in tmp_path.glob("killed/*/images.u8")]
        if done and done[0] > 0:
            break
        time.sleep(0.005)
    process.kill()
    process.wait()
    folder = next((tmp_path / "killed").iterdir())
    assert not (folder / "manifest.json").exists()
    assert 0 < (folder / "images.u8").stat().st_size < 900 * 3 * 64
    options = {"size": 8, "workers": 0}
    again = faces(root, cache=tmp_path / "killed", **options)
    whole = faces(root, cache=tmp_path / "whole", **options)
    for a, b in zip(again, whole, strict=True):
        assert (a[1].batch().x == b[1].batch().x).all()
    assert (folder / "images.u8").read_bytes() == (folder_of(whole) / "images.u8").read_bytes()


def test_two_processes_may_prepare_the_same_collection(write, people, tmp_path, capsys):
    root = write("people", people(images=30))

    def prepare_it(_):
        return pixels(faces(root, size=8, workers=1, cache=tmp_path / "cache"))

    with ThreadPoolExecutor(2) as threads:  # the lock belongs to an open file
        first, second = threads.map(prepare_it, range(2))
    assert (first == second).all()
    (folder,) = (tmp_path / "cache").iterdir()
    lines = (folder / "files.jsonl").read_text().splitlines()
    assert len(lines) == 91 and (folder / "images.u8").stat().st_size == 90 * 3 * 64
    assert f"is preparing {folder}" in capsys.readouterr().out


def test_processes_and_this_process_give_the_same_cache(opened, write, people):
    root = write("people.tar.xz", people(images=30) | {"ann/bad.png": b"no"})
    local = opened(root)
    remote = opened(root, workers=2, cache="remote")
    assert opened.decoded == 0  # not in this process
    assert (pixels(local) == pixels(remote)).all()
    reports = [(folder_of(splits) / "files.jsonl").read_bytes() for splits in (local, remote)]
    assert reports[0] == reports[1]


# Bad input


def test_a_cache_that_cannot_be_written_gives_one_line(opened, write, people, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=rf"dataset\.cache={tmp_path / 'file'} "):
        opened(write("people", people()), cache=tmp_path / "file")


def test_a_full_disk_at_the_first_line_leaves_no_file_open(tmp_path, monkeypatch):
    fail = InputError("no room")
    monkeypatch.setattr(journal.Journal, "_write", lambda *arguments: (_ for _ in ()).throw(fail))
    record = journal.Journal(tmp_path, {"format": 1}, 12)
    with pytest.raises(InputError, match="no room"), record:
        pass
    assert record.images.closed and record.file.closed


def test_a_disk_that_loses_what_was_written_gives_one_line(opened, write, people, monkeypatch):
    monkeypatch.setattr(cache, "read_cache", lambda *arguments: None)
    with pytest.raises(InputError, match=r"dataset\.cache"):
        opened(write("people", people()))


def test_a_full_disk_gives_one_line_and_written_images_are_kept(
    opened, write, people, monkeypatch
):
    root = write("people", people(images=40))
    monkeypatch.setattr(prepare, "CHUNK_FILES", 10)

    class FullDisk:
        """A file that has room for a number of writes."""

        def __init__(self, file, room):
            self.file, self.room, self.name = file, room, file.name

        def write(self, content):
            self.room -= 1
            if self.room < 0:
                raise OSError(28, os.strerror(28))
            return self.file.write(content)

        def __getattr__(self, name):
            return getattr(self.file, name)

    enter = journal.Journal.__enter__

    def enter_full(self):
        self.images = FullDisk(self.images, 7)
        return enter(self)

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "__enter__", enter_full)
        with pytest.raises(InputError, match=rf"images\.u8 .*{os.strerror(28)}.*dataset\.cache"):
            opened(root)
    opened(root)
    assert opened.decoded == 50  # 70 of 120 were written


def test_a_disk_without_locks_is_used_and_reported(opened, write, people, monkeypatch, capsys):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(system.fcntl, "flock", flock)
    assert len(opened(write("people", people())).train) == 12
    assert "cannot be locked" in capsys.readouterr().out


def test_any_other_fault_of_a_lock_gives_one_line(opened, write, people, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(system.fcntl, "flock", flock)
    with pytest.raises(InputError, match=rf"dataset\.cache=.*{os.strerror(errno.EIO)}"):
        opened(write("people", people()))


def test_an_older_format_is_prepared_again(opened, write, people, monkeypatch):
    root = write("people", people())
    opened(root)
    monkeypatch.setattr(cache, "FORMAT", 99)
    opened(root)
    assert opened.decoded == 12
