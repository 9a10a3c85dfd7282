"""Slow questions are asked in other processes, with the same answers."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from mlvae.evaluation import Answer, Collapse, Fidelity, Likelihood, Separation, Subject, evaluate
from mlvae.evaluation import beside as module
from mlvae.evaluation.beside import Beside
from mlvae.evaluation.measures.leakage.kinds import NETWORKS

QUESTIONS = [
    Separation(k=(1,), probes=("logistic",), seeds=1),
    Likelihood(sizes=(1,), groups=4, num_content=(1,), num_style=1),
    Fidelity(epochs=1),
]


@pytest.fixture
def quick(monkeypatch):
    hidden, schedule = NETWORKS["logistic"]
    monkeypatch.setitem(NETWORKS, "logistic", (hidden, schedule._replace(least=20, most=20)))


def test_the_answers_do_not_depend_on_the_number_of_processes(
    small_model, digits, tmp_path, quick, monkeypatch
):
    """Ten seconds: two processes import PyTorch."""
    found = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        options = {"questions": QUESTIONS, "workers": workers, "progress": False}
        evaluate(small_model(), digits, folder, **options)
        found.append(json.loads((folder / "metrics.json").read_text()))
    for name in ("likelihood", "fidelity"):
        assert found[0][name].keys() == found[1][name].keys()
        assert str(found[0][name]) == str(found[1][name])


@dataclass(frozen=True)
class Own:
    title: ClassVar[str] = "Own?"

    def ask(self, subject):
        return Answer(self.title)


def test_questions_are_asked_here_where_nothing_is_gained_or_copied(
    small_model, digits, monkeypatch
):
    model = small_model()
    subject = Subject(model, digits, workers=2)
    for questions in ([Fidelity(), Own()], [Separation(), Collapse(), Own()]):
        assert Beside(questions, subject).names == []
    assert Beside(QUESTIONS, Subject(model, digits, workers=1)).names == []
    model.hook = lambda: None  # it cannot be copied
    assert Beside(QUESTIONS, subject).names == []
    del model.hook
    monkeypatch.setattr(module, "MOST", 100)
    assert Beside(QUESTIONS, subject).names == []
    assert Beside(QUESTIONS, subject).answer(QUESTIONS[1]) is None
