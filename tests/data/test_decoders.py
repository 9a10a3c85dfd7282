"""Processes that decode: the same pixels, and one line for a file that damages its process."""

import os
import pickle
import textwrap
from pathlib import Path

import numpy as np
import pytest

from mlvae.data.collections import decoders, images

OPTIONS = {"size": 8, "channels": 3, "crop": 1.0}
FAULT = b"this file takes the process over"

#: A process that decodes as the real one does, except for a file that holds FAULT.
SCRIPT = """
import importlib.util, os, struct, sys, time
spec = importlib.util.spec_from_file_location("images", {path!r})
images = importlib.util.module_from_spec(spec)
spec.loader.exec_module(images)

dup, pipes = os.dup, []
os.dup = lambda number: pipes.append(dup(number)) or pipes[-1]

class Answers:
    def __init__(self):
        self.file = os.fdopen(pipes[0], "wb")
    def send(self, content):
        self.file.write(content)
        self.file.flush()
    def header(self, mark=b"MLVA", dtype=b"|u1\\0", channels=3, height=8, width=8, length=192):
        self.send(struct.pack("<4s4sIIIQ", mark, dtype, channels, height, width, length))

decode = images.decode
def decode_or_fail(content, **options):
    if content != {fault!r}:
        return decode(content, **options)
    answers = Answers()
{body}
    os._exit(0)

images.decode = decode_or_fail
images._serve()
"""


@pytest.fixture
def process_that(tmp_path, monkeypatch):
    """Replaces the script of the processes; ``body`` runs when one meets FAULT."""

    def build(body):
        script = SCRIPT.format(
            path=images.__file__, fault=FAULT, body=textwrap.indent(textwrap.dedent(body), "    ")
        )
        (tmp_path / "decoder.py").write_text(script)
        monkeypatch.setattr(decoders.images, "__file__", str(tmp_path / "decoder.py"))

    return build


def attempts(chunks, workers=1):
    with decoders.Decoders(workers, OPTIONS) as processes:
        return list(processes.attempts(chunks))


def assert_only_the_fault_is_refused(png, *words):
    """Every other file gives its pixels; the reason for FAULT is one line with these words."""
    sound = [png(seed) for seed in range(4)]
    found = attempts([[sound[0]], [sound[1], FAULT, sound[2]], [sound[3]]])
    assert [len(chunk) for chunk in found] == [1, 3, 1]
    results = [result for chunk in found for result in chunk]
    fault = results.pop(2)
    for content, result in zip(sound, results, strict=True):
        assert np.array_equal(result.pixels, images.decode(content, **OPTIONS))
        assert result.reason == ""
    assert fault.pixels is None
    assert len(fault.reason.splitlines()) == 1 and len(fault.reason) < 600
    assert fault.reason.isprintable()
    for word in words:
        assert word in fault.reason


# Sound files


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_gives_what_this_process_gives(png, channels, workers):
    files = [png(seed) for seed in range(5)] + [b"", b"no image", png(5)[:100]]
    options = {"size": 5, "channels": channels, "crop": 0.8}
    with decoders.Decoders(workers, options) as processes:
        (found,) = processes.attempts([files])
    for content, result in zip(files, found, strict=True):
        expected = images.attempt(content, **options)
        assert result.sha256 == expected.sha256 and result.reason == expected.reason
        assert (result.pixels is None) == (expected.pixels is None)
        if result.pixels is not None:
            assert result.pixels.dtype == np.uint8 and result.pixels.shape == (channels, 5, 5)
            assert np.array_equal(result.pixels, expected.pixels)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_read_keeps_its_place(png, workers):
    def fail():
        raise OSError(5, "Input/output error")

    first, second, third = attempts([[png(0), fail, lambda: png(1)]], workers)[0]
    assert first.pixels is not None and third.pixels is not None
    assert second == ("", None, "cannot be read (Input/output error)")


def test_a_request_larger_than_a_pipe_is_answered(png):
    # 100 answers of 12 kB and files of 1 MB: neither side may wait for the other to read.
    options = {"size": 64, "channels": 3, "crop": 1.0}
    files = [png(seed) + bytes(2**20) for seed in range(100)]
    with decoders.Decoders(1, options) as processes:
        (found,) = processes.attempts([files])
    assert all(result.pixels.shape == (3, 64, 64) for result in found)


