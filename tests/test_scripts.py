"""The scripts, run as a user runs them."""

import contextlib
import io
import json
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from PIL import Image

import mlvae
from mlvae.commands import pages, tables
from mlvae.commands.configs import CONFIGS
from mlvae.commands.default_experiment import (
    EXPERIMENTS,
    with_dataset_of_experiment,
    with_default_experiment,
)
from mlvae.evaluation import QUESTIONS
from mlvae.evaluation.measures.leakage.kinds import NETWORKS
from mlvae.evaluation.measures.leakage.networks import Schedule
from mlvae.training.checkpoint import read_checkpoint

#: The commands are not counted by coverage, and other tests reach the lines of the library.
pytestmark = pytest.mark.no_cover

SCRIPTS = Path(__file__).parent.parent / "scripts"
DIGITS = "dataset=digits"  # without a default experiment
FAST = ["trainer.epochs=2", "model.network.hidden=[16]", "device=cpu", DIGITS]


def start(script, *arguments, cwd):
    """Start a script in a new process."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Standard output of a process, which must succeed."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and err == "", err
    return out


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """A function that runs a script like `python scripts/<script>.py`, but in this process.

    It works in ``tmp_path`` and returns exit status, standard output and standard error. A new
    process would need seconds to start.
    """

    def run_script(script, *arguments, cwd=tmp_path, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = run_here(script, arguments, cwd, monkeypatch)
        return code, *capsys.readouterr()

    return run_script


def run_here(script, arguments, cwd, patch):
    """Run a script in this process; its exit status."""
    path = SCRIPTS / f"{script}.py"
    patch.chdir(cwd)
    patch.setattr(sys, "argv", [str(path), *map(str, arguments)])
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return 1 if isinstance(end.code, str) else end.code or 0
    return 0


def tensors(path):
    """All tensors of a checkpoint by their path in it."""
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


def wait_for(condition):
    """Wait until ``condition()``, two minutes at most."""
    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run folder and the output of a training with few options."""
    folder = tmp_path_factory.mktemp("work")
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = run_here("train", FAST, folder, patch)
    assert code == 0 and err.getvalue() == "", err.getvalue()
    return next((folder / "runs" / "digits").iterdir()), out.getvalue()


def test_training_prints_the_run_folder_and_no_configuration(run):
    folder, out = run
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-seed0", folder.name)
    assert "content_dim" not in out and "the run is in runs/digits/" in out
    assert "digits, 1,437 observations (1, 8, 8) in 10 groups; MLVAE of " in out
    assert out.endswith(f"scripts/evaluate.py run=runs/digits/{folder.name}\n")
    assert [path.name for path in folder.parents[2].iterdir()] == ["runs"]
    assert isinstance(mlvae.load(folder), mlvae.models.MLVAE)


def test_a_run_is_resumed_by_its_folder_and_can_be_extended(call, tmp_path):
    call("train", *FAST[1:], "trainer.epochs=4", "run=long")
    call("train", *FAST, "run=short")
    steps = read_checkpoint(tmp_path / "short" / "checkpoint.pt")["step"]
    code, out, _ = call("train", "resume=short", "trainer.epochs=4")
    assert code == 0 and "changed: trainer.epochs was 2" in out
    assert f"resumed at step {steps} of {2 * steps}" in out
    for name in ("checkpoint.pt", "best.pt"):
        assert_same_tensors(tmp_path / "long" / name, tmp_path / "short" / name)


def test_a_run_is_resumed_with_data_in_a_new_place(call, tmp_path):
    x, group = np.random.default_rng(0).random((40, 3)), np.repeat(["ann", "bob"], 20)
    np.savez(tmp_path / "mine.npz", x=x, group=group)
    call("train", "dataset=arrays", "dataset.root=mine.npz", *FAST[:-1], "run=run")
    (tmp_path / "mine.npz").rename(tmp_path / "moved.npz")
    code, _, err = call("train", "resume=run", "dataset.root=moved.npz")
    assert code == 1 and err.count("\n") == 1 and "+dataset.root=..." in err
    code, out, err = call("train", "resume=run", "+dataset.root=moved.npz", "trainer.epochs=3")
    assert code == 0 and "changed: dataset.root was" in out, err
    code, _, err = call("train", "resume=run", "+dataset.size=9")
    assert code == 1 and err.count("\n") == 1 and "dataset.size" in err


