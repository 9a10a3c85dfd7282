"""The numbers of a page are kept beside it, run by run, and give the same table."""

import json
from copy import deepcopy
from pathlib import Path

import pytest

from mlvae import InputError
from mlvae.commands import figures, tables
from mlvae.commands.kept import keep, kept

RESULTS = Path(__file__).parents[1] / "docs" / "results"

AXIS = {"from": "question.records", "label": "", "better": "higher", "code": "a", "k": 1}
TABLE = {
    "title": "T",
    "seeds": [0],
    "variants": {"one": ["model.beta=2"], "two": []},
    "evaluation": ["evaluation=[question]"],
    "fast": {"note": "short", "seeds": [0], "train": ["trainer.epochs=1"]},
    "panels": [
        {
            "title": "P",
            "cells": {"from": "question.records", "take": "accuracy", "digits": 3},
            "rows": {"first": {}, "second": {"variant": "two"}},
            "columns": {"a": {"code": "a", "k": 1}, "b": {"code": "b", "k": 2}},
        },
        {
            "title": "Q",
            "cells": {"from": "question.bound.test", "take": "loss"},
            "rows": {"first": {}},
            "columns": {"loss": {}},
        },
    ],
    "figures": {
        "points": {
            "title": "F",
            "x": {**AXIS, "take": "accuracy"},
            "y": {**AXIS, "take": "bits"},
            "rows": {"one": {}, "two": {"variant": "two"}},
        }
    },
}


def metrics(x, machine="2 cores", date="2026-11-30"):
    records = [
        {"code": code, "k": k, "accuracy": {"mean": x * k / 3, "sampling_error": 9}, "bits": x}
        for code in "abc"
        for k in (1, 2)
    ]
    bound = {"test": {"loss": -x, "other": 7.0}, "train": {"loss": 1.0}}
    facts = {"evaluated": f"{date}, mlvae 1, {machine}", "model": "M"}
    return {"facts": facts, "question": {"records": records, "bound": bound}}


RUNS = {("one", 0): metrics(1.0), ("one", 1): metrics(2.0), ("two", 0): metrics(0.7)}


def test_kept_numbers_give_the_same_table_and_figure(tmp_path):
    path = tmp_path / "t.json"
    keep(path, TABLE, RUNS, fast=False)
    found, old = kept(path, TABLE, fast=False)
    assert not old
    assert tables.render("t", TABLE, found, fast=False) == (
        tables.render("t", TABLE, RUNS, fast=False)
    )
    for name, runs in (("kept", found), ("runs", RUNS)):
        figures.draw(tmp_path / f"{name}.png", TABLE["figures"]["points"], TABLE, runs)
    assert (tmp_path / "kept.png").read_bytes() == (tmp_path / "runs.png").read_bytes()
    keep(tmp_path / "again.json", TABLE, found, fast=False)
    assert path.read_bytes() == (tmp_path / "again.json").read_bytes()


def test_the_file_has_only_what_the_table_takes(tmp_path):
    keep(tmp_path / "t.json", TABLE, RUNS, fast=False)
    run = json.loads((tmp_path / "t.json").read_text())["runs"][2]
    assert run["values"] == {
        "question.records accuracy code=a k=1": 0.233333,
        "question.records accuracy code=b k=2": 0.466667,
        "question.records bits code=a k=1": 0.7,
    }


def test_runs_of_several_days_and_machines_are_stated():
    runs = {("one", 0): metrics(1.0), ("two", 1): metrics(1.0, "64 cores", "2026-12-02")}
    text = tables.render("t", TABLE, runs, fast=False)
    assert "mlvae 1, 2 cores and mlvae 1, 64 cores, 2026-11-30 to 2026-12-02: " in text
    one, two = "`mlvae reproduce table=t variants=[one]`", "seeds=[1] variants=[two]`"
    assert one in text and two in text
    assert "a value without ± has one seed. 0 of one; 1 of two." in text


def changed(change):
    table = deepcopy(TABLE)
    change(table)
    return table


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda table: table["variants"]["two"].append("model.beta=3"), {"one"}),
        (lambda table: table["evaluation"].append("vae=null"), set()),
        (lambda table: table["variants"].pop("two"), {"one"}),
        (lambda table: table["panels"][0]["cells"].update({"from": "question.curves"}), set()),
        (lambda table: table.update(title="Another"), {"one", "two"}),
        (lambda table: table["panels"][0]["columns"].pop("b"), {"one", "two"}),
    ],
)
def test_numbers_of_another_version_of_the_table_are_left_out(tmp_path, change, left):
    keep(tmp_path / "t.json", TABLE, RUNS, fast=False)
    table = changed(change)
    table["panels"][0]["rows"].pop("second", None) if "two" not in table["variants"] else None
    found, old = kept(tmp_path / "t.json", table, fast=False)
    assert {variant for variant, _ in found} == left
    assert len(found) + len(old) == 3 and all("another version" in text for text in old)


def test_a_column_that_is_new_has_its_own_keys_and_leaves_old_runs_out(tmp_path):
    keep(tmp_path / "t.json", TABLE, RUNS, fast=False)
    table = changed(lambda table: table["panels"][0]["columns"].update(c={"code": "c", "k": 1}))
    found, old = kept(tmp_path / "t.json", table, fast=False)
    assert not found and len(old) == 3


def test_the_small_version_has_numbers_of_its_own(tmp_path):
    keep(tmp_path / "t.json", TABLE, RUNS, fast=True)
    assert kept(tmp_path / "t.json", TABLE, fast=False)[0] == {}
    assert len(kept(tmp_path / "t.json", TABLE, fast=True)[0]) == 3
    assert kept(tmp_path / "none.json", TABLE, fast=True) == ({}, [])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": 3}', '{"runs": [{"variant": []}]}'])
def test_a_damaged_file_is_one_line(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match=r"t\.json"):
        kept(tmp_path / "t.json", TABLE, fast=False)


def test_a_value_that_a_run_does_not_have_stays_unknown(tmp_path):
    table = changed(lambda table: table["panels"][0]["columns"].update(z={"code": "z"}))
    keep(tmp_path / "t.json", table, RUNS, fast=False)
    found, old = kept(tmp_path / "t.json", table, fast=False)
    assert not old
    assert found["one", 0]["values"]["question.records accuracy code=z"] is None
    text = tables.render("t", table, found, fast=False)
    assert "z" not in text.split("\n|")[1]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_the_table_of_a_page_is_that_of_its_numbers(path):
    table = tables.read(path.stem)
    found, old = kept(path, table, fast=False)
    assert not old
    text = tables.render(path.stem, table, found, fast=False).partition("\n")[2]
    page = path.with_suffix(".md").read_text()
    assert text.split("![")[0].strip() in page
