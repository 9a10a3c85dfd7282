"""Encoders that are given known numbers besides the observation: all networks."""

import pytest
import torch

from mlvae.networks import MLP, Conv, Conv1d, ConvMLP, TopicMLP
from mlvae.posteriors import Point

NETWORKS = [
    MLP((9,)),
    MLP((9, 4), init="lecun"),
    Conv((8, 12), blocks=1),
    Conv1d((8, 12)),
    ConvMLP((8, 12)),
    TopicMLP((9,)),
]
each_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda n: type(n).__name__)


def shape_for(network):
    return (3, 9) if isinstance(network, Conv1d) else (3, 9, 7)


@each_network
def test_the_posterior_fits_and_every_parameter_learns(network):
    shape = shape_for(network)
    encoder = network.conditional_encoder(shape, 3, 2)
    posterior = encoder(torch.rand(4, *shape), torch.randn(4, 2))
    assert posterior.mean.shape == posterior.log_variance.shape == (4, 3)
    (posterior.sample() - torch.randn(4, 3)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@each_network
def test_the_posterior_depends_on_the_context_of_its_row_only(network):
    shape = shape_for(network)
    encoder = network.conditional_encoder(shape, 3, 2).double().eval()
    x, context = torch.rand(4, *shape).double(), torch.randn(4, 2).double()
    changed = context.clone()
    changed[2] += 1
    before, after = encoder(x, context).mean, encoder(x, changed).mean
    assert not torch.equal(before[2], after[2])
    torch.testing.assert_close(before[[0, 1, 3]], after[[0, 1, 3]])


@each_network
def test_features_can_be_computed_once_for_several_contexts(network):
    shape = shape_for(network)
    encoder = network.conditional_encoder(shape, 3, 2).eval()
    x = torch.rand(4, *shape)
    features = encoder.trunk(x)
    for context in (torch.randn(4, 2), torch.randn(4, 2).double()):
        torch.testing.assert_close(encoder.given(features, context).mean, encoder(x, context).mean)


@each_network
def test_the_family_sets_the_width_of_the_head(network):
    shape = shape_for(network)
    encoder = network.conditional_encoder(shape, 3, 2, Point)
    if not isinstance(network, TopicMLP):  # whose heads have a normalisation
        assert encoder.heads.out_features == 3
    posterior = encoder(torch.rand(4, *shape), torch.randn(4, 2))
    assert type(posterior) is Point and posterior.mean.shape == (4, 3)


@each_network
def test_heads_of_another_family_have_their_own_width(network):
    shape = shape_for(network)
    first, second = network.encoder(shape, (3, 2), Point)(torch.rand(4, *shape))
    assert type(first) is Point and first.mean.shape == (4, 3) and second.mean.shape == (4, 2)