def test_a_chunk_without_a_readable_file_starts_no_process():
    def fail():
        raise OSError(5, "Input/output error")

    with decoders.Decoders(1, OPTIONS) as processes:
        assert len(next(processes.attempts([[fail, fail]]))) == 2
        assert processes.processes == []


# A file that takes its process over


@pytest.mark.parametrize("body", ["os._exit(1)", "os.kill(os.getpid(), 11)"])
def test_a_file_that_ends_its_process_is_named(process_that, png, body):
    process_that(body)
    assert_only_the_fault_is_refused(png, "made its decoder crash")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("answers.header(length=2**63)", [f"{2**63:,}", "192"]),
        ("answers.header(length=191)", ["191", "192"]),
        ("answers.header(length=0)", ["0 bytes", "192"]),
        ("answers.header(height=2**31, width=2**31)", [f"{2**31}", "(3, 8, 8)"]),
        ("answers.header(channels=1, length=64)", ["(1, 8, 8)", "(3, 8, 8)"]),
        ("answers.header(dtype=b'<f4')", ["<f4", "uint8"]),
        ("answers.header(dtype=b'|O')", ["|O", "uint8"]),
        ("answers.header(dtype=b'text', length=2**40)", [f"{2**40:,}", "500"]),
        ("answers.header(dtype=b'text', length=0)", ["0 bytes", "500"]),
    ],
)
def test_a_header_that_lies_is_refused_before_its_content_is_read(process_that, png, body, words):
    process_that(f"{body}\nanswers.send(bytes(1000))")
    assert_only_the_fault_is_refused(png, "wrong answer", *words)


@pytest.mark.parametrize(
    "body",
    [
        "answers.send(b'MLVA')",
        "answers.header()",
        "answers.header()\nanswers.send(bytes(191))",
        "answers.header(dtype=b'text', length=100)\nanswers.send(b'is not')",
    ],
)
def test_a_truncated_answer_is_a_crash(process_that, png, body):
    process_that(body)
    assert_only_the_fault_is_refused(png, "made its decoder crash")


@pytest.mark.parametrize("garbage", [b"hello world\n" * 100, bytes(1000), b"\x80\x04" * 500])
def test_a_process_that_prints_garbage_is_refused(process_that, png, garbage):
    process_that(f"answers.send({garbage!r})")
    assert_only_the_fault_is_refused(png, "wrong answer", "it begins with")


def test_garbage_after_a_sound_answer_harms_no_other_file(process_that, png):
    # The next request of this process meets the garbage, and is sent to a new process.
    process_that(
        "answers.header(dtype=b'text', length=2)\n"
        "answers.send(b'no' + b'garbage' * 100)\n"
        "time.sleep(60)"
    )
    assert_only_the_fault_is_refused(png, "no")


def test_a_process_that_never_answers_is_ended(process_that, png, monkeypatch):
    monkeypatch.setattr(decoders, "PATIENCE", 2.0)
    process_that("answers.header()\ntime.sleep(60)")
    assert_only_the_fault_is_refused(png, "more than 2 seconds")


def test_a_reason_cannot_write_to_a_terminal_or_add_lines(process_that, png):
    text = b"is red\x1b[31m\r\nskipped: bob/1.png \xff"
    process_that(f"answers.header(dtype=b'text', length={len(text)})\nanswers.send({text!r})")
    assert_only_the_fault_is_refused(png, r"is red\x1b[31m\r\nskipped: bob/1.png")


class Trap:
    """Creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("header", ["", "answers.header()\n", "answers.header(dtype=b'|O')\n"])
def test_nothing_that_a_process_prints_is_executed(process_that, png, tmp_path, header):
    trap = pickle.dumps([Trap(tmp_path / "sprung")] * 3)
    process_that(f"{header}answers.send({trap.ljust(192, b'.')!r})")
    (results,) = attempts([[FAULT, png(0)]])
    assert not (tmp_path / "sprung").exists()
    assert results[1].pixels is not None
    # Bytes behind a sound header are pixels, whatever else they may mean.
    assert (results[0].pixels is None) == (header != "answers.header()\n")


def test_the_number_of_cores_is_that_of_the_process_where_the_system_knows_it(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert decoders.Decoders(None, OPTIONS).workers == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert decoders.Decoders(None, OPTIONS).workers == os.cpu_count()
