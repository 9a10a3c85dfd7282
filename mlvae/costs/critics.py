r"""Adversarial critics that penalise group information in the style.

A critic :math:`T` with the logistic loss distinguishes pairs (a, b) of the joint distribution from
pairs of independent draws, where b' is the b of a random observation:

.. math:: \ell = \operatorname{softplus}(-T(a, b)) + \operatorname{softplus}(T(a, b')).

The loss of a critic without information is 2 log 2. For the optimal critic, the reduction
:math:`2 \log 2 - \mathrm{E} \, \ell` is twice the Jensen-Shannon divergence of the two
distributions in nats (I. Goodfellow et al.: Generative Adversarial Nets. NeurIPS 2014,
arXiv:1406.2661, theorem 1). It is zero if and only if a and b are independent. The encoder
minimises the reduction by gradient reversal (Y. Ganin et al.: Domain-Adversarial Training of
Neural Networks. JMLR 17, 2016, arXiv:1505.07818), so one optimiser updates critic and encoder.

Shapes: N observations, C content and S style dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from mlvae.groups import Groups
from mlvae.noise import uniform

__all__ = [
    "ContentCritic",
    "Critic",
    "PairCritic",
    "Pairs",
    "PairwiseCritic",
    "content_style_pairs",
    "same_group_pairs",
]


class _ReversalContext(FunctionCtx):
    """What the forward pass saves for the backward pass."""

    weight: float


class Reversal(torch.autograd.Function):
    """Gradient reversal: identity forward, ``-weight * gradient`` backward."""

    @staticmethod
    def forward(ctx: _ReversalContext, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: _ReversalContext, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


class Critic(nn.Module):
    """A network with three hidden layers that scores pairs (N, A), (N, B): a logit each, (N,)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fan_in in (inputs, width, width):
            layers += [nn.Linear(fan_in, width), nn.LeakyReLU(0.2)]
        self.network = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the logit (N,) of the probability that a pair is from the joint distribution."""
        return self.network(torch.cat((left, right), 1))[:, 0]

    def losses(self, left: Tensor, right: Tensor, stranger: Tensor) -> Tensor:
        """Return the logistic losses (N,) in nats; ``stranger`` is an independent ``right``."""
        return functional.softplus(-self(left, right)) + functional.softplus(self(left, stranger))


class Pairs(NamedTuple):
    """Pairs for a critic: joint pairs (left, right) and independent pairs (left, stranger).

    Attributes:
        left: (N, A).
        right: (N, B).
        stranger: ``right`` of a random observation, (N, B).
        valid: mask (N,) of the observations that have a pair; None is all.
    """

    left: Tensor
    right: Tensor
    stranger: Tensor
    valid: Tensor | None = None


def content_style_pairs(
    content: Tensor,
    style: Tensor,
    groups: Groups,
    order: Tensor,
    generator: torch.Generator | None,
) -> Pairs:
    """Pair the style of each observation with its content, which gets no gradient."""
    content = content.detach()
    return Pairs(style, content, content[order])


def same_group_pairs(
    content: Tensor,
    style: Tensor,
    groups: Groups,
    order: Tensor,
    generator: torch.Generator | None,
) -> Pairs:
    """Pair the style of each observation with the style of another member of its group."""
    fellow = groups.fellow_members(generator=generator)
    return Pairs(style, style[fellow], style[order], groups.spread(groups.sizes) > 1)


class PairwiseCritic(nn.Module):
    """A critic of pairs that contain the style, with gradient reversal of the style.

    Args:
        inputs: dimensions of a pair, A + B.
        width: units of each hidden layer.
        pairs: function that makes the :class:`Pairs` from ``(content, style, groups, order,
            generator)``, where ``order`` is a random permutation (N,).
    """

    def __init__(self, inputs: int, width: int, pairs: Callable[..., Pairs]) -> None:
        super().__init__()
        self.critic = Critic(inputs, width)
        self.pairs = pairs

    def forward(
        self,
        content: Tensor,
        style: Tensor,
        groups: Groups,
        weight: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return the losses of the critic (N,) at draws (N, C) and (N, S).

        The gradient of the style is multiplied by ``-weight``. An observation without a pair has
        the loss 2 log 2 of a critic without information.
        """
        order = uniform((len(style),), generator=generator, device=style.device).argsort()
        style = Reversal.apply(style, weight)
        left, right, stranger, valid = self.pairs(content, style, groups, order, generator)
        losses = self.critic.losses(left, right, stranger)
        return losses if valid is None else losses.masked_fill(~valid, 2 * math.log(2))


class ContentCritic(PairwiseCritic):
    r"""Critic of the dependence of the style on the content of its group.

    The cost is :math:`2 \operatorname{JSD}(q(s, c) \,\|\, q(s) q(c))` per observation, at most
    2 log 2 nats. It is zero if and only if style and content are independent. H. Kim, A. Mnih:
    Disentangling by Factorising. ICML 2018, arXiv:1802.05983, introduced the density ratio against
    permuted codes; here the pair is style and content.
    """

    def __init__(self, content_dim: int, style_dim: int, width: int) -> None:
        super().__init__(content_dim + style_dim, width, content_style_pairs)


class PairCritic(PairwiseCritic):
    r"""Critic of the dependence of the styles of two members of one group.

    The cost is :math:`2 \operatorname{JSD}(q(s, s') \,\|\, q(s) q(s'))` per observation, over
    pairs of members, at most 2 log 2 nats. J. Nemeth: Adversarial Disentanglement with Grouped
    Observations. AAAI 2020, arXiv:2001.04761. Its signal is weaker than that of
    :class:`ContentCritic`, because both styles must contain group information.
    """

    def __init__(self, content_dim: int, style_dim: int, width: int) -> None:
        super().__init__(2 * style_dim, width, same_group_pairs)
