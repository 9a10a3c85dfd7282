"""Inputs that crashed similar software: equal codes, constant factors, odd labels, full disks."""

import json
import re
import runpy
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from mlvae import GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Embedding, Factors, Subject, charts, evaluate
from mlvae.evaluation.evaluate import check_writable
from mlvae.show.text import LONGEST

LABELS = {
    "one dollar": ["<$25,000", "$25,000 - $49,999", "$50,000"],
    "two dollars": ["$_$", "a$^$b", "Ba$$in"],
    "underscores": ["_ann", "_bob", "__"],
    "japanese": ["山田", "佐藤", "鈴木"],
    "emoji": ["😀", "👩‍👩‍👧", "🇨🇭"],
    "control characters": ["a\x00b", "a\x1bb", "a\ud800b"],
    "right to left": ["\u202eabc", "שלום", "\u2029"],
    "long": ["a" * 300, "a" * 299 + "b", "山" * 300],
    "empty": ["", " ", "\t"],
    "short": ["1", "2", "a$"],
}


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("number", [2, 9, 10, 40, 200])
def test_equal_codes_are_one_point(method, number):
    plane = Embedding(method=method)._plane(np.full((number, 6), 0.1, np.float32))
    assert plane.shape == (number, 2) and len(np.unique(plane, axis=0)) == 1


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-20, 1e-6, 1.0, 1e20, 1e38])
@pytest.mark.parametrize("kinds", [2, 3, 5])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_few_distinct_codes_have_finite_points(scale, kinds, offset):
    rows = np.random.default_rng(0).standard_normal((kinds, 4)).clip(-3, 3)[np.arange(60) % kinds]
    codes = (offset + scale * rows).astype(np.float32)
    for method in ("tsne", "pca"):
        plane = Embedding(method=method)._plane(codes)
        assert plane.shape == (60, 2) and np.isfinite(plane).all()


def test_one_code_that_differs_has_finite_points():
    codes = np.zeros((100, 5), np.float32)
    codes[3, 2] = 1e-3
    assert np.isfinite(Embedding()._plane(codes)).all()


def test_codes_with_nan_and_infinities_are_left_out_of_the_plane():
    codes = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)
    codes[4, 1], codes[7, 2], codes[9] = np.nan, np.inf, -np.inf
    plane = Embedding()._plane(codes)
    assert np.flatnonzero(np.isnan(plane).any(axis=1)).tolist() == [4, 7, 9]
    assert np.isnan(Embedding()._plane(np.full((30, 3), np.nan, np.float32))).all()
    codes[5:] = np.nan
    assert np.isfinite(Embedding()._plane(codes)[:4]).all()
    figure = charts.scatter("name", "caption", {"panel": plane * np.nan}, ["ann"] * 30)
    assert figure.png


def test_a_model_with_equal_codes_has_a_figure_and_a_sentence(known, known_data):
    data = known_data(40)
    data.x[:] = 0.5
    answer = Embedding().ask(Subject(known, Splits(data, test=data)))
    assert answer.figures[0].png and "content" in answer.summary[1]
    varied = Embedding(points=20).ask(Subject(known, Splits(known_data(40), test=known_data(40))))
    assert len(varied.summary) == 1


def factor_records(known, known_data, values, test_values, **options):
    parts = [known_data(len(v), seed=i) for i, v in enumerate((values, test_values))]
    data = [
        GroupedData(part.x, part.groups.index, {"age": torch.as_tensor(v)})
        for part, v in zip(parts, (values, test_values), strict=True)
    ]
    answer = Factors(trees=3, **options).ask(Subject(known, Splits(data[0], test=data[1])))
    return answer.metrics.get("records", [])


