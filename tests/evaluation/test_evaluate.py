"""An evaluation replaces an earlier evaluation and no other file."""

import threading
from pathlib import Path

import pytest

import mlvae
from mlvae import InputError
from mlvae.data import Splits
from mlvae.evaluation import Embedding, Likelihood, Unseen, evaluate


@pytest.fixture
def ask(known, known_data):
    """Evaluates, quickly, into a folder."""

    def ask(folder, **options):
        splits = Splits(known_data(40), test=known_data(40, seed=1))
        return evaluate(known, splits, folder, **({"questions": [Unseen()]} | options))

    return ask


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
