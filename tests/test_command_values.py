"""Every option of every script with a value of every kind: one line, never a traceback."""

import copy
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import mlvae
from mlvae.commands import cli, controls, evaluate, prepare, reproduce, train
from mlvae.commands.configs import CONFIGS

#: The commands are not counted by coverage, and other tests reach the lines of the library.
pytestmark = pytest.mark.no_cover

SCRIPTS = Path(__file__).parent.parent / "scripts"
PARSER = OverridesParser.create()
VALUES = ["null", "5", "word", "''", "[]", "[1,a]", "{a:1}", "1e30"]

#: Choices of groups, and the groups whose options get other values. All: of the default.
CHOICES = [
    ([], None),
    (["dataset=arrays", "dataset.root=nowhere.npz"], "dataset"),
    (["dataset=faces", "dataset.root=people"], "dataset"),
    (["dataset=celeba"], "dataset"),
    (["network=conv"], "model"),
    (["model=ada", "batching=grouped"], "model"),
    (["model=conditional"], "model"),
    (["batching=grouped"], "batching"),
    (["augmentation=group_warp"], "augmentation"),
    (["optimizer=torch"], "optimizer"),
    (["likelihood=shared_gaussian"], "model"),
    (["likelihood=discretised_logistic"], "model"),
    (["likelihood=negative_binomial"], "model"),
]


class Trained(Exception):
    """The stub of the training was reached."""


def dotted(config, prefix=""):
    """Dotted names of all options, of groups of options too."""
    for name, value in config.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{name}.")


def line_of(function):
    """The line of the error of a script; None without an error."""
    try:
        with cli.one_line_errors():
            function()
    except Trained:
        return None
    except SystemExit as end:
        assert isinstance(end.code, str), end
        assert end.code.startswith("error: ") and "\n" not in end.code
        return end.code
    return None


@pytest.fixture(autouse=True, scope="module")
def configs():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLVAE_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    (tmp_path / "empty").mkdir()


@pytest.fixture
def untrained(monkeypatch):
    """Stubs: the training ends at once, and a dataset is opened once for equal options."""

    def stop(*_, **__):
        raise Trained

    opened = {}

    def once(**options):
        key = repr(options)
        if key not in opened:
            opened[key] = mlvae.data.open_dataset(**options)
        return opened[key]

    monkeypatch.setattr(train, "train", stop)
    monkeypatch.setattr(train, "open_dataset", once)


def call_with(call, config, option, value):
    """A call with another value in the configuration, as Hydra makes it of an override.

    The configuration has its old value again afterwards: a copy of all options is slow.
    """
    section = option.partition(".")[0]
    before = copy.deepcopy(config._get_node(section))
    try:
        override = PARSER.parse_override(f"{option}={value}")
        OmegaConf.update(config, option, override.value(), merge=True, force_add=True)
        call(config)
    finally:
        config._content[section] = before


def assert_one_line(config, options, call, values=VALUES):
    """Every option with every value: the call succeeds, or ends with one line."""
    failed = []
    for option in options:
        for value in values:
            try:
                line_of(lambda: call_with(call, config, option, value))  # noqa: B023
            except Exception as error:
                failed.append(f"{option}={value}: {type(error).__name__}: {str(error)[:150]}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize(("base", "group"), CHOICES)
def test_training_with_a_value_of_any_kind(base, group, untrained):
    config = compose("train", base)
    options = list(dotted(OmegaConf.to_container(config)))
    if group is not None:
        options = [option for option in options if option.split(".")[0] == group]
    values = VALUES if group is None else ["null", "word", "[1,a]"]
    assert_one_line(config, options, train.run, values)


@pytest.mark.parametrize("script", ["train", "evaluate", "explore", "reproduce", "prepare"])
def test_overrides_that_hydra_refuses(script, monkeypatch):
    run = ["run=run"]
    base = {"evaluate": run, "explore": run, "reproduce": ["table=lfw"]}
    base |= {"prepare": ["dataset=lfw"]}
    base = base.get(script, [])
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS / f"{script}.py")])
    names = list(compose(script, base))
    texts = [f"{name}={value}" for name in names for value in ("null", "[1]", "{a:1}", "~x")]
    texts += ["~x", "x", "=", "+x=1", "dataset@y=5", "model.network.hidden.foo=3", "run.foo=3"]
    texts += ["x=[", "${oc.env:HOME}=1", "hydra=5", "hydra.run=5", "++a.b.c=3", "a=b=c", "~"]
    failed = []
    for text in texts:
        try:
            line_of(lambda: compose(script, [*base, text]))  # noqa: B023
        except Exception as error:
            failed.append(f"{text}: {type(error).__name__}: {str(error)[:200]}")
    assert not failed, "\n".join(failed)


def test_a_preparation_with_a_value_of_any_kind():
    config = compose("prepare", ["dataset=lfw"])
    options = list(dotted(OmegaConf.to_container(config)))
    assert_one_line(config, options, prepare.prepare)


def test_a_reproduction_with_a_value_of_any_kind(monkeypatch):
    def stop(*_, **__):
        raise Trained

    monkeypatch.setattr(reproduce, "plan", stop)
    config = compose("reproduce", ["table=sprites"])
    assert_one_line(
        config, list(config), reproduce.run, ["null", "5", "word", "[]", "[1,a]", "{a:1}"]
    )


def test_an_evaluation_with_a_value_of_any_kind(monkeypatch):
    train.run(compose("train", ["trainer.epochs=1", "model.network.hidden=[4]", "run=run"]))

    def stop(*_, **__):
        raise Trained

    monkeypatch.setattr(evaluate, "evaluate", stop)
    monkeypatch.setattr(controls, "train_by", stop)
    splits = mlvae.data.digits()
    monkeypatch.setattr(evaluate, "open_dataset", lambda **_: splits)
    config = compose("evaluate", ["run=run", "vae=null"])
    options = list(dotted(OmegaConf.to_container(config)))
    assert_one_line(config, options, lambda cfg: evaluate.evaluate_by(evaluate.checked(cfg)))


def test_widths_beyond_the_memory(untrained):
    config = compose("train", ["device=cpu"])
    options = ["model.content_dim", "model.style_dim", "batching.batch_size"]
    assert_one_line(config, options, train.run, ["1000000000000", "9223372036854775807", "1e300"])
    for hidden in ("[1000000000000]", "[4,99999999999999]", "[1e30]"):
        assert line_of(lambda: call_with(train.run, config, "model.network.hidden", hidden))  # noqa: B023
