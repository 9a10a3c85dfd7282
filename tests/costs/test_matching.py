"""Moments and kernel mean discrepancy of the styles of each group from the prior."""

import pytest
import torch

from mlvae import DiagonalGaussian, Groups
from mlvae.costs.matching import moment_gap, squared_mmd

LABELS = torch.tensor([0, 1, 0, 2, 1, 1, 1])

# Properties


def test_the_moment_gap_is_the_kl_of_the_gaussian_with_the_moments_of_the_group():
    s = torch.randn(7, 3, dtype=torch.float64)
    gap = moment_gap(s, Groups(LABELS))
    for group in (0, 1):
        rows = s[group == LABELS]
        expected = DiagonalGaussian(rows.mean(0), rows.var(0).log()).kl()
        torch.testing.assert_close(gap[group], expected)


def test_the_mmd_is_zero_on_average_for_draws_of_the_prior_only():
    groups = Groups(torch.arange(300) // 100)
    values = []
    for shift in (0.0, 0.5):
        draws = [
            squared_mmd(torch.randn(300, 2) + shift, torch.randn(300, 2), groups)
            for _ in range(40)
        ]
        values.append(torch.cat(draws))
    standard_error = values[0].std() / 120**0.5
    assert values[0].mean().abs() < 3 * standard_error  # unbiased
    assert values[1].mean() > 20 * standard_error


def test_the_mmd_equals_its_definition_in_each_group():
    s, z = torch.randn(7, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)

    def kernel(a, b):
        square = float((a - b).square().sum())
        scales = [2 * 3 * h for h in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
        return sum(c / (c + square) for c in scales) / 7

    def mean(pairs):
        return sum(kernel(a, b) for a, b in pairs) / len(pairs)

    among = mean([(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])
    mmd = squared_mmd(s, z, Groups(LABELS))
    for group in (0, 1):
        rows = s[group == LABELS]
        within = mean([(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j])
        across = mean([(a, b) for a in rows for b in z])
        assert mmd[group].item() == pytest.approx(within - 2 * across + among, rel=1e-9)


# Behaviour


@pytest.mark.parametrize("gap", [moment_gap, lambda s, g: squared_mmd(s, torch.randn(9, 3), g)])
def test_a_group_of_one_has_no_cost_and_all_other_members_have_a_gradient(gap):
    s = torch.randn(7, 3, requires_grad=True)
    cost = gap(s, Groups(LABELS))
    assert cost[2] == 0
    (gradient,) = torch.autograd.grad(cost.sum(), s)
    assert gradient.isfinite().all()
    assert gradient.any(1).tolist() == (LABELS != 2).tolist()


@pytest.mark.parametrize("gap", [moment_gap, lambda s, g: squared_mmd(s, torch.randn(1, 3), g)])
def test_a_batch_of_a_single_observation_has_no_cost(gap):
    s = torch.randn(1, 3, requires_grad=True)  # the last batch of an epoch can be one
    cost = gap(s, Groups.singletons(1))
    assert cost.tolist() == [0]
    (gradient,) = torch.autograd.grad(cost.sum(), s)
    assert not gradient.any()


@pytest.mark.parametrize("half", [False, True])
def test_the_mmd_is_computed_in_float32_under_autocast(half):
    s, z = 3 + 0.01 * torch.randn(7, 3), 3 + 0.01 * torch.randn(7, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        mmd = squared_mmd(s, z, Groups(LABELS))
    torch.testing.assert_close(
        mmd, squared_mmd(s.double(), z.double(), Groups(LABELS)).float(), atol=2e-5, rtol=0
    )
