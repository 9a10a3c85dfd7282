"""Networks and likelihoods of a user's own by the commands."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import mlvae
from mlvae.commands.own_parts import imported
from mlvae.errors import InputError

#: The commands are not counted by coverage, and other tests reach the lines of the library.
pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parent.parent

MODULE = """
import math
from dataclasses import dataclass
from torch import nn
from mlvae.likelihoods import Gaussian
from mlvae.networks import Decoder, Encoder

@dataclass(frozen=True)
class Linear:
    width: int = 4

    def encoder(self, shape, dims):
        layers = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), self.width))
        return Encoder(layers, self.width, dims)

    def decoder(self, latent_dim, shape, outputs):
        head = nn.Linear(latent_dim, outputs * math.prod(shape))
        return Decoder(nn.Sequential(), head, (outputs, *shape))

@dataclass(frozen=True)
class Normal(Gaussian):
    pass
"""

NETWORK = """
# @package model.network
name: my_parts.Linear
width: 3
"""

LIKELIHOOD = """
# @package model.likelihood
name: my_parts.Normal
std: 0.5
"""

TABLE = """
title: A table
seeds: [0]
variants:
  own:
    - dataset=arrays
    - dataset.root=own.npz
    - parts=[my_parts.Linear,my_parts.Normal]
    - "~model.network"
    - "+model.network={name: my_parts.Linear, width: 3}"
    - "~model.likelihood"
    - "+model.likelihood={name: my_parts.Normal, std: 0.5}"
    - trainer.epochs=1
    - dataset.test=0.3
evaluation: ["evaluation=[likelihood]", vae=null]
panels:
  - title: Bound
    cells: {from: likelihood.bound.test, take: elbo_per_observation}
    rows: {own: {}}
    columns: {nats: {}}
"""


TRAIN = [
    "--config-dir",
    "configs",
    "dataset=arrays",
    "dataset.root=own.npz",
    "dataset.test=0.3",
    "network=mine",
    "likelihood=mine",
    "trainer.epochs=1",
    "run=run",
    "device=cpu",
]
PARTS = "parts=[my_parts.Linear,my_parts.Normal]"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a module, configs, a table and data; imports are undone."""
    (tmp_path / "my_parts.py").write_text(MODULE)
    for group, text in (("network", NETWORK), ("likelihood", LIKELIHOOD)):
        (tmp_path / "configs" / group).mkdir(parents=True)
        (tmp_path / "configs" / group / "mine.yaml").write_text(text)
    (tmp_path / "table.yaml").write_text(TABLE)
    random = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=random.normal(size=(60, 3, 8)), group=np.arange(60) % 6)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_parts", None)


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """A function that runs a script in this process; returns its status and all that it prints."""

    def run(script, *arguments):
        sys.modules.pop("my_parts", None)
        path = ROOT / "scripts" / f"{script}.py"
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        code = 0
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            code = 1 if isinstance(end.code, str) else end.code or 0
            if isinstance(end.code, str):
                print(end.code)
        return code, "".join(capsys.readouterr())

    return run


def test_own_parts_are_trained_resumed_and_evaluated_if_the_user_names_them(call, folder):
    code, text = call("train", *TRAIN)
    assert code == 1 and "parts=[my_parts.Linear]" in text
    assert not (folder / "run").exists() and "my_parts" not in sys.modules
    code, text = call("train", *TRAIN, PARTS)
    assert code == 0, text
    own = sys.modules["my_parts"]
    model = mlvae.load("run", parts=[own.Linear, own.Normal])
    assert model.options.network == own.Linear(3) and model.options.likelihood == own.Normal(0.5)

    # The classes that a run names are imported only if the user types them.
    questions = ["evaluation=[likelihood]", "device=cpu"]
    for command in (
        ("train", "resume=run", "trainer.epochs=2"),
        ("evaluate", "run=run", *questions),
    ):
        code, text = call(*command)
        assert code == 1 and "parts=[my_parts.Linear]" in text, text
        assert "my_parts" not in sys.modules
    code, text = call("train", "resume=run", "trainer.epochs=2", PARTS)
    assert code == 0, text
    code, text = call("evaluate", "run=run", PARTS, *questions)
    assert code == 0, text
    facts = json.loads((folder / "run" / "evaluation" / "metrics.json").read_text())["facts"]
    assert facts["plain VAE as control"].startswith("VAE, ")
    assert "untrained encoder as control" not in facts


def test_own_parts_are_used_in_a_table(call, folder):
    code, text = call("reproduce", "table=table.yaml", "folder=out", "device=cpu")
    assert code == 0 and "| own |" in text, text
    code, text = call("reproduce", "table=table.yaml", "folder=out", "device=cpu")
    assert code == 0 and "1 runs are done, 0 to do" in text, text


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["Linear"], "my_networks.Waves, not 'Linear'"),
        (["my_parts.linear-1"], "not 'my_parts.linear-1'"),
        (["no_such_module.Linear"], "no_such_module cannot be imported: ModuleNotFoundError"),
        (["broken.Linear"], "broken cannot be imported: ZeroDivisionError"),
        (["my_parts.Nothing"], "my_parts must have a class Nothing"),
        (["my_parts.math"], "my_parts must have a class math"),
        ("my_parts.Linear", "parts must be a list of texts"),
        ([3], "parts must be text, not 3"),
    ],
)
def test_a_name_that_cannot_be_imported_gives_one_line(folder, names, words):
    (folder / "broken.py").write_text("1 / 0")
    with pytest.raises(InputError, match=re.escape(words)) as error:
        imported(names)
    assert "\n" not in str(error.value)
