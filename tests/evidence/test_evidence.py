"""Evidence is additive, in any order and in any parts."""

import math

import pytest
import torch

from mlvae import DiagonalGaussian, Evidence, Groups


def posteriors(n, dim=3, scale=2.0, dtype=torch.float64):
    return DiagonalGaussian(
        torch.randn(n, dim, dtype=dtype), scale * torch.randn(n, dim, dtype=dtype)
    )


def one_group(n):
    """A group of n observations."""
    return Groups(torch.zeros(n, dtype=torch.int64))


def assert_same(a, b, **tolerance):
    a, b = (e.posterior() if isinstance(e, Evidence) else e for e in (a, b))
    torch.testing.assert_close(a.mean, b.mean, **tolerance)
    torch.testing.assert_close(a.log_variance, b.log_variance, **tolerance)


def test_addition_adds_natural_parameters():
    a, b = Evidence.of(posteriors(4)), Evidence.of(posteriors(4))
    torch.testing.assert_close((a + b).precision, a.precision + b.precision)
    torch.testing.assert_close((a + b).precision_mean, a.precision_mean + b.precision_mean)


def test_addition_is_commutative_and_associative_with_a_zero():
    a, b, c = (Evidence.of(posteriors(4)) for _ in range(3))
    assert_same(a + b, b + a)
    assert_same((a + b) + c, a + (b + c))
    none = Evidence.none(4, 3, like=a.mean)
    assert_same(a + none, a)
    assert_same(none + a, a)


def test_any_partition_of_a_group_gives_the_same_evidence():
    evidence = Evidence.of(posteriors(24))
    whole = evidence.accumulate(one_group(24))
    for pieces in (2, 3, 24):
        parts = evidence.accumulate(Groups.of(torch.arange(24) % pieces))
        assert_same(parts.accumulate(one_group(pieces)), whole)


def test_posterior_of_equals_the_posterior_of_the_accumulated_evidence_bit_for_bit():
    groups = Groups.of([0, 1, 1, 2, 2, 2, 3, 3])  # group 2 has no evidence
    known = torch.tensor([True, True, True, False, False, False, False, True])
    results = []
    for rule in (lambda e: e.accumulate(groups).posterior(), lambda e: e.posterior_of(groups)):
        torch.manual_seed(0)
        members = posteriors(8, scale=30.0, dtype=torch.float32)
        leaves = members.mean.requires_grad_(), members.log_variance.requires_grad_()
        q = rule(Evidence.of(members).only(known))
        gradients = torch.autograd.grad((q.kl() + q.mean.sin().sum(1)).sum(), leaves)
        results.append([q.mean, q.log_variance, *gradients])
    assert all(map(torch.equal, *results))
    mean, log_variance, mean_gradient, _ = results[1]
    assert not mean[2].any() and not log_variance[2].any()  # the prior
    assert not mean_gradient[3:7].any()
    assert all(values.isfinite().all() for values in results[1])


def test_adding_one_observation_at_a_time_gives_the_same_evidence():
    evidence = Evidence.of(posteriors(24))
    stream = Evidence.none(1, 3, like=evidence.mean)
    for i in torch.randperm(24):
        stream = stream + evidence[i : i + 1]
    assert_same(stream, evidence.accumulate(one_group(24)))


def test_subtraction_undoes_addition():
    a, b = Evidence.of(posteriors(6)), Evidence.of(posteriors(6))
    assert_same((a + b) - b, a, rtol=1e-6, atol=1e-6)


def test_subtraction_gives_leave_one_out():
    evidence, groups = Evidence.of(posteriors(20, scale=1.0)), Groups.of(torch.arange(20) % 3)
    left = evidence.leave_one_out(groups)
    for i in range(20):
        others = [j for j in range(20) if j != i and groups.index[j] == groups.index[i]]
        expected = evidence[others].accumulate(one_group(len(others)))
        assert_same(left[i : i + 1], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("n", "log_variance"), [(100_000, -80.0), (3, -89.0), (3, 89.0)])
def test_leave_one_out_is_right_in_float32_where_precisions_leave_its_range(n, log_variance):
    mean = torch.randn(n, 1)
    q = DiagonalGaussian(mean, torch.full_like(mean, log_variance))
    left = Evidence.of(q).leave_one_out(one_group(n))
    exact = mean.double()
    torch.testing.assert_close(
        left.mean.double(), (exact.sum() - exact) / (n - 1), rtol=1e-4, atol=1e-4
    )
    expected = torch.full_like(mean, math.log(n - 1) - log_variance)
    torch.testing.assert_close(left.log_precision, expected, rtol=1e-6, atol=0)


def test_a_group_of_one_without_its_member_has_no_evidence_and_the_prior():
    evidence = Evidence.of(posteriors(1))
    left = evidence.leave_one_out(one_group(1))
    assert (left.precision == 0).all() and (left.precision_mean == 0).all()
    assert_same(left, DiagonalGaussian(torch.zeros_like(left.mean), torch.zeros_like(left.mean)))
    none = Evidence.none(2, 3)
    assert (none - none).posterior().kl().tolist() == [0, 0]
    assert "(2, 3)" in repr(none)


def test_float32_is_finite_with_extreme_variances_in_one_group():
    log_variance = torch.tensor([[-80.0], [80.0], [-80.0], [80.0]], requires_grad=True)
    mean = torch.tensor([[1.0], [5.0], [3.0], [7.0]], requires_grad=True)
    q = DiagonalGaussian(mean, log_variance)
    for evidence in (
        Evidence.of(q).accumulate(one_group(4)),
        Evidence.of(q)[:2] + Evidence.of(q)[2:],
        Evidence.of(q).leave_one_out(one_group(4)),
    ):
        posterior = evidence.posterior()
        assert posterior.mean.isfinite().all() and posterior.log_variance.isfinite().all()
        for gradient in torch.autograd.grad(posterior.kl().sum(), (mean, log_variance)):
            assert gradient.isfinite().all()
    # The two members with a large precision determine the mean.
    whole = Evidence.of(q).accumulate(one_group(4))
    torch.testing.assert_close(whole.mean, torch.tensor([[2.0]]))


def test_gradients_of_a_difference_are_finite_where_nothing_remains():
    groups = Groups.of([0, 0, 0, 1, 1, 2])
    known = torch.tensor([True, False, True, False, False, True])  # nothing of group 1
    mean = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    log_variance = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    evidence = Evidence.of(DiagonalGaussian(mean, log_variance))
    rest = evidence.only(known).leave_one_out(groups)
    q = rest.posterior()
    loss = (q.kl() + q.mean.sin().sum(1)).sum()
    gradients = torch.autograd.grad(loss, (mean, log_variance))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0].any(1).tolist() == [True, False, True, False, False, False]
    # The subtrahend is larger, by a factor that overflows.
    larger = Evidence.of(DiagonalGaussian(mean, log_variance - 800))
    loss = (evidence - larger).posterior().kl().sum()
    for gradient in torch.autograd.grad(loss, (mean, log_variance)):
        assert gradient.isfinite().all()


def test_gradients_agree_with_finite_differences():
    q = posteriors(4, dim=2)
    inputs = (q.mean.requires_grad_(), q.log_variance.requires_grad_())

    def add(mean, log_variance):
        evidence = Evidence.of(DiagonalGaussian(mean, log_variance))
        result = (evidence[:2] + evidence[2:]).posterior()
        return result.mean, result.log_variance

    assert torch.autograd.gradcheck(add, inputs)
