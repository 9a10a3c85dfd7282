"""Accumulated evidence is the normalised product of the members, however it is added up."""

import math

import pytest
import torch

from mlvae import DiagonalGaussian, Evidence, Groups
from mlvae.evidence import product


def posteriors(n, dim=3, scale=2.0, dtype=torch.float64):
    return DiagonalGaussian(
        torch.randn(n, dim, dtype=dtype), scale * torch.randn(n, dim, dtype=dtype)
    )


def together(n):
    """All n observations in one group."""
    return Groups(torch.zeros(n, dtype=torch.int64))


def assert_same(a, b, **tolerance):
    a, b = (e.posterior() if isinstance(e, Evidence) else e for e in (a, b))
    torch.testing.assert_close(a.mean, b.mean, **tolerance)
    torch.testing.assert_close(a.log_variance, b.log_variance, **tolerance)


def test_product_agrees_with_quadrature():
    # The product's normalisation, mean and variance by the trapezoid rule on a fine grid.
    q = posteriors(5, dim=1, scale=0.5)
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    log_density = sum(q[i].log_prob(grid[:, None]) for i in range(5))
    density = (log_density - log_density.max()).exp()
    density /= torch.trapezoid(density, grid)
    mean = torch.trapezoid(density * grid, grid)
    variance = torch.trapezoid(density * (grid - mean).square(), grid)
    result = product(q, together(5))
    torch.testing.assert_close(result.mean[0, 0], mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result.variance[0, 0], variance, rtol=1e-9, atol=1e-9)


def test_product_is_the_published_formula():
    q, groups = posteriors(30), Groups.of(torch.randint(4, (30,)))
    for group, result in enumerate(zip(*_natural(product(q, groups)), strict=True)):
        members = groups.index == group
        precision, weighted = (parameter[members].sum(0) for parameter in _natural(q))
        torch.testing.assert_close(result[0], precision)
        torch.testing.assert_close(result[1], weighted)


def _natural(q):
    precision = (-q.log_variance).exp()
    return precision, precision * q.mean


def test_natural_parameters_are_what_is_added():
    a, b = Evidence.of(posteriors(4)), Evidence.of(posteriors(4))
    torch.testing.assert_close((a + b).precision, a.precision + b.precision)
    torch.testing.assert_close((a + b).precision_mean, a.precision_mean + b.precision_mean)


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_n_equal_members_shrink_the_variance_n_times(n):
    # Pair implementations elsewhere normalise the precision and keep the variance of one member.
    q = posteriors(1)
    result = product(q[torch.zeros(n, dtype=torch.int64)], together(n))
    assert_same(result, DiagonalGaussian(q.mean, q.log_variance - math.log(n)))


def test_groups_do_not_touch_each_other_and_order_does_not_matter():
    q, labels = posteriors(50), torch.randint(5, (50,))
    order = torch.randperm(50)
    result = product(q, Groups.of(labels))
    assert_same(product(q[order], Groups.of(labels[order])), result)
    for group in range(5):
        alone = q[labels == group]
        assert_same(product(alone, together(len(alone))), result[group : group + 1])


def test_addition_is_commutative_and_associative_with_a_zero():
    a, b, c = (Evidence.of(posteriors(4)) for _ in range(3))
    assert_same(a + b, b + a)
    assert_same((a + b) + c, a + (b + c))
    none = Evidence.none(4, 3, like=a.mean)
    assert_same(a + none, a)
    assert_same(none + a, a)


def test_any_partition_of_a_group_gives_the_same_evidence():
    evidence = Evidence.of(posteriors(24))
    whole = evidence.accumulate(together(24))
    for pieces in (2, 3, 24):
        parts = evidence.accumulate(Groups.of(torch.arange(24) % pieces))
        assert_same(parts.accumulate(together(pieces)), whole)


def test_streaming_one_at_a_time_gives_the_same_evidence():
    evidence = Evidence.of(posteriors(24))
    stream = Evidence.none(1, 3, like=evidence.mean)
    for i in torch.randperm(24):
        stream = stream + evidence[i : i + 1]
    assert_same(stream, evidence.accumulate(together(24)))


def test_subtraction_undoes_addition():
    a, b = Evidence.of(posteriors(6)), Evidence.of(posteriors(6))
    assert_same((a + b) - b, a, rtol=1e-6, atol=1e-6)


