"""The decoder of the page equals that of PyTorch, in Chromium."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import mlvae
from mlvae.data import GroupedData
from mlvae.explorer.arrays import Arrays
from mlvae.explorer.decoding import decoder_inputs, program
from mlvae.likelihoods import (
    Bernoulli,
    DiscretisedLogistic,
    Gaussian,
    LearnedGaussian,
    MixedColumns,
    Multinomial,
    NegativeBinomial,
    Poisson,
)
from mlvae.likelihoods.columns.layout import ColumnScale
from mlvae.models import MLVAE, SVQVAE, VAE, VSAE, DirVAE
from mlvae.networks import MLP, Conv, Conv1d, ConvMLP, PlainConv, TopicMLP

SCRIPTS = Path(mlvae.__file__).with_name("explorer")

COLUMNS = MixedColumns(
    (
        ColumnScale("income", mean=3.0, deviation=2.0),
        ColumnScale("colour", "categorical", levels=3),
        ColumnScale("visits", "count", mean=1.0, deviation=0.7),
        ColumnScale("smokes", "binary"),
        ColumnScale("price", "positive", mean=0.5, deviation=0.4),
        ColumnScale("grade", "ordinal", levels=4),
    )
)

#: Models with every network, activation, likelihood and scale that the page computes.
MODELS = {
    "tanh": lambda: MLVAE((1, 8, 8), network=MLP((16,))),
    "gelu": lambda: MLVAE((1, 8, 8), network=MLP((16,), activation="gelu")),
    "elu": lambda: MLVAE((6,), network=MLP((16,), activation="elu"), likelihood=Gaussian()),
    "batch norm": lambda: MLVAE((5,), network=MLP((16, 8), batch_norm=True)),
    "conv": lambda: MLVAE((3, 13, 10), network=Conv((8, 16)), likelihood=LearnedGaussian()),
    "conv without blocks": lambda: MLVAE((1, 9, 9), network=Conv((8, 12, 16), blocks=0)),
    "conv1d": lambda: MLVAE((3, 21), network=Conv1d((8, 12)), likelihood=LearnedGaussian()),
    "hybrid": lambda: MLVAE((1, 8, 8), network=ConvMLP((8,), hidden=(12,), activation="relu")),
    "transposed": lambda: MLVAE((1, 28, 28), network=PlainConv((4, 6))),
    "two parameters transposed": lambda: MLVAE(
        (1, 28, 28), network=PlainConv((4, 6)), likelihood=LearnedGaussian()
    ),
    "shared variance": lambda: MLVAE((6,), likelihood=LearnedGaussian(scope="scalar")),
    "a scale of each feature": lambda: MLVAE((6,), standardise="feature", likelihood=Gaussian()),
    "a scale of each channel": lambda: MLVAE(
        (2, 9), network=Conv1d((8,)), standardise="channel", likelihood=Gaussian()
    ),
    "logistic": lambda: MLVAE((1, 8, 8), likelihood=DiscretisedLogistic()),
    "poisson": lambda: MLVAE((12,), likelihood=Poisson(link="exp", total=30.0)),
    "negative binomial": lambda: MLVAE((12,), likelihood=NegativeBinomial()),
    "multinomial": lambda: MLVAE((12,), likelihood=Multinomial()),
    "topics": lambda: DirVAE((12,), network=TopicMLP((8,)), likelihood=Multinomial()),
    "products of topics": lambda: VAE(
        (12,), network=TopicMLP((8,), mixing="product", softmax=True), likelihood=Multinomial()
    ),
    "columns": lambda: VAE((11,), likelihood=COLUMNS),
    "columns with missing cells": lambda: VSAE((11,), likelihood=COLUMNS),
}


def with_random_weights(model):
    """The model with weights that move every layer away from its initial values."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, values in [*model.named_parameters(), *model.named_buffers()]:
            if not values.is_floating_point() or values.ndim == 0:
                continue
            noise = torch.randn(values.shape, generator=generator)
            if "running_var" in name or "deviation" in name:
                values.copy_(0.5 + noise.abs())
            elif values.ndim > 1:
                values.mul_(1.5)
            else:
                values.add_(0.3 * noise)
    return model.eval()


