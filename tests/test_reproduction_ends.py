"""A killed reproduction leaves no process, and the same command continues it to the same table."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from mlvae.commands import reproduce, tables
from mlvae.commands.configs import CONFIGS

#: The commands are not counted by coverage, and other tests reach the lines of the library.
pytestmark = pytest.mark.no_cover

SCRIPTS = Path(__file__).parent.parent / "scripts"

#: Pictures and TensorBoard take most of the time of so short a training.
REPORTS = ["trainer.reports.figures=false", "trainer.reports.tensorboard=false"]

TABLE = {
    "title": "Small",
    "seeds": [0, 1, 2],
    "variants": {"a": ["model.network.hidden=[4]", "trainer.epochs=EPOCHS", *REPORTS]},
    "evaluation": [
        "evaluation=[likelihood]",
        "vae=null",
        "evaluation.likelihood.sizes=[1]",
        "evaluation.likelihood.groups=2",
        "evaluation.likelihood.num_content=[1]",
    ],
    "panels": [
        {
            "title": "T",
            "cells": {"from": "likelihood.bound.test", "take": "elbo_per_observation"},
            "rows": {"r": {}},
            "columns": {"c": {}},
        }
    ],
}


def start(folder, *options, epochs=100_000):
    """The process of a reproduction with two jobs at once, in a session of its own."""
    (folder / "small.yaml").write_text(yaml.safe_dump(TABLE).replace("EPOCHS", str(epochs)))
    command = [sys.executable, str(SCRIPTS / "reproduce.py"), "table=small.yaml", "jobs=2"]
    return subprocess.Popen(
        [*command, "folder=out", "device=cpu", *options],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes(folder):
    """Numbers of the processes that work in a folder, which have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str((path / "cwd").readlink()) == str(folder):
                found.append(int(path.name))
        except OSError:  # it ended, or belongs to another user
            continue
    return found


