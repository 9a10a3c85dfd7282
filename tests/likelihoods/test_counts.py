"""Likelihoods of counts: against torch.distributions, with sizes, and at the ends of float32.

Shapes: N observations, E elements.
"""

import pytest
import torch
from torch import distributions

from mlvae import InputError
from mlvae.likelihoods import ColumnScale, MixedColumns, NegativeBinomial, Poisson
from mlvae.likelihoods.counts import poisson_log_prob
from mlvae.models.decoder import build_decoder
from mlvae.networks import MLP

COUNTS = [
    Poisson(),
    NegativeBinomial(),
    Poisson(link="exp"),
    NegativeBinomial(link="exp", log_inverse_dispersion_max=12.0),
]
every_likelihood = pytest.mark.parametrize("likelihood", COUNTS, ids=repr)


def example(likelihood, shape=(5,), n=4, seed=0):
    """Parameters (n, P, ...) and counts (n, ...) in float64."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    parameters = 2 * torch.randn(n, likelihood.outputs, *shape, **options)
    return parameters, torch.poisson(20 * torch.rand(n, *shape, **options), generator=generator)


def rate(likelihood, parameters, size):
    """Expected counts (N, E) by the definition."""
    outputs = parameters[:, 0].flatten(1)
    if likelihood.link == "softmax":
        return size[:, None] * outputs.exp() / outputs.exp().sum(1, keepdim=True)
    return size[:, None] * outputs.exp() / outputs.shape[1]


def reference(likelihood, parameters, size):
    """The distribution of torch.distributions with the same parameters, (N, E)."""
    expected = rate(likelihood, parameters, size)
    if isinstance(likelihood, Poisson):
        return distributions.Poisson(expected)
    log_r = likelihood.log_inverse_dispersion(parameters).flatten(1)
    return distributions.NegativeBinomial(log_r.exp(), logits=expected.log() - log_r)


@every_likelihood
@pytest.mark.parametrize("shape", [(7,), (2, 3, 4)])
def test_log_probabilities_and_means_agree_with_torch_distributions(likelihood, shape):
    parameters, x = example(likelihood, shape)
    for size, known in (
        (x.flatten(1).sum(1), {}),
        (torch.tensor([3.0, 10.0, 500.0, 0.5]).double(), None),
    ):
        known = {"size": size} if known is None else known
        target = reference(likelihood, parameters, size)
        torch.testing.assert_close(
            likelihood.log_prob(parameters, x, **known), target.log_prob(x.flatten(1)).sum(1)
        )
        mean = likelihood.mean(parameters, size=size)
        torch.testing.assert_close(mean, target.mean.view(x.shape))


@every_likelihood
def test_the_sample_variance_is_that_of_the_formula(likelihood):
    parameters, _ = example(likelihood, (1,), n=1)
    size = torch.tensor([3.0]).double()
    mean = rate(likelihood, parameters, size).item()
    values = torch.arange(20_000).double()
    probability = likelihood.log_prob(
        parameters.expand(len(values), -1, -1), values[:, None], size=size.expand(len(values))
    ).exp()
    variance = (probability * (values - mean) ** 2).sum().item()
    expected = mean
    if isinstance(likelihood, NegativeBinomial):
        expected += mean**2 / likelihood.log_inverse_dispersion(parameters).exp().item()
    assert variance == pytest.approx(expected, rel=1e-8)


def test_a_negative_binomial_of_large_inverse_dispersion_is_poisson():
    parameters, x = example(NegativeBinomial())
    parameters[:, 1] = 1e9
    narrow = NegativeBinomial(log_inverse_dispersion_max=18.0)
    result, limit = narrow.log_prob(parameters, x), Poisson().log_prob(parameters[:, :1], x)
    torch.testing.assert_close(result, limit, rtol=1e-5, atol=0)
    assert not torch.allclose(NegativeBinomial().log_prob(parameters, x), limit, rtol=1e-5)


@every_likelihood
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3, 1e5])
@pytest.mark.parametrize("outputs", [0.0, 30.0])
def test_values_and_gradients_are_finite_in_float32(likelihood, scale, outputs):
    parameters, x = example(likelihood)
    parameters, x = parameters.float(), torch.cat((x, torch.zeros(1, 5).double())).float()
    parameters = torch.cat((parameters, parameters[:1]))
    parameters[:, 0] += outputs * torch.tensor([1.0, -1.0, 0.0, 0.0, 1.0])
    x = (scale * x).round()
    parameters.requires_grad_()
    log_prob = likelihood.log_prob(parameters, x)
    (gradient,) = torch.autograd.grad(log_prob.sum(), parameters)
    assert log_prob.isfinite().all() and gradient.isfinite().all()
    exact = likelihood.log_prob(parameters.detach().double(), x.double())
    torch.testing.assert_close(log_prob.double(), exact, rtol=1e-4, atol=1e-3)


@every_likelihood
def test_an_observation_without_counts_is_certain(likelihood):
    parameters, x = example(likelihood)
    assert likelihood.log_prob(parameters, 0 * x).abs().max() < 1e-4


# The size


@every_likelihood
def test_the_size_is_the_sum_unless_it_is_given(likelihood):
    parameters, x = example(likelihood)
    total = x.sum(1)
    same = likelihood.log_prob(parameters, x, size=total)
    torch.testing.assert_close(likelihood.log_prob(parameters, x), same)
    column = likelihood.log_prob(parameters, x, size=total[:, None])
    torch.testing.assert_close(column, same)
    assert not torch.allclose(likelihood.log_prob(parameters, x, size=2 * total), same)


def test_expected_counts_sum_to_the_size_by_softmax_only():
    parameters, _ = example(Poisson())
    size = torch.tensor([1.0, 10.0, 100.0, 7.0]).double()
    torch.testing.assert_close(Poisson().mean(parameters, size=size).sum(1), size)
    torch.testing.assert_close(Poisson(total=50.0).mean(parameters).sum(1), 0 * size + 50)
    sums = Poisson(link="exp").mean(parameters, size=size).sum(1)
    torch.testing.assert_close(sums, size * parameters[:, 0].exp().mean(1))


@every_likelihood
def test_the_encoder_receives_normalised_counts_that_the_size_does_not_change(likelihood):
    _, x = example(likelihood)
    inputs = likelihood.inputs(x)
    torch.testing.assert_close(inputs.expm1().sum(1), torch.full((4,), 1e4).double())
    torch.testing.assert_close(likelihood.inputs(3 * x), inputs)
    assert likelihood.inputs(0 * x).eq(0).all()


@every_likelihood
@pytest.mark.parametrize(
    ("size", "wrong"),
    [
        (torch.ones(3), r"tensor|\(3,\)"),
        (torch.tensor([1.0, 0.0, 1.0, 1.0]), "above 0 .* 0"),
        (torch.tensor([1.0, -2.0, 1.0, 1.0]), "above 0 .* -2"),
        (torch.tensor([1.0, torch.nan, 1.0, 1.0]), "above 0 .* nan"),
    ],
)
def test_sizes_that_are_not_above_zero_are_refused(likelihood, size, wrong):
    with pytest.raises(InputError, match=f"size.*{wrong}"):
        likelihood.check(example(likelihood)[1], size=size)


# Observations


@every_likelihood
@pytest.mark.parametrize("value", [-1.0, 0.25, 2.0**25])
def test_numbers_that_are_no_counts_are_refused_with_their_place(likelihood, value):
    _, x = example(likelihood)
    likelihood.check(x)
    x[2, 3] = value
    with pytest.raises(InputError, match=rf"column 3 of observation 2 has {value:.10g}"):
        likelihood.check(x)
    with pytest.raises(InputError, match=r"element \(3, 0\) of observation 2"):
        likelihood.check(x[:, :, None])


# The inverse dispersion


@pytest.mark.parametrize(("scope", "own"), [("channel", 6), ("scalar", 1)])
def test_a_shared_inverse_dispersion_is_a_parameter_and_not_a_function_of_latents(scope, own):
    likelihood = NegativeBinomial(scope=scope)
    decoder = build_decoder(MLP(hidden=(8,)), 3, (6,), likelihood)
    assert decoder.scale.numel() == own
    parameters = decoder(torch.randn(5, 3))
    assert likelihood.log_inverse_dispersion(parameters).eq(1).all()  # the middle of -4 and 6


def test_maximum_likelihood_finds_the_inverse_dispersion_of_each_element():
    generator = torch.Generator().manual_seed(0)
    r, n = torch.tensor([0.5, 4.0]), 20_000
    rates = torch._standard_gamma(r.expand(n, 2), generator=generator) / r * 6.0
    x = torch.poisson(rates, generator=generator).double()
    likelihood = NegativeBinomial(link="exp")
    raw = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([raw], max_iter=100, line_search_fn="strong_wolfe")
    size = torch.ones(n).double()

    def loss():
        optimizer.zero_grad()
        value = -likelihood.log_prob(raw.expand(n, 2, 2), x, size=size).mean()
        value.backward()
        return value

    optimizer.step(loss)
    found = likelihood.log_inverse_dispersion(raw[None])[0].exp()
    torch.testing.assert_close(found, r.double(), rtol=0.05, atol=0)
    mean = likelihood.mean(raw[None], size=size[:1])[0]
    torch.testing.assert_close(mean, x.mean(0), rtol=1e-3, atol=0)


def test_options_out_of_range_are_refused():
    for options, wrong in [
        ({"link": "log"}, "link .*'log'"),
        ({"total": 0.0}, "total .*0"),
        ({"scope": "gene"}, "scope .*'gene'"),
        ({"log_inverse_dispersion_max": -5.0}, "log_inverse_dispersion_max .*-5"),
    ]:
        with pytest.raises(InputError, match=wrong):
            NegativeBinomial(**options)


@pytest.mark.parametrize(
    "likelihood", [Poisson(), NegativeBinomial(log_inverse_dispersion_max=8.0)], ids=repr
)
@pytest.mark.parametrize("ratio", [1.0, 1.001, 0.5])
def test_large_counts_keep_their_digits_in_float32(likelihood, ratio):
    x = torch.tensor([[9_999.0, 10_001.0, 123_456.0, 9_999_999.0]]).double()
    for raw in (-9.0, 0.0, 1.0, 9.0):
        parameters = torch.full((1, likelihood.outputs, 4), raw).double()
        parameters[:, 0] = x.log()
        size = ratio * x.sum(1)
        exact = reference(likelihood, parameters, size).log_prob(x).sum(1)
        found = likelihood.log_prob(parameters, x, size=size)
        torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)
        rounded = likelihood.log_prob(parameters.float(), x.float(), size=size.float()).double()
        torch.testing.assert_close(rounded, exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e5])
@pytest.mark.parametrize("ratio", [1.0, 1.001, 0.5])
def test_large_inverse_dispersions_keep_their_digits_in_float32(scale, ratio):
    likelihood = NegativeBinomial(log_inverse_dispersion_max=20.0)
    x = scale * torch.tensor([[0.0, 1.0, 7.0, 60.0]]).double()
    for raw in (-9.0, 0.1, 0.4, 9.0):  # e^-4, 10,000, 284,000 and e^20
        parameters = torch.full((1, 2, 4), raw).double()
        parameters[:, 0] = (x + 0.5 * scale).log()
        size = ratio * (x + 0.5 * scale).sum(1)
        exact = reference(likelihood, parameters, size).log_prob(x).sum(1)
        found = likelihood.log_prob(parameters, x, size=size)
        torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-4)
        rounded = likelihood.log_prob(parameters.float(), x.float(), size=size.float()).double()
        torch.testing.assert_close(rounded, exact, rtol=1e-3, atol=1e-2)


def test_the_gradient_of_large_poisson_counts_is_their_distance_from_the_rate():
    x = torch.tensor([5.0, 20_000.0, 9_999_999.0])
    log_rate = (x * torch.tensor([2.0, 1.01, 0.999])).log().requires_grad_()
    poisson_log_prob(x, log_rate).sum().backward()
    torch.testing.assert_close(log_rate.grad, x - log_rate.detach().exp(), rtol=1e-2, atol=0)


def test_large_counts_of_a_table_keep_their_digits_in_float32():
    column = ColumnScale("molecules", "count", mean=14.0, deviation=2.0)
    x, parameters = torch.tensor([[1_200_000.0]]), torch.zeros(1, 2, 1)
    exact = distributions.Poisson(torch.tensor(14.0).double().exp()).log_prob(x.double())
    found = MixedColumns((column,)).cell_log_prob(parameters, x).double()
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=0)
