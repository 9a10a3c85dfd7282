"""Sweeps by Hydra's launchers: several trainings by one command."""

import json
import os
import re
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mlvae
from mlvae.commands import cli
from mlvae.training.run import claim, new_name

#: The commands are not counted by coverage, and other tests reach the lines of the library.
pytestmark = pytest.mark.no_cover

SCRIPT = Path(__file__).parent.parent / "scripts" / "train.py"
FAST = ["trainer.epochs=1", "model.network.hidden=[16]", "device=cpu", "dataset=digits"]


def train(cwd, *arguments):
    """Exit status, standard output and standard error of the script."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, *FAST],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def metrics(run):
    """The metrics of a run without times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "second" not in k and k != "time"} for line in lines]


# Properties


def test_concurrent_claims_of_one_folder_get_different_folders(tmp_path):
    with ThreadPoolExecutor(16) as threads:
        claimed = list(threads.map(claim, [tmp_path / "runs" / "now"] * 16))
    numbered = [f"now-{i}" for i in range(2, 17)]
    assert sorted(path.name for path in claimed) == sorted(["now", *numbered])
    assert all(path.is_dir() for path in claimed)


# Behaviour


def test_parallel_jobs_of_a_sweep_give_the_results_of_single_trainings(tmp_path, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs mlvae[sweep]")
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    code, out, err = train(tmp_path, "-m", "seed=0,1,-1", *launcher)
    # The failing job prints its error, the others finish, and the exit status is 1.
    lines = err.splitlines()
    assert code == 1 and lines[0].startswith("error: job 2 (seed=-1 "), err
    assert lines[0].endswith("-1") and lines[-1].startswith("error: ") and len(lines) == 3
    assert out.count("finished at step") == 2
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    assert len(list(tmp_path.glob("runs/sweeps/*/multirun.yaml"))) == 1
    runs = sorted((tmp_path / "runs" / "digits").iterdir(), key=lambda path: path.name[-1])
    assert [path.name[-6:] for path in runs] == ["-seed0", "-seed1"]
    assert metrics(runs[0]) != metrics(runs[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "seed=1", "run=alone", *FAST])
    runpy.run_path(
        str(SCRIPT), run_name="__main__"
    )  # in this process: a new one needs seconds to start
    assert metrics(tmp_path / "alone") == metrics(runs[1])


def test_a_run_without_a_name_never_uses_an_existing_folder(tmp_path, monkeypatch, small_model):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlvae.training.setup.new_name", lambda config, seed: Path("runs/now"))
    data = mlvae.data.digits().test
    config = {"run": None, "seed": 0}
    reports = mlvae.Reports(progress=False)
    options = {"epochs": 1, "device": "cpu", "reports": reports, "config": config}
    results = [mlvae.train(small_model(), data, **options) for _ in range(2)]
    assert [result.run for result in results] == [Path("runs/now"), Path("runs/now-2")]
    assert 'run: "runs/now-2"' in (tmp_path / "runs/now-2/config.yaml").read_text()
    assert config == {"run": None, "seed": 0}


def test_a_new_run_is_named_by_dataset_time_and_seed():
    name = new_name({"dataset": {"name": "digits"}}, 3)
    assert name.parent == Path("runs/digits") and name.name.endswith("-seed3")
    assert new_name(None, 3).parent == Path("runs")


# Bad input


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(mlvae.InputError, match="file/run"):
        claim(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (None, "Not a directory"),
        ("/proc", "No such file|not permitted|denied"),
        ("runs", "symbolic links"),
        ("/dev/null", "Not a directory"),
    ],
)
def test_a_sweep_in_a_folder_that_cannot_be_written_gives_one_line(
    tmp_path, monkeypatch, target, reason
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1", *FAST])
    if target is None:
        (tmp_path / "runs").touch()
    else:
        (tmp_path / "runs").symlink_to(target)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    line = str(end.value)
    assert line.startswith("error: ") and "\n" not in line
    assert re.search(reason, line) and "runs" in line and "hydra.sweep.dir" in line


def test_other_errors_of_the_system_keep_their_traceback():
    with pytest.raises(FileNotFoundError), cli.one_line_errors():
        Path("nowhere/x").read_bytes()