def wait(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def training(folder):
    """Wait until two runs have trained some steps."""
    runs = [folder / "out" / "small" / f"a-seed{seed}" for seed in (0, 1)]
    wait(lambda: all((run / "metrics.jsonl").exists() for run in runs))
    return runs


def workers(folder, parent):
    """The processes that train, by number."""
    found = []
    for number in processes(folder):
        line = Path(f"/proc/{number}/cmdline").read_bytes()
        if number != parent and b"spawn_main" in line:
            found.append(number)
    return found


def table(folder):
    """The lines of values of the finished table."""
    text = (folder / "out" / "small" / "table.md").read_text()
    return re.findall(r"^\|.*", text, flags=re.MULTILINE)


def options(folder):
    """The options of :func:`start` for one job at a time."""
    return [f"table={folder / 'small.yaml'}", f"folder={folder / 'out'}", "device=cpu"]


def in_this_process(folder, epochs):
    """The reproduction of :func:`start`, one job at a time. A new process takes seconds."""
    (folder / "small.yaml").write_text(yaml.safe_dump(TABLE).replace("EPOCHS", str(epochs)))
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        reproduce.run(compose("reproduce", options(folder)))


def by_command(folder, epochs):
    """The reproduction by the same command as before."""
    process = start(folder, epochs=epochs)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out


EPOCHS = 40


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    in_this_process(folder, EPOCHS)
    return folder


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are counted in /proc")
@pytest.mark.parametrize(
    ("whom", "number", "again"),
    [
        ("parent", signal.SIGTERM, in_this_process),
        ("parent", signal.SIGKILL, by_command),
        ("worker", signal.SIGKILL, in_this_process),
        ("worker", signal.SIGTERM, in_this_process),
    ],
)
def test_a_killed_reproduction_leaves_no_process_and_continues(
    whom, number, again, tmp_path, uninterrupted
):
    process = start(tmp_path, epochs=EPOCHS)
    try:
        training(tmp_path)
        killed = process.pid if whom == "parent" else workers(tmp_path, process.pid)[0]
        os.kill(killed, number)
        out, _ = process.communicate(timeout=300)
        wait(lambda: not processes(tmp_path))
    finally:
        for left in processes(tmp_path):
            os.kill(left, signal.SIGKILL)
    assert process.returncode == (-9 if (whom, number) == ("parent", signal.SIGKILL) else 1), out
    assert "Traceback" not in out, out
    assert not (tmp_path / "out" / "small" / "table.md").exists()
    if process.returncode == 1:
        # A killed process leaves semaphores, which Python's resource tracker reports after this.
        assert len([line for line in out.splitlines() if line.startswith("error: ")]) == 1
    again(tmp_path, EPOCHS)
    assert table(tmp_path) == table(uninterrupted) and len(table(tmp_path)) == 3


DAMAGED = {
    "missing record": ("reproduced.json", None),
    "empty record": ("reproduced.json", b""),
    "half a record": ("reproduced.json", b'{"train": {'),
    "another record": ("reproduced.json", b"[]"),
    "binary record": ("reproduced.json", b"\xff\x00"),
    "deep record": ("reproduced.json", b"[" * 100_000),
    "missing metrics": ("evaluation/metrics.json", None),
    "empty metrics": ("evaluation/metrics.json", b""),
    "half of the metrics": ("evaluation/metrics.json", b'{"likelihood": {"imp'),
    "metrics without answers": ("evaluation/metrics.json", b"{}"),
    "metrics that are a list": ("evaluation/metrics.json", b"[1]"),
    "answers of another type": ("evaluation/metrics.json", b'{"facts": 1, "likelihood": 2}'),
    "missing report and record": ("evaluation/report.html", None),
    "a pipe": ("reproduced.json", "pipe"),
}


#: Damages after which a run is repeated from the beginning to the end, beside its plan.
REPEATED = ("missing record", "missing metrics", "missing report and record", "a pipe")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished reproduction of three runs, in this process."""
    folder = tmp_path_factory.mktemp("finished")
    in_this_process(folder, 1)
    return folder


def is_done(folder):
    """Whether the second run is planned as done."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = {"fast": False, "device": "cpu", "root": None}
        content = tables.read(str(folder / "small.yaml"))
        return reproduce.plan(content, "a", 1, folder / "out" / "small", config)["done"]


def damage(folder, name, content):
    """Damage a file of the second run; returns its path."""
    run = folder / "out" / "small" / "a-seed1"
    path = run / name
    path.unlink()
    if path.name == "report.html":
        (run / "reproduced.json").unlink()
    if content == "pipe":
        os.mkfifo(path)
    elif content is not None:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", [None, *DAMAGED])
def test_a_run_is_done_unless_its_record_is_damaged(kind, finished, tmp_path, time_limit):
    shutil.copytree(finished, tmp_path / "copy")
    if kind is not None:
        damage(tmp_path / "copy", *DAMAGED[kind])
    with time_limit(60):
        assert is_done(tmp_path / "copy") == (kind is None)


@pytest.mark.parametrize("kind", REPEATED)
def test_a_damaged_record_is_made_again_and_others_are_kept(kind, finished, capsys, time_limit):
    folder = finished
    before = table(folder)
    runs = [folder / "out" / "small" / f"a-seed{seed}" for seed in range(3)]
    files = [run / file for run in runs for file in ("reproduced.json", "evaluation/metrics.json")]
    kept = {path: path.stat().st_mtime_ns for path in files if runs[1] not in path.parents}
    path = damage(folder, *DAMAGED[kind])
    capsys.readouterr()
    with time_limit(120):
        in_this_process(folder, 1)
    assert "2 runs are done, 1 to do" in capsys.readouterr().out
    assert table(folder) == before
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    records = [runs[1] / "reproduced.json", runs[1] / "evaluation" / "metrics.json"]
    assert all(isinstance(json.loads(record.read_bytes()), dict) for record in records)
    assert path.stat().st_size > 0


def test_sigterm_ends_the_workers_which_save(tmp_path):
    process = start(tmp_path)
    runs = [tmp_path / "out" / "small" / f"a-seed{seed}" for seed in (0, 1)]
    try:
        deadline = time.monotonic() + 300
        while not all((run / "metrics.jsonl").exists() for run in runs):
            assert time.monotonic() < deadline and process.poll() is None, process.args
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)  # to the parent alone
        out, _ = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1 and "Traceback" not in out, out
    assert out.endswith("error: interrupted\n")
    wait(lambda: not processes(tmp_path))
    assert all((run / "checkpoint.pt").stat().st_size > 0 for run in runs)
    assert all("and saved" in run.with_suffix(".log").read_text() for run in runs)
    assert not (tmp_path / "out" / "small" / "a-seed2").exists()
