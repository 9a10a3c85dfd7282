"""Dirichlet distributions against closed forms, Monte Carlo and PyTorch's own, in float64.

Shapes: N rows, K components.
"""

import math

import pytest
import torch
from torch import distributions
from torch.autograd import gradcheck

from mlvae import Dirichlet, Groups, InputError
from mlvae.noise import ShareGenerator
from mlvae.posteriors import DiagonalGaussian
from mlvae.posteriors.dirichlet import SAMPLERS
from mlvae.posteriors.gamma import log_gamma_approximate, log_gamma_exact

ALPHAS = [1e-5, 1e-3, 0.1, 0.98, 3.0, 30.0, 1e3, 1e4]
ROWS = [[0.98] * 5, [0.1, 0.5, 2.0, 7.0, 30.0], [1e-3, 1.0, 1e3, 0.2, 5.0]]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(prior=0.7):
    return Dirichlet(torch.tensor(ROWS, dtype=torch.float64), prior)


def draws_of(sampler, a, number=400_000):
    shape = torch.tensor([a], dtype=torch.float64)
    return sampler(shape, (number,), generator=seeded()).exp()


# Gamma variables


@pytest.mark.parametrize("a", [0.3, 0.98, 1.0, 3.0, 10.0, 300.0])
def test_exact_gamma_variables_have_the_moments_of_the_gamma_distribution(a):
    v = draws_of(log_gamma_exact, a)
    assert float(v.mean()) == pytest.approx(a, rel=0.01)
    assert float(v.var()) == pytest.approx(a, rel=0.02)


@pytest.mark.parametrize("a", [0.05, 0.98, 4.0])
def test_exact_gamma_variables_have_the_cdf_of_the_gamma_distribution(a):
    v = draws_of(log_gamma_exact, a, 200_000)[:, 0]
    u = torch.special.gammainc(torch.tensor(a, dtype=torch.float64), v).sort()[0]
    gap = (u - torch.linspace(0, 1, len(u), dtype=torch.float64)).abs().max()
    assert gap < 1.95 / math.sqrt(len(u))  # Kolmogorov and Smirnov, one in a thousand


@pytest.mark.parametrize("a", [0.05, 0.98, 3.0, 10.0])
def test_approximate_gamma_variables_have_their_closed_moments(a):
    v = draws_of(log_gamma_approximate, a)
    scale = math.exp(math.lgamma(a + 1) / a)
    mean = scale * a / (a + 1)
    variance = scale**2 * (a / (a + 2) - (a / (a + 1)) ** 2)
    assert float(v.mean()) == pytest.approx(mean, rel=0.01)
    assert float(v.var()) == pytest.approx(variance, rel=0.02)
    assert float(v.max()) <= scale


def test_the_approximate_moments_are_far_from_those_of_the_gamma_distribution():
    v = draws_of(log_gamma_approximate, 10.0)
    assert float(v.mean()) == pytest.approx(4.12, abs=0.02)
    assert float(v.var()) == pytest.approx(0.141, abs=0.003)


@pytest.mark.parametrize("a", [0.4, 0.98, 6.0])
def test_the_implicit_gradient_is_that_of_the_expectation(a):
    """d/da of E[v] = a is 1, and of E[log v] = digamma(a) is trigamma(a)."""
    shape = torch.tensor([a], dtype=torch.float64, requires_grad=True)
    log_v = log_gamma_exact(shape, (400_000,), generator=seeded())
    (of_mean,) = torch.autograd.grad(log_v.exp().mean(), shape, retain_graph=True)
    (of_log,) = torch.autograd.grad(log_v.mean(), shape)
    assert float(of_mean) == pytest.approx(1, rel=0.01)
    assert float(of_log) == pytest.approx(float(torch.polygamma(1, shape.detach())), rel=0.02)


