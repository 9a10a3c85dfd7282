"""The likelihoods against torch.distributions and closed forms.

test_every_likelihood.py has what all likelihoods have in common.
"""

import math

import pytest
import torch
from torch import distributions

from mlvae import InputError
from mlvae.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    DiscretisedLogistic,
    Gaussian,
    LearnedGaussian,
    Multinomial,
    NegativeBinomial,
    Poisson,
)

SHAPES = [(1, 4, 4), (3, 5, 2), (7,)]
VALUES = torch.arange(256, dtype=torch.float64)[:, None] / 255  # every 8-bit value of one element


def example(likelihood, shape, n=3):
    parameters = 2 * torch.randn(n, likelihood.outputs, *shape, dtype=torch.float64)
    return parameters, torch.rand(n, *shape, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_probabilities_agree_with_torch_distributions_summed_over_elements(shape):
    parameters, x = example(Bernoulli(), shape)
    reference = distributions.Bernoulli(logits=parameters[:, 0], validate_args=False)
    expected = reference.log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(Bernoulli().log_prob(parameters, x), expected)

    parameters, x = example(Gaussian(), shape)
    expected = distributions.Normal(parameters[:, 0], 0.3).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(Gaussian(std=0.3).log_prob(parameters, x), expected)

    parameters, x = example(LearnedGaussian(), shape)
    likelihood = LearnedGaussian(-4.0, 0.5)
    std = (0.5 * (-1.75 + 2.25 * parameters[:, 1].tanh())).exp()
    expected = distributions.Normal(parameters[:, 0], std).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(likelihood.log_prob(parameters, x), expected)


def test_the_default_learned_log_variance_is_a_tanh_as_in_the_authors_code():
    parameters, _ = example(LearnedGaussian(), (4,))
    log_variance = LearnedGaussian().log_variance(parameters)
    torch.testing.assert_close(log_variance, parameters[:, 1].tanh())


def test_the_gradient_of_the_learned_gaussian_agrees_with_finite_differences_and_autograd():
    likelihood = LearnedGaussian(-3.0, 0.5)
    parameters, x = example(likelihood, (2, 3))
    parameters.requires_grad_()
    x.requires_grad_()
    assert torch.autograd.gradcheck(likelihood.log_prob, (parameters, x))
    weights = torch.randn(3, dtype=torch.float64)
    log_variance = likelihood.log_variance(parameters)
    plain = distributions.Normal(parameters[:, 0], (0.5 * log_variance).exp()).log_prob(x)
    expected = torch.autograd.grad((plain.flatten(1).sum(1) * weights).sum(), parameters)
    result = torch.autograd.grad((likelihood.log_prob(parameters, x) * weights).sum(), parameters)
    torch.testing.assert_close(result, expected)


def test_the_learned_log_variance_is_in_its_interval_for_any_decoder_output():
    parameters = torch.tensor([[[0.0, 0.0], [-1e30, 1e30]]])
    assert LearnedGaussian(-6.0, 2.0).log_variance(parameters).tolist() == [[-6.0, 2.0]]
    assert LearnedGaussian().log_prob(parameters, torch.zeros(1, 2)).isfinite().all()
    # The exponential of the middle of the interval overflows; that of the log-variance does not.
    wide = LearnedGaussian(0.0, 300.0)
    assert wide.log_prob(parameters, torch.ones(1, 2)).isfinite().all()


def test_the_smallest_variance_bounds_the_log_density_of_an_image():
    # 784 pixels without error at log-variance -1: the bound is -784 / 2 (log 2 pi - 1) nats.
    parameters = torch.zeros(1, 2, 784, dtype=torch.float64)
    parameters[:, 1] = -1e9
    best = LearnedGaussian().log_prob(parameters, torch.zeros(1, 784, dtype=torch.float64))
    torch.testing.assert_close(best, torch.tensor([-392 * (math.log(2 * math.pi) - 1)]).double())
    assert best.item() == pytest.approx(-328.4, abs=0.1)


@pytest.mark.parametrize("likelihood", [choice() for choice in LIKELIHOODS])
def test_the_mean_is_in_the_support_or_has_the_largest_density(likelihood):
    parameters, x = example(likelihood, (1, 4, 4))
    mean = likelihood.mean(parameters)
    assert mean.shape == x.shape
    if likelihood in (Bernoulli(), DiscretisedLogistic()):
        assert ((mean >= 0) & (mean <= 1)).all()
    elif likelihood in (Poisson(), NegativeBinomial(), Multinomial()):
        assert (mean >= 0).all()
    else:
        assert (likelihood.log_prob(parameters, mean) >= likelihood.log_prob(parameters, x)).all()


@pytest.mark.parametrize("likelihood", [choice() for choice in LIKELIHOODS])
def test_sums_of_half_precision_parameters_are_in_float32(likelihood):
    parameters, x = example(likelihood, (1, 28, 28))
    half = likelihood.log_prob(parameters.bfloat16(), x.float())
    exact = likelihood.log_prob(parameters.bfloat16().double(), x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), exact, rtol=1e-4, atol=0)


