"""The pages of the documentation: their code runs, their commands exist, their tables agree."""

import re
import shlex
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from hydra import compose, initialize_config_dir

import mlvae
from mlvae.commands import pages, tables
from mlvae.commands.default_experiment import with_default_experiment

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CONFIGS = ROOT / "configs"
TEXTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    if "jupyter_execute" not in path.parts and "_build" not in path.parts
}
QUIET = mlvae.Reports(progress=False)

#: Pages whose code needs other libraries, or has a test of its own (test_readme.py, test_docs.py).
NOT_RUN = (
    "README.md",
    "docs/changelog.md",
    "docs/guide/trackers.md",
    "docs/guide/text.md",  # of a folder of texts: the tutorial on topics runs the same calls
    *(name for name in TEXTS if name.startswith("docs/models/")),
)


def blocks(name, language="python"):
    """The blocks of code of a page."""
    return re.findall(rf"```{language}\n(.*?)```", TEXTS[name], flags=re.DOTALL)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a short version of the run that the README's first command makes."""
    folder = tmp_path_factory.mktemp("docs")
    letters = mlvae.data.glyphs(characters="ABCD", images=20, size=28, validation=8, test=8)
    model = mlvae.models.MLVAE(letters.train.shape)
    mlvae.train(model, letters.train, run=folder / "runs/first", epochs=1, reports=QUIET)
    return folder


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in NOT_RUN and blocks(name)])
def test_the_python_of_a_page_runs_in_its_order(name, first, monkeypatch):
    monkeypatch.chdir(first)
    mpl.use("Agg")
    scope = {"mlvae": mlvae}
    for block in blocks(name):
        exec(compile(block, name, "exec"), scope)


def commands():
    """Every command of the pages that reads configs: page, command, overrides."""
    names = "train|evaluate|explore|prepare|reproduce|export"
    pattern = rf"(?:mlvae |scripts/)({names})(?:\.py)?((?: [^`\n]*)?)"
    found = set()
    for name, text in TEXTS.items():
        code = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
        code += re.findall(r"`((?:mlvae |python scripts/)[^`]*)`", text)
        joined = "\n".join(code).replace("\\\n", " ")  # lines that end in a backslash
        for line in joined.splitlines():
            for command, rest in re.findall(pattern, line):
                if "--config-dir" in rest:  # configs of the reader's own
                    continue
                words = tuple(word for word in shlex.split(rest, comments=True) if "=" in word)
                found.add((name, command, words))
    return sorted(entry for entry in found if entry[2])


@pytest.mark.parametrize(("name", "command", "overrides"), commands())
def test_every_option_of_a_command_in_a_page_exists(name, command, overrides):
    values = [
        # The first value of a sweep.
        re.sub(r"^([^=]+=)([^\[{,]+),.*", r"\1\2", re.sub(r"=range\((\d+),.*", r"=\1", word))
        for word in overrides
        if not word.startswith("hydra") and "..." not in word
    ]
    if command == "train":
        values = with_default_experiment(values)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        config = compose(command, values)
    if command == "reproduce" and config.table in tables.names():
        tables.read(config.table)


def test_the_pages_have_commands_of_every_kind():
    assert {command for _, command, _ in commands()} == {
        "train",
        "evaluate",
        "explore",
        "prepare",
        "reproduce",
        "export",
    }
    assert len(commands()) > 30


def test_the_line_on_evidence_adds_one_observation():
    line = re.search(r"`(evidence = evidence \+ .*?)`", TEXTS["docs/guide/python.md"])[1]
    torch.manual_seed(0)
    model, x = mlvae.models.MLVAE((12,)).eval(), torch.rand(2, 12)
    evidence = mlvae.Evidence.of(model.infer_content(x[:1]))
    scope = {"evidence": evidence, "mlvae": mlvae, "model": model, "x_new": x[1:]}
    exec(line, scope)
    pooled = model.infer_content(x, [0, 0])
    torch.testing.assert_close(scope["evidence"].posterior().mean, pooled.mean)


def test_the_swaps_of_a_run_are_shown(first, monkeypatch):
    monkeypatch.chdir(first)
    *lines, last = blocks("docs/guide/python.md")[0].splitlines()
    exec("\n".join(lines), scope := {})
    figure = eval(last, scope)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert all(texts.count(letter) == 2 for letter in "ABCDEFGH")


def group_means():
    """The example of a model on the page."""
    scope = {}
    exec(blocks("docs/guide/python.md")[-1], scope)
    return scope["GroupMeans"]


