"""The examples of the README work as printed."""

import re
from pathlib import Path

import pytest
import torch

import mlvae

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
QUIET = mlvae.Reports(progress=False)
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a short version of the run that the README's first command makes."""
    monkeypatch.chdir(tmp_path)
    digits = mlvae.data.digits()
    model = mlvae.models.MLVAE(digits.train.shape)
    mlvae.train(model, digits.train, run="runs/first", epochs=1, reports=QUIET)
    return tmp_path


def test_a_cell_of_four_lines_loads_a_run_and_shows_a_swap(folder):
    *lines, last = BLOCKS[0].splitlines()
    assert len(lines) == 3
    exec("\n".join(lines), scope := {})
    figure = eval(last, scope)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert all(texts.count(digit) == 2 for digit in "0123456789")


def test_a_cell_of_five_lines_trains_on_arrays(folder):
    assert len(BLOCKS[1].splitlines()) == 5
    names = {}
    exec(BLOCKS[1], names)
    again = mlvae.load("runs/mine")
    x = torch.as_tensor(names["x"])
    assert torch.equal(again.infer_content(x).mean, names["model"].infer_content(x).mean)
    # The line on evidence of one observation at a time.
    evidence = mlvae.Evidence.of(again.infer_content(x[:1]))
    line = re.search(r"`(evidence = evidence \+ .*?)`", README)[1]
    scope = {"evidence": evidence, "mlvae": mlvae, "model": again, "x_new": x[1:2]}
    exec(line, scope)
    pooled = again.infer_content(x[:2], [0, 0])
    torch.testing.assert_close(scope["evidence"].posterior().mean, pooled.mean)


def test_the_example_model_trains_to_the_maximum_of_its_likelihood(folder):
    scope = {"mlvae": mlvae, "torch": torch}
    exec(BLOCKS[2], scope)
    x = 3 * torch.randn(400, 5)
    data = mlvae.GroupedData(x, [0, 1] * 200)
    model = scope["GroupMeans"](data.shape)
    options = {
        "optimizer": mlvae.Adam(0.1, schedule="cosine"),
        "batching": mlvae.data.Shuffled(400),
    }
    mlvae.train(model, data, validation=data, epochs=300, reports=QUIET, **options)
    within = torch.stack([x[i::2].var(0, correction=0) for i in (0, 1)]).mean(0)
    torch.testing.assert_close(model.log_variance.detach().exp(), within, rtol=1e-3, atol=0)


def test_the_readme_has_three_python_cells():
    assert len(BLOCKS) == 3


def test_the_first_screen_has_the_two_commands_of_ci():
    commands = re.findall(r"^pip install.*", README, flags=re.MULTILINE)
    assert commands == [
        "pip install -e . && python scripts/train.py run=runs/first",
        'pip install -e ".[test]" && pytest -n 2',
    ]
    assert README.index(commands[1]) < len("x" * 99) * 24


def test_the_listed_calls_exist():
    for name in re.findall(r"`model\.(\w+)\(", README):
        assert callable(getattr(mlvae.models.MLVAE, name))


def test_the_example_model_reports_every_term_in_its_unit(folder):
    scope = {"mlvae": mlvae, "torch": torch}
    exec(BLOCKS[2], scope)
    data = mlvae.GroupedData(torch.randn(40, 12), [0, 1, 2, 3] * 10)
    values = mlvae.train(scope["GroupMeans"]((12,)), data, epochs=1, reports=QUIET).metrics
    assert values["train/loss"] == pytest.approx(-values["train/elbo_per_group"])
    assert values["train/elbo_per_observation"] == pytest.approx(
        values["train/log_likelihood_per_observation"]
    )
    assert "train/log_likelihood_per_group" not in values


def test_the_objective_has_the_listed_attributes():
    row = re.search(r"^\| `model\(batch\)` .*$", README, flags=re.MULTILINE)[0]
    listed = re.findall(r"`(\w+)`", row)
    model = mlvae.models.MLVAE((12,))
    objective = model(mlvae.Batch.ungrouped(torch.rand(3, 12)))
    assert len(listed) == 6
    assert [name for name in listed if not hasattr(objective, name)] == []


def test_the_records_of_the_training_have_the_options_of_the_config():
    import yaml

    options = yaml.safe_load((ROOT / "configs/trainer/default.yaml").read_text())
    names = re.findall(r"`(\w+)=mlvae\.\w+\(\.\.\.\)`", README)
    assert names == ["warmup", "speed", "reports"]
    for name in names:
        assert vars(getattr(mlvae, name.capitalize())()) == options[name]


def test_the_drawing_has_every_folder_and_no_other():
    drawing = README.split("## How it is built")[1].split("Data flows")[0]
    drawn = re.findall(r"^      ([\w/]+(?:\.py)?) ", drawing, flags=re.MULTILINE)
    assert [name for name in drawn if not (ROOT / "mlvae" / name).exists()] == []
    folders = {f"{path.parent.name}/" for path in (ROOT / "mlvae").glob("*/__init__.py")}
    assert folders <= set(drawn)
    beside = re.findall(r"^    (\w+/) ", drawing, flags=re.MULTILINE)
    assert [name for name in beside if not (ROOT / name).is_dir()] == []


def test_the_links_to_files_are_not_broken():
    targets = re.findall(r"\]\(((?!http|#)[^)]+)\)", README)
    assert len(targets) > 4
    assert [target for target in targets if not (ROOT / target).exists()] == []
