"""The text about a model."""

import pytest
import torch

from mlvae import models, networks
from mlvae.models.summary import summary

MODELS = {
    "MLVAE": models.MLVAE((1, 8, 8), content_dim=3, style_dim=4),
    "VAE": models.VAE((1, 8, 8), latent_dim=5),
    "AdaVAE": models.AdaVAE((1, 8, 8), latent_dim=5),
    "ConditionalVAE": models.ConditionalVAE((1, 8, 8), group_names=["a", "b"]),
    "Conv": models.MLVAE((1, 32, 32), network=networks.Conv()),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_text_has_the_class_the_parts_and_all_parameters(name):
    model = MODELS[name]
    first, *parts = repr(model).splitlines()
    assert first.startswith(f"{type(model).__name__} of observations {model.shape}: ")
    number = sum(p.numel() for p in model.parameters())
    assert f" {number:,} parameters" in first
    counts = [int(line.split()[1].replace(",", "")) for line in parts]
    assert sum(counts) == number
    assert max(map(len, [first, *parts])) < 120 and len(parts) <= 4


def test_the_text_has_dimensions_and_layers():
    text = repr(MODELS["MLVAE"])
    assert "content 3, style 4, Bernoulli" in text
    assert "Linear 64 -> 500, Linear 500 -> 14" in text
    assert " more, " in repr(MODELS["Conv"])


def test_a_model_of_another_class_has_a_text():
    assert "Linear 3 -> 2" in summary(torch.nn.Sequential(torch.nn.Linear(3, 2)))
