"""Adversarial critics and the reversal of their gradient."""

import math

import pytest
import torch

from mlvae import Groups
from mlvae.costs.critics import ContentCritic, PairCritic, Reversal

LABELS = torch.tensor([0, 1, 0, 2, 1, 1, 1])

# Properties


def test_reversal_is_the_identity_and_multiplies_the_gradient_by_minus_the_weight():
    x = torch.randn(3, requires_grad=True)
    y = Reversal.apply(x, 2.5)
    assert torch.equal(x, y)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.tolist() == [-2.5] * 3


@pytest.mark.parametrize("kind", [ContentCritic, PairCritic])
def test_the_weight_multiplies_the_gradient_of_the_style_and_not_of_the_critic(kind):
    critic, groups = kind(3, 2, 8), Groups(LABELS)
    c, gradients, own = torch.randn(7, 3), [], []
    for weight in (1.0, 4.0):
        s = torch.linspace(-1, 1, 14).view(7, 2).requires_grad_()
        critic.zero_grad()
        generator = torch.Generator().manual_seed(0)
        critic(c, s, groups, weight, generator).sum().backward()
        gradients.append(s.grad)
        own.append([p.grad.clone() for p in critic.parameters()])
    torch.testing.assert_close(gradients[1], 4 * gradients[0])
    torch.testing.assert_close(own[1], own[0])  # the critic has weight 1


@pytest.mark.parametrize("kind", [ContentCritic, PairCritic])
@pytest.mark.parametrize("dependent", [False, True])
def test_a_trained_critic_reduces_its_loss_by_the_divergence(kind, dependent):
    """Two groups at -1 and 1: half of the random pairs are possible, so 2 JSD = 2 log 2 - H."""
    index = torch.arange(256) % 2
    groups, critic = Groups(index), kind(1, 1, 32)
    adam = torch.optim.Adam(critic.parameters(), lr=1e-2)
    c = (2.0 * index - 1)[:, None]
    reductions = []
    for _ in range(150):
        s = c.clone() if dependent else torch.randn(256, 1)
        loss = critic(c, s, groups, 0.0, None).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        reductions.append(2 * math.log(2) - loss.item())
    # All joint pairs are possible, and every second random pair: the optimal odds are 2 to 1.
    expected = 2 * math.log(2) - (math.log(1.5) + 0.5 * math.log(3)) if dependent else 0.0
    assert sum(reductions[-50:]) / 50 == pytest.approx(expected, abs=0.03)


# Behaviour


def test_a_group_of_one_has_the_loss_of_a_critic_without_information():
    s = torch.randn(7, 2, requires_grad=True)
    losses = PairCritic(3, 2, 8)(torch.randn(7, 3), s, Groups(LABELS), 1.0, None)
    assert losses[3].item() == pytest.approx(2 * math.log(2))


def test_no_gradient_reaches_the_content():
    c = torch.randn(7, 3, requires_grad=True)
    s = torch.randn(7, 2, requires_grad=True)
    loss = ContentCritic(3, 2, 8)(c, s, Groups(LABELS), 1.0, None).sum()
    content_gradient, style_gradient = torch.autograd.grad(loss, (c, s), allow_unused=True)
    assert content_gradient is None and style_gradient.any()