def test_the_example_model_trains_to_the_maximum_of_its_likelihood(tmp_path):
    x = 3 * torch.randn(400, 5)
    data = mlvae.GroupedData(x, [0, 1] * 200)
    model = group_means()(data.shape)
    options = {
        "optimizer": mlvae.Adam(0.1, schedule="cosine"),
        "batching": mlvae.data.Shuffled(400),
        "run": tmp_path / "run",
    }
    mlvae.train(model, data, validation=data, epochs=300, reports=QUIET, **options)
    within = torch.stack([x[i::2].var(0, correction=0) for i in (0, 1)]).mean(0)
    torch.testing.assert_close(model.log_variance.detach().exp(), within, rtol=1e-3, atol=0)


def test_the_example_model_reports_every_term_in_its_unit(tmp_path):
    data = mlvae.GroupedData(torch.randn(40, 12), [0, 1, 2, 3] * 10)
    model = group_means()((12,))
    values = mlvae.train(model, data, run=tmp_path / "run", epochs=1, reports=QUIET).metrics
    assert values["train/loss"] == pytest.approx(-values["train/elbo_per_group"])
    assert values["train/elbo_per_observation"] == pytest.approx(
        values["train/log_likelihood_per_observation"]
    )
    assert "train/log_likelihood_per_group" not in values


def test_the_listed_calls_of_a_model_exist():
    names = re.findall(r"`model\.(\w+)\(", TEXTS["docs/guide/python.md"])
    assert len(names) > 4
    for name in names:
        assert callable(getattr(mlvae.models.MLVAE, name))


def test_the_objective_has_the_listed_attributes():
    row = re.search(r"^\| `model\(batch\)` .*$", TEXTS["docs/guide/python.md"], re.MULTILINE)[0]
    listed = re.findall(r"`(\w+)`", row)
    objective = mlvae.models.MLVAE((12,))(mlvae.Batch.ungrouped(torch.rand(3, 12)))
    assert len(listed) == 6
    assert [name for name in listed if not hasattr(objective, name)] == []


def test_the_records_of_the_training_have_the_options_of_the_config():
    import yaml

    options = yaml.safe_load((CONFIGS / "trainer/default.yaml").read_text())
    text = TEXTS["docs/guide/training.md"]
    rows = re.findall(r"`(\w+)=mlvae\.(\w+)\(\.\.\.\)` \| `trainer\.(\w+)`", text)
    assert [row[0] for row in rows] == ["warmup", "speed", "reports"]
    for name, record, section in rows:
        assert name == section and vars(getattr(mlvae, record)()) == options[section]


def test_the_drawing_of_the_design_has_every_folder_and_no_other():
    drawing = TEXTS["docs/design.md"].split("## Rooms")[1].split("Imports point")[0]
    drawn = re.findall(r"^      ([\w/]+(?:\.py)?) ", drawing, flags=re.MULTILINE)
    assert [name for name in drawn if not (ROOT / "mlvae" / name).exists()] == []
    folders = {f"{path.parent.name}/" for path in (ROOT / "mlvae").glob("*/__init__.py")}
    assert folders <= set(drawn)


RESULTS = sorted(
    path.stem for path in (DOCS / "results").glob("*.md") if path.stem in tables.names()
)


@pytest.mark.parametrize("name", RESULTS)
def test_a_page_of_results_has_the_title_and_the_panels_of_its_table(name):
    """So a new measurement replaces the part between the marks, and the notes still fit."""
    text = TEXTS[f"docs/results/{name}.md"]
    before, _ = pages.notes(DOCS / f"results/{name}.md")
    table = tables.read(name)
    assert before.startswith(f"# {table['title']}\n")
    measured = text.split(pages.BEGIN)[1].split(pages.END)[0]
    titles = {panel["title"] for panel in table["panels"]}
    assert {title for title in titles if f"\n{title}:\n" in measured} == titles
    rows = {row for panel in table["panels"] for row in panel["rows"]}
    shown = re.findall(r"^\| ([^|]+?)(?: \(one seed\))? \|", measured, flags=re.MULTILINE)
    assert shown and set(shown) <= rows
    assert re.search(r"\d{4}-\d\d-\d\d.*`mlvae reproduce table=" + name, measured)


def test_every_table_and_every_figure_of_results_is_linked():
    index = TEXTS["docs/results/index.md"]
    for name in tables.names():
        assert f"<{name}>" in index or f"`{name}`" in index
    for figure in (DOCS / "results").glob("*.png"):
        assert any(f"]({figure.name})" in text for text in TEXTS.values())