@pytest.mark.parametrize("categories", [(), ("age",)])
def test_a_factor_that_does_not_vary_has_no_score(known, known_data, categories):
    nan = float("nan")
    varied = torch.arange(40.0) % 4
    constant = torch.full((40,), 7.0)
    single = torch.full((40,), nan)
    single[3] = 2.0
    pair = single.clone()
    pair[4] = 2.0
    for values, test_values in [
        (constant, constant),
        (constant, varied),
        (varied, constant),
        (varied, single),
        (varied, pair),
        (single, varied),
        (varied, torch.full((40,), nan)),
    ]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            options = {"categories": categories}
            assert not factor_records(known, known_data, values, test_values, **options)
    pair[4] = 3.0
    assert factor_records(known, known_data, varied, pair, categories=categories)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_labels_in_figures_are_text(labels, monkeypatch):
    canvases = []
    saved = charts._saved
    monkeypatch.setattr(charts, "_saved", lambda *args: canvases.append(args[-1]) or saved(*args))
    points = np.random.default_rng(0).random((len(labels), 2))
    cells = {label: dict.fromkeys(labels, 0.3) for label in labels}
    curve = {1.0: (0.5, 0.1), 2.0: (0.6, 0.1)}
    lines = {labels[0]: {labels[1]: {1.0: 0.5, 2.0: 0.6}}}
    panels = {labels[0]: dict.fromkeys(labels, curve)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = [
            charts.scatter("name", "caption", dict.fromkeys(labels, points), labels),
            charts.heatmap("name", "caption", cells, label="R2"),
            charts.curves("name", "caption", cast("Any", panels), x_label="k", lines=lines),
        ]
    for figure in figures:
        ElementTree.fromstring(cast("str", figure.svg).encode())
    for canvas in (canvases[0], canvases[2]):
        texts = [text.get_text() for text in canvas.legends[0].get_texts()]
        assert len(texts) == len(set(labels))
        assert all(len(text) <= LONGEST and not text.startswith("\\u202e") for text in texts) or (
            labels == LABELS["right to left"]
        )
    # Labels leave room for the axes.
    assert all(canvas.axes[0].get_position().width > 0.15 for canvas in canvases)


def test_labels_keep_their_dollars_and_long_labels_their_ends(monkeypatch):
    monkeypatch.setattr(charts, "_saved", lambda name, caption, canvas: canvas)
    labels = ["$25,000 - $49,999", "_ann", "first" + "x" * 300 + "last", "\U0010fffd"]
    canvas = cast("Any", charts.scatter("n", "c", {"panel": np.random.rand(4, 2)}, labels))
    texts = [text.get_text() for text in canvas.legends[0].get_texts()]
    assert texts[:2] == ["$25,000 - $49,999", "_ann"]
    assert texts[2].startswith("firstx") and texts[2].endswith("xlast") and "…" in texts[2]
    assert texts[3] == "\\U0010fffd"
    assert not any(text.get_parse_math() for text in canvas.legends[0].get_texts())


def test_short_labels_are_drawn_as_letters_and_not_as_formulas(monkeypatch):
    monkeypatch.setattr(charts, "_saved", lambda name, caption, canvas: canvas)
    canvas = cast("Any", charts.scatter("n", "c", {"panel": np.random.rand(2, 2)}, ["i", "1"]))
    sizes = [len(series.get_paths()[0].vertices) for series in canvas.axes[0].collections]
    assert all(0 < size < 60 for size in sizes)  # the formula itself has hundreds of points


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_a_whole_evaluation_takes_any_label(known, known_data, labels, tmp_path):
    def named(data):
        data = GroupedData(data.x, data.groups.index % len(labels))
        data.group_names = list(labels)
        return data

    splits = Splits(named(known_data(40)), test=named(known_data(40, seed=1)))
    title, facts = labels[0], {labels[1] or "x": labels[2]}
    questions = [Embedding(method="pca", points=30)]
    evaluate(known, splits, tmp_path / "out", questions=questions, title=title, facts=facts)
    page = (tmp_path / "out" / "report.html").read_bytes().decode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", page)
    json.loads((tmp_path / "out" / "metrics.json").read_text())
    tables = list((tmp_path / "out" / "projector").rglob("metadata.tsv"))
    assert tables
    for table in tables:
        lines = table.read_bytes().decode().split("\n")
        assert len(lines) == 31 and lines[-1] == "" and all(line.strip() for line in lines[:-1])
        assert not any(set("\t\r\x00\x1b") & set(line) for line in lines)


class Refused:
    """A question that must not be asked."""

    title = "?"

    def ask(self, subject):
        raise AssertionError("a question was asked before the folder was checked")


def test_a_folder_that_cannot_be_written_is_refused_before_the_questions(
    known, known_data, tmp_path, monkeypatch
):
    splits = Splits(known_data(40), test=known_data(40))

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(sys.modules["mlvae.evaluation.evaluate"], "TemporaryDirectory", read_only)
    for folder in (tmp_path / "new", tmp_path / "a" / "b" / "new"):
        with pytest.raises(InputError, match=r"new\b.*Read-only file system"):
            evaluate(known, splits, folder, questions=[Refused()])
    assert not list(tmp_path.iterdir())


def test_the_check_of_a_folder_leaves_nothing(tmp_path, monkeypatch):
    check_writable(tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    check_writable(Path("b" * 250))
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/x\b"):
        check_writable(tmp_path / "file" / "x")


def test_the_script_writes_the_report_into_another_folder(tmp_path, monkeypatch, capsys):
    scripts = Path(__file__).parents[2] / "scripts"
    monkeypatch.chdir(tmp_path)

    def script(name, *arguments):
        monkeypatch.setattr(sys, "argv", [str(scripts / f"{name}.py"), *arguments])
        try:
            runpy.run_path(str(scripts / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            return end.code
        return None

    options = ["trainer.epochs=1", "model.network.hidden=[8]", "run=run", "device=cpu"]
    assert not script("train", *options)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    small = ["run=run", "evaluation=[likelihood]", "device=cpu", "evaluation.likelihood.groups=5"]
    small += ["evaluation.likelihood.sizes=[1]", "evaluation.likelihood.num_content=[1]"]
    capsys.readouterr()
    assert script("evaluate", *small, "folder=mine")  # before the control is trained
    assert not (tmp_path / "run" / "controls").exists()
    assert not script("evaluate", *small, "vae=null", "folder=other/report")
    assert (tmp_path / "other" / "report" / "report.html").is_file()
    assert "other/report/report.html" in capsys.readouterr().out
    assert not (tmp_path / "run" / "evaluation").exists()