def test_the_gaussian_likelihoods_accept_observations_outside_the_unit_interval():
    outside = torch.tensor([[0.5, 1.5]])
    with pytest.raises(InputError, match=r"\[0, 1\].*\[0.5, 1.5\]"):
        Bernoulli().check(outside)
    for likelihood in LIKELIHOODS:
        likelihood().check(torch.tensor([[0.0, 1.0]]))
    Gaussian().check(outside)
    LearnedGaussian().check(outside)


# The discretised logistic.


def logistic(mean, log_scale, likelihood):
    """Parameters of one element, repeated for each value: (256, 2, 1)."""
    low, high = likelihood.log_scale_min, likelihood.log_scale_max
    raw = math.atanh((2 * log_scale - low - high) / (high - low))
    return torch.tensor([mean, raw], dtype=torch.float64)[None, :, None].expand(256, -1, -1)


@pytest.mark.parametrize("mean", [-30.0, -0.2, 0.0, 0.3, 0.5019, 1.0, 4.0])
@pytest.mark.parametrize("log_scale", [-6.99, -5.0, -2.0, 1.9, 9.9])
def test_the_probabilities_of_the_256_values_sum_to_one(mean, log_scale):
    likelihood = DiscretisedLogistic(-7.0, 10.0)
    log_prob = likelihood.log_prob(logistic(mean, log_scale, likelihood), VALUES)
    assert (log_prob <= 0).all()
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("mean", [-0.1, 0.3, 1.0])
@pytest.mark.parametrize("log_scale", [-4.0, -1.0])
def test_a_value_has_the_probability_of_the_interval_of_one_step_around_it(mean, log_scale):
    likelihood = DiscretisedLogistic()
    base = distributions.Uniform(torch.zeros(()).double(), torch.ones(()).double())
    to_logistic = [
        distributions.SigmoidTransform().inv,
        distributions.AffineTransform(mean, math.exp(log_scale)),
    ]
    reference = distributions.TransformedDistribution(base, to_logistic, validate_args=False)
    up, down = reference.cdf(VALUES + 1 / 510), reference.cdf(VALUES - 1 / 510)
    up[-1], down[0] = 1, 0
    result = likelihood.log_prob(logistic(mean, log_scale, likelihood), VALUES).exp()
    torch.testing.assert_close(result, (up - down)[:, 0], rtol=1e-9, atol=1e-13)


def test_wide_logistics_approach_their_density_and_narrow_ones_a_single_value():
    # With a step far below the scale: the density times the step. Far above: an indicator.
    wide = DiscretisedLogistic()
    log_prob = wide.log_prob(logistic(0.5, -1.0, wide), VALUES)[1:-1]
    z = (VALUES[1:-1, 0] - 0.5) * math.e
    log_density = -z - 2 * torch.log1p((-z).exp()) + 1
    torch.testing.assert_close(log_prob, log_density - math.log(255), rtol=0, atol=1e-5)
    narrow = DiscretisedLogistic(-12.0, 0.0)
    log_prob = narrow.log_prob(logistic(77 / 255, -11.9, narrow), VALUES)
    assert log_prob.argmax() == 77 and log_prob[77] > -1e-9