def test_a_run_killed_at_random_moments_and_resumed_is_the_same_bit_for_bit(call, tmp_path):
    arguments = [*FAST[1:], "trainer.epochs=60", "trainer.reports.checkpoint_seconds=0.05"]
    code, _, err = call("train", *arguments, "run=whole")
    assert code == 0, err
    moments = random.Random(0)
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    process = start("train", *arguments, "run=killed", cwd=tmp_path)
    for number in range(2):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        wait_for(
            lambda before=before: checkpoint.exists() and checkpoint.stat().st_mtime_ns > before
        )
        time.sleep(0.3 * moments.random())
        process.kill()
        process.communicate()
        assert 0 < read_checkpoint(checkpoint)["step"] < 60 * 6
        if number == 0:
            process = start("train", "resume=killed", cwd=tmp_path)
    code, _, err = call("train", "resume=killed")  # without another process, which takes seconds
    assert code == 0, err
    for name in ("checkpoint.pt", "best.pt"):
        assert_same_tensors(tmp_path / "whole" / name, tmp_path / "killed" / name)


def test_a_signal_saves_the_run_and_prints_the_command_to_resume_it(tmp_path):
    process = start("train", *FAST[1:], "trainer.epochs=100000", "run=run", cwd=tmp_path)
    metrics = tmp_path / "run" / "metrics.jsonl"
    wait_for(metrics.exists)
    process.send_signal(signal.SIGTERM)
    last = finish(process).splitlines()[-1]
    assert re.match(r"stopped at step \d+ of 600000 and saved", last)
    assert "python scripts/train.py resume=run" in last
    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] > 0


def test_training_on_arrays_from_a_file(call, tmp_path):
    generator = np.random.default_rng(0)
    group = np.repeat(["ann", "bob", "eve"], 40)
    np.savez(tmp_path / "mine.npz", x=generator.random((120, 1, 6, 7)), group=group)
    arguments = ["dataset=arrays", "dataset.root=mine.npz", *FAST[:-1], "run=run"]
    code, _, err = call("train", *arguments)
    assert code == 0, err
    assert mlvae.load(tmp_path / "run").shape == (1, 6, 7)
    # A run can be resumed in another working directory.
    longer = [f"resume={tmp_path / 'run'}", "trainer.epochs=3"]
    code, _, err = call("train", *longer, cwd=tmp_path.parent)
    assert code == 0, err


