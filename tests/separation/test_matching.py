"""Each group's styles against the prior: moments and kernel mean discrepancy."""

import pytest
import torch

from mlvae import DiagonalGaussian, Groups
from mlvae.separation.matching import moment_gap, squared_mmd

LABELS = torch.tensor([0, 1, 0, 2, 1, 1, 1])

# Properties


def test_the_moment_gap_is_the_divergence_of_the_group_s_own_gaussian():
    s = torch.randn(7, 3, dtype=torch.float64)
    gap = moment_gap(s, Groups(LABELS))
    for group in (0, 1):
        rows = s[group == LABELS]
        expected = DiagonalGaussian(rows.mean(0), rows.var(0).log()).kl()
        torch.testing.assert_close(gap[group], expected)


def test_the_mmd_of_draws_of_the_prior_is_zero_on_average_and_that_of_others_is_not():
    groups = Groups(torch.arange(300) // 100)
    values = []
    for shift in (0.0, 0.5):
        draws = [
            squared_mmd(torch.randn(300, 2) + shift, torch.randn(300, 2), groups)
            for _ in range(40)
        ]
        values.append(torch.cat(draws))
    standard_error = values[0].std() / 120**0.5
    assert values[0].mean().abs() < 3 * standard_error  # without bias: negative half of the time
    assert values[1].mean() > 20 * standard_error


def test_the_mmd_is_that_of_the_definition_group_by_group():
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
def test_a_group_of_one_costs_nothing_and_every_other_member_is_moved(gap):
    s = torch.randn(7, 3, requires_grad=True)
    cost = gap(s, Groups(LABELS))
    assert cost[2] == 0
    cost.sum().backward()
    assert s.grad.isfinite().all()
    assert s.grad.any(1).tolist() == (LABELS != 2).tolist()


@pytest.mark.parametrize("gap", [moment_gap, lambda s, g: squared_mmd(s, torch.randn(1, 3), g)])
def test_a_batch_of_a_single_observation_costs_nothing(gap):
    s = torch.randn(1, 3, requires_grad=True)  # as the last batch of an epoch may be
    cost = gap(s, Groups.singletons(1))
    assert cost.tolist() == [0]
    cost.sum().backward()
    assert not s.grad.any()


@pytest.mark.parametrize("half", [False, True])
def test_the_mmd_keeps_its_digits_under_autocast(half):
    s, z = 3 + 0.01 * torch.randn(7, 3), 3 + 0.01 * torch.randn(7, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        mmd = squared_mmd(s, z, Groups(LABELS))
    torch.testing.assert_close(
        mmd, squared_mmd(s.double(), z.double(), Groups(LABELS)).float(), atol=2e-5, rtol=0
    )
