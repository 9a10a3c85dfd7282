"""The uniform mixture of a group's members: moments, draws, and the bound on the KL."""

import math
from functools import partial

import pytest
import torch

from mlvae import DiagonalGaussian, Groups, InputError
from mlvae.posteriors import GroupMixture

LABELS = torch.tensor([2, 0, 1, 0, 2, 2, 0, 2])  # groups of 3, 1 and 4


@pytest.fixture
def mixtures():
    mean, log_variance = torch.randn(2, 8, 2, dtype=torch.float64)
    return GroupMixture(DiagonalGaussian(2 * mean, log_variance), Groups.of(LABELS))


def sharp(mean, labels):
    """Mixtures of narrow Gaussians: a draw identifies its member."""
    mean = torch.as_tensor(mean, dtype=torch.float64)[:, None]
    return GroupMixture(DiagonalGaussian(mean, torch.full_like(mean, -40)), Groups.of(labels))


def draws_of(mixture):
    """The two kinds of draws, as functions of a generator."""
    return {
        "sample_groups": mixture.sample_groups,
        "sample_members": partial(mixture.sample_members, mixture.groups),
    }


def many(draw, times, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([draw(generator=generator) for _ in range(times)])


# Properties


@pytest.mark.parametrize("draw", ["sample_groups", "sample_members"])
def test_moments_are_those_of_draws(mixtures, draw):
    draws = many(draws_of(mixtures)[draw], 20_000)
    mean, variance = mixtures.mean, mixtures.variance
    if draw == "sample_members":
        mean, variance = mean[LABELS], variance[LABELS]
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - mean).abs() < 4.5 * error).all()
    torch.testing.assert_close(draws.var(0), variance, rtol=0.06, atol=0)


def exact_kl(mixture):
    """KL from the standard normal of one group in one dimension, by the trapezoid rule."""
    grid = torch.linspace(-30, 30, 400_001, dtype=torch.float64)
    q = mixture.components
    log_q = torch.stack([q[i].log_prob(grid[:, None]) for i in range(len(q))]).logsumexp(0)
    log_q -= math.log(len(q))
    prior = DiagonalGaussian(*torch.zeros(2, 1, dtype=torch.float64))
    return torch.trapezoid(log_q.exp() * (log_q - prior.log_prob(grid[:, None])), grid)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_kl_bound_exceeds_the_exact_kl_by_at_most_log_n(n, scale):
    mean = scale * torch.linspace(-1, 1, n, dtype=torch.float64)[:, None]
    q = DiagonalGaussian(mean, torch.randn(n, 1, dtype=torch.float64) - 2)
    mixture = GroupMixture(q, Groups.of([0] * n))
    bound, exact = mixture.kl()[0], exact_kl(mixture)
    assert exact - 1e-9 <= bound <= exact + math.log(n) + 1e-9
    if n == 1:
        torch.testing.assert_close(bound, exact)
    elif scale == 5:  # members that do not overlap: the largest difference
        torch.testing.assert_close(bound, exact + math.log(n), rtol=0, atol=0.05)


def test_the_kl_bound_is_exact_for_equal_members():
    q = DiagonalGaussian(*torch.randn(2, 1, 1, dtype=torch.float64).expand(2, 4, 1))
    mixture = GroupMixture(q, Groups.of([0] * 4))
    torch.testing.assert_close(mixture.kl(), q.kl()[:1])
    torch.testing.assert_close(mixture.kl()[0], exact_kl(mixture))


def test_every_member_of_a_group_is_assigned_once():
    mixture = sharp(torch.arange(8), LABELS)
    for draw in many(draws_of(mixture)["sample_members"], 20).round().int()[:, :, 0]:
        assert torch.equal(draw.sort().values, torch.arange(8, dtype=torch.int32))
        assert torch.equal(LABELS[draw], LABELS)


