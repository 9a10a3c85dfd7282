"""The commands as a user runs them, in processes of their own."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import mlvae
from mlvae.training.checkpoint import read_checkpoint

SCRIPTS = Path(__file__).parent.parent / "scripts"
FAST = ["trainer.epochs=2", "model.network.hidden=[16]", "device=cpu"]


def start(script, *arguments, cwd, **environment):
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(script, *arguments, cwd, **environment):
    process = start(script, *arguments, cwd=cwd, **environment)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def tensors(path):
    """All tensors of a checkpoint, however deep, by their place in it."""
    found, rest = {}, [("", read_checkpoint(path))]
    while rest:
        name, value = rest.pop()
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            rest += [(f"{name}/{key}", inner) for key, inner in value.items()]
        elif isinstance(value, list):
            rest += [(f"{name}/{i}", inner) for i, inner in enumerate(value)]
    return found


def assert_same_tensors(a, b):
    a, b = tensors(a), tensors(b)
    assert a.keys() == b.keys() and len(a) > 20
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that training with hardly any option has left."""
    folder = tmp_path_factory.mktemp("work")
    code, out, err = call("train", *FAST, cwd=folder)
    assert code == 0, err
    return next((folder / "runs" / "digits").iterdir()), out


def test_training_prints_its_configuration_and_where_the_run_is(run):
    folder, out = run
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-seed0", folder.name)
    assert "content_dim: 10" in out and "the run is in runs/digits/" in out
    assert [path.name for path in folder.parents[2].iterdir()] == ["runs"]  # and nothing else
    assert isinstance(mlvae.load(folder), mlvae.models.MLVAE)


def test_a_run_is_resumed_by_its_folder_alone_and_may_be_made_longer(run, tmp_path):
    call("train", *FAST[1:], "trainer.epochs=4", "run=long", cwd=tmp_path)
    call("train", *FAST, "run=short", cwd=tmp_path)
    code, out, _ = call("train", "resume=short", "trainer.epochs=4", cwd=tmp_path)
    assert code == 0 and "changed: trainer.epochs was 2" in out
    for name in ("checkpoint.pt", "best.pt"):
        assert_same_tensors(tmp_path / "long" / name, tmp_path / "short" / name)


def test_killed_at_random_moments_and_resumed_is_the_same_bit_for_bit(tmp_path):
    arguments = [*FAST[1:], "trainer.epochs=60", "trainer.checkpoint_seconds=0.05"]
    call("train", *arguments, "run=whole", cwd=tmp_path)
    moments = random.Random(0)
    process, kills = start("train", *arguments, "run=killed", cwd=tmp_path), 0
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    while kills < 3:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        step = read_checkpoint(checkpoint)["step"]
        while read_checkpoint(checkpoint)["step"] == step and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.random() * 0.3)
        process.kill()
        process.communicate()
        kills += 1
        assert read_checkpoint(checkpoint)["step"] >= step
        process = start("train", "resume=killed", cwd=tmp_path)
    assert process.wait(timeout=120) == 0, process.communicate()
    process.communicate()
    for name in ("checkpoint.pt", "best.pt"):
        assert_same_tensors(tmp_path / "whole" / name, tmp_path / "killed" / name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number):
    process = start("train", *FAST[1:], "trainer.epochs=100000", "run=run", cwd=tmp_path)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == ""
    last = out.splitlines()[-1]
    assert re.match(r"stopped at step \d+ of 600000 and saved", last)
    assert "python scripts/train.py resume=run" in last
    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] > 0


def test_ones_own_arrays_train(tmp_path):
    generator = np.random.default_rng(0)
    group = np.repeat(["ann", "bob", "eve"], 40)
    np.savez(tmp_path / "mine.npz", x=generator.random((120, 1, 6, 7)), group=group)
    arguments = ["dataset=arrays", "dataset.root=mine.npz", *FAST, "run=run"]
    code, _, err = call("train", *arguments, cwd=tmp_path)
    assert code == 0, err
    assert mlvae.load(tmp_path / "run").shape == (1, 6, 7)
    # The run remembers where the data was, from whatever folder it is resumed.
    code, _, err = call(
        "train", f"resume={tmp_path / 'run'}", "trainer.epochs=3", cwd=tmp_path.parent
    )
    assert code == 0, err


def test_a_sweep_trains_once_for_each_value(tmp_path):
    code, _, err = call("train", "-m", "seed=0,1", *FAST, cwd=tmp_path)
    assert code == 0, err
    runs = sorted((tmp_path / "runs" / "digits").iterdir())
    assert [path.name[-5:] for path in runs] == ["seed0", "seed1"]
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", "multirun.yaml"}


def test_mnist_trains_from_the_environments_folder(tmp_path, data_root):
    arguments = ["dataset=mnist", "trainer.epochs=1", "batching.batch_size=5000", "run=run"]
    code, out, err = call("train", *arguments, cwd=tmp_path, MLVAE_DATA=str(data_root.absolute()))
    assert code == 0, err
    assert "step 10/10, validation" in out


BAD = [
    (["trainer.epoch=3"], "there is no option trainer.epoch; did you mean trainer.epochs?"),
    (["datset=mnist"], "there is no option datset; did you mean dataset?"),
    (["network.hiden=3"], "there is no option network.hiden"),
    (["dataset=mnits"], "dataset must be one of arrays, digits, fashion_mnist, mnist, not"),
    (["trainer.epochs=["], "the override 'trainer.epochs=[' cannot be read"),
    (["dataset=arrays"], "dataset.root has no default: give it on the command line"),
    (["trainer.epochs=0"], "trainer.epochs must be an integer of at least 1, not 0"),
    (["+model.foo=3"], "an option of model MLVAE must be one of content_dim"),
    (["resume=nowhere"], "nowhere must be a run folder with a checkpoint.pt"),
    (
        ["dataset=mnist", "dataset.root=nowhere"],
        "nowhere/MNIST/raw must hold the four files of MNIST",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, arguments, message):
    # A proxy that is not there: no download, whatever the machine could reach.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    code, _, err = call("train", *arguments, cwd=tmp_path, **nowhere)
    assert code == 1
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_only_what_a_resumed_run_allows_may_change(run):
    folder, _ = run
    code, _, err = call("train", f"resume={folder}", "model.content_dim=3", cwd=folder)
    assert code == 1 and "so model.content_dim cannot change; only trainer.*" in err


def test_a_loss_that_is_not_finite_is_one_line_with_the_step_and_the_term(tmp_path):
    arguments = [*FAST, "optimizer.learning_rate=1e18", "run=run"]
    code, _, err = call("train", *arguments, cwd=tmp_path)
    assert code == 1 and err.count("\n") == 1
    assert re.match(r"error: at step \d+ \(epoch \d\.\d\d\) \w+ is (nan|inf|-inf)", err)
    model = mlvae.load(tmp_path / "run")
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_the_benchmark_prints_a_table_and_writes_json(tmp_path):
    arguments = ["--rounds", 1, "--seconds", 0.2, "--json", "result.json"]
    code, out, err = call("benchmark", *arguments, cwd=tmp_path)
    assert code == 0, err
    assert "mlvae float32" in out and "times the common way" in out
    assert "hydra" not in (SCRIPTS / "benchmark.py").read_text().replace("no Hydra", "")
    assert (tmp_path / "result.json").exists()
    code, _, err = call("benchmark", "--root", tmp_path / "none", cwd=tmp_path, https_proxy="x:9")
    assert code == 1 and err.startswith("error: ")
