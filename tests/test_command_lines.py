"""Command lines of the scripts: quotes, values of every kind, runs moved to another machine."""

import contextlib
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from PIL import Image

from mlvae.commands import cli, evaluate, train
from mlvae.commands.configs import CONFIGS
from mlvae.data import GroupedData
from mlvae.data.splitting.splits import hold_out
from mlvae.errors import InputError
from mlvae.training.checkpoint import read_state

#: The commands are not counted by coverage, and other tests reach the lines of the library.
pytestmark = pytest.mark.no_cover

PATHS = [
    "/data/müller",
    "date=2024-05-01.npz",
    "mine (1).npz",
    "o'hara.npz",
    'say "x".npz',
    "a,b.npz",
    "{a}",
    "顔/写真",
    "back\\slash\\",
    "5",
    "007",
    "null",
    "a b",
    "~x",
    "#1!&",
]


def pasted(argument):
    """Name and value of an argument, read by a shell and by Hydra."""
    (word,) = shlex.split(argument)
    override = OverridesParser.create().parse_override(word)
    return override.key_or_group, override.value()


@pytest.mark.parametrize("path", PATHS)
def test_a_printed_option_can_be_pasted(path):
    assert pasted(cli.argument("run", path)) == ("run", path)


@pytest.mark.parametrize("path", PATHS)
def test_the_error_of_an_unreadable_override_shows_it_in_quotes(path, capsys):
    parser = OverridesParser.create()
    with contextlib.suppress(HydraException):
        parser.parse_overrides([f"dataset.root={path}"])
        return
    with pytest.raises(SystemExit) as end, cli.one_line_errors():
        parser.parse_overrides([f"dataset.root={path}"])
    line = str(end.value)
    assert line.startswith("error: ") and "\n" not in line
    assert pasted(line.split("it is ")[1]) == ("dataset.root", path)


def test_the_items_of_an_unreadable_list_are_quoted():
    with pytest.raises(SystemExit) as end, cli.one_line_errors():
        OverridesParser.create().parse_overrides(["dataset.root=[/a/müller,/b]"])
    assert pasted(str(end.value).split("it is ")[1]) == ("dataset.root", ["/a/müller", "/b"])


@pytest.fixture(autouse=True, scope="module")
def configs():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


@pytest.fixture
def moved(tmp_path, monkeypatch, capsys):
    """The run of a collection, whose folder, cache and table are in another place now."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    monkeypatch.chdir(there)
    monkeypatch.delenv("MLVAE_CACHE", raising=False)
    lines = []
    for person in "abcdef":
        (there / "people" / person).mkdir(parents=True)
        for i in range(4):
            pixels = np.random.default_rng([ord(person), i]).integers(
                0, 256, (8, 8), dtype=np.uint8
            )
            Image.fromarray(pixels).save(there / "people" / person / f"{i}.png")
            lines.append(f"{person}/{i}.png,{person}")
    (there / "people.csv").write_text("\n".join(["file,identity", *lines]))
    (there / "held.txt").write_text("b\n")
    options = ["dataset=faces", "dataset.root=people", "dataset.size=8", "dataset.workers=1"]
    options += ["dataset.table=people.csv", "dataset.validation=held.txt", "dataset.colour=false"]
    options += ["trainer.epochs=1", "model.network.hidden=[4]", "device=cpu", "run=run"]
    train.run(compose("train", options))
    there.rename(here)
    monkeypatch.chdir(here)
    return there


def resumed(overrides, monkeypatch):
    """Resume a run as the command line does."""
    monkeypatch.setattr(train.HydraConfig, "initialized", lambda: True)
    task = type("T", (), {"task": overrides})
    hydra = type("H", (), {"overrides": task})
    monkeypatch.setattr(train.HydraConfig, "get", lambda: hydra)
    return train.run(compose("train", overrides))


def test_a_moved_run_is_resumed_with_its_data_in_new_places(moved, monkeypatch, capsys):
    options = ["resume=run", "+dataset.root=people", "+dataset.table=people.csv"]
    options += ["dataset.validation=held.txt", "+dataset.workers=1", "trainer.epochs=2"]
    with contextlib.suppress(OSError):
        shutil.rmtree("cache")
    # A cache that exists only on the other machine is replaced by the user's own.
    monkeypatch.setenv("MLVAE_CACHE", "own")
    resumed(options, monkeypatch)
    out = capsys.readouterr().out
    assert str(moved / "cache") in out and str(Path("own").absolute()) in out
    assert Path("own").is_dir() and not moved.exists()
    dataset = read_state(Path("run/checkpoint.pt"))["config"]["dataset"]
    assert dataset["cache"] == str(Path("own").absolute())
    assert dataset["validation"] == str(Path("held.txt").absolute())
    resumed([*options[:-1], "+dataset.cache=third", "trainer.epochs=3"], monkeypatch)
    assert Path("third").is_dir()


def test_a_resumed_run_keeps_a_fraction_for_validation(moved, monkeypatch):
    with pytest.raises(InputError, match=r"dataset\.validation\b"):
        resumed(["resume=run", "dataset.validation=0.5"], monkeypatch)


def test_an_evaluation_never_creates_folders_of_another_machine(moved, monkeypatch, capsys):
    config = cli.resolved(compose("evaluate", ["run=run", "vae=null", "device=cpu"]))
    with pytest.raises(InputError, match=r"people\b.*root="):
        evaluate.evaluate_by(config, progress=False)
    assert not moved.exists()
    state = read_state(Path("run/checkpoint.pt"))
    places = {"root": "people", "table": "people.csv"}
    _, dataset = evaluate.trained_on(Path("run"), state, **places)
    assert dataset["cache"] == str(Path("cache").absolute())
    assert str(moved / "cache") in capsys.readouterr().out
    assert dataset["table"] == str(Path("people.csv").absolute())
    _, dataset = evaluate.trained_on(Path("run"), state, **places, cache="mine")
    assert dataset["cache"] == str(Path("mine").absolute())
    state["config"]["dataset"] = {"name": "mnist", "root": "there"}
    with pytest.raises(InputError, match=r"MNIST/raw\b.*root="):
        evaluate.trained_on(Path("run"), state)
    with pytest.raises(InputError, match="cache"):
        evaluate.trained_on(Path("run"), state, root="there", cache="mine")
    assert not Path("there").exists() and not moved.exists()


def test_labels_that_are_numbers_match_their_text():
    data = GroupedData(np.zeros((6, 2)), [7, 7, 8, 8, 9, 9])
    for label in ("7", 7, 7.0):
        assert list(hold_out(data, [label])[1].group_names) == [7]
    with pytest.raises(InputError, match="007"):
        hold_out(data, ["007"])
    data = GroupedData(np.zeros((4, 2)), [7.0, 7.0, 8.5, 8.5])
    for label in ("7", "7.0", 7):
        assert list(hold_out(data, [label])[1].group_names) == [7.0]