@pytest.fixture
def people(tmp_path):
    """A folder of ten people with six grey images each, and one text file."""
    generator = np.random.default_rng(0)
    for person in range(10):
        folder = tmp_path / "people" / f"person{person}"
        folder.mkdir(parents=True)
        for i in range(6):
            pixels = generator.integers(0, 256, (12, 10), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    (tmp_path / "people" / "person0" / "notes.txt").write_text("hello")


def test_a_run_on_a_folder_of_people_is_resumed_in_another_working_directory(
    call, people, tmp_path
):
    options = ["dataset.root=people", "dataset.size=8", "network=mlp", *FAST[:-1], "run=run"]
    arguments = ["dataset=faces", *options]
    code, out, err = call("train", *arguments)
    assert code == 0, err
    assert "60 images, skipped 1: see " in out
    assert mlvae.load(tmp_path / "run").shape == (3, 8, 8)
    longer = [f"resume={tmp_path / 'run'}", "trainer.epochs=3"]
    code, out, err = call("train", *longer, cwd=tmp_path.parent)
    assert code == 0, err
    assert "prepared" not in out  # the cache is found


def test_a_collection_can_be_prepared_before_training(call, people, tmp_path):
    arguments = ["dataset=faces", "dataset.root=[people]", "dataset.size=8"]
    for _ in range(2):
        code, out, err = call("prepare", *arguments, MLVAE_CACHE="elsewhere")
        assert code == 0, err
        assert "train: GroupedData(48 observations of shape (3, 8, 8) in 8 groups)" in out
        assert out.rstrip().endswith("skipped.txt: 60 used, 1 skipped, 0 left out")
    assert {path.name for path in tmp_path.iterdir()} == {"people", "elsewhere"}
    code, _, err = call("prepare", *arguments, "dataset.strict=true")
    assert code == 1 and err.count("\n") == 1
    assert "person0/notes.txt is not an image; remove it, or set dataset.strict=false" in err
    code, _, err = call("prepare")
    assert code == 1 and err.startswith("error: You must specify 'dataset'")


@pytest.mark.parametrize("dataset", sorted({*EXPERIMENTS} - {None}))
def test_a_collection_is_prepared_as_training_reads_it(dataset):
    arguments = [f"dataset={dataset}"]
    arguments += ["dataset.root=people"] * (dataset == "faces")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        prepared = compose("prepare", with_dataset_of_experiment(arguments)).dataset
        assert prepared == compose("train", with_default_experiment(arguments)).dataset


def test_a_sweep_trains_one_run_per_value(call, tmp_path):
    code, _, err = call("train", "-m", "seed=0,1", *FAST)
    assert code == 0, err
    runs = sorted((tmp_path / "runs" / "digits").iterdir())
    assert [path.name[-5:] for path in runs] == ["seed0", "seed1"]
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_mnist_is_read_from_the_folder_in_mlvae_data(call, data_root):
    arguments = ["dataset=mnist", "trainer.epochs=1", "batching.batch_size=5000", "run=run"]
    code, out, err = call("train", *arguments, MLVAE_DATA=str(data_root))
    assert code == 0, err
    assert "step 10/10, validation" in out


#: Arguments, and a regular expression of the names and values that the error must contain.
BAD = [
    (["trainer.epoch=3"], r"trainer\.epoch\b.* trainer\.epochs"),
    (["datset=mnist"], r"datset\b.* dataset"),
    (["network.hiden=3"], r"network\.hiden\b"),
    (
        ["dataset=mnits"],
        r"dataset .*arrays, bag_of_words, .*celeba, collection, .*digits, .*'mnits'",
    ),
    (["trainer.epochs=["], r"'trainer\.epochs=\['"),
    (["dataset=arrays"], r"dataset\.root\b.* dataset\.root="),
    (["dataset=faces"], r"dataset\.root\b.* dataset\.root="),
    (["dataset=faces", "dataset.root=nowhere"], r"nowhere\b"),
    (["trainer.epochs=0"], r"trainer\.epochs\b.*\b0$"),
    (["+model.foo=3"], r"model MLVAE .*content_dim.*'foo'"),
    (["+trainer.foo=1"], r"trainer .*epochs.*'foo'"),
    ([DIGITS, "+dataset.foo=1"], r"dataset digits .*validation, test, unseen_groups.*'foo'"),
    (["dataset=lfw", "+dataset.sise=1"], r"'sise'.* 'size'"),
    (["+foo=1"], r"dataset, model, batching, optimizer, trainer.*'foo'"),
    ([DIGITS, "~trainer"], r"trainer .*configs/trainer.*None"),
    (["~seed"], r"\bseed\b"),
    (["model=null"], r"model=mlvae"),
    (["model.network=null"], r"network .*None"),
    (["trainer.speed.cuda_graphs=maybe"], r"trainer\.speed\.cuda_graphs .*'maybe'"),
    (["trainer.cuda_graphs=true"], r"trainer\.cuda_graphs .*trainer\.speed\.cuda_graphs$"),
    (["+trainer.cuda_graphs=true"], r"trainer\.cuda_graphs .*trainer\.speed\.cuda_graphs$"),
    (["trainer.kl_warmup_steps=1"], r"trainer\.kl_warmup_steps .*trainer\.warmup\.kl_steps$"),
    (["trainer.speed=null"], r"trainer\.speed .*None$"),
    (["trainer.speed=3"], r"trainer\.speed .*\b3$"),
    (["trainer.warmup=[1]"], r"trainer\.warmup .*\[1\]$"),
    (["trainer.speed.cuda_graph=true"], r"trainer\.speed\.cuda_graph\b.* trainer\.speed\.cuda"),
    (["+trainer.speed.foo=1"], r"trainer\.speed .*precision, cuda_graphs.*'foo'"),
    (["trainer.reports.log_every=0"], r"trainer\.reports\.log_every .*\b0$"),
    (["trainer.reports.progress=maybe"], r"trainer\.reports\.progress .*'maybe'"),
    (["trainer.epochs=null"], r"trainer\.epochs .*None$"),
    (["trainer=null"], r"model=mlvae"),
    (["optimizer={model:{name:Adam}}"], r"optimizer .*configs/optimizer.*'~optimizer'"),
    (["+optimizer.critic={name:Adam}"], r"optimizer Adam .*learning_rate.*'critic'"),
    ([DIGITS, "~optimizer", "+optimizer={model:null}"], r"optimizer\.model .*None$"),
    (
        [DIGITS, "~optimizer", "+optimizer={model:{name:Adm}}"],
        r"optimizer\.model\.name .*'Adm'.*'Adam'",
    ),
    (
        [DIGITS, "~optimizer", "+optimizer={critic:{name:Adam}}"],
        r"optimizer .*\bmodel\b.* critic$",
    ),
    (["dataset=faces", "dataset.root=.", "dataset.strict=maybe"], r"dataset\.strict .*'maybe'"),
    (["run="], r"\brun\b"),
    (["model=ada", "run=run"], r"batching\.members=2"),
    (["resume=nowhere"], r"nowhere .*checkpoint\.pt"),
    (["dataset=mnist", "dataset.root=nowhere"], r"nowhere/MNIST/raw .*MNIST"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_reported_in_one_line_and_leaves_no_files(call, tmp_path, arguments, message):
    # No server listens at this proxy: nothing can be downloaded.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    code, _, err = call("train", *arguments, **nowhere)
    assert code == 1
    assert err.startswith("error: ") and err.count("\n") == 1
    assert re.search(message, err.rstrip()), err
    assert list(tmp_path.iterdir()) == []


OLD = {
    "epochs": 2,
    "patience": None,
    "kl_warmup_steps": 3,
    "precision": "float32",
    "cuda_graphs": True,
    "compile": False,
    "log_every": 5,
    "validate_every": 1,
    "pictures_every": None,
    "checkpoint_seconds": 60.0,
}


def test_a_run_with_the_options_of_an_earlier_version_is_resumed_and_evaluated(
    call, run, tmp_path
):
    shutil.copytree(run[0], tmp_path / "old")
    state = torch.load(tmp_path / "old" / "checkpoint.pt", weights_only=True)
    state["config"] = {**state["config"], "trainer": OLD}
    state["config"].pop("augmentation", None)
    for name in ("checkpoint.pt", "best.pt"):
        torch.save(state, tmp_path / "old" / name)
    text = yaml.safe_dump(state["config"])
    (tmp_path / "old" / "config.yaml").write_text(f"# What this run was told.\n{text}")
    code, _, err = call("evaluate", "run=old", "evaluation=[likelihood]", *EVALUATE[5:])
    assert code == 0, err
    control = read_checkpoint(tmp_path / "old" / "controls" / "vae" / "checkpoint.pt")
    warmup = {
        "kl_steps": 3,
        "content_first_steps": 0,
        "information_after": 0,
        "entanglement_steps": 0,
    }
    assert control["config"]["trainer"]["warmup"] == warmup
    code, _, err = call("train", "resume=old", "trainer.checkpoint_seconds=1")
    assert code == 1 and err.endswith("trainer.reports.checkpoint_seconds\n")
    code, _, err = call("train", "resume=old", "+trainer.checkpoint_seconds=1")
    assert code == 1 and err.endswith("trainer.reports.checkpoint_seconds\n")
    code, out, err = call("train", "resume=old", "trainer.epochs=3")
    assert code == 0 and "changed: trainer.epochs was 2" in out, err
    trainer = read_checkpoint(tmp_path / "old" / "checkpoint.pt")["config"]["trainer"]
    assert trainer["warmup"] == {"kl_steps": 3}
    assert trainer["reports"]["log_every"] == 5
    assert trainer.keys() == {"epochs", "patience", "warmup", "speed", "reports"}


def test_a_run_with_an_optimizer_by_player_is_evaluated_beside_a_plain_vae(call, tmp_path):
    rates = "{encoder:1e-3,separators:1e-3}"
    recipe = f"+optimizer={{model:{{name:Adam,learning_rates:{rates}}}}}"
    arguments = [*FAST, "trainer.epochs=1", "model.separation.pair_critic=1", "run=run"]
    code, _, err = call("train", *arguments, "~optimizer", recipe)
    assert code == 0, err
    code, _, err = call("evaluate", "run=run", "evaluation=[likelihood]", *EVALUATE[5:])
    assert code == 0, err
    control = read_checkpoint(tmp_path / "run" / "controls" / "vae" / "checkpoint.pt")
    assert control["config"]["optimizer"]["learning_rates"] == {"encoder": 1e-3}


def test_a_sweep_names_the_present_name_of_an_option(call, tmp_path):
    code, _, err = call("train", "-m", "trainer.precision=float32,bfloat16", *FAST)
    assert code == 1 and re.fullmatch(r"error: .*trainer\.precision .*speed\.precision\n", err)
    code, _, err = call("train", "-m", "+trainer.precision=float32,bfloat16", *FAST)
    lines = err.splitlines()
    assert code == 1 and lines[-1].startswith("error: "), err
    for number in (0, 1):
        assert re.match(rf"error: job {number} .*trainer\.speed\.precision$", lines[number])


def test_a_resumed_run_refuses_changes_of_other_options(call, run):
    code, _, err = call("train", f"resume={run[0]}", "model.content_dim=3")
    assert code == 1 and re.search(r"model\.content_dim\b.*trainer\.\*", err), err


def test_a_loss_that_is_not_finite_is_reported_with_the_step_and_the_term(call, tmp_path):
    arguments = [*FAST, "optimizer.learning_rate=1e18", "run=run"]
    code, _, err = call("train", *arguments)
    assert code == 1 and err.count("\n") == 1
    assert re.match(r"error: at step \d+ \(epoch \d\.\d\d\) \w+ is (nan|inf|-inf)", err)
    model = mlvae.load(tmp_path / "run")
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_the_benchmark_prints_a_table_and_writes_json(call, tmp_path):
    arguments = ["--rounds", 1, "--seconds", 0.2, "--json", "result.json"]
    code, out, err = call("benchmark", *arguments)
    assert code == 0, err
    assert "mlvae float32" in out and "times the common way" in out
    assert (tmp_path / "result.json").exists()
    code, _, err = call("benchmark", "--root", tmp_path / "none", https_proxy="http://127.0.0.1:9")
    assert code == 1 and err.startswith("error: ")


EVALUATE = [
    "evaluation.separation.probes=[logistic]",
    "evaluation.separation.seeds=1",
    "evaluation.leakage.probes=[logistic]",
    "evaluation.fidelity.epochs=2",
    "evaluation.embedding.method=pca",
    "evaluation.likelihood.sizes=[1]",
    "evaluation.likelihood.groups=5",
    "workers=1",
    "device=cpu",
]


@pytest.fixture
def quick_probes(monkeypatch):
    """Logistic regression of few steps."""
    monkeypatch.setitem(NETWORKS, "logistic", ((), Schedule(least=50, most=50, checks=5)))


def test_a_run_is_evaluated_beside_a_plain_vae_that_is_trained_once(call, tmp_path, quick_probes):
    call("train", *FAST, "run=run", "dataset.unseen_groups=[8,9]")
    code, out, err = call("evaluate", "run=run", *EVALUATE)
    assert code == 0, err
    assert "training a plain VAE" in out and "the report is run/evaluation/report.html" in out
    metrics = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    (seen, new) = metrics["verdict"]
    assert out.endswith(f"{seen}\n{new}\nthe report is run/evaluation/report.html\n")
    assert set(metrics) == {
        "facts",
        "verdict",
        "separation",
        "leakage",
        "unseen",
        "factors",
        "disentanglement",
        "fidelity",
        "manipulation",
        "embedding",
        "likelihood",
        "groups",
        "collapse",
    }  # no question about another kind of model
    report = (tmp_path / "run" / "evaluation" / "report.html").read_text()
    assert not any(kind.title in report for kind in QUESTIONS if hasattr(kind, "applies"))
    assert {"content", "style", "vae", "untrained", "raw"} == {
        record["code"] for record in metrics["separation"]["records"]
    }
    control = read_checkpoint(tmp_path / "run" / "controls" / "vae" / "checkpoint.pt")
    trained = read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert control["model_config"]["latent_dim"] == 20 and control["step"] == trained["step"]
    code, out, err = call("evaluate", "run=run", "evaluation=[likelihood]", *EVALUATE[5:])
    assert code == 0 and "training a plain VAE" not in out, err
    # After an extension of the run the control is extended as well.
    call("train", "resume=run", "trainer.epochs=3")
    code, out, err = call("evaluate", "run=run", "evaluation=[likelihood]", *EVALUATE[5:])
    assert code == 0, err
    control = read_checkpoint(tmp_path / "run" / "controls" / "vae" / "checkpoint.pt")
    assert control["step"] == read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"]


def test_a_model_of_trajectories_is_trained_evaluated_and_compared_with_free_maps(call, tmp_path):
    options = ["trainer.epochs=1", "dataset.trajectories=64", "dataset.length=10", "run=run"]
    code, _, err = call("train", "model=rotations", "dataset=torus", *options)
    assert code == 0, err
    config = read_checkpoint(tmp_path / "run" / "checkpoint.pt")["config"]
    assert config["optimizer"]["learning_rate"] == 0.01  # of experiment=torus
    code, out, err = call("evaluate", "run=run", "evaluation=[rollout]")
    assert code == 0 and "plain VAE" not in out, err
    for kind in ("matrix", "network"):
        control = read_checkpoint(tmp_path / "run" / "controls" / kind / "checkpoint.pt")
        assert control["model_config"]["transition"] == kind and control["step"] == 4
    metrics = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    found = {record["prediction"] for record in metrics["rollout"]["errors"]}
    assert found == {"model", "matrix", "network", "copy"}
    # Trained controls are used again.
    code, out, err = call("evaluate", "run=run", "evaluation=[rollout]")
    assert code == 0 and "training the control" not in out, err


def test_an_evaluation_in_another_folder_writes_nothing_into_the_run(call, tmp_path):
    def content(folder):
        return {p: (p.stat().st_mtime_ns, p.is_dir() or p.read_bytes()) for p in folder.rglob("*")}

    def evaluate(*options):
        return call("evaluate", *options, "evaluation=[likelihood]", *EVALUATE[5:])

    call("train", *FAST, "run=run")
    call("train", *FAST, "run=another", "seed=1")
    before = content(tmp_path / "run")
    code, out, err = evaluate("run=run", "folder=report")
    assert code == 0 and "training a plain VAE as control, in report-controls/vae" in out, err
    control = read_checkpoint(tmp_path / "report-controls" / "vae" / "checkpoint.pt")
    assert control["step"] == read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"]
    code, out, err = evaluate("run=run", "folder=report")
    assert code == 0 and "training a plain VAE" not in out, err
    assert content(tmp_path / "run") == before
    # The control of another run is never used, and a control in the run is.
    code, out, err = evaluate("run=another", "folder=report")
    assert code == 1 and "report-controls/vae" in err and err.count("\n") == 1
    call("train", "resume=run", "trainer.epochs=3")
    code, out, err = evaluate("run=run", "folder=report")
    assert code == 0 and "report-controls/vae" in out, err
    assert evaluate("run=another")[0] == 0
    code, out, err = evaluate("run=another", "folder=report")
    assert code == 0 and "training a plain VAE" not in out, err


def test_a_terminated_evaluation_leaves_no_files(call, run, tmp_path, monkeypatch):
    def killed(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(mlvae.evaluation.Separation, "ask", killed)
    shutil.copytree(run[0], tmp_path / "run")
    before = signal.getsignal(signal.SIGTERM)
    code, _, err = call("evaluate", "run=run", "vae=null", "evaluation=[separation]")
    signal.signal(signal.SIGTERM, before)
    assert code == 1 and err == "error: interrupted\n"
    assert not (tmp_path / "run" / "evaluation").exists()


def test_a_plain_vae_is_evaluated(call, quick_probes):
    call("train", *FAST, "model=vae", "run=run")
    code, out, err = call("evaluate", "run=run", "best=true", *EVALUATE)
    assert code == 0 and "training" not in out, err
    metrics = json.loads(Path("run/evaluation/metrics.json").read_text())
    codes = {record["code"] for record in metrics["separation"]["records"]}
    assert codes == {"latent", "untrained", "raw"}


def test_bad_input_to_the_evaluation_is_reported_in_one_line_and_leaves_no_files(
    call, run, tmp_path
):
    (tmp_path / "empty").mkdir()
    shutil.copytree(run[0], tmp_path / "old")
    state = torch.load(tmp_path / "old" / "checkpoint.pt", weights_only=True)
    torch.save({**state, "format": 0, "version": "0.0.1"}, tmp_path / "old" / "checkpoint.pt")
    gone = {**state["config"], "dataset": {"name": "arrays", "root": str(tmp_path / "gone.npz")}}
    (tmp_path / "gone").mkdir()
    torch.save({**state, "config": gone}, tmp_path / "gone" / "checkpoint.pt")
    mlvae.train(
        mlvae.models.MLVAE((1, 8, 8)),
        mlvae.data.digits().test,
        run=tmp_path / "python",
        epochs=1,
        reports=mlvae.Reports(progress=False),
    )
    good = f"run={run[0]}"
    before = {path: sorted(path.rglob("*")) for path in (run[0], *tmp_path.iterdir())}
    for arguments, message in (
        ([], r"\brun\b"),
        (["run=nowhere"], r"nowhere .*checkpoint\.pt"),
        (["run=empty"], r"empty .*checkpoint\.pt"),
        (["run=old"], r"format 0\b.* 0\.0\.1"),
        (["run=gone"], r"gone\.npz"),
        ([good, "root=elsewhere"], r"digits\b.*root"),
        (["run=python"], r"mlvae\.evaluation\.evaluate"),
        ([good, "evaluation.separation.k=[1,99]", "vae=null"], r"k=99\b"),
        ([good, "evaluation=[nothing]"], r"disentanglement, .*embedding, factors.*'nothing'"),
        ([good, "evaluation=[]"], r"evaluation=\[separation\]"),
        ([good, "vae=nowhere"], r"nowhere .*checkpoint\.pt"),
        ([good, f"vae={run[0]}"], r"vae=.* MLVAE"),
        ([good, "best=maybe"], r"best .*'maybe'"),
        ([good, "evaluation.separation.k=1"], r"separation\.k .*\b1$"),
        ([good, "+foo=1"], r"evaluation, run, best, vae.*'foo'"),
    ):
        code, _, err = call("evaluate", *arguments)
        assert code == 1 and err.count("\n") == 1, err
        assert err.startswith("error: ") and re.search(message, err.rstrip()), err
    assert before == {path: sorted(path.rglob("*")) for path in before}


TABLE = """
title: A small table
seeds: [0, 1]
variants:
  plain: [trainer.epochs=2, "model.network.hidden=[16]"]
  narrow: [trainer.epochs=2, "model.network.hidden=[4]"]
evaluation: ["evaluation=[likelihood]", vae=null, evaluation.likelihood.groups=5]
fast: {note: one epoch, seeds: [0], train: [trainer.epochs=1]}
panels:
  - title: The bound
    cells: {from: likelihood.bound.test, take: elbo_per_observation, digits: 2}
    rows: {plain: {variant: plain}, narrow: {variant: narrow}}
    columns: {all: {}}
    reported: [{row: plain, column: all, value: -1, source: Nobody}]
"""


@pytest.fixture
def small_table(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "small.yaml"
    path.write_text(TABLE)
    return f"table={path}"


def test_a_table_is_reproduced_without_repeating_finished_runs(call, tmp_path, small_table):
    code, out, err = call("reproduce", small_table, "fast=true", "device=cpu")
    assert code == 0, err
    assert "**A small version, not the experiment itself: one epoch.**" in out
    assert "(reported: -1 [1]) |" in out and "[1] Nobody." in out
    folder = tmp_path / "runs" / "reproduce" / "small-fast"
    assert (folder / "table.md").read_text().strip() in out
    code, out, err = call("reproduce", small_table, "fast=true", "device=cpu")
    assert code == 0 and "2 runs are done, 0 to do" in out, err
    table = Path(small_table.removeprefix("table="))
    table.write_text(TABLE.replace("vae=null,", "vae=null, best=true,"))  # another evaluation
    code, out, err = call("reproduce", small_table, "fast=true", "device=cpu")
    assert code == 0 and "0 runs are done, 2 to do" in out, err
    (folder / "plain-seed0" / "reproduced.json").unlink()  # as after a kill
    code, out, err = call("reproduce", small_table, "fast=true", "device=cpu")
    assert code == 0 and "1 runs are done, 1 to do" in out, err
    page = tmp_path / "results" / "small-fast.md"
    page.parent.mkdir()
    page.write_text("# By hand\n")
    options = (small_table, "fast=true", "device=cpu", "pages=results")
    code, out, err = call("reproduce", *options)
    assert code == 1 and "small-fast.md" in err and "to do" not in out  # before any training
    page.write_text(f"# By hand\n\n{pages.BEGIN}\nold\n{pages.END}\n\nA note.\n")
    code, out, err = call("reproduce", *options)
    measured = (folder / "table.md").read_text().partition("\n")[2].strip()
    text = f"# By hand\n\n{pages.BEGIN}\n\n{measured}\n\n{pages.END}\n\nA note.\n"
    assert page.read_text() == text


def test_some_variants_of_a_table_are_reproduced_beside_finished_ones(call, small_table):
    options = (small_table, "fast=true", "device=cpu", "folder=some")
    code, out, err = call("reproduce", *options, "variants=[narrow]")
    assert code == 0, err
    assert "0 runs are done, 1 to do" in out and "variants=[narrow]`" in out
    assert "| narrow |" in out
    code, out, err = call("reproduce", *options, "variants=[plain]")
    assert code == 0, err
    assert "1 runs are done, 1 to do" in out and "variants=" not in out
    assert "| narrow |" in out and "| plain |" in out


def test_a_page_has_the_numbers_of_runs_in_several_folders(call, tmp_path, small_table):
    options = (small_table, "fast=true", "device=cpu", "pages=results")
    lines = {}
    for folder, choice in (("a", "variants=[plain]"), ("b", "seeds=[1]")):
        code, out, err = call("reproduce", *options, f"folder={folder}", choice)
        assert code == 0, err
        page = (tmp_path / "results" / "small-fast.md").read_text()
        lines[folder] = re.findall(r"^\| (plain|narrow) \| (.*) \|$", page, flags=re.MULTILINE)
    assert [row for row, _ in lines["a"]] == ["plain"]
    assert [row for row, _ in lines["b"]] == ["plain", "narrow"]
    assert ["±" in text for _, text in lines["b"]] == [True, False]
    assert "0, 1 of plain; 1 of narrow" in page
    table = Path(small_table.removeprefix("table="))
    table.write_text(TABLE.replace("plain: [trainer.epochs=2", "plain: [trainer.epochs=3"))
    code, out, err = call("reproduce", *options, "folder=b", "variants=[narrow]", "seeds=[1]")
    assert code == 0 and out.count("left out of the page: seed") == 2, err
    (tmp_path / "results" / "small-fast.json").write_text("damaged")
    code, out, err = call("reproduce", *options, "folder=b", "variants=[narrow]")
    assert code == 1 and "small-fast.json" in err and "to do" not in out


def test_missing_data_of_one_table_do_not_stop_the_other_tables(
    call, tmp_path, small_table, monkeypatch
):
    monkeypatch.setattr(tables, "names", lambda: ["recipes", small_table.removeprefix("table=")])
    monkeypatch.setenv("MLVAE_DATA", "nowhere")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    code, out, err = call("reproduce", "table=all", "fast=true", "device=cpu", **nowhere)
    assert code == 1 and re.fullmatch(r"error: .*: recipes\b.*\n", err), err
    assert re.search(r"^recipes: .*nowhere/MNIST/raw", out, flags=re.MULTILINE)
    assert (tmp_path / "runs/reproduce/small-fast/table.md").exists()


def test_parallel_runs_of_a_table_give_the_same_numbers(call, tmp_path, small_table):
    options, tables = ["seeds=[0,1]", "device=cpu", "fast=true"], []
    code, _, err = call("reproduce", small_table, *options, "folder=by1")
    assert code == 0, err
    process = start("reproduce", small_table, *options, "jobs=2", "folder=by2", cwd=tmp_path)
    _, err = process.communicate(timeout=300)
    lines = err.splitlines()  # advice on few steps
    assert process.returncode == 0 and all("steps" in line for line in lines), err
    for jobs in (1, 2):
        text = (tmp_path / f"by{jobs}" / "small-fast" / "table.md").read_text()
        tables.append(re.findall(r"^\| .*", text, flags=re.MULTILINE))
    assert tables[0] == tables[1] and "±" in tables[0][1]


def test_a_run_on_another_file_is_not_taken_for_a_finished_run(call, tmp_path, small_table):
    table = Path(small_table.removeprefix("table="))
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", x=rng.random((60, 5)), group=np.arange(60) % 3)
    text = TABLE.replace("[trainer.epochs=2,", "[dataset=arrays, dataset.root=one.npz,")
    options = [small_table, "fast=true", "device=cpu"]
    table.write_text(text)
    assert call("reproduce", *options)[0] == 0
    table.write_text(text.replace("one.npz", "two.npz"))
    code, _, err = call("reproduce", *options)
    assert code == 1 and "plain-seed0" in err and "folder=" in err


def test_bad_input_to_a_reproduction_is_reported_in_one_line(call, tmp_path, small_table):
    for arguments, message in (
        ([], r"\btable\b"),
        (["table=mnist_quantitive"], r"'mnist_quantitive'.* 'mnist_quantitative'"),
        (["table=none.yaml"], r"table=none\.yaml\b"),
        ([small_table, "jobs=0"], r"jobs .*\b0$"),
        ([small_table, "seeds=3"], r"seeds .*\b3$"),
        ([small_table, "seeds=[0,0]"], r"seeds .*\[0, 0\]$"),
        ([small_table, "seeds=[a]"], r"seeds .*'a'"),
        ([small_table, "variants=plain"], r"variants .*'plain'"),
        ([small_table, "variants=[wide]"], r"variants .*'wide'.*"),
        ([small_table, "fast=maybe"], r"fast .*'maybe'"),
        ([small_table, "seed=1"], r"\bseed\b.*\bseeds\b"),
    ):
        code, _, err = call("reproduce", *arguments)
        assert code == 1 and err.count("\n") == 1 and re.search(message, err.rstrip()), err
    table = Path(small_table.removeprefix("table="))
    for text, message in (
        ("title: [", r"small\.yaml .*\bline 1\b"),
        (TABLE.replace("fast: ", "slow: "), r"small\.yaml .*`fast`"),
        (TABLE.replace("digits: 2", "digits: x"), r"digits of cell 'plain', 'all' .*'x'"),
        (TABLE.replace("digits: 2", "times: x"), r"times of cell .*'x'"),
        (
            TABLE.replace("from: likelihood", "from: fidelity"),
            r"fidelity\.bound\.test\b.*likelihood",
        ),
    ):
        table.write_text(text)
        code, _, err = call("reproduce", small_table, "fast=true")
        assert code == 1 and err.count("\n") == 1 and re.search(message, err), err
    table.write_text(TABLE)
    assert list(tmp_path.iterdir()) == []
    call("train", *FAST, "run=runs/reproduce/small-fast/plain-seed0")
    code, _, err = call("reproduce", small_table, "fast=true", "device=cpu")
    assert code == 1 and "plain-seed0" in err and "folder=" in err


def test_the_library_and_the_benchmark_need_no_hydra():
    block = "import sys; sys.modules.update(hydra=None, omegaconf=None); "
    code = "import mlvae, mlvae.training; import benchmark"
    subprocess.run([sys.executable, "-c", block + code], cwd=SCRIPTS, check=True)
