"""scripts/losses.py: recorded losses are exact, and every changed bit is found."""

import json
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture
def losses(monkeypatch):
    """The module, imported as a script imports its neighbours."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import losses

    yield losses
    del sys.modules["losses"]


@pytest.fixture
def small(losses, monkeypatch):
    """Configurations that train a small network for two and for 30 epochs."""
    options = {
        **losses.EVERY_STEP,
        "dataset": "digits",
        "model": "vae",
        "model.network.hidden": "[4]",
        "batching.batch_size": 700,
        "trainer.epochs": 30,
    }
    small = {
        "short": losses.Configuration({**options, "trainer.epochs": 2}, steps=3),
        "whole": losses.Configuration(options),
        "resumed": losses.Configuration(options, interrupt=2),
    }
    monkeypatch.setattr(losses, "CONFIGURATIONS", small)
    return small


@pytest.fixture
def trainer():
    return yaml.safe_load((ROOT / "configs" / "trainer" / "default.yaml").read_text())


def test_every_option_has_a_name_in_the_present_configs(losses, trainer):
    for option in losses.OPTIONS:
        assert losses.option_name(option, trainer) in losses.OPTIONS[option]


def test_options_are_found_in_flat_and_in_nested_configs(losses):
    assert losses.option_name("compile", {"compile": False}) == "trainer.compile"
    nested = {"epochs": 1, "speed": {"compile": None}}
    assert losses.option_name("compile", nested) == "trainer.speed.compile"
    assert losses.option_name("model", {}) == "model"


def test_an_option_without_a_name_is_an_error(losses):
    with pytest.raises(ValueError, match=r"trainer\.compile, trainer\.speed\.compile"):
        losses.option_name("compile", {"speed": None})


def test_a_record_has_the_losses_of_every_step(losses, small, tmp_path, capsys):
    losses.main([str(tmp_path / "new.json"), "--root", str(ROOT), "--only", "short"])
    record = json.loads((tmp_path / "new.json").read_text())
    assert record["threads"] == 1
    assert list(record["runs"]) == ["short"]
    metrics = record["runs"]["short"]["metrics"]
    assert list(metrics["train/loss"]) == ["1", "2", "3"]
    assert "train/kl_per_observation" in metrics
    assert not {"train/steps_per_second", "train/epoch"} & metrics.keys()
    assert "short: 3 steps" in capsys.readouterr().out


def test_a_resumed_training_has_the_losses_of_an_uninterrupted_one(losses, small, tmp_path):
    losses.main([str(tmp_path / "new.json"), "--root", str(ROOT), "--only", "whole", "resumed"])
    runs = json.loads((tmp_path / "new.json").read_text())["runs"]
    assert runs["whole"]["metrics"] == runs["resumed"]["metrics"]
    assert len(runs["whole"]["metrics"]["train/loss"]) == 90


@pytest.mark.parametrize("change", [{}, {"train/loss": {1: 0.1, 2: 0.30000000000000004}}])
def test_a_comparison_finds_one_changed_bit(losses, tmp_path, capsys, change):
    old = {"train/loss": {1: 0.1, 2: 0.3}, "train/kl": {1: 0.0}}
    for name, metrics in {"old": old, "new": old | change}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"runs": {"a": {"metrics": metrics}}}))
    with pytest.raises(SystemExit) as end:
        losses.main(["--compare", str(tmp_path / "old.json"), str(tmp_path / "new.json")])
    assert end.value.code == bool(change)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "a train/kl: equal bit for bit, 1 values"
    if change:
        assert "1 of 2 values differ, first at step 2" in shown[1] and "1.9e-16" in shown[1]
    else:
        assert shown[1] == "a train/loss: equal bit for bit, 2 values"


def test_what_only_one_record_has_is_named(losses):
    lines, same = losses.compare({"a": {"loss": {1: 1.0}}, "b": {}}, {"a": {}, "c": {}})
    assert not same
    assert lines == [
        "a loss: only in the old record",
        "b: only in the old record",
        "c: only in the new record",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({1: float("nan")}, {1: float("nan")}, "equal bit for bit"),
        ({1: 0.0}, {1: -0.0}, "difference 0"),
        ({1: 1.0}, {1: float("inf")}, "difference inf"),
        ({1: 1.0}, {2: 1.0}, "different steps"),
    ],
)
def test_special_values_are_compared_by_their_bits(losses, old, new, expected):
    lines, same = losses.compare({"a": {"loss": old}}, {"a": {"loss": new}})
    assert expected in lines[0] and same == lines[0].startswith("a loss: equal")


def test_a_wrong_root_or_missing_file_ends_in_one_line(losses, tmp_path):
    with pytest.raises(SystemExit, match="--root"):
        losses.main([str(tmp_path / "new.json"), "--root", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"old\.json"):
        losses.main(["--compare", str(tmp_path / "old.json"), str(tmp_path / "old.json")])
    with pytest.raises(SystemExit, match="2"):
        losses.main([])


def test_a_failed_training_ends_in_its_error(losses, small, tmp_path, monkeypatch):
    wrong = losses.Configuration({"dataset": "digits", "trainer.epochs": -1})
    monkeypatch.setattr(losses, "CONFIGURATIONS", {"wrong": wrong})
    with pytest.raises(SystemExit, match=r"trainer\.epochs"):
        losses.main([str(tmp_path / "new.json"), "--root", str(ROOT)])
