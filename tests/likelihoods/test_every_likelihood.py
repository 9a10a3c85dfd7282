"""What every likelihood must do, and with every network.

A new likelihood needs an entry in ``LIKELIHOOD_OPTIONS`` and, if it is not a density on the real
line, its values in ``support``.
"""

import math
from dataclasses import fields, replace

import pytest
import torch

from mlvae import InputError
from mlvae.likelihoods import (
    LIKELIHOODS,
    SCOPES,
    Bernoulli,
    DiscretisedLogistic,
    Gaussian,
    LearnedGaussian,
    Multinomial,
    NegativeBinomial,
    Poisson,
)
from mlvae.models.decoder import SharedScale, build_decoder
from mlvae.networks import MLP, NETWORKS, Conv, Conv1d, ConvMLP, PlainConv, TopicMLP

LIKELIHOOD_OPTIONS = {
    Bernoulli: [{}],
    Gaussian: [{}, {"std": 0.1}],
    LearnedGaussian: [{}, {"log_variance_min": -9.0, "log_variance_max": 0.5}]
    + [{"scope": scope} for scope in SCOPES[1:]],
    DiscretisedLogistic: [{}, {"log_scale_min": -3.0, "log_scale_max": 0.0}]
    + [{"scope": scope} for scope in SCOPES[1:]],
    Poisson: [{}, {"link": "exp", "total": 10.0}],
    NegativeBinomial: [
        {},
        {"link": "exp", "log_inverse_dispersion_min": -2.0},
        {"scope": "scalar"},
        {"scope": "element"},
    ],
    Multinomial: [{}, {"coefficient": True}],
}
COUNTS = (Poisson, NegativeBinomial, Multinomial)
EVERY = [kind(**options) for kind, choices in LIKELIHOOD_OPTIONS.items() for options in choices]
every_likelihood = pytest.mark.parametrize("likelihood", EVERY, ids=repr)
#: Those whose elements are independent. The words of a document are not, given their number:
#: test_multinomial.py has the sums over all documents.
INDEPENDENT = [likelihood for likelihood in EVERY if not isinstance(likelihood, Multinomial)]
each_independent = pytest.mark.parametrize("likelihood", INDEPENDENT, ids=repr)
NETWORK_OPTIONS = {
    MLP: {"hidden": (8,)},
    Conv: {"widths": (4, 8)},
    Conv1d: {"widths": (4, 8)},
    ConvMLP: {"widths": (4, 8), "hidden": (8,)},
    TopicMLP: {"hidden": (8,), "mixing": "product"},
}
SHAPE = (2, 4, 4)


def support(likelihood):
    """Values (M,) of one element and their weights, so that a sum integrates over the support."""
    if isinstance(likelihood, Bernoulli):
        return torch.tensor([0.0, 1.0]).double(), torch.ones(2).double()
    if isinstance(likelihood, DiscretisedLogistic):
        return torch.arange(256).double() / 255, torch.ones(256).double()
    if isinstance(likelihood, COUNTS):
        return torch.arange(5_000).double(), torch.ones(5_000).double()
    values = torch.linspace(-25, 25, 50_001, dtype=torch.float64)
    return values, torch.full_like(values, 50 / 50_000)


def example(likelihood, n=3, shape=SHAPE, dtype=torch.float64):
    """Parameters (n, P, ...) of a decoder and observations (n, ...) with a probability."""
    parameters = torch.randn(n, likelihood.outputs, *shape, dtype=torch.float64)
    values, _ = support(likelihood)
    most = 9 if isinstance(likelihood, COUNTS) else 1
    inside = values[(values >= 0) & (values <= most)]
    x = inside[torch.randint(len(inside), (n, *shape))]
    return parameters.to(dtype), x.to(dtype)


def known(likelihood, n):
    """Values that come with n observations: the sizes of counts, which depend on x otherwise."""
    sized = isinstance(likelihood, Poisson | NegativeBinomial)
    return {"size": torch.full((n,), 7.0).double()} if sized else {}


def test_every_likelihood_is_here():
    assert set(LIKELIHOOD_OPTIONS) == set(LIKELIHOODS)
    assert set(NETWORK_OPTIONS) == set(NETWORKS) - {PlainConv}  # of larger images
    for kind, choices in LIKELIHOOD_OPTIONS.items():
        has_scope = "scope" in {field.name for field in fields(kind)}
        assert {kind(**options).scope for options in choices} == (
            set(SCOPES) if has_scope else {"element"}
        )
    assert {kind for kind in LIKELIHOODS if getattr(kind, "counts", False)} == set(COUNTS)


# One element


@each_independent
def test_probabilities_sum_to_one_and_their_mean_is_the_mean(likelihood):
    values, weights = support(likelihood)
    for _ in range(4):
        parameters = torch.randn(1, likelihood.outputs, 1, dtype=torch.float64)
        repeated = parameters.expand(len(values), -1, -1)
        sizes = known(likelihood, len(values))
        probability = likelihood.log_prob(repeated, values[:, None], **sizes).exp() * weights
        assert probability.sum().item() == pytest.approx(1, abs=1e-9)
        mean = likelihood.mean(parameters, **known(likelihood, 1)).item()
        # The discretised logistic has the mean before the rounding to 8 bits.
        rounding = 1 / 510 if isinstance(likelihood, DiscretisedLogistic) else 1e-9
        assert (probability * values).sum().item() == pytest.approx(mean, abs=rounding)


