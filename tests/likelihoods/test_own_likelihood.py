"""A likelihood of a user's own: that of docs/tutorials/own-model.md, and wrong ones."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import mlvae

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "own-model.md"
BLOCKS = re.findall(r"```{code-cell}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
QUIET = mlvae.Reports(progress=False)


@dataclass(frozen=True)
class Squares:
    """Minus squares; subclasses have a mistake."""

    outputs: ClassVar[int] = 1
    scope: ClassVar[str] = "element"

    def log_prob(self, parameters, x):
        return -(x - parameters[:, 0]).square().flatten(1).sum(1)

    def mean(self, parameters):
        return parameters[:, 0]

    def check(self, x):
        pass


@dataclass(frozen=True)
class Exchanged(Squares):
    def log_prob(self, x, parameters):
        return super().log_prob(parameters, x)


@dataclass(frozen=True)
class Unsummed(Squares):
    def log_prob(self, parameters, x):
        return -(x - parameters[:, 0]).square()


def train(likelihood, folder, number=8):
    data = mlvae.GroupedData(torch.rand(number, 1, 4, 4), [0, 1] * (number // 2) or [0])
    model = mlvae.models.MLVAE(
        data.shape, likelihood=likelihood, network=mlvae.networks.MLP(hidden=(8,))
    )
    return mlvae.train(model, data, run=folder / "run", epochs=1, reports=QUIET)


@pytest.mark.parametrize("number", [1, 8])
def test_a_likelihood_of_ones_own_trains(number, tmp_path):
    assert train(Squares(), tmp_path, number).finished


@pytest.mark.parametrize("likelihood", [Exchanged(), Unsummed()])
def test_a_likelihood_with_a_mistake_is_refused_before_a_file_is_written(likelihood, tmp_path):
    with pytest.raises(mlvae.InputError, match=rf"parameters, x.*{type(likelihood).__name__}"):
        train(likelihood, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_likelihood_of_the_page_is_that_of_torch():
    (definition,) = [block for block in BLOCKS if "class Laplace" in block]
    (comparison,) = [block for block in BLOCKS if "torch.distributions.Laplace" in block]
    scope = {"__name__": "page", "torch": torch, "np": np, "dataclass": dataclass}
    exec(definition, scope)
    exec(comparison, scope)
    assert scope["expected"].shape == (3,)
