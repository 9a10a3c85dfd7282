"""An evaluation replaces an earlier evaluation and no other file."""

import threading
from importlib import import_module
from pathlib import Path

import pytest

import mlvae
from mlvae import InputError
from mlvae.data import Splits
from mlvae.evaluation import QUESTIONS, Embedding, Likelihood, Rollout, Unseen, evaluate
from mlvae.evaluation.applicable import applicable
from mlvae.likelihoods import ColumnScale, MixedColumns


@pytest.fixture
def ask(known, known_data):
    """Evaluates, quickly, into a folder."""

    def ask(folder, **options):
        splits = Splits(known_data(40), test=known_data(40, seed=1))
        return evaluate(known, splits, folder, **({"questions": [Unseen()]} | options))

    return ask


#: Questions about one kind of model.
OF_A_KIND = {
    "Codebook",
    "Composition",
    "Counterfactual",
    "Documents",
    "Imputation",
    "Rollout",
    "Topics",
}


def test_questions_about_another_kind_of_model_are_not_asked_unless_they_are_chosen(
    ask, known, tmp_path, monkeypatch
):
    names = [type(q).__name__ for q in applicable([kind() for kind in QUESTIONS], known)]
    assert names == [kind.__name__ for kind in QUESTIONS if kind.__name__ not in OF_A_KIND]
    module = import_module("mlvae.evaluation.evaluate")  # the package has the function's name
    monkeypatch.setattr(module, "QUESTIONS", (Unseen, Rollout))
    assert ask(tmp_path / "default", questions=None).keys() == {"facts", "verdict", "unseen"}
    assert Rollout.title not in (tmp_path / "default" / "report.html").read_text()
    assert ask(tmp_path / "chosen", questions=[Rollout()])["rollout"] == {}
    assert Rollout.title in (tmp_path / "chosen" / "report.html").read_text()
    # An option is a choice too.
    assert applicable([Unseen(), Rollout(turns=3)], known)[1:] == [Rollout(turns=3)]


@pytest.mark.parametrize(
    ("build", "kinds"),
    [
        (lambda: mlvae.models.Rotations((4, 3), actions=2), {"Rollout"}),
        (lambda: mlvae.models.SVQVAE((3,), group_names=["a", "b"]), {"Codebook"}),
        (
            lambda: mlvae.models.DirVAE((3,), likelihood=mlvae.likelihoods.Multinomial()),
            {"Documents", "Topics"},
        ),
        (
            lambda: mlvae.models.VSAE((1,), likelihood=MixedColumns((ColumnScale("age"),))),
            {"Imputation"},
        ),
    ],
    ids=["Rotations", "SVQVAE", "documents", "VSAE"],
)
def test_questions_about_a_kind_of_model_are_asked_of_that_kind(build, kinds):
    found = applicable([kind() for kind in QUESTIONS], build())
    assert {type(question).__name__ for question in found} & OF_A_KIND == kinds


def test_an_earlier_evaluation_is_replaced_as_a_whole(ask, tmp_path):
    folder = tmp_path / "evaluation"
    ask(folder)
    (folder / "embedding_test.png").touch()
    ask(folder)
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "report.html"}
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation"]


def test_other_folders_are_refused_and_unchanged(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("checkpoint.pt", "thesis.txt"):
        folder = tmp_path / name[:3]
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(InputError, match=rf"/{name[:3]}\b.*\b{name}\b"):
            ask(folder)
        assert (folder / name).read_text() == "mine"
    ask("run")
    (tmp_path / "run" / "checkpoint.pt").touch()
    with pytest.raises(InputError, match=r"^run\b.* run/evaluation$"):
        ask("run")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^file\b"):
        ask("file")
    with pytest.raises(InputError, match="File name too long"):
        ask("a" * 300)
    for folder in (".", ""):
        with pytest.raises(InputError, match=r"'\.'$"):
            ask(folder)
    for kept in ("new.old", "new.part"):
        (tmp_path / kept).mkdir()
        (tmp_path / kept / "mine").touch()
    ask("new")
    ask("new")
    assert (tmp_path / "new.old" / "mine").exists() and (tmp_path / "new.part" / "mine").exists()


def test_one_of_several_concurrent_evaluations_remains(ask, tmp_path):
    errors = []

    def work():
        try:
            for _ in range(5):
                ask(tmp_path / "same")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and [path.name for path in tmp_path.iterdir()] == ["same"]
    assert {path.name for path in (tmp_path / "same").iterdir()} == {"metrics.json", "report.html"}


def test_a_folder_that_another_evaluation_is_replacing_is_written(ask, tmp_path, monkeypatch):
    # The other evaluation moves the folder after the check that it exists.
    monkeypatch.setattr(Path, "exists", lambda path: True)
    ask(tmp_path / "evaluation")
    assert (tmp_path / "evaluation" / "report.html").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"questions": [Embedding]}, r"Separation.*<class .*Embedding"),
        ({"questions": ["embedding"]}, r"Separation.*'embedding'"),
        ({"questions": Likelihood()}, r"^questions\b.*Likelihood"),
        ({"questions": [Unseen(), Unseen(shots=(2,))]}, "Unseen, Unseen$"),
        ({"vae": "runs/first"}, r"^vae\b.*'runs/first'"),
        ({"workers": -3}, r"^workers\b.*-3$"),
    ],
)
def test_wrong_arguments_are_one_line_and_write_nothing(ask, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        ask(tmp_path / "evaluation", **options)
    assert not list(tmp_path.iterdir())


def test_data_without_splits_are_refused(known, known_data, tmp_path):
    with pytest.raises(InputError, match=r"^splits\b.*GroupedData"):
        evaluate(known, known_data(40), tmp_path / "evaluation")


def test_a_control_with_two_codes_is_refused(ask, tmp_path):
    with pytest.raises(InputError, match=r"^vae\b.*MLVAE.*content, style"):
        ask(tmp_path / "evaluation", vae=mlvae.models.MLVAE((1, 4, 4)))
    assert not list(tmp_path.iterdir())
