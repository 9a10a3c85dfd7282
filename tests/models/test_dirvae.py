"""DirVAE: samplers, the bound beside the objective of the training, and the prior's update."""

import pytest
import torch

from mlvae import Batch, Dirichlet, Groups, InputError, models
from mlvae.grids import generation_grid, traversal_grid
from mlvae.models import DirVAE, plain_vae
from mlvae.networks import MLP, Encoder
from mlvae.posteriors.dirichlet_prior import DirichletPrior

SHAPE = (1, 4, 4)


def built(**options):
    torch.manual_seed(0)
    return DirVAE(SHAPE, **{"latent_dim": 5, "network": MLP(hidden=(16,)), **options})


def batch_of(number=40, seed=1):
    x = torch.rand(number, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return Batch(x, Groups.singletons(number))


def run(model, batch, seed=0):
    return model(batch, generator=torch.Generator().manual_seed(seed))


# The objective


@pytest.mark.parametrize("kl", ["gamma", "dirichlet"])
def test_the_terms_are_those_of_the_posterior(kl):
    model, batch = built(sampler="implicit", kl=kl).eval(), batch_of()
    objective = run(model, batch)
    q = model.infer(batch.x)
    assert isinstance(q, Dirichlet)
    torch.testing.assert_close(q.prior_concentration, torch.full((5,), 0.98))
    torch.testing.assert_close(objective.per_observation["kl"], q.kl(kl))
    z = q.sample(generator=torch.Generator().manual_seed(0))
    x = batch.x.flatten(1)
    logits = model.decoder(z).flatten(1)
    expected = -torch.nn.functional.binary_cross_entropy_with_logits(
        logits, x, reduction="none"
    ).sum(1)
    torch.testing.assert_close(objective.per_observation["log_likelihood"], expected)


def test_an_approximate_training_has_no_bound_and_an_evaluation_has_both_numbers():
    model, batch = built(), batch_of()
    training = run(model, batch)
    assert training.elbo is None and "log_likelihood" not in training.per_observation
    evaluation = run(model.eval(), batch)
    other = models.build(SHAPE, {**model.config, "sampler": "implicit"}).eval()
    other.load_state_dict(model.state_dict())
    exact = run(other, batch)
    terms = evaluation.per_observation
    torch.testing.assert_close(terms["kl"], exact.per_observation["kl"])
    assert torch.equal(evaluation.elbo, (terms["log_likelihood"] - terms["kl"]).detach())
    objective = terms["approximate_log_likelihood"] - terms["kl"]
    torch.testing.assert_close(terms["approximate_objective"], objective)
    torch.testing.assert_close(evaluation.loss, -objective.mean())
    torch.testing.assert_close(training.loss, evaluation.loss)


def test_the_bound_has_samples_of_the_posterior():
    """The mean over draws is the expectation under Dirichlet samples of PyTorch."""
    model, batch = built().eval(), batch_of(4)
    with torch.no_grad():
        model.decoder.head.weight.mul_(30)  # the samplers differ
        copies = Batch(batch.x.repeat(1500, 1, 1, 1), Groups.singletons(6000))
        terms = run(model, copies).per_observation
        exact, approximate = (
            terms[name].view(1500, 4) for name in ("log_likelihood", "approximate_log_likelihood")
        )
        z = torch.distributions.Dirichlet(model.infer(batch.x).concentration).sample((1500,))
        parameters = model.decoder(z.flatten(0, 1))
        known = model.likelihood.log_prob(parameters, batch.x.repeat(1500, 1, 1, 1)).view(1500, 4)
    error = (exact.var(0) / 1500 + known.var(0) / 1500).sqrt()
    assert ((exact.mean(0) - known.mean(0)).abs() < 4.5 * error).all()
    assert ((approximate.mean(0) - known.mean(0)).abs() > 4.5 * error).all()


def test_the_gamma_objective_is_below_that_with_the_exact_divergence():
    batch = batch_of()
    bounds = [
        run(built(sampler="implicit", kl=kl).eval(), batch).elbo for kl in ("gamma", "dirichlet")
    ]
    assert (bounds[0] <= bounds[1]).all()


# The prior


def test_the_update_begins_at_the_first_prior_and_finds_that_of_the_posteriors():
    prior = DirichletPrior(0.5, 4, "moments").double()
    torch.testing.assert_close(prior(), torch.full((4,), 0.5).double())
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([0.2, 0.5, 1.0, 2.5], dtype=torch.float64)
    z = Dirichlet(truth[None]).sample((20_000,), generator=generator)[:, 0]
    for _ in range(1500):  # posteriors that are nearly points
        prior.update(Dirichlet(z * 1e6 + 1e-9))
    torch.testing.assert_close(prior(), truth, rtol=0.05, atol=0.01)


def test_a_fixed_prior_does_not_move_and_is_no_state():
    model, batch = built(), batch_of()
    run(model, batch)
    assert torch.equal(model.prior(), torch.full((5,), 0.98))
    assert not any(name.startswith("prior") for name in model.state_dict())


def test_the_updated_prior_is_state_that_moves_in_training_alone():
    model, batch = built(prior_update="moments"), batch_of()
    first = model.prior().clone()
    run(model.eval(), batch)
    assert torch.equal(model.prior(), first)
    run(model.train(), batch)
    assert not torch.equal(model.prior(), first)
    again = built(prior_update="moments")
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.prior(), model.prior())
    torch.testing.assert_close(model.infer(batch.x).prior_concentration, model.prior())


