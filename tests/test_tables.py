"""Every table of configs/tables can be run and filled, and no figure in it lacks its source."""

import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mlvae.evaluation import QUESTIONS
from mlvae.models import build
from mlvae.parts import from_config

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
TABLES = sorted(path.stem for path in (CONFIGS / "tables").glob("*.yaml"))


@pytest.fixture
def tables(monkeypatch):
    """The module that reads and renders them."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import tables

    yield tables
    for name in ("tables", "cli"):
        sys.modules.pop(name)


@pytest.mark.parametrize("name", TABLES)
def test_every_variant_and_its_evaluation_compose_and_build(tables, name):
    table = tables.read(name)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS.absolute())):
        for overrides in table["variants"].values():
            for more in ([], table["fast"]["train"]):
                config = compose("train", ["run=run", *overrides, *more])
                build((1, 28, 28), OmegaConf.to_container(config, resolve=True)["model"])
        for more in ([], table["fast"].get("evaluation", [])):
            config = compose("evaluate", ["run=run", *table["evaluation"], *more])
            for question in OmegaConf.to_container(config)["evaluation"].values():
                from_config(question, QUESTIONS, "evaluation")


@pytest.mark.parametrize("name", TABLES)
def test_every_reported_figure_has_its_place_and_source(tables, name):
    for panel in tables.read(name)["panels"]:
        for reported in panel.get("reported", []):
            assert reported["row"] in panel["rows"] and reported["column"] in panel["columns"]
            assert len(reported["source"]) > 20


def test_cells_are_means_over_seeds_of_what_the_runs_measured(tables):
    def metrics(x):
        records = [
            {"code": "a", "k": k, "accuracy": {"mean": x * k, "standard_error": 9}} for k in (1, 2)
        ]
        return {
            "facts": {"evaluated": "today, a machine"},
            "question": {"records": records, "bound": {"loss": x}},
        }

    table = {
        "title": "T",
        "variants": {"one": [], "two": []},
        "panels": [
            {
                "title": "P",
                "cells": {"from": "question.records", "take": "accuracy", "code": "a"},
                "rows": {"first": {}, "second": {"variant": "two"}, "none": {"code": "b"}},
                "columns": {"k = 2": {"k": 2}, "k = 7": {"k": 7}},
            },
            {
                "title": "Q",
                "cells": {"from": "question.bound", "take": "loss", "times": 10, "digits": 0},
                "rows": {"first": {}},
                "columns": {"loss": {}},
            },
        ],
    }
    results = {("one", 0): metrics(1.0), ("one", 1): metrics(2.0), ("two", 0): metrics(5.0)}
    text = tables.render("t", table, results, fast=False)
    assert "| first | 3.0 ± 1.0 |\n" in text and "k = 7" not in text
    assert "| second | 10.0 |\n" in text and "| none | - |\n" in text
    assert "| first | 15 ± 5 |" in text and "a machine" in text
    assert "small version" not in text
    table["panels"][0]["cells"]["from"] = "question.record"
    with pytest.raises(ValueError, match="the evaluation has no record"):
        tables.render("t", table, results, fast=False)
