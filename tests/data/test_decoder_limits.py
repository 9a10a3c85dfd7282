"""Processes that decode: time per image, Ctrl-C, and their end with their parent."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlvae.data.collections import decoders, images

OPTIONS = {"size": 8, "channels": 3, "crop": 1.0}

#: A process that decodes as the real one does, but computes forever for files that begin as BUSY.
#: The computation is in C and keeps the interpreter's lock, as a codec may.
BUSY = b"busy"
SCRIPT = """
import importlib.util, os
spec = importlib.util.spec_from_file_location("images", {path!r})
images = importlib.util.module_from_spec(spec)
spec.loader.exec_module(images)
decode = images.decode
def decode_or_compute(content, **options):
    if content.startswith({busy!r}):
        with open({pids!r}, "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        sum(range(10**15))
    return decode(content, **options)
images.decode = decode_or_compute
images._serve()
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "decoder.py"
    pids = tmp_path / "pids"
    pids.touch()
    path.write_text(SCRIPT.format(path=images.__file__, busy=BUSY, pids=str(pids)))
    return path


@pytest.fixture
def busy(script, monkeypatch):
    monkeypatch.setattr(decoders.images, "__file__", str(script))


def attempts(chunks):
    with decoders.Decoders(1, OPTIONS) as processes:
        return list(processes.attempts(chunks))


# Time per image


@pytest.mark.usefixtures("busy")
def test_an_image_that_takes_too_long_is_refused_and_the_others_are_decoded(
    png, monkeypatch, time_limit
):
    monkeypatch.setattr(images, "SECONDS", 0.5)
    names = [png(0), BUSY + b"1", png(1), BUSY + b"2", BUSY + b"3", png(2)]
    start = time.monotonic()
    with time_limit(60):
        (results,) = attempts([names])
    # Each slow image costs its limit once, and the start of a process.
    assert time.monotonic() - start < 30
    assert [result.pixels is None for result in results] == [False, True, False, True, True, False]
    for content, result in zip(names, results, strict=True):
        if result.pixels is None:
            assert "0.5 seconds" in result.reason
        else:
            assert np.array_equal(result.pixels, images.decode(content, **OPTIONS))
            assert result.reason == ""


@pytest.mark.usefixtures("busy")
def test_the_time_of_many_fast_images_is_not_added(png, monkeypatch, time_limit):
    monkeypatch.setattr(images, "SECONDS", 1.0)
    large = png(0, (3000, 3000))
    with time_limit(120):
        (results,) = attempts([[large] * 16])
    assert all(result.pixels is not None for result in results)


def progressive(scans):
    """A progressive JPEG whose last scan is repeated."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * scans + content[-2:]


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(time_limit):
    assert images.attempt(progressive(0), **OPTIONS).reason == ""
    content = progressive(10_000)
    with time_limit(2):
        result = images.attempt(content, **OPTIONS)
    assert result.pixels is None and "scans" in result.reason and "10,00" in result.reason


# Interrupts

PARENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from mlvae.data.collections import decoders, images
images.__file__ = sys.argv[1]
with decoders.Decoders(2, {options!r}) as processes:
    for _ in processes.attempts([[b"busy%d" % i] for i in range(50)]):
        pass
"""


@pytest.fixture
def parent(script, tmp_path):
    """A running process with two busy decoders, and their numbers."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(options=OPTIONS), str(script)],
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while len(numbers := (tmp_path / "pids").read_text().split()) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    yield process, [int(number) for number in numbers]
    process.kill()
    process.communicate()
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)


def running(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_none_runs(numbers):
    deadline = time.monotonic() + 5
    while any(map(running, numbers)):
        assert time.monotonic() < deadline, "a decoder has outlived its parent"
        time.sleep(0.05)


def test_ctrl_c_ends_busy_decoders_at_once(parent, tmp_path):
    process, numbers = parent
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=10)[1]
    assert time.monotonic() - start < 3
    assert b"KeyboardInterrupt" in error
    assert_none_runs(numbers)
    assert len((tmp_path / "pids").read_text().split()) == 2  # no other one was started


@pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_busy_decoders_end_with_their_parent(parent, number):
    process, numbers = parent
    process.send_signal(number)
    process.wait(10)
    assert_none_runs(numbers)


def test_ctrl_c_in_the_terminal_blames_no_image(png):
    # A terminal sends the signal to the decoders as well.
    with decoders.Decoders(1, OPTIONS) as processes:
        results = processes.attempts([[png(0)]] * 8)
        found = [next(results)]
        processes.processes[0].process.send_signal(signal.SIGINT)
        found += list(results)
    assert all(result.reason == "" for (result,) in found)
    assert len(processes.processes) == 1
