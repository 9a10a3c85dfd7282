"""The user's own function at every report."""

import json

import pytest
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.networks import MLP
from mlvae.training.checkpoint import read_checkpoint


def fit(run, **options):
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    data = GroupedData(x, [0, 1] * 4)
    options = {
        "batching": mlvae.data.Shuffled(4),
        "validation": data,
        "epochs": 4,
        "reports": mlvae.Reports(log_every=1, validate_every=2, progress=False),
        "device": "cpu",
    } | options
    model = mlvae.models.MLVAE((1, 8, 8), network=MLP((4,)))
    return mlvae.train(model, data, run=run, **options)


def test_the_function_is_called_once_a_report_with_all_its_values(tmp_path):
    calls = []
    result = fit(tmp_path / "run", on_report=lambda step, values: calls.append((step, values)))
    assert [step for step, _ in calls] == [1, 2, 3, 4, 5, 6, 7, 8]
    with_validation = [step for step, values in calls if "validation/loss" in values]
    assert with_validation == [4, 8]
    found = {}
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        step, split = record.pop("step"), record.pop("split")
        record.pop("epoch")
        found.setdefault(step, {}).update({f"{split}/{k}": v for k, v in record.items()})
    assert dict(calls) == found
    assert calls[-1][1]["train/loss"] == result.metrics["train/loss"]


def test_a_function_changes_no_number_of_the_training(tmp_path):
    with_function = fit(tmp_path / "a", on_report=lambda step, values: values.clear())
    without = fit(tmp_path / "b")
    assert with_function.metrics == without.metrics


@pytest.mark.parametrize("fails_at", [1, 4, 8])
def test_its_exception_ends_the_training_and_the_run_goes_on(fails_at, tmp_path):
    def fail(step, values):
        if step == fails_at:
            raise LookupError("the tracker is gone")

    whole = fit(tmp_path / "whole")
    with pytest.raises(LookupError, match="tracker"):
        fit(tmp_path / "run", on_report=fail)
    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == fails_at
    steps = []
    again = fit(tmp_path / "run", resume=True, on_report=lambda step, values: steps.append(step))
    assert again.finished and steps == list(range(fails_at + 1, 9))
    assert again.metrics == whole.metrics


def test_what_is_no_function_is_refused(tmp_path):
    with pytest.raises(InputError, match="on_report"):
        fit(tmp_path / "run", on_report={})
    assert not (tmp_path / "run").exists()


def test_the_result_is_one_short_line(tmp_path):
    result = fit(tmp_path / "run")
    bound = result.metrics["validation/elbo_per_observation"]
    assert repr(result) == (
        f"Result({str(tmp_path / 'run')!r}, finished=True, "
        f"validation/elbo_per_observation={bound:.2f})"
    )
    run, metrics, finished = result
    assert run == tmp_path / "run" and finished and len(metrics) > 5
