"""Every table of configs/tables can be run and filled, and every reported value has a source."""

import re
from pathlib import Path

import pandas
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mlvae import GroupedData
from mlvae.commands import configs, figures, pages, tables
from mlvae.commands.reproduce import seeds_of
from mlvae.data import donors
from mlvae.evaluation import QUESTIONS
from mlvae.models import build
from mlvae.parts import from_config

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
TABLES = sorted(path.stem for path in (CONFIGS / "tables").glob("*.yaml"))


def people(roles):
    """Rows of a table with the columns of these roles."""
    names = (roles["outcome"], *roles["caused"], "rest")
    columns = {roles["intervention"]: [True, False], **dict.fromkeys(names, 1.0)}
    return GroupedData.from_frame(pandas.DataFrame(columns), range(2))


@pytest.mark.no_cover
@pytest.mark.parametrize("name", TABLES)
def test_every_variant_and_its_evaluation_compose_and_build(name):
    table = tables.read(name)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS.absolute())):
        for overrides in table["variants"].values():
            for more in ([], table["fast"]["train"]):
                config = compose("train", ["run=run", *overrides, *more])
                model = OmegaConf.to_container(config, resolve=True)["model"]
                shape = (40, 16) if model["network"]["name"] == "Conv1d" else (1, 28, 28)
                if model["name"] == "Rotations":
                    shape = (4, *shape)  # frames
                data = people(model["roles"]) if "roles" in model else None
                if data is None and model["likelihood"]["name"] == "MixedColumns":
                    data = donors(number=4, validation=1, test=1).train
                shape = shape if data is None else data.shape
                build(shape, model, group_names=["a", "b"], data=data)
        for more in ([], table["fast"].get("evaluation", [])):
            config = compose("evaluate", ["run=run", *table["evaluation"], *more])
            for question in OmegaConf.to_container(config)["evaluation"].values():
                from_config(question, QUESTIONS, "evaluation")


def test_the_table_in_the_guide_is_valid(tmp_path):
    (text,) = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs/guide/sweeps.md").read_text(), flags=re.DOTALL
    )
    (tmp_path / "mine.yaml").write_text(text)
    table = tables.read(str(tmp_path / "mine.yaml"))
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS.absolute())):
        for overrides in table["variants"].values():
            assert compose("train", overrides).dataset.name == "mnist"
        assert [*compose("evaluate", table["evaluation"]).evaluation] == ["likelihood"]


@pytest.mark.parametrize("name", TABLES)
def test_every_reported_value_has_a_cell_and_a_source(name):
    for panel in tables.read(name)["panels"]:
        for reported in panel.get("reported", []):
            assert reported["row"] in panel["rows"] and reported["column"] in panel["columns"]
            assert len(reported["source"]) > 20


def test_cells_are_means_over_seeds():
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
        "seeds": [0],
        "seeds_of": {"one": [0, 1]},
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
    assert "small version" not in text and "no run has such numbers" not in text
    assert "over seeds; a value without ± has one seed. 0, 1 of one; 0 of two." in text
    assert text.count("`mlvae reproduce table=t`") == 1
    other = {("one", 0): metrics(1.0), ("two", 0): metrics(5.0)}
    assert "`mlvae reproduce table=t seeds=[0]`" in tables.render("t", table, other, fast=False)
    small = {**table, "fast": {"note": "short", "seeds": [0]}}
    assert "table=t fast=true`" in tables.render("t", small, other, fast=True)
    assert "fast=true seeds=[0,1]" in tables.render("t", small, results, fast=True)
    alike = {key: value for key, value in results.items() if key[0] == "one"}
    text = tables.render("t", table, alike, fast=False)
    assert "over 2 seeds (0, 1). " in text and "variants=[one]`" in text
    assert "| first |" in text and "| none |" in text and "| second |" not in text
    table["panels"][0]["cells"]["code"] = "z"
    del table["panels"][0]["rows"]["none"]
    assert "P: no run has such numbers.\n" in tables.render("t", table, results, fast=False)
    table["panels"][0]["cells"]["code"] = "a"
    table["panels"][0]["cells"]["from"] = "question.record"
    with pytest.raises(ValueError, match=r"question\.record\b"):
        tables.render("t", table, results, fast=False)
    table["panels"][0]["cells"] |= {"from": "question.records", "take": "accuray"}
    table["panels"][0]["cells"]["kode"] = "a"
    with pytest.raises(ValueError, match=r"question\.records .*kode"):
        tables.render("t", table, results, fast=False)
    del table["panels"][0]["cells"]["kode"]
    with pytest.raises(ValueError, match=r"accuray\b.* code, k, accuracy"):
        tables.render("t", table, results, fast=False)


