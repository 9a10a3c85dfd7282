"""Every accumulation rule against plain formulas, and the properties of all rules."""

import math

import pytest
import torch

from mlvae import DiagonalGaussian, Groups
from mlvae.evidence.rules import (
    ACCUMULATIONS,
    POSTERIOR_RULES,
    prior_corrected,
    prior_product,
    product,
)

RULES = pytest.mark.parametrize("rule", ACCUMULATIONS.values(), ids=ACCUMULATIONS)
LABELS = torch.tensor([3, 0, 1, 0, 3, 3, 2, 0, 3, 0, 3])


def posteriors(n, dim=3, scale=1.5, dtype=torch.float64):
    return DiagonalGaussian(
        torch.randn(n, dim, dtype=dtype), scale * torch.randn(n, dim, dtype=dtype)
    )


def one_group(n):
    """A group of n observations."""
    return Groups(torch.zeros(n, dtype=torch.int64))


def assert_same(a, b, **tolerance):
    torch.testing.assert_close(a.mean, b.mean, **tolerance)
    torch.testing.assert_close(a.log_variance, b.log_variance, **tolerance)


def plain(rule, mean, variance):
    """Mean and variance of the members (n, C) of one group, as in the docstring of the rule."""
    precision = 1 / variance
    if rule in ("mean", "mixture"):
        centre = mean.mean(0)
        spread = ((mean - centre) ** 2).mean(0) if rule == "mixture" else 0
        return centre, variance.mean(0) + spread
    total = {
        "product": precision.sum(0),
        "prior_product": 1 + precision.sum(0),
        "prior_corrected": 1 + (precision - 1).clamp(min=0).sum(0),
    }[rule]
    return (precision * mean).sum(0) / total, 1 / total


# Properties


@pytest.mark.parametrize("name", ACCUMULATIONS)
def test_a_rule_equals_its_formula_in_each_group(name):
    q, groups = posteriors(11), Groups.of(LABELS)
    result = ACCUMULATIONS[name](q, groups)
    assert result.mean.shape == result.log_variance.shape == (4, 3) and len(result) == 4
    for group in range(4):
        member = group == LABELS
        mean, variance = plain(name, q.mean[member], q.variance[member])
        torch.testing.assert_close(result.mean[group], mean)
        torch.testing.assert_close(result.variance[group], variance)
        torch.testing.assert_close(result.std[group], variance.sqrt())


@RULES
def test_the_order_of_members_and_other_groups_do_not_matter(rule):
    q, order = posteriors(11), torch.randperm(11)
    result = rule(q, Groups.of(LABELS))
    assert_same(rule(q[order], Groups.of(LABELS[order])), result)
    torch.testing.assert_close(rule(q[order], Groups.of(LABELS[order])).kl(), result.kl())
    for group in range(4):
        members = q[group == LABELS]
        assert_same(rule(members, one_group(len(members))), result[group : group + 1])


@RULES
def test_a_rule_commutes_with_permutations_and_signs_of_dimensions(rule):
    q, groups, order = posteriors(11), Groups.of(LABELS), torch.tensor([2, 0, 1])
    sign = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    result = rule(q, groups)
    moved = rule(DiagonalGaussian(sign * q.mean[:, order], q.log_variance[:, order]), groups)
    torch.testing.assert_close(moved.mean, sign * result.mean[:, order])
    torch.testing.assert_close(moved.log_variance, result.log_variance[:, order])
    torch.testing.assert_close(moved.kl(), result.kl())


@pytest.mark.parametrize("name", ["product", "mean", "mixture"])
def test_a_rule_without_the_prior_commutes_with_shifts_and_scales(name):
    q, groups = posteriors(11), Groups.of(LABELS)
    result = ACCUMULATIONS[name](q, groups)
    moved = DiagonalGaussian(5 - 3 * q.mean, q.log_variance + math.log(9))
    expected = DiagonalGaussian(5 - 3 * result.mean, result.log_variance + math.log(9))
    assert_same(ACCUMULATIONS[name](moved, groups), expected)


EQUAL = {  # mean and precision of n members with mean m and precision p
    "product": lambda n, m, p: (m, n * p),
    "prior_product": lambda n, m, p: (n * p * m / (1 + n * p), 1 + n * p),
    "prior_corrected": lambda n, m, p: (n * p * m / (1 + n * (p - 1)), 1 + n * (p - 1)),
    "mean": lambda n, m, p: (m, p),
    "mixture": lambda n, m, p: (m, p),
}


@pytest.mark.parametrize("name", ACCUMULATIONS)
@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_n_equal_members_have_a_closed_form(name, n):
    # Other implementations for pairs keep the variance of one member under the product.
    m, p = torch.randn(2, 3, dtype=torch.float64)
    p = 1 + p.exp()
    q = DiagonalGaussian(m.expand(n, 3), -p.log().expand(n, 3))
    mean, precision = EQUAL[name](n, m, p)
    expected = DiagonalGaussian(mean[None], -precision.log()[None])
    assert_same(ACCUMULATIONS[name](q, one_group(n)), expected)


