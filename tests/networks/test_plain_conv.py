"""Plain convolutions: the published networks of the S-VQ-VAE, and others."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from mlvae import InputError
from mlvae.networks import PlainConv
from mlvae.posteriors import DiagonalGaussian, Point


def layers(module, kind):
    return [layer for layer in module.modules() if type(layer) is kind]


def test_the_defaults_are_the_published_networks():
    network = PlainConv(head=False)
    encoder = network.encoder((1, 28, 28), [3200], Point)
    decoder = network.decoder(3200, (1, 28, 28), 1)
    x = torch.rand(2, 1, 28, 28)
    first, second = layers(encoder, nn.Conv2d)
    features = functional.relu(functional.conv2d(x, first.weight, first.bias, stride=2))
    features = functional.relu(functional.conv2d(features, second.weight, second.bias))
    assert features.shape == (2, 50, 8, 8)
    (code,) = encoder(x)
    assert torch.equal(code.mean, features.flatten(1))
    up, last = layers(decoder, nn.ConvTranspose2d)
    image = functional.conv_transpose2d(features, up.weight, up.bias, stride=3)
    assert image.shape == (2, 20, 24, 24)
    image = functional.conv_transpose2d(functional.relu(image), last.weight, last.bias)
    torch.testing.assert_close(decoder(code.mean), image[:, None])
    assert not layers(encoder, nn.Linear) and not layers(decoder, nn.Linear)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 28)])
def test_with_a_head_it_builds_posteriors_of_any_size(shape):
    encoder = PlainConv().encoder(shape, [4, 3], DiagonalGaussian)
    decoder = PlainConv().decoder(7, shape, 2)
    first, second = encoder(torch.rand(5, *shape))
    assert first.mean.shape == (5, 4) and second.log_variance.shape == (5, 3)
    output = decoder(torch.cat((first.mean, second.mean), 1))
    assert output.shape == (5, 2, *shape)
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in decoder.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kernels": (5,)}, "network.kernels .*network.widths"),
        ({"widths": ()}, "network.widths"),
        ({"strides": (0, 1)}, "network.strides"),
        ({"activation": "sign"}, "network.activation"),
        ({"head": 1}, "network.head"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        PlainConv(**options)


def test_a_code_of_another_size_than_the_features_is_refused():
    network = PlainConv(head=False)
    for dims, family in (([64], Point), ([3200, 3200], Point), ([3200], DiagonalGaussian)):
        with pytest.raises(InputError, match=r"head=False.*3200"):
            network.encoder((1, 28, 28), dims, family)
    with pytest.raises(InputError, match=r"head=False.*3200.*64"):
        network.decoder(64, (1, 28, 28), 1)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"decoder_kernels.*20x20"):
        PlainConv().decoder(4, (1, 20, 20), 1)
    with pytest.raises(InputError, match=r"network.kernels"):
        PlainConv().encoder((1, 8, 8), [4])
    with pytest.raises(InputError, match=r"PlainConv.*MLP"):
        PlainConv().encoder((12,), [4])
