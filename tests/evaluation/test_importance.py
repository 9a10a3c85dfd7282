"""The importance-weighted bound, against linear models whose log p(x_G) is known."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from mlvae.data import GroupedData
from mlvae.errors import InputError
from mlvae.evaluation.measures.importance import importance_weighted_bound
from mlvae.likelihoods import Gaussian
from mlvae.models import MLVAE, VAE
from mlvae.networks import MLP

STD = 0.7
EYE = torch.eye(5, dtype=torch.float64)
SHAPE = (5,)
LINEAR = {"network": MLP(hidden=()), "likelihood": Gaussian(std=STD)}
LABELS = ["c", "b", "c", "a", "c", "b", "c", "c"]  # groups a, b, c of 1, 2 and 5, interleaved


def orthogonal(columns):
    """A (5, columns) matrix of orthogonal columns of different lengths, in float64."""
    q, _ = torch.linalg.qr(torch.randn(5, columns, dtype=torch.float64))
    return q * torch.linspace(1.0, 1.5, columns, dtype=torch.float64)


def linear_mlvae():
    """A linear model with near posteriors: the right means, too wide and without correlations."""
    model = MLVAE(SHAPE, content_dim=2, style_dim=2, **LINEAR).double()
    with torch.no_grad():  # columns that are correlated, but well apart
        mixed = torch.eye(4, dtype=torch.float64) + 0.15
        model.decoder.head.weight.copy_(orthogonal(4) @ mixed)
    w_c, w_s = model.decoder.head.weight.detach().split(2, 1)
    covariance = w_s @ w_s.T + STD**2 * EYE  # of x given c
    evidence = w_c.T @ covariance.inverse()
    # A fifth of the prior in each member: exact for groups of five, too wide for smaller ones.
    c_covariance = (evidence @ w_c + EYE[:2, :2] / 5).inverse()
    gain = w_s.T @ (covariance + w_c @ w_c.T).inverse()
    s_covariance = EYE[:2, :2] - gain @ w_s
    set_encoder(model, (c_covariance @ evidence, c_covariance.diag()), (gain, s_covariance.diag()))
    return model


def set_encoder(model, *posteriors):
    """Give the linear encoder posteriors N(A (x - b), v) for the pairs (A, v)."""
    b = model.decoder.head.bias
    weights, biases = [], []
    for matrix, variance in posteriors:
        weights += [matrix, torch.zeros_like(matrix)]
        biases += [-matrix @ b, variance.log()]
    with torch.no_grad():
        model.encoder.heads.weight.copy_(torch.cat(weights))
        model.encoder.heads.bias.copy_(torch.cat(biases))


def exact_mlvae(model, data):
    """log p(x_G) of a linear model: stacked members are normal, sharing the content's part."""
    w_c, w_s = model.decoder.head.weight.detach().split(model.content_dim, 1)
    values = []
    for group in range(data.groups.num_groups):
        x = data.x[data.groups.index == group].double()
        n = len(x)
        covariance = torch.kron(torch.ones(n, n).double(), w_c @ w_c.T)
        own = w_s @ w_s.T + STD**2 * EYE
        covariance += torch.kron(torch.eye(n).double(), own)
        mean = model.decoder.head.bias.detach().repeat(n)
        normal = torch.distributions.MultivariateNormal(mean, covariance)
        values.append(normal.log_prob(x.flatten()))
    return torch.stack(values)


def exact_vae(model, data):
    """log p(x) of probabilistic principal component analysis."""
    w, b = model.decoder.head.weight.detach(), model.decoder.head.bias.detach()
    covariance = w @ w.T + STD**2 * EYE
    return torch.distributions.MultivariateNormal(b, covariance).log_prob(data.x.double())


def some_data(labels=LABELS):
    return GroupedData(torch.randn(len(labels), 5), labels)