@pytest.mark.parametrize("name", ["product", "mean", "mixture"])
def test_without_the_prior_a_group_of_one_has_the_posterior_of_its_member(name):
    q = posteriors(5)
    assert_same(ACCUMULATIONS[name](q, Groups.singletons(5)), q)


def test_prior_corrected_keeps_the_posterior_of_a_group_of_one_unless_it_is_too_wide():
    mean = torch.tensor([[2.0], [2.0], [2.0]], dtype=torch.float64)
    variance = torch.tensor([[0.25], [1.0], [4.0]], dtype=torch.float64)
    result = prior_corrected(DiagonalGaussian(mean, variance.log()), Groups.singletons(3))
    assert result.mean.flatten().tolist() == [2, 2, 0.5]
    torch.testing.assert_close(result.variance.flatten(), torch.tensor([0.25, 1, 1]).double())


def test_product_agrees_with_quadrature():
    # Normalisation, mean and variance of the product by the trapezoid rule on a fine grid.
    q = posteriors(5, dim=1, scale=0.5)
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    log_density = torch.stack([q[i].log_prob(grid[:, None]) for i in range(5)]).sum(0)
    density = (log_density - log_density.max()).exp()
    density /= torch.trapezoid(density, grid)
    mean = torch.trapezoid(density * grid, grid)
    variance = torch.trapezoid(density * (grid - mean).square(), grid)
    result = product(q, one_group(5))
    torch.testing.assert_close(result.mean[0, 0], mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result.variance[0, 0], variance, rtol=1e-9, atol=1e-9)


def linear_gaussian(n):
    """Members x_i = w c + u s_i + noise of one group, with standard normal c and s_i.

    Returns mean and variance of p(c | x_i) for each i, and of p(c | x_1, ..., x_n). They are
    conditionals of the joint normal distribution of c and the observations.
    """
    w, u = torch.randn(2, 4, 1, dtype=torch.float64)
    noise = u @ u.T + torch.diag(torch.rand(4, dtype=torch.float64) + 0.2)
    x = torch.randn(n, 4, dtype=torch.float64)

    def conditioned(x):
        members = len(x) // 4
        loading = w.repeat(members, 1)
        covariance = torch.block_diag(*[noise] * members) + loading @ loading.T
        gain = torch.linalg.solve(covariance, loading).T
        return gain @ x, 1 - gain @ loading

    single = [conditioned(x[i]) for i in range(n)]
    moments = [torch.stack([part[k].reshape(1) for part in single]) for k in (0, 1)]
    return moments, conditioned(x.flatten())


@pytest.mark.parametrize("n", [1, 2, 6])
def test_prior_corrected_is_exact_bayes_in_a_linear_model(n):
    (mean, variance), whole = linear_gaussian(n)
    result = prior_corrected(DiagonalGaussian(mean, variance.log()), one_group(n))
    torch.testing.assert_close(result.mean[0], whole[0].reshape(1))
    torch.testing.assert_close(result.variance[0], whole[1].reshape(1))
    if n > 1:  # the plain product counts the prior n times
        plain_product = product(DiagonalGaussian(mean, variance.log()), one_group(n))
        assert plain_product.variance[0] < 0.99 * whole[1].reshape(1)


def test_prior_product_is_exact_bayes_if_the_encoder_computes_likelihoods():
    (mean, variance), whole = linear_gaussian(4)
    precision = 1 / variance - 1  # of p(x_i | c) as a function of c
    likelihood = DiagonalGaussian(mean / variance / precision, -precision.log())
    result = prior_product(likelihood, one_group(4))
    torch.testing.assert_close(result.mean[0], whole[0].reshape(1))
    torch.testing.assert_close(result.variance[0], whole[1].reshape(1))


@pytest.mark.parametrize("name", list(ACCUMULATIONS))
def test_posteriors_of_single_observations_accumulate_to_the_same_result(name: str):
    q, groups = posteriors(11), Groups(LABELS)
    single = ACCUMULATIONS[name](q, Groups.singletons(11))
    second_rule = ACCUMULATIONS[POSTERIOR_RULES.get(name, name)]  # it counts the prior once
    posterior = second_rule(DiagonalGaussian(single.mean, single.log_variance), groups)
    assert_same(posterior, ACCUMULATIONS[name](q, groups))


@pytest.mark.parametrize("rule", [prior_product, prior_corrected])
def test_with_the_prior_no_posterior_is_wider_and_uninformed_members_change_nothing(rule):
    q = posteriors(50, scale=4.0)
    assert (rule(q, Groups.of(torch.arange(50) % 7)).log_variance <= 0).all()
    informed = posteriors(1, scale=0.5)
    uninformed = DiagonalGaussian(torch.randn(9, 3).double(), torch.full((9, 3), 60.0).double())
    both = DiagonalGaussian(
        torch.cat((informed.mean, uninformed.mean)),
        torch.cat((informed.log_variance, uninformed.log_variance)),
    )
    assert_same(rule(both, one_group(10)), rule(informed, one_group(1)))
    assert rule(uninformed, one_group(9)).kl() < 1e-20