def test_subtraction_gives_leave_one_out():
    evidence, groups = Evidence.of(posteriors(20, scale=1.0)), Groups.of(torch.arange(20) % 3)
    left = evidence.leave_one_out(groups)
    for i in range(20):
        others = [j for j in range(20) if j != i and groups.index[j] == groups.index[i]]
        expected = evidence[others].accumulate(together(len(others)))
        assert_same(left[i : i + 1], expected, rtol=1e-8, atol=1e-8)


def test_nothing_left_is_no_evidence_and_its_posterior_is_the_prior():
    evidence = Evidence.of(posteriors(1))
    left = evidence.leave_one_out(together(1))
    assert (left.precision == 0).all() and (left.precision_mean == 0).all()
    assert_same(left, DiagonalGaussian(torch.zeros_like(left.mean), torch.zeros_like(left.mean)))
    none = Evidence.none(2, 3)
    assert (none - none).posterior().kl().tolist() == [0, 0]
    assert "(2, 3)" in repr(none)


@pytest.mark.parametrize("n", [1, 2, 100_000])
@pytest.mark.parametrize("log_variance", [-80.0, 0.0, 80.0])
def test_float32_stays_finite_and_right(n, log_variance):
    # exp(80) a hundred thousand times is beyond float32; the log-precision is not.
    mean = torch.randn(n, 2, requires_grad=True)
    log_variances = torch.full((n, 2), log_variance, requires_grad=True)
    result = product(DiagonalGaussian(mean, log_variances), together(n))
    expected = torch.full((1, 2), log_variance - math.log(n))
    torch.testing.assert_close(result.log_variance, expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(result.mean[0], mean.mean(0), rtol=1e-4, atol=1e-4)
    (result.mean.sum() + result.log_variance.sum()).backward()
    assert mean.grad.isfinite().all() and log_variances.grad.isfinite().all()


def test_float32_stays_finite_with_extremes_side_by_side():
    log_variance = torch.tensor([[-80.0], [80.0], [-80.0], [80.0]], requires_grad=True)
    mean = torch.tensor([[1.0], [5.0], [3.0], [7.0]], requires_grad=True)
    q = DiagonalGaussian(mean, log_variance)
    for evidence in (
        Evidence.of(q).accumulate(together(4)),
        Evidence.of(q)[:2] + Evidence.of(q)[2:],
        Evidence.of(q).leave_one_out(together(4)),
    ):
        posterior = evidence.posterior()
        assert posterior.mean.isfinite().all() and posterior.log_variance.isfinite().all()
        posterior.kl().sum().backward(retain_graph=True)
        assert mean.grad.isfinite().all() and log_variance.grad.isfinite().all()
    # Two certain members outweigh two that know nothing.
    torch.testing.assert_close(product(q, together(4)).mean, torch.tensor([[2.0]]))


def test_one_hundred_thousand_groups_of_one_are_left_as_they_are():
    q = posteriors(100_000, dtype=torch.float32)
    assert_same(product(q, Groups.singletons(100_000)), q)


def test_gradients_agree_with_finite_differences():
    groups = Groups.of(torch.tensor([0, 1, 0, 0]))

    def accumulated(mean, log_variance):
        result = product(DiagonalGaussian(mean, log_variance), groups)
        return result.mean, result.log_variance

    q = posteriors(4, dim=2)
    inputs = (q.mean.requires_grad_(), q.log_variance.requires_grad_())
    assert torch.autograd.gradcheck(accumulated, inputs)

    def added(mean, log_variance):
        a = Evidence.of(DiagonalGaussian(mean, log_variance))
        result = (a[:2] + a[2:]).posterior()
        return result.mean, result.log_variance

    assert torch.autograd.gradcheck(added, inputs)


def test_a_group_without_members_has_the_prior():
    # Batches of a fixed number of groups may leave some empty.
    groups = Groups.unchecked(torch.tensor([0, 0]), torch.tensor([2, 0]))
    q = posteriors(2)
    mean = q.mean.requires_grad_()
    result = product(DiagonalGaussian(mean, q.log_variance), groups)
    assert result.kl()[1] == 0
    result.kl().sum().backward()
    assert mean.grad.isfinite().all()