def repeated(model, data, copies, **options):
    """Independent estimates of the bound, (copies, G), of an MLVAE.

    Copies of the groups are further groups of one data set, each with noise of its own.
    """
    number, groups = data.groups.num_groups, data.groups.index
    labels = (groups + number * torch.arange(copies)[:, None]).flatten()
    tiled = GroupedData(data.x.repeat(copies, *[1] * (data.x.ndim - 1)), labels)
    return importance_weighted_bound(model, tiled, **options).view(copies, number)


def mean_and_error(values):
    """Mean over repetitions and its standard error."""
    return values.mean(0), values.std(0) / math.sqrt(len(values))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(("num_content", "num_style"), [(1, 1), (3, 2)])
def test_with_exact_posteriors_every_draw_is_exact(size, num_content, num_style):
    # Orthogonal columns make the true posteriors diagonal and style independent of content.
    model = MLVAE(SHAPE, content_dim=2, style_dim=2, **LINEAR).double()
    with torch.no_grad():
        model.decoder.head.weight.copy_(orthogonal(4))
    w_c, w_s = model.decoder.head.weight.detach().split(2, 1)
    c_variance = 1 / (1 + size * w_c.square().sum(0) / STD**2)
    s_variance = 1 / (1 + w_s.square().sum(0) / STD**2)
    set_encoder(
        model,
        # A product of `size` equal variances divides them by it, and averages the means.
        (size * c_variance[:, None] * w_c.T / STD**2, size * c_variance),
        (s_variance[:, None] * w_s.T / STD**2, s_variance),
    )
    data = some_data(list(range(4)) * size)
    bound = importance_weighted_bound(
        model, data, num_content=num_content, num_style=num_style, seed=5
    )
    torch.testing.assert_close(bound, exact_mlvae(model, data), rtol=1e-10, atol=1e-10)


def test_many_draws_give_the_log_likelihood_of_ragged_groups():
    model, data = linear_mlvae(), some_data()
    assert data.groups.sizes.tolist() == [1, 2, 5]
    values = repeated(model, data, 40, num_content=300, num_style=12)
    values -= exact_mlvae(model, data)
    mean, error = mean_and_error(values)
    assert (error < 0.03).all()
    # The logarithm of an unbiased estimate is low by half its variance, to leading order.
    assert ((mean + values.var(0) / 2).abs() < 4 * error).all(), (mean, error)
    assert (mean.abs() < 0.1).all()


@pytest.mark.parametrize(("num_content", "num_style"), [(1, 1), (3, 1), (1, 3), (4, 4)])
def test_a_few_draws_estimate_the_likelihood_without_bias(num_content, num_style):
    # What makes it a bound: E exp(estimate) = p(x_G), however few the draws.
    model, data = linear_mlvae(), some_data()
    values = repeated(model, data, 8000, num_content=num_content, num_style=num_style)
    mean, error = mean_and_error((values - exact_mlvae(model, data)).exp())
    assert (error < 0.1).all()
    assert ((mean - 1).abs() < 4 * error).all(), (mean, error)


def test_more_draws_tighten_the_bound_and_never_exceed_it():
    model, data = linear_mlvae(), some_data()
    with torch.no_grad():
        model.encoder.heads.bias[2:4] += 1.5  # poorer posteriors leave more to be gained
        model.encoder.heads.bias[6:8] += 1.0
    exact = exact_mlvae(model, data)
    for draws in (((1, 2), (4, 2), (32, 2)), ((8, 1), (8, 4), (8, 32))):
        means, errors = zip(
            *(
                mean_and_error(repeated(model, data, 300, num_content=k, num_style=m))
                for k, m in draws
            ),
            strict=True,
        )
        for i, j in ((0, 1), (1, 2)):
            error = (errors[i].square() + errors[j].square()).sqrt()
            assert (means[j] > means[i] - 3 * error).all()
        gained = means[2].sum() - means[0].sum()
        error = (errors[0].square() + errors[2].square()).sum().sqrt()
        assert gained > 5 * error
        for mean, error in zip(means, errors, strict=True):
            assert (mean < exact + 4 * error).all()


