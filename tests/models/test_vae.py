from dataclasses import fields

import pytest
import torch

from mlvae import Batch, Groups, InputError
from mlvae.models import VAE, build
from mlvae.networks import MLP


def small(**options):
    return VAE((1, 8, 8), latent_dim=4, network=MLP(hidden=(16,)), **options)


def test_the_bound_is_per_observation_for_any_groups():
    model, x = small(), torch.rand(6, 1, 8, 8)
    bounds = []
    for labels in ([0] * 6, [0, 1, 2, 0, 1, 2]):
        noise = torch.Generator().manual_seed(0)
        objective = model(Batch(x, Groups.of(labels)), generator=noise)
        bounds.append(objective.elbo)
        torch.testing.assert_close(objective.loss, -objective.elbo.mean())
        assert objective.num_groups is None
        assert objective.count == objective.num_observations == 6
    assert torch.equal(*bounds)


def test_every_parameter_receives_gradient():
    model = small()
    model(Batch(torch.rand(6, 1, 8, 8), Groups.singletons(6))).loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_encoding_and_decoding_keep_the_shapes():
    model, x = small(), torch.rand(6, 1, 8, 8)
    latent = model.infer(x)
    assert latent.mean.shape == (6, 4)
    torch.testing.assert_close(model.decode(latent), model.reconstruct(x))
    torch.testing.assert_close(model.decode(latent.mean), model.reconstruct(x))
    assert model.reconstruct(x).shape == x.shape


def test_a_model_is_rebuilt_from_its_config():
    model = small(kl_weight=2.0)
    again = build((1, 8, 8), model.config)
    names = {field.name for field in fields(VAE.Options)}
    assert again.config == model.config and set(again.config) - {"name"} == names


def test_options_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"latent_dim .*1.*0"):
        VAE((1, 8, 8), latent_dim=0)
