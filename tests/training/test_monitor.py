"""Reports of a run: broken records, outputs that cannot be written, signals."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard.writer import SummaryWriter

import mlvae
from mlvae import GroupedData, InputError
from mlvae.networks import MLP
from mlvae.training.checkpoint import read_checkpoint
from mlvae.training.interrupt import Interrupt

SCRIPT = Path(mlvae.__file__).parents[1] / "scripts" / "train.py"


def fit(run, model=None, **options):
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    options = {
        "batching": mlvae.data.Shuffled(4),
        "epochs": 2,
        "reports": mlvae.Reports(progress=False),
        "device": "cpu",
    } | options
    model = model or mlvae.models.MLVAE((1, 8, 8), network=MLP((4,)))
    return mlvae.train(model, GroupedData(x, [0, 1] * 4), run=run, **options)


def steps(run):
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


# Broken lines of metrics.jsonl

BROKEN = {
    "cut": b'{"step": 4, "epo\n',
    "cut without an end of line": b'{"step": 2, "loss": 1.',
    "no JSON": b"hello\n",
    "empty": b"\n",
    "no step": b'{"epoch": 1}\n',
    "a step that is text": b'{"step": "2"}\n',
    "a step that is null": b'{"step": null}\n',
    "no object": b"[1, 2]\n",
    "a number": b"3\n",
    "not UTF-8": b'{"step": 2, "\xff": 1}\n',
    "null bytes": b"\0\0\0\0\n",
    "a nest": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("line", BROKEN)
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_broken_line_is_lost_alone_and_the_run_resumes(line, place, tmp_path):
    run = tmp_path / "run"
    fit(run)
    records = (run / "metrics.jsonl").read_bytes()
    content = BROKEN[line] + records if place == "first" else records + BROKEN[line]
    if place == "first" and not BROKEN[line].endswith(b"\n"):
        content = BROKEN[line] + b"\n" + records
    (run / "metrics.jsonl").write_bytes(content)
    before = [line for line in records.splitlines() if line]
    assert fit(run, resume=True, epochs=3).finished
    after = (run / "metrics.jsonl").read_bytes().splitlines()
    assert after[: len(before)] == before and steps(run) == [2, 4, 6]


def test_records_of_later_steps_are_removed(tmp_path):
    run = tmp_path / "run"
    fit(run)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5}\n{"step": 6}\n')
    fit(run, resume=True, epochs=3)
    assert steps(run) == [2, 4, 6]


def test_tensorboard_shows_no_record_of_a_step_after_the_checkpoint(tmp_path):
    run = tmp_path / "run"
    fit(run)
    with SummaryWriter(str(run)) as writer:  # as if killed after two more steps
        writer.add_scalar("train/loss", 1e6, 5)
        writer.add_scalar("train/loss", 1e6, 6)
    time.sleep(1.1)  # the names of the files have the time in seconds
    fit(run, resume=True, epochs=3)
    events = EventAccumulator(str(run))
    events.Reload()
    found = {event.step: event.value for event in events.Scalars("train/loss")}
    assert list(found) == [2, 4, 6] and found[6] < 1e6


# Outputs that cannot be written


class Unwritable:
    """A standard output whose writes fail."""

    def __init__(self, number):
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))

    def flush(self):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_a_standard_output_that_fails_ends_no_training(number, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "stdout", Unwritable(number))
    result = fit(tmp_path / "run", reports=mlvae.Reports(log_every=1))
    assert result.finished and steps(tmp_path / "run") == [1, 2, 3, 4]
    assert sum("standard output" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("output", ["closed", "full"])
def test_the_script_trains_to_the_end_without_its_output(output, tmp_path):
    if output == "full" and not os.access("/dev/full", os.W_OK):
        pytest.skip("there is no /dev/full here")
    overrides = ["dataset=digits", "trainer.epochs=1", "model.content_dim=2", "device=cpu"]
    command = [sys.executable, str(SCRIPT), *overrides, f"run={tmp_path / 'run'}"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    if output == "closed":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open("/dev/full", os.O_WRONLY)
    try:
        process = subprocess.run(
            command,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )
    finally:
        os.close(writing)
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    state = read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["step"] == state["steps_per_epoch"]


@pytest.mark.parametrize("method", ["add_scalar", "add_image"])
def test_tensorboard_on_a_full_disk_is_one_line_and_the_state_is_saved(
    method, tmp_path, monkeypatch
):
    def full(self, *args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(SummaryWriter, method, full)
    run = tmp_path / "run"
    with pytest.raises(InputError, match=os.strerror(errno.ENOSPC)) as raised:
        fit(run, reports=mlvae.Reports(log_every=1, progress=False))
    assert "\n" not in str(raised.value)
    saved = read_checkpoint(run / "checkpoint.pt")["step"]
    assert saved == (1 if method == "add_scalar" else 4)
    monkeypatch.undo()
    assert fit(run, resume=True, epochs=3).finished


def test_a_tensorboard_that_cannot_be_closed_ends_no_training(tmp_path, monkeypatch, caplog):
    def full(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(SummaryWriter, "close", full)
    monkeypatch.setattr(SummaryWriter, "add_hparams", lambda *_, **__: None)  # it closes a writer
    assert fit(tmp_path / "run").finished
    found = [record for record in caplog.records if "TensorBoard" in record.getMessage()]
    assert [record.levelname for record in found] == ["WARNING"]


# Signals


class Signalled(mlvae.models.MLVAE):
    """A model that receives signals in its second step."""

    signals = ()
    calls = 0

    def forward(self, batch, *, generator=None):
        self.calls += 1
        if self.calls == 2:
            for number in self.signals:
                os.kill(os.getpid(), number)
                time.sleep(0.02)
        return super().forward(batch, generator=generator)


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in Interrupt.SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize(
    "numbers",
    [
        [signal.SIGINT],
        [signal.SIGTERM],
        [signal.SIGHUP],
        [signal.SIGUSR1],
        [signal.SIGUSR2],
        [signal.SIGINT, signal.SIGINT],  # a terminal and a launcher send one each
        [signal.SIGHUP, signal.SIGTERM],
    ],
    ids=lambda numbers: "+".join(number.name for number in numbers),
)
def test_signals_save_and_return_and_the_run_goes_on(numbers, tmp_path):
    torch.manual_seed(0)
    model = Signalled((1, 8, 8), network=MLP((4,)))
    model.signals = numbers
    result = fit(tmp_path / "run", model, epochs=5)
    assert not result.finished
    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == 2
    model.signals = ()
    assert fit(tmp_path / "run", model, resume=True, epochs=5).finished


# Speed


class Clock:
    """A clock that the passes of a model move."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


class Timed(mlvae.models.MLVAE):
    """A model whose training pass takes one second, and its evaluation a hundred."""

    def __init__(self, *, clock):
        super().__init__((1, 8, 8), network=MLP((4,)))
        self.clock = clock

    def forward(self, batch, *, generator=None):
        self.clock.now += 1.0 if self.training else 100.0
        return super().forward(batch, generator=generator)


def test_steps_per_second_count_no_validation_between_two_reports(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("mlvae.training.monitor.time", clock)
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    reports = mlvae.Reports(
        progress=False, log_every=3, validate_every=1, tensorboard=False, figures=False
    )
    fit(
        tmp_path,
        Timed(clock=clock),
        validation=GroupedData(x, [0, 1] * 4),
        epochs=3,  # of two steps: two of three validations are between two reports
        reports=reports,
    )
    found = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    speeds = [record["steps_per_second"] for record in found if record["split"] == "train"]
    assert speeds == pytest.approx([1.0, 1.0])
