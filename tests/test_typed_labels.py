"""Labels on the command line, in sweeps and in tables stay the text that was typed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from mlvae import GroupedData
from mlvae.commands import cli, prepare, reproduce, tables, train
from mlvae.commands.labels import LISTS, with_quoted_labels
from mlvae.data.splitting.splits import hold_out
from mlvae.training.checkpoint import read_state

LABELS = (
    *(
        "007",
        "7",
        "yes",
        "no",
        "1_000",
        "1e3",
        "null",
        "2024-01-01",
        "True",
        "1.50",
        "0x10",
        "nan",
    ),
    *("~", "-1", "1:30", "müller", "山田 太郎", "x=y", "a b", "$x", "nan", "#1", ".5", "&a", "*a"),
)
#: Labels that need quotes on the command line.
IN_QUOTES = {'"a,b"': "a,b", "' x'": " x", '"[1]"': "[1]", "'o\\'h'": "o'h", "a\\,b": "a,b"}


def parsed(override):
    """The value that Hydra reads."""
    return OverridesParser.create().parse_overrides([override])[0].value()


@pytest.mark.parametrize("label", [*LABELS, *IN_QUOTES])
@pytest.mark.parametrize("option", LISTS)
def test_items_of_a_list_are_texts(label, option):
    (override,) = with_quoted_labels([f"+{option}=[first, {label} ,{label}]"])
    text = IN_QUOTES.get(label, label)
    assert parsed(override) == ["first", text, text]
    assert with_quoted_labels([override]) == [override]


@pytest.mark.parametrize("label", ["007", "no", "1_000", "1e3", "null", "2024-01-01", "a+b"])
def test_the_name_of_a_column_is_a_text(label):
    assert parsed(*with_quoted_labels([f"dataset.group={label}"])) == label


@pytest.mark.parametrize(
    "override",
    [
        "seed=007",
        "dataset.validation=0.1",
        "dataset.validation=held.txt",
        "dataset.unseen_groups=[]",
        "dataset.unseen_groups=null",
        "dataset.unseen_groups=007",
        "~dataset.group",
        "dataset.group=",
        "model.network.hidden=[1,2]",
        "dataset.unseen_groups=[[1,2]]",
        "dataset.unseen_groups=[{a:1}]",
        "dataset.test=[o'hara]",
        "--cfg",
        "-m",
    ],
)
def test_other_arguments_stay_as_they_are(override):
    assert with_quoted_labels([override]) == [override]


@pytest.mark.parametrize("value", ["[007,1],[no]", "choice([007,1],[no])"])
def test_lists_of_a_sweep_are_texts(value):
    (override,) = with_quoted_labels([f"dataset.unseen_groups={value}"])
    (parsed,) = OverridesParser.create().parse_overrides([override])
    assert list(parsed.sweep_string_iterator()) == ['["007","1"]', '["no"]']


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """A file of arrays with the labels, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    x = np.random.default_rng(0).random((4 * len(LABELS), 3))
    np.savez("x.npz", x=x, group=np.array(LABELS * 4))
    return ["dataset=arrays", "dataset.root=x.npz", "model.network.hidden=[4]", "device=cpu"]


def run(command, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [f"{command.__name__.split('.')[-1]}.py", *arguments])
    command.command()


def test_a_training_a_sweep_and_a_table_hold_out_the_typed_labels(labelled, tmp_path, monkeypatch):
    small = [*labelled, "trainer.epochs=1", "trainer.reports.progress=false"]
    run(train, monkeypatch, *small, "run=one", "dataset.unseen_groups=[007,1e3,null]")
    assert unseen("one") == ["007", "1e3", "null"]
    lists = {("007",), ("no", "1_000"), ("2024-01-01",)}
    sweep = "dataset.unseen_groups=[007],[no,1_000],[2024-01-01]"
    run(train, monkeypatch, "-m", *small, sweep)
    found = [tuple(unseen(path)) for path in tmp_path.glob("runs/arrays/*")]
    assert sorted(found) == sorted(lists)


def unseen(run):
    """The labels that a run has held out; they are groups of its data."""
    config = read_state(Path(run) / "checkpoint.pt")["config"]
    labels = config["dataset"]["unseen_groups"]
    with np.load("x.npz") as arrays:
        data = GroupedData(arrays["x"], arrays["group"])
    held = hold_out(data, labels)[1]
    assert held is not None and sorted(held.group_names) == sorted(labels)
    return labels


TABLE = {
    "title": "Labels",
    "seeds": [0],
    "variants": {"a": ["dataset=arrays", "dataset.root=x.npz", "dataset.unseen_groups=[LABELS]"]},
    "evaluation": ["evaluation=[factors]", "vae=null", "evaluation.factors.categories=[007,no]"],
    "panels": [
        {
            "title": "T",
            "cells": {"from": "factors.records", "take": "mean"},
            "rows": {"r": {}},
            "columns": {"c": {}},
        }
    ],
}


def plan(tmp_path, labels):
    text = yaml.safe_dump(TABLE, width=1000).replace("LABELS", labels)
    (tmp_path / "t.yaml").write_text(text)
    table = tables.read(str(tmp_path / "t.yaml"))
    with initialize_config_dir(str(cli.CONFIGS), version_base="1.3"):
        config = cli.resolved(compose("reproduce", ["table=t.yaml"]))
        return reproduce.plan(table, "a", 0, tmp_path, {**config, "device": "cpu"})


def test_labels_in_a_table_are_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = ["007", "no", "1_000", "1e3", "null", "2024-01-01"]
    job = plan(tmp_path, ",".join(typed))
    assert job["train"]["dataset"]["unseen_groups"] == typed
    assert job["evaluation"]["evaluation"]["factors"]["categories"] == ["007", "no"]


def test_a_record_of_an_earlier_version_with_numbers_as_labels_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = plan(tmp_path, "7,8")["asked"]
    dataset = asked["train"]["dataset"]
    assert dataset["unseen_groups"] == ["7", "8"]
    earlier = {
        **asked,
        "train": {**asked["train"], "dataset": {**dataset, "unseen_groups": [7, 8]}},
    }
    assert earlier != asked and reproduce.same_text(earlier) == reproduce.same_text(asked)
    other = {**asked, "train": {**asked["train"], "dataset": {**dataset, "unseen_groups": [7, 9]}}}
    assert reproduce.same_text(other) != reproduce.same_text(asked)


def test_a_preparation_takes_the_typed_labels(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for i, label in enumerate(("007", "no", "1e3", "7")):
        (tmp_path / "people" / label).mkdir(parents=True)
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "people" / label / "1.png")
    options = ["dataset=faces", "dataset.root=people", "dataset.size=8", "dataset.workers=0"]
    options += ["dataset.validation=[007]", "dataset.test=[no,1e3]"]
    run(prepare, monkeypatch, *options)
    out = capsys.readouterr().out
    assert "unseen" in out and "2 observations" in out


@pytest.mark.parametrize(
    "override",
    [
        "seed=0,1",
        "dataset.root=a,b.npz",
        "dataset.unseen_groups=007,no",
        "model=mlvae,vae",
        "run=a,b",
    ],
)
def test_several_values_without_a_sweep_give_one_line(override, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        run(train, monkeypatch, override)
    line = str(end.value)
    name, _, value = override.partition("=")
    assert line.startswith("error: ") and "\n" not in line and len(line) < 250
    assert name in line and "-m" in line and f"[{value}]" in line and f'"{value}"' in line
    assert not list(tmp_path.iterdir())
