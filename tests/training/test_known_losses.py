"""Reports, validations and the best state of a training whose every loss is known by hand."""

import json

import pytest
import torch
from torch import nn

import mlvae
from mlvae import GroupedData, Reports
from mlvae.data import Shuffled
from mlvae.objectives import Objective
from mlvae.optimizers import Torch
from mlvae.training.checkpoint import read_checkpoint


class Line(nn.Module):
    """Each step changes the weight by -1. The validation loss is least at the weight -4."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, batch, *, generator=None):
        value = self.weight if self.training else (self.weight + 4).square()
        return Objective({"model": value}, {"error": value.expand(len(batch))}, len(batch))


def fit(run, *, epochs, resume=False, **reports):
    """Two steps an epoch."""
    data = GroupedData(torch.zeros(8, 2), [0, 1] * 4)
    return mlvae.train(
        Line(),
        data,
        validation=data,
        run=run,
        resume=resume,
        batching=Shuffled(4),
        optimizer=Torch("SGD", learning_rate=1.0),
        epochs=epochs,
        reports=Reports(progress=False, **reports),
        device="cpu",
    )


def reports_of(run, split, name):
    """The values of one metric by step."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in found if line["split"] == split}


@pytest.mark.parametrize(
    ("log_every", "expected"),
    [
        (None, {2: -0.5, 4: -2.5, 6: -4.5}),
        (1, {1: 0, 2: -1, 3: -2, 4: -3, 5: -4, 6: -5}),
        (4, {4: -1.5, 6: -4.5}),
    ],
)
def test_a_report_averages_the_steps_since_the_last_report_alone(tmp_path, log_every, expected):
    fit(tmp_path, epochs=3, log_every=log_every)
    assert reports_of(tmp_path, "train", "loss") == expected
    assert reports_of(tmp_path, "train", "error_per_observation") == expected


@pytest.mark.parametrize(
    ("every", "epochs", "expected"),
    [
        (1, 4, {2: 4, 4: 0, 6: 4, 8: 16}),
        (2, 3, {4: 0, 6: 4}),
        (2, 4, {4: 0, 8: 16}),
        (5, 3, {6: 4}),
    ],
)
def test_the_last_epoch_is_validated_whatever_the_interval(tmp_path, every, epochs, expected):
    fit(tmp_path, epochs=epochs, validate_every=every)
    assert reports_of(tmp_path, "validation", "loss") == expected


def test_a_resumed_training_keeps_the_best_state_of_before(tmp_path):
    fit(tmp_path, epochs=3)
    assert read_checkpoint(tmp_path / "best.pt")["step"] == 4
    result = fit(tmp_path, epochs=5, resume=True)
    assert read_checkpoint(tmp_path / "best.pt")["step"] == 4
    last = read_checkpoint(tmp_path / "checkpoint.pt")
    assert (last["step"], last["best"], last["stale"]) == (10, 0, 3)
    assert result.metrics["validation/best_loss"] == 0
    assert result.metrics["validation/loss"] == 36


def test_the_best_state_and_the_last_state_are_loaded_by_name(tmp_path):
    fit(tmp_path, epochs=4)
    assert mlvae.load(tmp_path, best=True, model=Line()).weight.item() == -4
    assert mlvae.load(tmp_path, model=Line()).weight.item() == -8