def test_every_gaussian_of_the_group_has_the_same_probability_for_a_member():
    # With its own Gaussian, an observation would be reconstructed as by a VAE, with bias.
    draws = draws_of(sharp(torch.arange(8), LABELS))
    dealt = many(draws["sample_members"], 8000).round().int()[:, :, 0]
    chosen = many(draws["sample_groups"], 8000).round().int()[:, :, 0]
    for i in range(8):
        fellows = (LABELS[i] == LABELS).nonzero()[:, 0]
        n = len(fellows)
        tolerance = 4.5 * math.sqrt((n - 1) / n**2 / 8000) + 1e-9
        for frequency in (
            torch.bincount(dealt[:, i], minlength=8) / 8000,
            torch.bincount(chosen[:, LABELS[i]], minlength=8) / 8000,
        ):
            assert ((frequency[fellows] - 1 / n).abs() <= tolerance).all()
            assert frequency[fellows].sum() == 1


@pytest.mark.parametrize("common", [True, False])
def test_the_assignment_has_the_variance_of_the_formula(common):
    # a[i, j]: expectation of the function of member i under the Gaussian of member j.
    n, times = 5, 20_000
    a = torch.randn(1 if common else n, n, dtype=torch.float64).expand(n, n)
    draws = draws_of(sharp(torch.arange(n), [0] * n))
    dealt = many(draws["sample_members"], times).round().long()[:, :, 0]
    sums = a[torch.arange(n), dealt].sum(1)
    centred = a - a.mean(1, keepdim=True) - a.mean(0) + a.mean()
    stratified = centred.square().sum() / (n - 1)
    independent = (a - a.mean(1, keepdim=True)).square().sum() / n
    assert stratified <= independent * n / (n - 1)
    torch.testing.assert_close(sums.var(), stratified, rtol=0.05, atol=1e-12)
    torch.testing.assert_close(sums.mean(), a.mean(1).sum(), rtol=0, atol=0.05)
    if common:
        assert sums.var() < 1e-12 < independent


# Behaviour


def test_draws_are_differentiable_and_depend_on_the_generator_alone(mixtures):
    for draw in draws_of(mixtures).values():
        torch.rand(3)  # moves torch's own generator
        first, again = many(draw, 1), many(draw, 1)
        assert torch.equal(first, again) and not torch.equal(first, many(draw, 1, seed=1))
    mean, log_variance = (
        torch.randn(8, 2, requires_grad=True),
        torch.randn(8, 2, requires_grad=True),
    )
    mixture = GroupMixture(DiagonalGaussian(mean, log_variance), Groups.of(LABELS))
    mixture.sample_members(mixture.groups).square().sum().backward()
    assert mean.grad.all() and log_variance.grad.all()


def test_rows_are_gaussians_with_the_moments_of_their_groups(mixtures):
    rows = mixtures[torch.tensor([2, 0, 2])]
    assert isinstance(rows, DiagonalGaussian) and len(mixtures) == 3
    torch.testing.assert_close(rows.mean, mixtures.mean[[2, 0, 2]])
    torch.testing.assert_close(rows.variance, mixtures.variance[[2, 0, 2]])
    assert repr(mixtures) == "GroupMixture(shape=(3, 2), dtype=torch.float64)"


def test_a_group_without_members_is_drawn_from_the_prior():
    groups = Groups.unchecked(torch.tensor([0, 0]), torch.tensor([2, 0]))
    mixture = GroupMixture(DiagonalGaussian(torch.full((2, 1), 9.0), torch.zeros(2, 1)), groups)
    draws = many(mixture.sample_groups, 4000)[:, :, 0]
    torch.testing.assert_close(draws.mean(0), torch.tensor([9.0, 0.0]), rtol=0, atol=0.1)
    torch.testing.assert_close(draws.var(0), torch.ones(2), rtol=0, atol=0.15)


# Bad input


@pytest.mark.parametrize("shape", [(7, 2), (8,), (8, 2, 1)])
def test_another_number_of_components_than_observations_is_refused(shape):
    with pytest.raises(InputError, match=r"components .*\(8, C\)"):
        GroupMixture(DiagonalGaussian(torch.zeros(shape), torch.zeros(shape)), Groups.of(LABELS))