def test_one_draw_is_the_group_elbo(small_model):
    model = small_model().double().eval()
    labels = [2, 0, 1, 0, 2, 2, 2]
    data = GroupedData(torch.rand(7, 1, 8, 8), labels)
    # Posteriors far from the prior and from each other, so that all of them count.
    with torch.no_grad():
        model.encoder.heads.weight.mul_(3)
        model.encoder.heads.bias.sub_(1)
    mean, error = mean_and_error(repeated(model, data, 2000, num_content=1, num_style=1))
    copies = (data.groups.index + 3 * torch.arange(1000)[:, None]).flatten()
    batch = GroupedData(data.x.repeat(1000, 1, 1, 1), copies).batch()
    batch = dataclasses.replace(batch, x=batch.x.double())
    with torch.no_grad():
        elbo = model(batch).elbo.view(1000, 3)
    error = (error.square() + elbo.var(0) / len(elbo)).sqrt()
    assert (error < 0.2).all()
    assert ((mean - elbo.mean(0)).abs() < 4 * error).all(), (mean, elbo.mean(0), error)


def linear_vae():
    model = VAE(SHAPE, latent_dim=2, **LINEAR).double()
    with torch.no_grad():
        model.decoder.head.weight.copy_(orthogonal(2))
    w = model.decoder.head.weight.detach()
    variance = 1 / (1 + w.square().sum(0) / STD**2)
    set_encoder(model, (variance[:, None] * w.T / STD**2, variance))
    return model


def test_a_linear_vae_has_the_likelihood_of_probabilistic_pca():
    model, data = linear_vae(), some_data()
    exact = exact_vae(model, data)
    bound = importance_weighted_bound(model, data, num_content=2)
    assert bound.shape == (8,) and bound.dtype == torch.float64
    torch.testing.assert_close(bound, exact, rtol=1e-10, atol=1e-10)
    # With posteriors that are too wide, many draws are needed.
    with torch.no_grad():
        model.encoder.heads.bias[2:] += 1.0
    tiled = GroupedData(data.x.repeat(100, 1), [0] * 800)
    values = importance_weighted_bound(model, tiled, num_content=500).view(100, 8)
    mean, error = mean_and_error(values)
    assert (error < 0.01).all()
    assert ((mean - exact).abs() < 4 * error + 0.005).all()


def test_a_vae_ignores_groups_and_the_number_of_style_draws():
    model, data = linear_vae(), some_data()
    with torch.no_grad():
        model.encoder.heads.bias[2:] += 1.0
    alone = GroupedData(data.x, range(8))
    decoded = []
    model.decoder.register_forward_hook(lambda *_: decoded.append(1))
    bound = importance_weighted_bound(model, data, num_content=3, num_style=7)
    assert len(decoded) == 3
    assert torch.equal(bound, importance_weighted_bound(model, alone, num_content=3))


@pytest.mark.parametrize("make", [linear_mlvae, linear_vae])
def test_the_chunk_does_not_change_the_result(make):
    model, data = make(), some_data()
    options = {"num_content": 3, "num_style": 2, "seed": 3}
    whole = importance_weighted_bound(model, data, chunk=100, **options)
    for chunk in (1, 3, 8):
        pieces = importance_weighted_bound(model, data, chunk=chunk, **options)
        torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)


def test_no_more_than_a_chunk_is_in_memory_and_each_observation_is_encoded_once(monkeypatch):
    model, data = linear_mlvae(), some_data([0] * 50)
    encoded, decoded = [], []
    encode, decode = model.encoder.forward, model.decoder.forward
    monkeypatch.setattr(model.encoder, "forward", lambda x: encoded.append(len(x)) or encode(x))
    monkeypatch.setattr(model.decoder, "forward", lambda z: decoded.append(len(z)) or decode(z))
    importance_weighted_bound(model, data, num_content=3, num_style=2, chunk=20)
    assert encoded == [20, 20, 10]
    assert decoded == [20, 20, 10] * 6


