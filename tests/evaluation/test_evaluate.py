"""An evaluation replaces an evaluation, and nothing else."""

import threading

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


def test_what_is_no_evaluation_is_left_alone(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("checkpoint.pt", "thesis.txt"):
        folder = tmp_path / name[:3]
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(InputError, match=f"hold an earlier evaluation.*has {name}; choose an"):
            ask(folder)
        assert (folder / name).read_text() == "mine"
    ask("run")
    (tmp_path / "run" / "checkpoint.pt").touch()
    with pytest.raises(InputError, match="run holds a run; choose another folder, as run/ev"):
        ask("run")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="must be a folder for the evaluation, not a file"):
        ask("file")
    with pytest.raises(InputError, match=r"could not be written \(File name too long\)"):
        ask("a" * 300)
    for folder in (".", ""):
        with pytest.raises(InputError, match=r"must have a name, not be '\.'"):
            ask(folder)
    for kept in ("new.old", "new.part"):
        (tmp_path / kept).mkdir()
        (tmp_path / kept / "mine").touch()
    ask("new")
    ask("new")
    assert (tmp_path / "new.old" / "mine").exists() and (tmp_path / "new.part" / "mine").exists()


def test_of_several_at_once_one_stays(ask, tmp_path):
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"questions": [Embedding]}, r"a question must be such as Separation\(\), not <class"),
        ({"questions": ["embedding"]}, r"a question must be such as Separation\(\), not 'emb"),
        ({"questions": Likelihood()}, "questions must be a list"),
        ({"questions": [Unseen(), Unseen(shots=(2,))]}, "asked once each, not Unseen, Unseen"),
        ({"vae": "runs/first"}, "vae must be a plain VAE, not a str"),
        ({"workers": -3}, "workers must be an integer of at least 1, not -3"),
    ],
)
def test_wrong_arguments_are_one_line_and_write_nothing(ask, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        ask(tmp_path / "evaluation", **options)
    assert not list(tmp_path.iterdir())


def test_data_alone_are_no_splits(known, known_data, tmp_path):
    with pytest.raises(InputError, match=r"splits must be Splits, as .*, not a GroupedData"):
        evaluate(known, known_data(40), tmp_path / "evaluation")


def test_a_vae_is_no_mlvae(ask, tmp_path):
    with pytest.raises(InputError, match="vae must be a plain VAE, not a MLVAE"):
        ask(tmp_path / "evaluation", vae=mlvae.models.MLVAE((4,)))