def test_prior_corrected_is_continuous_at_members_as_wide_as_the_prior():
    mean, other = torch.tensor([[3.0], [-1.0]]).double(), torch.tensor([[-1.0]]).double()
    sides = [
        prior_corrected(
            DiagonalGaussian(mean, torch.cat((torch.full_like(other, side), other))), one_group(2)
        )
        for side in (-1e-9, 0.0, 1e-9)
    ]
    assert_same(sides[0], sides[1], rtol=0, atol=1e-7)
    assert_same(sides[2], sides[1], rtol=0, atol=1e-7)


# Behaviour


@RULES
@pytest.mark.parametrize("n", [1, 2, 100_000])
@pytest.mark.parametrize("log_variance", [-80.0, 0.0, 80.0])
def test_float32_is_finite_and_correct(rule, n, log_variance):
    # The sum of 100,000 times exp(80) overflows in float32; its logarithm does not.
    mean = torch.randn(n, 2, requires_grad=True)
    log_variances = torch.full((n, 2), log_variance, requires_grad=True)
    result = rule(DiagonalGaussian(mean, log_variances), one_group(n))
    exact = rule(
        DiagonalGaussian(mean.detach().double(), log_variances.detach().double()), one_group(n)
    )
    torch.testing.assert_close(result.mean.double(), exact.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        result.log_variance.double(), exact.log_variance, rtol=1e-5, atol=1e-4
    )
    kl = result.kl()
    torch.testing.assert_close(kl.double(), exact.kl(), rtol=1e-3, atol=1e-3)
    loss = result.mean.sum() + result.log_variance.sum() + (1 + kl).log().sum()
    for gradient in torch.autograd.grad(loss, (mean, log_variances)):
        assert gradient.isfinite().all()


@RULES
def test_float32_is_finite_with_extreme_variances_in_one_group(rule):
    log_variance = torch.tensor([[-80.0], [80.0], [-80.0], [80.0], [0.0]], requires_grad=True)
    mean = torch.tensor([[1.0], [5.0], [3.0], [7.0], [1.0]], requires_grad=True)
    for labels in ([0, 0, 0, 0, 0], [0, 0, 1, 1, 1]):
        result = rule(DiagonalGaussian(mean, log_variance), Groups.of(labels))
        exact = rule(
            DiagonalGaussian(mean.detach().double(), log_variance.detach().double()),
            Groups.of(labels),
        )
        torch.testing.assert_close(result.mean.double(), exact.mean, rtol=1e-5, atol=0)
        torch.testing.assert_close(
            result.log_variance.double(), exact.log_variance, rtol=1e-6, atol=1e-6
        )
        loss = result.mean.sum() + result.log_variance.sum() + (1 + result.kl()).log().sum()
        for gradient in torch.autograd.grad(loss, (mean, log_variance)):
            assert gradient.isfinite().all()


def test_prior_corrected_keeps_the_sum_of_many_members_with_little_information():
    # In float32, exp(1e-7) - 1 has an error of a fifth, so the sum must not add such differences.
    log_variance = torch.full((100_000, 1), -1e-7)
    q = DiagonalGaussian(torch.zeros(100_000, 1), log_variance)
    result = prior_corrected(q, one_group(100_000))
    torch.testing.assert_close(1 / result.variance, torch.tensor([[1.01]]), rtol=1e-5, atol=0)


@RULES
def test_under_autocast_evidence_is_accumulated_in_float32(rule):
    q = posteriors(11, dtype=torch.bfloat16)
    expected = rule(q, Groups.of(LABELS))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = rule(q, Groups.of(LABELS))
        kl = result.kl()
    assert result.mean.dtype == result.log_variance.dtype == kl.dtype == torch.float32
    assert_same(result, expected, rtol=0, atol=0)


@RULES
def test_gradient_reaches_every_member_and_agrees_with_finite_differences(rule):
    q = posteriors(5, dim=2)
    inputs = (q.mean.requires_grad_(), q.log_variance.requires_grad_())

    def accumulated(mean, log_variance):
        result = rule(DiagonalGaussian(mean, log_variance), Groups.of([0, 1, 0, 0, 0]))
        return result.mean, result.log_variance, result.kl()

    assert torch.autograd.gradcheck(accumulated, inputs)
    loss = torch.cat([part.flatten() for part in accumulated(*inputs)]).sum()
    assert all(gradient.all() for gradient in torch.autograd.grad(loss, inputs))


@RULES
def test_a_group_without_members_has_the_prior(rule):
    # A batch with a fixed number of groups may have empty groups.
    groups = Groups.unchecked(torch.tensor([0, 0]), torch.tensor([2, 0]))
    q = posteriors(2)
    mean = q.mean.requires_grad_()
    result = rule(DiagonalGaussian(mean, q.log_variance), groups)
    assert result.kl()[1] == 0 and not result.mean[1].any() and not result.log_variance[1].any()
    (gradient,) = torch.autograd.grad(result.kl().sum() + result.log_variance.sum(), mean)
    assert gradient.isfinite().all()