def test_values_are_in_the_order_of_the_group_names():
    model, data = linear_mlvae(), some_data()
    order = torch.randperm(8)
    other = GroupedData(data.x[order], [{"a": "z", "b": "y", "c": "x"}[LABELS[i]] for i in order])
    assert other.group_names == ["x", "y", "z"]
    for grouped in (data, other):
        bound = importance_weighted_bound(model, grouped, num_content=200, num_style=4)
        exact = exact_mlvae(model, grouped)
        torch.testing.assert_close(bound, exact, rtol=0, atol=0.5)
    assert exact.diff().abs().min() > 1  # so no two groups could be taken for each other


def test_posteriors_far_narrower_than_their_mean_keep_the_bound_finite_and_right():
    # A point posterior at z: log p(x | z) + log p(z) - log q(z), known up to the noise's square.
    model = VAE(SHAPE, latent_dim=1, **LINEAR).double()
    data = some_data()
    with torch.no_grad():
        model.encoder.heads.weight.zero_()
        model.encoder.heads.bias.copy_(torch.tensor([2.0, -80.0]))
        at = model.likelihood.log_prob(model.decoder(torch.full((8, 1), 2.0).double()), data.x)
    noise = torch.randn(8, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    bound = importance_weighted_bound(model, data, num_content=1, seed=4)
    expected = at + 0.5 * (noise[:, 0].square() - 80 - 4)
    torch.testing.assert_close(bound, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(small_model, training):
    model = small_model().train(training)
    modes = []
    model.decoder.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    images = torch.randint(256, (6, 8, 8), dtype=torch.uint8)
    data = GroupedData(images, list("abcabc"))
    state = torch.get_rng_state()
    bound = importance_weighted_bound(model, data, num_content=2, num_style=2)
    assert bound.shape == (3,) and bound.dtype == torch.float64 and not bound.requires_grad
    assert bound.isfinite().all() and set(modes) == {False}
    assert model.training is training and model.decoder.training is training
    assert torch.equal(torch.get_rng_state(), state)
    # float32 agrees with float64, by the same noise.
    double = importance_weighted_bound(model.double(), data, num_content=2, num_style=2)
    torch.testing.assert_close(bound, double, rtol=1e-5, atol=1e-4)
    # After an error too, here of observations of another shape.
    with pytest.raises(InputError, match=r"1, 8, 8.*\(2, 5\)"):
        importance_weighted_bound(model, GroupedData(torch.rand(2, 5), [0, 1]))
    assert model.training is training


def test_the_seed_decides_the_noise():
    model, data = linear_mlvae(), some_data()
    one, same, other = (
        importance_weighted_bound(model, data, num_content=2, num_style=2, seed=seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.isclose(one, other).any()


@pytest.mark.parametrize("name", ["num_content", "num_style", "chunk"])
@pytest.mark.parametrize("value", [0, 1.5, True])
def test_counts_that_are_no_positive_integers_are_refused(small_model, name, value):
    data = GroupedData(torch.rand(2, 1, 8, 8), [0, 1])
    with pytest.raises(InputError, match=rf"^{name}\b.*\b1, not {value}$"):
        importance_weighted_bound(small_model(), data, **{name: value})


def test_models_and_data_without_a_bound_are_refused(small_model):
    data = GroupedData(torch.rand(2, 1, 8, 8), [0, 1])
    with pytest.raises(InputError, match=r"^seed\b.*-1$"):
        importance_weighted_bound(small_model(), data, seed=-1)
    with pytest.raises(InputError, match=r"\bLinear\b"):
        importance_weighted_bound(nn.Linear(2, 2), data)
    model = MLVAE(SHAPE, network=MLP(hidden=()))  # Bernoulli
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        importance_weighted_bound(model, some_data())
