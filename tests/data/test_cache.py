"""The cache: made once, whole or not at all, and never taken for another's."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mlvae.data import cache, decoders, faces, journal, prepare
from mlvae.errors import InputError


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Opens a collection in this process with a small size, and counts the images decoded."""
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
    return splits.train.x.path.parent


def pixels(splits):
    return splits.train.batch().x


# Made once


def test_a_collection_is_decoded_once(opened, write, people):
    root = write("people", people())
    first = opened(root)
    assert opened.decoded == 12
    again = opened(root)
    assert opened.decoded == 0
    assert (pixels(first) == pixels(again)).all()
    assert first.train.group_names == ["ann", "bob", "eve"]


def test_what_is_in_the_folder_can_be_read_without_this_library(opened, write, people):
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


def test_settings_have_folders_of_their_own(opened, write, people):
    root = write("people", people())
    folders = {
        folder_of(opened(root, **options))
        for options in ({}, {"size": 9}, {"colour": True}, {"crop": 0.5}, {"limit": 5})
    }
    assert len(folders) == 5
    opened(root)
    assert opened.decoded == 0  # none has pushed another out
    # What is chosen after decoding is no setting of the cache.
    opened(root, test=0.4, minimum=2, seed=3)
    assert opened.decoded == 0


# Made again


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
    assert len(pixels(before)) == 12  # whoever had the old images still has them


def test_a_changed_table_is_another_collection(opened, write, people, tmp_path):
    root, table = write("people", people()), tmp_path / "table.csv"
    table.write_text("file,identity\nann_0000.png,a\nann_0001.png,a\nbob_0000.png,b\n")
    assert opened(root, table=table).train.group_names == ["a", "b"]
    table.write_text("file,identity\nann_0000.png,a\nann_0001.png,c\nbob_0000.png,b\n")
    assert opened(root, table=table).train.group_names == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["images.u8", "index.npz", "files.jsonl", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "overwritten", "gone"])
def test_a_damaged_cache_is_found_and_made_again(opened, write, people, name, damage):
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


# Ended early


class Killed(BaseException):
    pass


def test_a_preparation_goes_on_where_it_ended(opened, write, people, monkeypatch):
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
def test_what_was_half_written_is_done_again(opened, write, people, monkeypatch, name):
    root = write("people", people())
    whole = pixels(opened(root))
    folder = folder_of(opened(root))
    for bytes_lost in (1, 100):
        (folder / "manifest.json").unlink()
        with (folder / name).open("r+b") as file:
            file.truncate((folder / name).stat().st_size - bytes_lost)
        assert (pixels(opened(root)) == whole).all()
        assert 0 < opened.decoded < 12


def test_killed_and_started_again_is_the_same(write, people, png, tmp_path):
    root = write("people", people(images=300))
    code = (
        "from mlvae.data import faces, prepare; prepare.CHUNK_FILES = 4\n"
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


def test_two_may_prepare_at_once(write, people, tmp_path, capsys):
    root = write("people", people(images=30))

    def prepare_it(_):
        return pixels(faces(root, size=8, workers=1, cache=tmp_path / "cache"))

    with ThreadPoolExecutor(2) as threads:  # the lock is of an open file, not of a process
        first, second = threads.map(prepare_it, range(2))
    assert (first == second).all()
    (folder,) = (tmp_path / "cache").iterdir()
    lines = (folder / "files.jsonl").read_text().splitlines()
    assert len(lines) == 91 and (folder / "images.u8").stat().st_size == 90 * 3 * 64
    assert "another process is preparing" in capsys.readouterr().out


def test_processes_and_this_process_decode_the_same(opened, write, people):
    root = write("people.tar.xz", people(images=30) | {"ann/bad.png": b"no"})
    here = opened(root)
    there = opened(root, workers=2, cache="there")
    assert opened.decoded == 0  # not here
    assert (pixels(here) == pixels(there)).all()
    reports = [(folder_of(splits) / "files.jsonl").read_bytes() for splits in (here, there)]
    assert reports[0] == reports[1]


# Bad input


def test_a_cache_that_cannot_be_written_is_one_line(opened, write, people, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"dataset.cache=.*file must be a folder that can be wr"):
        opened(write("people", people()), cache=tmp_path / "file")


def test_a_full_disk_is_one_line_and_what_is_there_is_kept(opened, write, people, monkeypatch):
    root = write("people", people())

    def full(self, file, content):
        try:
            raise OSError(28, os.strerror(28))
        except OSError as error:
            raise InputError(f"{file.name} could not be written ({error.strerror})") from error

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "_write", full)
        with pytest.raises(InputError, match="could not be written"):
            opened(root)
    opened(root)
    assert opened.decoded == 12


def test_an_older_format_is_made_again(opened, write, people, monkeypatch):
    root = write("people", people())
    opened(root)
    monkeypatch.setattr(cache, "FORMAT", 99)
    opened(root)
    assert opened.decoded == 12
