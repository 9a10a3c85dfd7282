"""Run folders of the first format: one optimiser, flat options of the trainer, another header."""

import json
import os
import runpy
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml

import mlvae
from mlvae import Adam, Reports, Warmup
from mlvae.data import Shuffled
from mlvae.training.checkpoint import read_checkpoint
from mlvae.training.settings import RENAMED

SCRIPTS = Path(__file__).parents[2] / "scripts"
OLD_FINGERPRINT = ("observations", "groups", "checksum")
SIZES = [
    "dataset=digits",
    "model.network.hidden=[16]",
    "batching.batch_size=100",
    "device=cpu",
    "trainer.epochs=3",
]


def old_trainer(trainer):
    """The options of a trainer with the flat names of the first format."""
    old = {name: trainer[name] for name in ("epochs", "patience")}
    for flat, new in RENAMED.items():
        group, name = new.split(".")
        old[flat] = trainer[group][name]
    return old


def make_old(run):
    """Rewrite the folder ``run`` as the version with the first format wrote it."""
    for name in ("checkpoint.pt", "best.pt"):
        state = torch.load(run / name, weights_only=True)
        state["format"] = 1
        state["optimizer"] = state.pop("optimizers")["model"]
        state["config"]["trainer"] = old_trainer(state["config"]["trainer"])
        recipe = state["config"]["optimizer"]
        for new in ("decay_steps", "decay_factor", "learning_rates", "amsgrad"):
            del recipe[new]
        data = state["fixed"]["data"]
        state["fixed"]["data"] = {name: data[name] for name in OLD_FINGERPRINT}
        torch.save(state, run / name)
    lines = ["# What this run was told.\n"]
    for name, value in state["config"].items():
        lines.append(f"{name}: {json.dumps(value)}\n")
    (run / "config.yaml").write_text("".join(lines))


def same(a, b):
    """Whether two nested states are equal to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a.dtype == b.dtype and torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def assert_equal_ends(one, other):
    """The runs end with the same weights, moments, sums and metrics."""
    a, b = (read_checkpoint(run / "checkpoint.pt") for run in (one, other))
    for name in ("model", "optimizers", "sums", "step", "best", "metrics", "generators"):
        assert same(a[name], b[name]), name
    speed = "steps_per_second"
    texts = [(run / "metrics.jsonl").read_text().splitlines() for run in (one, other)]
    lines = [[{**json.loads(line), speed: 0} for line in text] for text in texts]
    assert lines[0] == lines[1] and len(lines[0]) >= 6


def fit(model, digits, run, **options):
    return mlvae.train(
        model,
        digits.train,
        validation=digits.validation,
        run=run,
        batching=Shuffled(100),
        optimizer=Adam(schedule="cosine", warmup_steps=7),
        warmup=Warmup(kl_steps=20),
        epochs=3,
        device="cpu",
        reports=Reports(progress=False),
        **options,
    )


def stopped_after(model, steps):
    """The model, which sends its process SIGTERM in step number ``steps``."""
    calls = []

    def interrupt(model, inputs, output):
        calls.append(model.training)
        if model.training and sum(calls) == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    model.register_forward_hook(interrupt)
    return model


def test_a_run_of_the_first_format_is_loaded_and_resumed_bit_for_bit(
    small_model, digits, tmp_path
):
    whole, run = tmp_path / "whole", tmp_path / "old"
    fit(small_model(), digits, whole)
    assert not fit(stopped_after(small_model(), 22), digits, run).finished
    weights = mlvae.load(run).state_dict()
    make_old(run)
    assert read_checkpoint(run / "checkpoint.pt")["format"] == 1
    assert same(dict(mlvae.load(run).state_dict()), dict(weights))
    assert not mlvae.load(run, best=True).training
    assert fit(small_model(), digits, run, resume=True).finished
    assert read_checkpoint(run / "checkpoint.pt")["format"] == 2
    assert_equal_ends(whole, run)


def test_a_folder_of_the_first_format_is_a_run_and_not_overwritten(small_model, digits, tmp_path):
    fit(small_model(), digits, tmp_path)
    make_old(tmp_path)
    (tmp_path / "checkpoint.pt").unlink()  # killed before the first checkpoint
    fit(small_model(), digits, tmp_path)
    text = (tmp_path / "config.yaml").read_text()
    assert not text.startswith("# What") and yaml.safe_load(text)["trainer"]["speed"]


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Runs scripts/train.py in ``tmp_path``, in this process: a new one needs seconds to start."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides):
        monkeypatch.setattr(sys, "argv", [str(SCRIPTS / "train.py"), *overrides])
        runpy.run_path(str(SCRIPTS / "train.py"), run_name="__main__")

    return run


def test_the_script_resumes_a_run_of_the_first_format_bit_for_bit(script, tmp_path):
    script("run=whole", *SIZES)
    script("run=old", *SIZES[:-1], "trainer.epochs=1")
    make_old(tmp_path / "old")
    script("resume=old", "trainer.epochs=3")
    assert_equal_ends(tmp_path / "whole", tmp_path / "old")
    config = yaml.safe_load((tmp_path / "old" / "config.yaml").read_text())
    assert set(config["trainer"]) == {"epochs", "patience", "speed", "reports", "warmup"}
    assert config["trainer"]["speed"]["precision"] == "float32"
