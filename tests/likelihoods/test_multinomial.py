"""The likelihood of words: sums over all documents, and against Poisson and torch.distributions.

Shapes: N observations, V words.
"""

import itertools
import math

import pytest
import torch
from torch import distributions

from mlvae import InputError
from mlvae.likelihoods import Multinomial, Poisson
from mlvae.models import MLVAE, VAE
from mlvae.networks import MLP

BOTH = [Multinomial(), Multinomial(coefficient=True)]
each_likelihood = pytest.mark.parametrize("likelihood", BOTH, ids=repr)


def example(n=4, shape=(5,), seed=0):
    """Parameters (n, 1, ...) and counts (n, ...) in float64."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    parameters = 2 * torch.randn(n, 1, *shape, **options)
    return parameters, torch.poisson(4 * torch.rand(n, *shape, **options), generator=generator)


def test_the_probabilities_of_all_sequences_of_words_sum_to_one():
    parameters, _ = example(n=1, shape=(3,))
    words = torch.tensor(list(itertools.product(range(3), repeat=4)))
    counts = torch.nn.functional.one_hot(words, 3).sum(1).double()
    log_prob = Multinomial().log_prob(parameters.expand(len(counts), -1, -1), counts)
    assert len(counts) == 81
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_with_the_coefficient_the_probabilities_of_all_counts_sum_to_one():
    parameters, _ = example(n=1, shape=(3,))
    triples = itertools.product(range(8), repeat=3)
    counts = torch.tensor([triple for triple in triples if sum(triple) == 7]).double()
    likelihood = Multinomial(coefficient=True)
    probability = likelihood.log_prob(parameters.expand(len(counts), -1, -1), counts).exp()
    assert probability.sum().item() == pytest.approx(1, abs=1e-12)
    mean = (probability[:, None] * counts).sum(0, keepdim=True)
    torch.testing.assert_close(likelihood.mean(parameters, torch.tensor([7.0]).double()), mean)


def test_with_the_coefficient_it_is_the_multinomial_of_torch():
    parameters, x = example()
    likelihood = Multinomial(coefficient=True)
    found = likelihood.log_prob(parameters, x)
    for row in range(4):
        total = int(x[row].sum())
        target = distributions.Multinomial(total, logits=parameters[row, 0])
        torch.testing.assert_close(found[row], target.log_prob(x[row]))


def test_given_the_number_of_words_it_is_poisson():
    parameters, x = example()
    n = x.sum(1)
    joint = Poisson().log_prob(parameters, x)
    total = distributions.Poisson(n).log_prob(n)
    torch.testing.assert_close(
        Multinomial(coefficient=True).log_prob(parameters, x), joint - total
    )


def test_the_coefficient_is_the_only_difference():
    parameters, x = example()
    plain, whole = (likelihood.log_prob(parameters, x) for likelihood in BOTH)
    by_hand = [
        math.lgamma(sum(row) + 1) - sum(math.lgamma(count + 1) for count in row)
        for row in x.tolist()
    ]
    torch.testing.assert_close(whole - plain, torch.tensor(by_hand).double())


@each_likelihood
def test_expected_counts_sum_to_the_number_of_words(likelihood):
    parameters, x = example(shape=(2, 3))
    size = torch.tensor([1.0, 10.0, 100.0, 7.0]).double()
    torch.testing.assert_close(likelihood.mean(parameters, size=size).flatten(1).sum(1), size)
    torch.testing.assert_close(likelihood.mean(parameters).flatten(1).sum(1), 0 * size + 100)
    assert likelihood.mean(parameters).shape == x.shape


def test_the_encoder_receives_the_logarithm_of_one_plus_each_count():
    _, x = example()
    torch.testing.assert_close(Multinomial().inputs(x).expm1(), x)


@each_likelihood
@pytest.mark.parametrize("outputs", [0.0, 50.0])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_values_and_gradients_are_finite_in_float32(likelihood, scale, outputs):
    parameters, x = example()
    parameters[:, 0] += outputs * torch.tensor([1.0, -1.0, 0.0, 0.0, 1.0])
    x = scale * x
    single = parameters.float().requires_grad_()
    log_prob = likelihood.log_prob(single, x.float())
    (gradient,) = torch.autograd.grad(log_prob.sum(), single)
    assert log_prob.isfinite().all() and gradient.isfinite().all()
    torch.testing.assert_close(
        log_prob.double(), likelihood.log_prob(parameters, x), rtol=1e-4, atol=1e-3
    )


@each_likelihood
@pytest.mark.parametrize("value", [-1.0, 0.25, 2.0**25, math.nan])
def test_numbers_that_are_no_counts_are_refused(likelihood, value):
    _, x = example()
    likelihood.check(x)
    x[2, 3] = value
    expected = "finite" if math.isnan(value) else rf"column 3 of observation 2 has {value:.10g}"
    with pytest.raises(InputError, match=expected):
        likelihood.check(x)


def test_options_out_of_range_are_refused():
    for options, wrong in [({"total": 0.0}, "total .*0"), ({"coefficient": 1}, "coefficient .*1")]:
        with pytest.raises(InputError, match=wrong):
            Multinomial(**options)


@pytest.mark.parametrize("model", [VAE, MLVAE])
def test_words_cannot_be_standardised(model):
    with pytest.raises(InputError, match=r"standardise=feature .*Multinomial"):
        model((5,), likelihood=Multinomial(), standardise="feature")


def test_a_model_decodes_the_expected_words_of_a_document_of_known_length():
    model = VAE((5,), latent_dim=2, likelihood=Multinomial(), network=MLP(hidden=(4,)))
    expected = model.decode(torch.randn(3, 2), size=[1.0, 20.0, 300.0])
    torch.testing.assert_close(expected.sum(1), torch.tensor([1.0, 20.0, 300.0]))
    x = torch.tensor([[3.0, 0, 1, 0, 0]])
    assert model.reconstruct(x).sum().item() == pytest.approx(4, rel=1e-5)
