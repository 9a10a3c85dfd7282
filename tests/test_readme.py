"""The README works as printed, and stays short."""

import doctest
import re
from pathlib import Path

import torch

import mlvae

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
OUTPUTS = re.findall(r"```pycon\n(.*?)```", README, flags=re.DOTALL)


def test_the_readme_has_at_most_160_lines_and_10_kilobytes():
    assert len(README.splitlines()) <= 160
    assert len(README.encode()) <= 10_000


def test_five_lines_train_on_arrays_and_give_the_printed_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [len(block.splitlines()) for block in BLOCKS] == [5]
    names = {}
    exec(BLOCKS[0], names)
    (text,) = OUTPUTS
    example = doctest.DocTestParser().get_doctest(text, names, "README.md", None, 0)
    report = doctest.DocTestRunner(verbose=False).run(example, clear_globs=False)
    assert (report.attempted, report.failed) == (4, 0)
    again = mlvae.load("runs/mine")
    x = torch.as_tensor(names["x"])
    assert torch.equal(again.infer_content(x).mean, names["model"].infer_content(x).mean)


def test_the_first_screen_has_a_picture_and_the_two_commands_of_ci():
    commands = re.findall(r"^pip install.*", README, flags=re.MULTILINE)
    assert commands == [
        "pip install -e . && python scripts/train.py run=runs/first",
        'pip install -e ".[test]" && pytest -n 2',
    ]
    assert README.index("![") < README.index(commands[1]) < len("x" * 99) * 24


def test_the_links_to_files_are_not_broken():
    targets = re.findall(r"\]\(((?!http|#)[^)#]+)", README)
    assert len(targets) > 4
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_model_and_every_question_is_listed():
    names = re.findall(r"^\| \[?`(\w+)`", README, flags=re.MULTILINE)
    assert set(mlvae.models.MODELS) <= set(names)
    assert {question.__name__.lower() for question in mlvae.evaluation.QUESTIONS} <= set(names)