def test_the_gradient_of_the_approximate_sampler_is_that_of_its_formula():
    shape = torch.tensor([0.3, 0.98, 5.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda a: log_gamma_approximate(a, (), generator=seeded()), (shape,))


# Samples


@pytest.mark.parametrize("row", ROWS[:2])
def test_the_moments_of_exact_samples_are_those_of_the_dirichlet(row):
    q = Dirichlet(torch.tensor([row], dtype=torch.float64))
    z = q.sample((400_000,), generator=seeded())
    known = distributions.Dirichlet(q.concentration)
    torch.testing.assert_close(q.mean, known.mean)
    torch.testing.assert_close(q.variance, known.variance)
    torch.testing.assert_close(z.mean(0), q.mean, rtol=0.01, atol=0)
    torch.testing.assert_close(z.var(0), q.variance, rtol=0.02, atol=0)


def test_approximate_samples_are_more_concentrated_than_the_posterior():
    q = Dirichlet(torch.full((1, 50), 0.98, dtype=torch.float64))
    z = q.sample((20_000,), generator=seeded(), sampler="approximate")
    assert float(z.std(0).mean()) == pytest.approx(0.0117, abs=0.0003)
    assert float(q.std.mean()) == pytest.approx(0.0197, abs=0.0001)
    assert float(z.amax(-1).mean()) == pytest.approx(0.040, abs=0.001)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("a", ALPHAS)
def test_values_and_gradients_are_finite_in_float32(a, sampler):
    concentration = torch.full((20, 50), a, requires_grad=True)
    concentration.data[:10, :5] = ALPHAS[-1]
    q = Dirichlet(concentration, 0.98)
    z = q.sample(generator=seeded(), sampler=sampler)
    weighted, log_weight = q.weighted_sample(seeded())
    values = [z, q.kl(), q.kl("gamma"), q.mean, q.log_variance, q.log_prob(z), log_weight]
    assert all(value.isfinite().all() for value in values)
    torch.testing.assert_close(z.sum(1), torch.ones(20), rtol=1e-5, atol=0)
    torch.testing.assert_close(weighted.sum(1), torch.ones(20), rtol=1e-5, atol=0)
    for value in values:
        (gradient,) = torch.autograd.grad(value.sum(), concentration, retain_graph=True)
        assert gradient.isfinite().all()


def test_the_outputs_of_a_head_are_bounded_concentrations():
    raw = torch.tensor([[-1e4, -50.0, 0.0, 3.0, 1e6]])
    q = Dirichlet.from_raw(raw)
    assert q.concentration.min() >= 1e-5 and q.concentration.max() == 1e4
    assert q.kl().isfinite().all() and q.sample(generator=seeded()).isfinite().all()
    assert Dirichlet.from_raw(raw.bfloat16()).mean.dtype == torch.float32


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_noise_of_a_row_does_not_depend_on_other_rows(sampler):
    q = rows()
    other = Dirichlet(q.concentration * torch.tensor([[1.0], [9.0], [0.1]]), 0.7)
    first = q.sample(generator=seeded(), sampler=sampler)
    second = other.sample(generator=seeded(), sampler=sampler)
    assert torch.equal(first[0], second[0]) and not torch.equal(first[1:], second[1:])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_share_of_a_batch_has_its_rows_of_the_whole_draw(sampler):
    q = rows()
    whole = q.sample((4,), generator=seeded(), sampler=sampler)
    share = ShareGenerator(seeded(), torch.tensor([2, 0]), 3)
    part = q[[2, 0]].sample((4,), generator=share, sampler=sampler)
    torch.testing.assert_close(part, whole[:, [2, 0]], rtol=0, atol=0)


def test_the_draws_continue_from_the_state_of_the_generator():
    generator = seeded()
    q = rows()
    q.sample(generator=generator)
    state = generator.get_state()
    expected = q.sample(generator=generator)
    assert torch.equal(q.sample(generator=seeded(9).set_state(state)), expected)


# Divergences and densities


def test_the_dirichlet_kl_is_that_of_pytorch():
    q = rows()
    known = distributions.kl_divergence(
        distributions.Dirichlet(q.concentration),
        distributions.Dirichlet(q.prior_concentration.expand_as(q.concentration)),
    )
    torch.testing.assert_close(q.kl(), known, rtol=1e-9, atol=1e-9)


def test_the_gamma_kl_is_that_of_pytorch():
    q = rows()
    one = torch.ones_like(q.concentration)
    known = distributions.kl_divergence(
        distributions.Gamma(q.concentration, one),
        distributions.Gamma(q.prior_concentration.expand_as(one), one),
    )
    torch.testing.assert_close(q.component_kl(), known, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(q.kl("gamma"), known.sum(-1), rtol=1e-9, atol=1e-9)
    single = q.to(torch.float32)
    torch.testing.assert_close(single.kl("gamma"), known.sum(-1).float(), rtol=1e-5, atol=1e-5)


def test_the_gamma_kl_is_at_least_the_dirichlet_kl():
    generator = seeded()
    raw = 8 * torch.randn(500, 6, generator=generator, dtype=torch.float64)
    q = Dirichlet.from_raw(raw).with_prior(torch.tensor([0.1, 0.5, 0.98, 1.0, 3.0, 20.0]))
    assert (q.kl("gamma") >= q.kl() - 1e-9).all()
    assert (q.kl() >= 0).all()


def test_the_kl_is_the_mean_log_ratio_of_samples():
    q = Dirichlet(torch.tensor([[0.5, 2.0, 4.0], [1.0, 1.5, 0.7]], dtype=torch.float64), 0.98)
    z = q.sample((200_000,), generator=seeded())
    ratio = q.log_prob(z) - q.prior_rows(2).log_prob(z)
    error = ratio.std(0) / math.sqrt(len(z))
    assert ((ratio.mean(0) - q.kl()).abs() < 4.5 * error).all()


def test_the_kl_of_large_concentrations_keeps_its_digits_in_float32():
    a = torch.linspace(0.9e4, 1e4, 100)[None]
    narrow, wide = Dirichlet(a, 0.98), Dirichlet(a.double(), 0.98)
    torch.testing.assert_close(narrow.kl().double(), wide.kl(), rtol=1e-6, atol=0)


def test_the_kl_of_the_prior_is_zero_and_both_divergences_have_gradients():
    prior = torch.tensor([0.3, 1.0, 4.0])
    q = Dirichlet(prior[None], prior)
    assert torch.equal(q.kl(), torch.zeros(1)) and torch.equal(q.kl("gamma"), torch.zeros(1))
    concentration = torch.tensor(ROWS, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda a: Dirichlet(a, 0.98).kl(), (concentration,))
    assert gradcheck(lambda a: Dirichlet(a, 0.98).kl("gamma"), (concentration,))


def test_the_density_is_that_of_pytorch():
    q = rows()
    z = distributions.Dirichlet(torch.ones(5, dtype=torch.float64)).sample((7, 3))
    known = distributions.Dirichlet(q.concentration).log_prob(z)
    torch.testing.assert_close(q.log_prob(z), known)


def test_a_share_that_rounds_to_zero_has_a_finite_density():
    q = Dirichlet(torch.full((1, 3), 0.1))
    assert q.log_prob(torch.tensor([[1.0, 0.0, 0.0]])).isfinite().all()


def test_a_weighted_sample_has_the_ratio_of_the_densities():
    q = Dirichlet(torch.tensor([[3.0, 2.0, 4.0]], dtype=torch.float64), 0.5)
    z, log_weight = q.weighted_sample(seeded())
    torch.testing.assert_close(log_weight, q.prior_rows(1).log_prob(z) - q.log_prob(z))


def test_the_average_weight_of_samples_is_one():
    q = Dirichlet(torch.tensor([[1.2, 0.9, 1.0]], dtype=torch.float64), 0.98)
    _, log_weight = Dirichlet.cat([q] * 100_000).weighted_sample(seeded())
    weight = log_weight.exp()
    assert float(weight.mean()) == pytest.approx(1, abs=4.5 * float(weight.std()) / 316)


# The prior, rows and groups


def test_the_prior_goes_with_the_rows():
    prior = torch.tensor([0.1, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    q = rows().with_prior(prior)
    for other in (q[[1, 0]], q[:2], Dirichlet.cat([q, q]), q.to(torch.float32), q.to("meta")):
        assert other.prior_concentration.shape == (5,)
    torch.testing.assert_close(q[:1].prior_concentration, prior)
    assert torch.equal(q.prior_rows(4).concentration, prior.expand(4, 5))
    assert torch.equal(q.prior_rows(4).kl(), torch.zeros(4).double())


def test_the_samples_of_members_are_those_of_their_group():
    q = Dirichlet(torch.tensor([[1e4, 1.0], [1.0, 1e4]]))
    groups = Groups(torch.tensor([1, 0, 1]))
    z = q.sample_members(groups, generator=seeded())
    assert z.argmax(1).tolist() == [1, 0, 1] and not torch.equal(z[0], z[2])
    assert q.sample_groups(generator=seeded()).argmax(1).tolist() == [0, 1]


def test_the_moments_of_a_nearly_certain_share_are_finite():
    q = Dirichlet(torch.tensor([[1e4, 1e-5, 1e-5]]))
    moments = q.moments()
    assert isinstance(moments, DiagonalGaussian)
    assert moments.log_variance.isfinite().all() and moments.mean[0, 0] == 1


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Dirichlet(torch.zeros(2, 3)), "concentration"),
        (lambda: Dirichlet(torch.tensor([[1.0, math.nan]])), "concentration"),
        (lambda: Dirichlet(torch.ones(2, 3, dtype=torch.int64)), "concentration"),
        (lambda: Dirichlet(torch.ones(2, 3), 0.0), "prior"),
        (lambda: Dirichlet(torch.ones(2, 3), torch.ones(2)), "prior"),
        (lambda: Dirichlet(torch.ones(2, 3)).sample(sampler="exact"), "exact"),
        (lambda: Dirichlet(torch.ones(2, 3)).kl("gauss"), "gauss"),
        (lambda: Dirichlet(torch.ones(2, 3)).log_prob(torch.ones(2, 4)), "value"),
        (lambda: Dirichlet.cat([Dirichlet(torch.ones(2, 3)), 3]), "Dirichlet"),
    ],
)
def test_bad_arguments_are_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()
