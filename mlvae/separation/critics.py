r"""Critics: networks that try to tell the group from the style, and are to fail.

A critic learns to tell pairs as they occur from pairs put together at random, by the logistic
loss. At its best, what it gains over guessing is twice the Jensen-Shannon divergence of the two
kinds of pairs in nats (I. Goodfellow et al.: Generative Adversarial Nets. NeurIPS 2014,
arXiv:1406.2661, theorem 1), which is zero just where the two members of a pair are independent.
The encoder gets the gradient of that gain as a cost, by reversal (Y. Ganin et al.:
Domain-Adversarial Training of Neural Networks. JMLR 17, 2016, arXiv:1505.07818), so one optimiser
steps both.

Shapes: N observations, C content and S style dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.groups import Groups
from mlvae.noise import uniform

__all__ = ["ContentCritic", "Critic", "PairCritic"]


class Reversal(torch.autograd.Function):
    """The identity, whose gradient is turned round and weighed."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: float) -> Tensor:  # noqa: ANN001
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN001
        return -ctx.weight * gradient, None


class Critic(nn.Module):
    """A network of three hidden layers that scores pairs (N, A), (N, B): (N,), a logit each."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fan_in in (inputs, width, width):
            layers += [nn.Linear(fan_in, width), nn.LeakyReLU(0.2)]
        self.network = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """The logit of each pair being one that occurs."""
        return self.network(torch.cat((left, right), 1))[:, 0]

    def losses(self, left: Tensor, right: Tensor, stranger: Tensor) -> Tensor:
        """Its logistic loss (N,) of both kinds of pairs in nats; 2 log 2 is that of a guess."""
        return functional.softplus(-self(left, right)) + functional.softplus(self(left, stranger))


class ContentCritic(nn.Module):
    r"""Tells the content of an observation's group from that of another, by its style.

    The cost is :math:`2 \operatorname{JSD}(q(s, c) \,\|\, q(s) q(c))` per observation, at most
    2 log 2 nats; zero just where style and content are independent. The idea of a density ratio
    against shuffled codes is that of H. Kim, A. Mnih: Disentangling by Factorising. ICML 2018,
    arXiv:1802.05983, here with the one pair of latents that should be independent.
    """

    def __init__(self, content_dim: int, style_dim: int, width: int) -> None:
        super().__init__()
        self.critic = Critic(content_dim + style_dim, width)

    def forward(
        self,
        content: Tensor,
        style: Tensor,
        groups: Groups,
        weight: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """The critic's loss (N,) at draws (N, C) and (N, S); the style's gradient is reversed."""
        order = uniform((len(style),), generator=generator, device=style.device).argsort()
        content = content.detach()
        return self.critic.losses(Reversal.apply(style, weight), content, content[order])


class PairCritic(nn.Module):
    r"""Tells two styles of one group from two at random.

    The cost is :math:`2 \operatorname{JSD}(q(s, s') \,\|\, q(s) q(s'))` per observation, over
    pairs of fellow members, at most 2 log 2 nats. J. Nemeth: Adversarial Disentanglement with
    Grouped Observations. AAAI 2020, arXiv:2001.04761. Its signal is weaker than that of
    :class:`ContentCritic`: both styles must tell of the group before it can see anything.
    """

    def __init__(self, content_dim: int, style_dim: int, width: int) -> None:
        super().__init__()
        self.critic = Critic(2 * style_dim, width)

    def forward(
        self,
        content: Tensor,
        style: Tensor,
        groups: Groups,
        weight: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """The critic's loss (N,), gradient reversed; that of groups of one is a guess's."""
        order = uniform((len(style),), generator=generator, device=style.device).argsort()
        fellow = groups.fellow_members(generator=generator)
        style = Reversal.apply(style, weight)
        losses = self.critic.losses(style, style[fellow], style[order])
        alone = groups.spread(groups.sizes) == 1
        return losses.masked_fill(alone, 2 * math.log(2))