# All elements


@each_independent
def test_log_probabilities_are_summed_over_elements_and_not_averaged(likelihood):
    parameters, x = example(likelihood)
    log_prob = likelihood.log_prob(parameters, x, **known(likelihood, 3))
    assert log_prob.shape == (3,) and likelihood.mean(parameters).shape == x.shape
    elements = parameters.movedim(1, -1).reshape(-1, likelihood.outputs, 1)
    if isinstance(likelihood, COUNTS):
        elements[:, 0] = likelihood.mean(parameters, **known(likelihood, 3)).reshape(-1, 1).log()
        likelihood, sizes = replace(likelihood, link="exp"), {"size": torch.ones(len(elements))}
    else:
        sizes = {}
    single = likelihood.log_prob(elements, x.reshape(-1, 1), **sizes).view(3, -1)
    torch.testing.assert_close(log_prob, single.sum(1))
    assert not torch.allclose(log_prob, single.mean(1))


@every_likelihood
def test_observations_are_independent(likelihood):
    parameters, x = example(likelihood)
    order = torch.tensor([2, 0, 1])
    permuted = likelihood.log_prob(parameters[order], x[order])
    torch.testing.assert_close(permuted, likelihood.log_prob(parameters, x)[order])


@every_likelihood
def test_gradients_and_second_gradients_equal_those_of_torch_func(likelihood):
    parameters, x = example(likelihood, shape=(2, 3))

    def total(parameters):
        return (likelihood.log_prob(parameters, x) * torch.tensor([1.0, -2.0, 0.5])).sum()

    leaf = parameters.clone().requires_grad_()
    (first,) = torch.autograd.grad(total(leaf), leaf, create_graph=True)
    gradient = torch.func.grad(total)
    torch.testing.assert_close(first, gradient(parameters))
    (plain,) = torch.autograd.grad(total(leaf), leaf)
    torch.testing.assert_close(plain, first)
    (second,) = torch.autograd.grad(first.square().sum(), leaf)
    expected = torch.func.grad(lambda p: gradient(p).square().sum())(parameters)
    torch.testing.assert_close(second, expected)
    assert first.all() and second.any()


@every_likelihood
def test_gradients_agree_with_finite_differences(likelihood):
    parameters, x = example(likelihood, n=2, shape=(2,))
    parameters.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: likelihood.log_prob(p, x), parameters)
    assert torch.autograd.gradgradcheck(lambda p: likelihood.log_prob(p, x), parameters)


@every_likelihood
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_parameters_are_converted_to_float32(likelihood, dtype):
    parameters, x = example(likelihood, shape=(1, 16, 16), dtype=torch.float32)
    half = parameters.to(dtype)
    log_prob = likelihood.log_prob(half, x)
    assert log_prob.dtype == torch.float32
    torch.testing.assert_close(log_prob, likelihood.log_prob(half.float(), x), rtol=0, atol=0)


# Observations without a probability


@every_likelihood
def test_check_refuses_observations_without_a_probability_and_only_these(likelihood):
    likelihood.check(example(likelihood)[1])
    outside = torch.tensor([[0.5, 1.5]])
    if isinstance(likelihood, Bernoulli | DiscretisedLogistic):
        for x in (outside, -outside):
            with pytest.raises(InputError, match=r"takes observations"):
                likelihood.check(x)
    elif isinstance(likelihood, COUNTS):
        for x, wrong in ((outside, "column 0 .* 0.5"), (-outside.ceil(), "column 0 .* -1")):
            with pytest.raises(InputError, match=wrong):
                likelihood.check(x)
    else:
        likelihood.check(outside)
    if isinstance(likelihood, DiscretisedLogistic):
        with pytest.raises(InputError, match="8 bits"):
            likelihood.check(torch.tensor([[0.5, 1 / 3]]))


# With a network


@every_likelihood
@pytest.mark.parametrize("network", [k(**o) for k, o in NETWORK_OPTIONS.items()], ids=repr)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)])
def test_a_decoder_of_every_network_has_its_parameters_and_their_gradients(
    likelihood, network, shape
):
    shape = shape[:2] if isinstance(network, Conv1d) else shape
    decoder = build_decoder(network, 3, shape, likelihood)
    parameters = decoder(torch.randn(5, 3))
    assert parameters.shape == (5, likelihood.outputs, *shape)
    log_prob = likelihood.log_prob(parameters, example(likelihood, 5, shape, torch.float32)[1])
    assert log_prob.shape == (5,) and log_prob.isfinite().all()
    log_prob.sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    if likelihood.scope != "element":
        assert isinstance(decoder, SharedScale)
        size = math.prod(decoder.scale.shape)
        assert size == (shape[0] if likelihood.scope == "channel" else 1)