def latents(model, number=10):
    """Values of every code, by the names of ``decode``."""
    generator = torch.Generator().manual_seed(2)
    names = [name for name in ("content", "style", "latent") if hasattr(model, f"{name}_dim")]
    dims = {name: getattr(model, f"{name}_dim") for name in names}
    found = {n: torch.randn(number, dim, generator=generator) for n, dim in dims.items()}
    if isinstance(model, DirVAE):
        return {name: values.softmax(1) for name, values in found.items()}
    return found


@pytest.fixture(scope="module")
def scripts(browser):
    """The browser with the scripts of the decoder and of the evidence."""
    browser.run("history.length")  # an empty page
    for name in ("decoder.js", "evidence.js"):
        text = (SCRIPTS / name).read_text().replace("const Arrays =", "var Arrays =")
        text = text.replace("const Decoder =", "var Decoder =")
        browser.run(text.replace("const Evidence =", "var Evidence =") + "\ntrue")
    return browser


def decoded_by_page(browser, model, codes, precision="float32"):
    """What the page decodes, (N, E)."""
    arrays = Arrays(precision)
    made = program(model, decoder_inputs(model, codes), arrays)
    rows = [
        {name: values[i].tolist() for name, values in codes.items()}
        for i in range(len(next(iter(codes.values()))))
    ]
    found = browser.run(
        f"""(() => {{
          const read = Arrays.reader({json.dumps(arrays.text())});
          const decode = Decoder.decoder({json.dumps(made)}, read);
          return {json.dumps(rows)}.map((codes) => Array.from(decode(codes)));
        }})()"""
    )
    return np.array(found)


@pytest.mark.parametrize("name", MODELS)
def test_ten_swaps_have_the_values_of_pytorch(name, scripts):
    model = with_random_weights(MODELS[name]())
    codes = latents(model)
    with torch.no_grad():
        expected = model.decode(**codes).flatten(1).numpy()
    assert expected.std(0).max() > 1e-3  # the latents matter
    found = decoded_by_page(scripts, model, codes)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_half_precision_has_three_digits(scripts):
    model = with_random_weights(MODELS["tanh"]())
    codes = latents(model)
    with torch.no_grad():
        expected = model.decode(**codes).flatten(1).numpy()
    found = decoded_by_page(scripts, model, codes, "float16")
    error = np.abs(found - expected).max()
    assert 1e-6 < error < 5e-3


def test_a_code_that_the_decoder_does_not_receive_is_left_out():
    network = PlainConv((4, 6), head=False)
    names = ("a", "b")
    model = SVQVAE((1, 28, 28), group_names=names, latent_dim=6 * 8 * 8, network=network).eval()
    codes = {name: torch.randn(4, 6 * 8 * 8) for name in ("content", "latent")}
    assert decoder_inputs(model, codes) == ["content"]


class OwnLayer(nn.Linear):
    """A layer that computes something else than its parent."""

    def forward(self, input):
        return -super().forward(input)


class OwnLikelihood:
    """The parameters themselves."""

    outputs: ClassVar[int] = 1

    def mean(self, parameters):
        return parameters[:, 0]


def test_layers_and_likelihoods_of_other_classes_are_refused_by_name():
    model = MLVAE((6,), network=MLP((8,))).eval()
    model.decoder.head.__class__ = OwnLayer
    with pytest.raises(mlvae.InputError, match="OwnLayer"):
        program(model, ["content", "style"], Arrays())
    model = MLVAE((6,), network=MLP((8,))).eval()
    model.likelihood = OwnLikelihood()
    with pytest.raises(mlvae.InputError, match="OwnLikelihood"):
        program(model, ["content", "style"], Arrays())


def test_a_model_that_decodes_in_another_way_is_refused_by_name(tmp_path):
    model = MLVAE((6,), likelihood=Bernoulli()).eval()
    data = GroupedData(torch.rand(8, 6), [0, 0, 0, 0, 1, 1, 1, 1])
    original = model.decode
    model.decode = lambda **codes: original(**codes) + 0.1
    with pytest.raises(mlvae.InputError, match="MLVAE"):
        mlvae.explore(model, data, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
