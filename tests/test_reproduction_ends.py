"""A reproduction with parallel jobs ends on SIGTERM, and the same command continues it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

SCRIPTS = Path(__file__).parent.parent / "scripts"

TABLE = {
    "title": "Small",
    "seeds": [0, 1, 2],
    "variants": {"a": ["model.network.hidden=[4]", "trainer.epochs=EPOCHS"]},
    "evaluation": ["evaluation=[likelihood]", "vae=null"],
    "panels": [
        {
            "title": "T",
            "cells": {"from": "likelihood.importance", "take": "mean"},
            "rows": {"r": {}},
            "columns": {"c": {}},
        }
    ],
}


def test_sigterm_ends_the_workers_which_save(tmp_path):
    text = yaml.safe_dump(TABLE).replace("EPOCHS", "100000")
    (tmp_path / "small.yaml").write_text(text)
    command = [sys.executable, str(SCRIPTS / "reproduce.py"), "table=small.yaml", "jobs=2"]
    process = subprocess.Popen(
        [*command, "folder=out", "device=cpu"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    runs = [tmp_path / "out" / "small" / f"a-seed{seed}" for seed in (0, 1)]
    try:
        deadline = time.monotonic() + 90
        while not all((run / "metrics.jsonl").exists() for run in runs):
            assert time.monotonic() < deadline and process.poll() is None, process.stdout.read()
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)  # to the parent alone
        out, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1 and "Traceback" not in out, out
    assert out.endswith("error: interrupted\n")
    assert all((run / "checkpoint.pt").stat().st_size > 0 for run in runs)
    assert all("and saved" in run.with_suffix(".log").read_text() for run in runs)
    assert not (tmp_path / "out" / "small" / "a-seed2").exists()
