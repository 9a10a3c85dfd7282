"""The pages of the models agree with the code, and the examples of the pages run."""

import re
from dataclasses import fields
from pathlib import Path

import matplotlib as mpl
import pytest
import torch

import mlvae
from mlvae.costs import Separation
from mlvae.evidence import ACCUMULATIONS, EVIDENCE_FROM
from mlvae.models import MODELS

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {
    "MLVAE": "mlvae",
    "AdaVAE": "ada",
    "ConditionalVAE": "conditional",
    "DirVAE": "dirvae",
    "SVQVAE": "svqvae",
    "Rotations": "rotations",
    "VAE": "vae",
    "VSAE": "vsae",
    "DCEVAE": "dcevae",
}
TEXTS = {name: (DOCS / "models" / f"{page}.md").read_text() for name, page in PAGES.items()}
ROW = re.compile(r"^\| `(\w+)` \| `([^`|]+)` \| \S.*\|$", flags=re.MULTILINE)


def rows(text, heading):
    """Option and default of each row of the first table below ``heading``."""
    table = text.split(heading, 1)[1].lstrip("\n").split("\n\n")
    return dict(ROW.findall(next(part for part in table if part.startswith("| option"))))


def defaults(record):
    """Option and default of each field of a record, as Python writes them."""
    return {field.name: repr(field.default) for field in fields(record)}


def written(record):
    """The defaults as a page writes them: a part of the model by its name alone."""
    return {
        name: re.sub(r"^(MLP|Bernoulli|Separation|MixedColumns|Roles)\(.*\)$", r"\1()", value)
        for name, value in defaults(record).items()
    }


def test_every_model_has_a_page():
    assert PAGES.keys() == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_the_table_of_options_is_that_of_the_record(name):
    assert rows(TEXTS[name], "## Options") == written(MODELS[name].Options)


def test_the_table_of_costs_is_that_of_the_record():
    table = rows(TEXTS["MLVAE"], "`mlvae.costs.Separation(...)` has these weights")
    assert table == defaults(Separation)


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("### Rules of accumulation", list(ACCUMULATIONS)),
        ("### The members whose evidence is used", ["all", *EVIDENCE_FROM]),
    ],
)
def test_the_tables_of_rules_are_complete(heading, names):
    section = TEXTS["MLVAE"].split(heading)[1].split("\n#")[0]
    header, *listed = re.findall(r"^\| `(\w+)` \| [^`]", section, flags=re.MULTILINE)
    assert header in defaults(MODELS["MLVAE"].Options)
    assert listed == names


@pytest.mark.parametrize("name", MODELS)
def test_the_example_of_a_page_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    blocks = re.findall(r"```python\n(.*?)```", TEXTS[name], flags=re.DOTALL)
    assert len(blocks[0].splitlines()) <= 6
    scope = {}
    for block in blocks:
        capsys.readouterr()
        exec(block, scope)
        printed = re.findall(r"^print\(.*\)  # (.*)$", block, flags=re.MULTILINE)
        assert len(printed) == block.count("print(")
        if printed:
            assert capsys.readouterr().out.splitlines() == printed
    result = scope["swapped"] if "swapped" in scope else scope["latent"].mean
    assert str(tuple(result.shape)) in TEXTS[name]
    assert torch.isfinite(result).all()
    assert type(mlvae.load(next((tmp_path / "runs").iterdir()))) is MODELS[name]


def test_the_figures_are_those_of_the_script(tmp_path):
    script = DOCS / "models" / "figures.py"
    scope = {"__name__": "figures", "__file__": str(tmp_path / "figures.py")}
    exec(compile(script.read_text(), str(script), "exec"), scope)
    names = [
        "ada",
        "conditional",
        "dcevae",
        "dirvae",
        "evidence",
        "mlvae",
        "rotations",
        "svqvae",
        "vae",
        "vsae",
    ]
    for name in names:
        scope[name]()
    assert [path.stem for path in sorted(tmp_path.iterdir())] == names
    for path in tmp_path.iterdir():
        assert path.read_text() == (script.parent / path.name).read_text()


def test_every_tutorial_is_a_notebook_with_its_aims_and_is_in_the_index():
    folder = DOCS / "tutorials"
    listed = re.findall(r"^\| \{doc\}`([\w-]+)`", (folder / "index.md").read_text(), re.MULTILINE)
    pages = {path.stem for path in folder.glob("*.md")} - {"index"}
    assert sorted(listed) == sorted(pages)
    for number, name in enumerate(listed, start=1):
        text = (folder / f"{name}.md").read_text()
        assert text.startswith("---\nfile_format: mystnb\nkernelspec:\n  name: python3\n")
        assert re.search(rf"^# {number} .*\n\nYou will learn\n\n- ", text, re.MULTILINE)
        for cell in re.findall(r"```{code-cell}\n(.*?)```", text, flags=re.DOTALL):
            code = re.sub(r"\A(:.*\n)+", "", cell)
            compile(code, name, "exec")