@pytest.mark.parametrize("mean", [-1e4, 0.0, 0.5, 1.0, 1e4])
@pytest.mark.parametrize("raw", [-1e6, -2.0, 0.0, 2.0, 1e6])
def test_extreme_logistics_are_exact_in_float32_with_finite_gradients(mean, raw):
    x = VALUES[[0, 1, 128, 254, 255]].float()
    parameters = torch.tensor([mean, raw])[None, :, None].repeat(5, 1, 1).requires_grad_()
    log_prob = DiscretisedLogistic().log_prob(parameters, x)
    (gradient,) = torch.autograd.grad(log_prob.sum(), parameters)
    assert log_prob.isfinite().all() and gradient.isfinite().all()
    exact = DiscretisedLogistic().log_prob(parameters.detach().double(), x.double())
    torch.testing.assert_close(log_prob.double(), exact, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_the_discretised_logistic_agrees_with_finite_differences():
    parameters = torch.randn(5, 2, 1, dtype=torch.float64, requires_grad=True)
    x = VALUES[[0, 1, 128, 254, 255]]
    likelihood = DiscretisedLogistic(-3.0, 0.5)
    assert torch.autograd.gradcheck(lambda p: likelihood.log_prob(p, x), parameters)


@pytest.mark.parametrize("mean", [-9.0, -0.1, 0.0, 0.3, 0.5019, 1.0, 1.2])
@pytest.mark.parametrize("log_scale", [-6.99, -4.0, -1.5, -0.01])
def test_the_mean_of_the_discretised_logistic_is_its_expectation(mean, log_scale):
    likelihood = DiscretisedLogistic()
    parameters = logistic(mean, log_scale, likelihood)
    expected = (VALUES[:, 0] * likelihood.log_prob(parameters, VALUES).exp()).sum()
    tolerance = (
        1 / 510 if log_scale < -4 else 1e-4
    )  # rounding, which averages out at a large scale
    assert likelihood.mean(parameters)[0].item() == pytest.approx(expected.item(), abs=tolerance)


def test_values_that_are_not_8_bits_are_refused():
    DiscretisedLogistic().check(VALUES)
    DiscretisedLogistic().check(torch.arange(256, dtype=torch.uint8).float() / 255)
    for x in ([0.0, 1 / 16], [-1 / 255, 0.0], [0.0, 2.0], [0.0, 17.0]):
        with pytest.raises(InputError, match="8 bits"):
            DiscretisedLogistic().check(torch.tensor(x))


def test_options_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"likelihood.std .*0, not 0"):
        Gaussian(std=0.0)
    with pytest.raises(InputError, match=r"log_variance_max .*1, not 0"):
        LearnedGaussian(1.0, 0.0)
    with pytest.raises(InputError, match=r"log_variance_min .*-inf"):
        LearnedGaussian(-math.inf, 0.0)
    with pytest.raises(InputError, match=r"scope .*element, channel, scalar.*'pixel'"):
        LearnedGaussian(scope="pixel")
    with pytest.raises(InputError, match=r"log_scale_max .*-1"):
        DiscretisedLogistic(0.0, -1.0)
    with pytest.raises(InputError, match=r"scope .*'all'"):
        DiscretisedLogistic(scope="all")


def test_the_learned_gaussian_supports_the_transforms_of_torch_func():
    likelihood = LearnedGaussian(-2.0, 1.0)
    parameters, x = torch.randn(3, 2, 5), torch.rand(3, 5)

    def total(parameters, x):
        return likelihood.log_prob(parameters, x).sum()

    leaf = parameters.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total(leaf, x), leaf)
    torch.testing.assert_close(torch.func.grad(total)(parameters, x), expected)
    per_observation = torch.func.vmap(torch.func.grad(lambda p, x: total(p[None], x[None])))
    torch.testing.assert_close(per_observation(parameters, x), expected)
    assert likelihood.log_prob(parameters, x.double()).dtype == torch.float64