# Decoding and pictures


def test_decode_takes_points_on_the_simplex():
    model = built().eval()
    z = torch.distributions.Dirichlet(torch.ones(5)).sample((3,))
    assert model.decode(z).shape == (3, *SHAPE)
    assert model.decode(model.infer(batch_of(3).x)).shape == (3, *SHAPE)
    for values in (2 * z, torch.randn(3, 5), z - z.mean(1, keepdim=True)):
        with pytest.raises(InputError, match="latent"):
            model.decode(values)


def test_a_traversal_moves_a_share_from_0_to_1(monkeypatch):
    model, seen = built().eval(), []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda latent: seen.append(latent) or decode(latent))
    grid = traversal_grid(model, batch_of(1), steps=5)
    assert list(grid.columns) == ["0", "0.25", "0.5", "0.75", "1"]
    rows = seen[-1].view(5, 5, 5)
    mean = model.infer(batch_of(1).x).mean[0]
    for dimension in range(5):
        torch.testing.assert_close(rows[dimension, :, dimension], torch.linspace(0, 1, 5))
        others = [d for d in range(5) if d != dimension]
        start = rows[dimension, 0, others]
        torch.testing.assert_close(start, mean[others] / mean[others].sum())


def test_generated_observations_are_of_the_models_own_prior(monkeypatch):
    model, seen = built(prior_alpha=0.02).eval(), []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda latent: seen.append(latent) or decode(latent))
    generation_grid(model, batch_of(3), generator=torch.Generator().manual_seed(0))
    # With so small a concentration nearly every sample is a corner.
    assert (seen[-1].amax(1) > 0.99).double().mean() > 0.5


# Options and networks


def test_the_control_is_a_gaussian_of_the_same_width():
    vae = plain_vae(built())
    assert vae.latent_dim == 5 and type(vae) is models.VAE


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"latent_dim": 1}, "latent_dim"),
        ({"prior_alpha": 0.0}, "prior_alpha"),
        ({"prior_update": "learned"}, "prior_update"),
        ({"sampler": "exact"}, "sampler"),
        ({"kl": "gaussian"}, "kl"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        built(**options)


def test_a_network_of_a_users_own_must_take_the_family():
    from dataclasses import dataclass

    from torch import nn

    @dataclass(frozen=True)
    class Plain:
        def encoder(self, shape, dims):
            return Encoder(nn.Sequential(nn.Flatten(), nn.Linear(16, 8)), 8, dims)

        def decoder(self, latent_dim, shape, outputs):
            return MLP((8,)).decoder(latent_dim, shape, outputs)

    @dataclass(frozen=True)
    class WithFamily(Plain):
        def encoder(self, shape, dims, family):
            return Encoder(nn.Sequential(nn.Flatten(), nn.Linear(16, 8)), 8, dims, family)

    with pytest.raises(InputError, match="family"):
        built(network=Plain())
    assert built(network=WithFamily()).infer(batch_of(2).x).mean.shape == (2, 5)