WHOLE = {
    "title": "T",
    "seeds": [0],
    "variants": {"one": ["trainer.epochs=2"]},
    "evaluation": ["evaluation=[likelihood]"],
    "fast": {"note": "small", "seeds": [0], "train": []},
    "panels": [
        {
            "title": "P",
            "cells": {"from": "likelihood.bound.test", "take": "loss"},
            "rows": {"first": {"variant": "one"}},
            "columns": {"all": {}},
        }
    ],
}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("title", None, r"\btitle\b"),
        ("seeds", 3, r"\bseeds\b.* 3$"),
        ("seeds", [-1], r"\bseed\b.* -1$"),
        ("seeds_of", [0], r"^seeds_of .*\[0\]$"),
        ("seeds_of", {"two": [0]}, r"seeds_of .*\bone\b.*'two'"),
        ("seeds_of", {"one": 3}, r"^seeds_of\.one .* 3$"),
        ("variants", {}, r"\bvariants\b.* {}$"),
        ("variants.one", "trainer.epochs=2", r"variants\.one .*'trainer\.epochs=2'"),
        ("evaluation", None, r"^evaluation\b"),
        ("fast.note", None, r"^fast .*\bnote\b"),
        ("fast.train", [1], r"^fast\.train .*\[1\]"),
        ("panels", [3], r"^panel 1 .* 3$"),
        ("panels.0.cells.take", None, r"^cell 'first', 'all' of panel 1 .*\btake\b"),
        ("panels.0.rows.first.variant", "two", r"variant of cell .*\bone\b.*'two'"),
        ("panels.0.columns.all", None, r"columns of panel 1 .*None$"),
        ("panels.0.reported", [{"row": "first"}], r"panel 1 .*\bcolumn\b.*{'row': 'first'}"),
        (
            "panels.0.reported",
            [{"row": "fist", "column": "all", "value": 1, "source": "Somebody"}],
            r"panel 1 .*'fist'.* 'first'",
        ),
        ("figures", {"f": {"title": "F", "rows": {"a": {}}}}, r"^figure f .*\bx\b"),
    ],
)
def test_an_invalid_table_is_refused_before_any_training(tmp_path, place, value, message):
    path, table = tmp_path / "mine.yaml", OmegaConf.create(WHOLE)
    OmegaConf.save(table, path)
    assert tables.read(str(path)) == WHOLE
    *outer, last = place.split(".")
    inner = table
    for key in outer:
        inner = inner[int(key) if key == "0" else key]
    inner[last] = value
    OmegaConf.save(table, path)
    with pytest.raises(ValueError, match=message):
        tables.read(str(path))


OF = """
of: leaderboard
title: Other
label: glyph
with: {train: [dataset=digits], evaluation: ["evaluation.separation.k=[1]"]}
"""


def test_a_table_that_inherits_has_the_same_variants_on_other_data(monkeypatch, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "other.yaml").write_text(OF)
    base = (CONFIGS / "tables" / "leaderboard.yaml").read_text()
    (tmp_path / "tables" / "leaderboard.yaml").write_text(base)
    monkeypatch.setattr(tables, "CONFIGS", tmp_path)
    monkeypatch.setattr(configs, "CONFIGS", tmp_path)
    first, other = tables.read("leaderboard"), tables.read("other")
    assert other["title"] == "Other" and other["seeds"] == first["seeds"]
    assert "glyph" in other["panels"][0]["title"] and "digit" in first["panels"][0]["title"]
    assert other["variants"].keys() == first["variants"].keys() and "with" not in other
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS.absolute())):
        for overrides in other["variants"].values():
            assert compose("train", ["run=run", *overrides]).dataset.name == "digits"
        asked = compose("evaluate", ["run=run", *other["evaluation"]])
    assert asked.evaluation.separation.k == [1]


def test_a_variant_may_have_seeds_of_its_own_unless_the_command_or_the_small_version_has_some():
    table = {"seeds": [0], "seeds_of": {"one": [0, 1]}, "fast": {"seeds": [5]}}
    asked = {"seeds": None, "fast": False}
    assert seeds_of("one", table, asked) == [0, 1] and seeds_of("two", table, asked) == [0]
    assert seeds_of("one", table, {**asked, "seeds": [7]}) == [7]
    assert seeds_of("one", table, {**asked, "fast": True}) == [5]


def test_points_that_are_not_dominated_are_those_of_a_search():
    points = [(x, (7 * x) % 5) for x in range(10)] + [(9, 3), (9, 3)]

    def dominated(p):
        return any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)

    expected = [i for i, p in enumerate(points) if not dominated(p)]
    assert figures.not_dominated(points) == expected and 0 < len(expected) < len(points)
    assert figures.not_dominated([]) == []


def test_a_figure_has_the_rows_with_both_values_in_the_units_of_its_axes(tmp_path):
    results = {
        (variant, seed): {"q": {"records": [{"code": "a", "u": seed + at, "v": 0.5}]}}
        for variant, at in (("one", 1.0), ("two", 3.0))
        for seed in (0, 1)
    }
    axis = {"from": "q.records", "label": "", "better": "higher"}
    figure = {
        "x": {**axis, "take": "u"},
        "y": {**axis, "take": "v", "times": 100, "better": "lower"},
        "rows": {"1": {"code": "a"}, "2": {"variant": "two", "code": "a"}, "3": {"code": "b"}},
    }
    table = {"variants": {"one": [], "two": []}}
    points = figures._points(figure, table, results)
    assert {row: (x[:2], y[:2]) for row, (x, y) in points.items()} == {
        "1": ((1.5, 0.5), (50, 0)),
        "2": ((3.5, 0.5), (50, 0)),
    }
    figures.draw(tmp_path / "f.png", figure, table, results)
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    figure["y"]["better"] = "less"
    with pytest.raises(ValueError, match=r"better .*higher, lower.*'less'"):
        figures.draw(tmp_path / "f.png", figure, table, results)


def test_pages_of_one_folder_have_figures_of_their_own(tmp_path):
    for name in ("one", "two"):
        figure = tmp_path / name / "points.png"
        figure.parent.mkdir()
        figure.write_bytes(name.encode())
        pages.write(tmp_path / f"{name}.md", f"## {name}\n\n![Points](points.png)\n", [figure])
    for name in ("one", "two"):
        assert f"![Points]({name}_points.png)" in (tmp_path / f"{name}.md").read_text()
        assert (tmp_path / f"{name}_points.png").read_text() == name
