"""Scales that elements share: parameters of the decoder, learned like its weights."""

import math

import pytest
import torch
from torch import distributions

from mlvae import Batch, GroupedData, Groups
from mlvae.evaluation import importance_weighted_bound
from mlvae.likelihoods import Bernoulli, DiscretisedLogistic, LearnedGaussian
from mlvae.models import MLVAE, VAE
from mlvae.models.decoder import SharedScale, build_decoder
from mlvae.networks import MLP, Conv

NETWORK = MLP(hidden=(16,))


def gaussian(scope):
    return LearnedGaussian(-9.0, 1.0, scope=scope)


@pytest.mark.parametrize("network", [NETWORK, Conv(widths=(8,))])
@pytest.mark.parametrize(("scope", "own"), [("channel", (3, 1, 1)), ("scalar", (1, 1, 1))])
def test_a_shared_scale_is_one_parameter_for_all_elements_that_share_it(network, scope, own):
    decoder = build_decoder(network, 4, (3, 6, 5), gaussian(scope))
    assert decoder.scale.shape == own
    with torch.no_grad():
        decoder.scale.copy_(torch.rand(own))
    latent = torch.randn(7, 4)
    parameters = decoder(latent)
    assert parameters.shape == (7, 2, 3, 6, 5)
    assert torch.equal(parameters[:, 1], decoder.scale.expand(7, 3, 6, 5))
    assert torch.equal(parameters[:, :1], decoder.decoder(latent))


def test_only_a_shared_scale_changes_the_decoder():
    for likelihood in (Bernoulli(), LearnedGaussian(), DiscretisedLogistic()):
        decoder = build_decoder(NETWORK, 4, (3, 6, 5), likelihood)
        assert not isinstance(decoder, SharedScale)
    # The network has one output per element less, and the decoder one parameter more.
    shared = build_decoder(NETWORK, 4, (3, 6, 5), gaussian("scalar"))
    plain = build_decoder(NETWORK, 4, (3, 6, 5), Bernoulli())
    count = [sum(p.numel() for p in decoder.parameters()) for decoder in (shared, plain)]
    assert count[0] == count[1] + 1


def test_the_density_is_the_normal_of_each_channels_variance():
    likelihood = gaussian("channel")
    decoder = build_decoder(NETWORK, 4, (3, 6, 5), likelihood).double()
    with torch.no_grad():
        decoder.scale.copy_(torch.randn(3, 1, 1))
    parameters, x = decoder(torch.randn(7, 4).double()), torch.rand(7, 3, 6, 5).double()
    std = (0.5 * (-4 + 5 * decoder.scale.tanh())).exp()
    expected = distributions.Normal(parameters[:, 0], std).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(likelihood.log_prob(parameters, x), expected)


@pytest.mark.parametrize(("scope", "axes"), [("channel", (0, 2, 3)), ("scalar", (0, 1, 2, 3))])
def test_the_best_shared_variance_is_the_mean_squared_error(scope, axes):
    # At this variance the gradient is zero (Rybkin, Daniilidis and Levine 2021).
    likelihood = gaussian(scope)
    decoder = build_decoder(NETWORK, 4, (3, 6, 5), likelihood).double()
    latent, x = torch.randn(7, 4).double(), torch.rand(7, 3, 6, 5).double()
    error = (x - likelihood.mean(decoder(latent))).square().mean(axes).detach()
    with torch.no_grad():
        decoder.scale.copy_(((error.log() + 4) / 5).atanh().reshape(decoder.scale.shape))
    likelihood.log_prob(decoder(latent), x).sum().backward()
    torch.testing.assert_close(
        decoder.scale.grad, torch.zeros_like(decoder.scale), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("likelihood", [LearnedGaussian, DiscretisedLogistic])
@pytest.mark.parametrize("scope", ["channel", "scalar"])
def test_models_with_a_shared_scale_are_trained_and_evaluated(likelihood, scope):
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    data = GroupedData(images, [0, 0, 1, 1, 2, 2])
    batch = Batch(images / 255, Groups.of([0, 0, 1, 1, 2, 2]))
    for kind, options in ((MLVAE, {"content_dim": 3, "style_dim": 2}), (VAE, {"latent_dim": 4})):
        model = kind((3, 8, 8), network=NETWORK, likelihood=likelihood(scope=scope), **options)
        model(batch).loss.backward()
        assert model.decoder.scale.grad.all()
        bound = importance_weighted_bound(model, data, num_content=2, num_style=2)
        assert bound.isfinite().all()
        assert model.reconstruct(images).shape == (6, 3, 8, 8)


def test_each_column_of_a_table_may_have_its_own_variance():
    decoder = build_decoder(NETWORK, 4, (12,), gaussian("channel"))
    assert decoder.scale.shape == (12,) and decoder(torch.randn(7, 4)).shape == (7, 2, 12)


def test_a_shared_scale_keeps_its_digits_under_autocast():
    decoder = build_decoder(NETWORK, 4, (12,), gaussian("scalar"))
    with torch.no_grad():
        decoder.scale.fill_(math.pi)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parameters = decoder(torch.randn(7, 4))
    assert parameters.dtype == torch.float32 and parameters[0, 1, 0].item() == decoder.scale.item()
