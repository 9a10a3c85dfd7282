import resource
import subprocess
import sys

import pytest
import torch

from mlvae import InputError
from mlvae.training.checkpoint import FORMAT, read_checkpoint, write_checkpoint


def test_a_written_state_is_read_again_and_no_other_file_is_left(tmp_path):
    state = {"tensor": torch.arange(3), "nested": {"step": 4, "names": ["a", "b"]}}
    write_checkpoint(tmp_path / "checkpoint.pt", state)
    again = read_checkpoint(tmp_path / "checkpoint.pt")
    assert torch.equal(again.pop("tensor"), state["tensor"])
    assert again == {"format": FORMAT, "nested": state["nested"]}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_the_old_file_is_whole_until_the_new_one_replaces_it(tmp_path):
    # A process that has the old file open keeps all of it: the file is replaced, not rewritten.
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, {"step": 1})
    content = path.read_bytes()
    with path.open("rb") as old:
        write_checkpoint(path, {"step": 2})
        assert old.read() == content
    assert read_checkpoint(path)["step"] == 2


FILL = """
import resource, sys, torch
from pathlib import Path
from mlvae.training.checkpoint import write_checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_checkpoint(Path(sys.argv[1]), {"weights": torch.zeros(1_000_000)})
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on file sizes here")
@pytest.mark.parametrize("before", [True, False])
def test_a_full_disk_leaves_the_previous_checkpoint_intact(tmp_path, before):
    # A limit on the size of files interrupts a write half-way, as a full disk does.
    path = tmp_path / "checkpoint.pt"
    if before:
        write_checkpoint(path, {"step": 1})
    process = subprocess.run(
        [sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, check=False
    )
    last = process.stderr.strip().splitlines()[-1]
    assert process.returncode != 0 and f"{path} " in last and "(File too large)" in last
    assert ("resume" if before else "start again") in last
    assert [p.name for p in tmp_path.iterdir()] == (["checkpoint.pt"] if before else [])
    if before:
        assert read_checkpoint(path)["step"] == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none/checkpoint\.pt"):
        write_checkpoint(tmp_path / "none" / "checkpoint.pt", {})


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_checkpoint_is_refused_and_the_other_file_is_named(tmp_path, keep):
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, {"weights": torch.randn(1000)})
    write_checkpoint(tmp_path / "best.pt", {"step": 1})
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=r"checkpoint\.pt .*best\.pt"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04N.", b"PK\x03\x04 not a zip"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint\.pt "):
        read_checkpoint(path)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return print, ("harm",)

    torch.save({"format": FORMAT, "payload": Harmful()}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=r"checkpoint\.pt "):
        read_checkpoint(tmp_path / "checkpoint.pt")


def test_checkpoints_of_other_programs_and_of_newer_formats_are_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(InputError, match=r"checkpoint\.pt "):
        read_checkpoint(path)
    torch.save({"format": 99, "version": "9.0"}, path)
    with pytest.raises(InputError, match=rf"format 99, .*{FORMAT}; .*mlvae 9\.0"):
        read_checkpoint(path)


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"checkpoint\.pt"):
        read_checkpoint(tmp_path / "checkpoint.pt")


def test_an_older_format_is_read(tmp_path):
    torch.save({"format": 1, "step": 3}, tmp_path / "checkpoint.pt")
    assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3
