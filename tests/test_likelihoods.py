import math

import pytest
import torch
from torch import distributions

from mlvae import InputError
from mlvae.likelihoods import LIKELIHOODS, Bernoulli, Gaussian, LearnedGaussian

SHAPES = [(1, 4, 4), (3, 5, 2), (7,)]


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


def test_the_default_learned_log_variance_is_the_authors_tanh():
    parameters, _ = example(LearnedGaussian(), (4,))
    log_variance = LearnedGaussian().log_variance(parameters)
    torch.testing.assert_close(log_variance, parameters[:, 1].tanh())


def test_the_written_out_gradient_agrees_with_finite_differences_and_with_autograd():
    likelihood = LearnedGaussian(-3.0, 0.5)
    parameters, x = example(likelihood, (2, 3))
    parameters.requires_grad_()
    x.requires_grad_()
    assert torch.autograd.gradcheck(likelihood.log_prob, (parameters, x))
    weights = torch.randn(3, dtype=torch.float64)
    log_variance = likelihood.log_variance(parameters)
    plain = distributions.Normal(parameters[:, 0], (0.5 * log_variance).exp()).log_prob(x)
    expected = torch.autograd.grad((plain.flatten(1).sum(1) * weights).sum(), parameters)
    mine = torch.autograd.grad((likelihood.log_prob(parameters, x) * weights).sum(), parameters)
    torch.testing.assert_close(mine, expected)


def test_the_learned_log_variance_keeps_to_its_interval_whatever_the_decoder_says():
    parameters = torch.tensor([[[0.0, 0.0], [-1e30, 1e30]]])
    assert LearnedGaussian(-6.0, 2.0).log_variance(parameters).tolist() == [[-6.0, 2.0]]
    assert LearnedGaussian().log_prob(parameters, torch.zeros(1, 2)).isfinite().all()
    # Middle and half length of an interval may each leave float32 where their sum does not.
    wide = LearnedGaussian(0.0, 300.0)
    assert wide.log_prob(parameters, torch.ones(1, 2)).isfinite().all()


def test_no_author_image_is_likelier_than_the_floor_of_the_variance_allows():
    # 784 pixels without error at log-variance -1: 784 / 2 (log 2 pi - 1) = 328.4 nats to go.
    parameters = torch.zeros(1, 2, 784, dtype=torch.float64)
    parameters[:, 1] = -1e9
    best = LearnedGaussian().log_prob(parameters, torch.zeros(1, 784, dtype=torch.float64))
    torch.testing.assert_close(best, torch.tensor([-392 * (math.log(2 * math.pi) - 1)]).double())
    assert best.item() == pytest.approx(-328.4, abs=0.1)


@pytest.mark.parametrize("likelihood", [choice() for choice in LIKELIHOODS])
def test_the_mean_is_the_likeliest_observation_or_its_expectation(likelihood):
    parameters, x = example(likelihood, (1, 4, 4))
    mean = likelihood.mean(parameters)
    assert mean.shape == x.shape
    if likelihood == Bernoulli():
        assert ((mean > 0) & (mean < 1)).all()
    else:
        assert (likelihood.log_prob(parameters, mean) >= likelihood.log_prob(parameters, x)).all()


@pytest.mark.parametrize("likelihood", [choice() for choice in LIKELIHOODS])
def test_half_precision_parameters_are_summed_in_float32(likelihood):
    parameters, x = example(likelihood, (1, 28, 28))
    half = likelihood.log_prob(parameters.bfloat16(), x.float())
    exact = likelihood.log_prob(parameters.bfloat16().double(), x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), exact, rtol=1e-4, atol=0)


def test_only_bernoulli_confines_observations_to_the_unit_interval():
    outside = torch.tensor([[0.5, 1.5]])
    with pytest.raises(InputError, match=r"in \[0, 1\], not in \[0.5, 1.5\]"):
        Bernoulli().check(outside)
    for likelihood in LIKELIHOODS:
        likelihood().check(torch.tensor([[0.0, 1.0]]))
    Gaussian().check(outside)
    LearnedGaussian().check(outside)


def test_options_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"likelihood.std must be a number above 0, not 0"):
        Gaussian(std=0.0)
    with pytest.raises(InputError, match="log_variance_max must be a number above 1, not 0"):
        LearnedGaussian(1.0, 0.0)
    with pytest.raises(InputError, match="log_variance_min must be a number that is finite"):
        LearnedGaussian(-math.inf, 0.0)
