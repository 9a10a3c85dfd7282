r"""The group evidence lower bound, its terms, their reductions and their weights.

Shapes: N observations, G groups. Every term is in nats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mlvae.errors import check_number
from mlvae.groups import Groups

__all__ = ["ELBO", "GroupELBO", "Objective"]


@dataclass(frozen=True)
class Objective:
    """What a model returns for a batch.

    Attributes:
        loss: what is minimised, shape (): nats per group.
        elbo: evidence lower bound of each group, shape (G,), in nats, without any weight and
            without gradient.
        terms: what the bound is made of, in nats: shape (N,) is per observation, (G,) per group.
        num_observations: N.
        num_groups: G.
    """

    loss: Tensor
    elbo: Tensor
    terms: dict[str, Tensor]
    num_observations: int
    num_groups: int

    def plus(self, cost: Tensor, terms: dict[str, Tensor]) -> Objective:
        """The same with ``cost``, shape (), added to the loss before its mean over groups."""
        loss = self.loss + cost / self.num_groups
        return replace(self, loss=loss, terms={**self.terms, **terms})

    def totals(self) -> dict[str, Tensor]:
        """Sums over the batch, each of shape () and in nats; divide by N or G as you need.

        The loss is a mean over groups; its total is the loss times G.
        """
        sums = {name: term.detach().sum() for name, term in self.terms.items()}
        return {"loss": self.loss.detach() * self.num_groups, "elbo": self.elbo.sum(), **sums}


class GroupELBO(nn.Module):
    r"""The objective of the Multi-Level VAE, minus the mean of the group bounds.

    .. math:: \mathrm{ELBO}(G) = \sum_{i \in G} \mathbb E[\log p(x_i \mid c, s_i)]
        - \sum_{i \in G} \mathrm{KL}(q(s_i \mid x_i) \,\|\, p(s_i))
        - \mathrm{KL}(q(c \mid x_G) \,\|\, p(c))

    (Bouchacourt, Tomioka and Nowozin 2018.) The content KL enters once per group, not once per
    member; the loss divides by the number of groups, not of observations (their Eq. 5). With both
    weights 1 it is the published objective.

    Args:
        content_kl_weight: factor of the content KL in the loss, at least 0.
        style_kl_weight: factor of the style KL in the loss, at least 0.
        content_capacity: nats a group. The loss then has, in place of the content KL, how far its
            mean over the groups of a batch is from this (C. Burgess et al.: Understanding
            Disentangling in beta-VAE. 2018, arXiv:1804.03599, Eq. 8, there with a capacity that
            grows): it is pulled to the capacity from either side. None is the bound.
        style_capacity: nats an observation; the same for the style.

    Attributes:
        kl_scale: a further factor of both KL terms while training, shape (); a warm-up moves it
            from 0 to 1. It is 1 unless somebody sets it, and is not saved.
        style_scale: the same for the style KL alone.
    """

    def __init__(
        self,
        *,
        content_kl_weight: float = 1.0,
        style_kl_weight: float = 1.0,
        content_capacity: float | None = None,
        style_capacity: float | None = None,
    ) -> None:
        super().__init__()
        check_number("content_kl_weight", content_kl_weight, minimum=0)
        check_number("style_kl_weight", style_kl_weight, minimum=0)
        if content_capacity is not None:
            check_number("content_capacity", content_capacity, minimum=0)
        if style_capacity is not None:
            check_number("style_capacity", style_capacity, minimum=0)
        self.content_kl_weight = content_kl_weight
        self.style_kl_weight = style_kl_weight
        self.content_capacity = content_capacity
        self.style_capacity = style_capacity
        self.register_buffer("kl_scale", torch.ones(()), persistent=False)
        self.register_buffer("style_scale", torch.ones(()), persistent=False)

    def forward(
        self, *, log_likelihood: Tensor, style_kl: Tensor, content_kl: Tensor, groups: Groups
    ) -> Objective:
        """Put the terms together.

        Args:
            log_likelihood: log p(x_i | c, s_i) at the sampled latents, (N,).
            style_kl: KL(q(s_i | x_i) || p(s)), (N,).
            content_kl: KL(q(c | x_G) || p(c)), (G,).
            groups: which observation is in which group.
        """
        content_kl = groups.once(content_kl)
        style = _weighted(style_kl, self.style_kl_weight, self.style_capacity)
        content = _weighted(content_kl, self.content_kl_weight, self.content_capacity)
        if self.training:
            kl = self.kl_scale * (self.style_scale * style + content)
        else:
            kl = style + content
        with torch.no_grad():
            elbo = groups.once(groups.sum(log_likelihood - style_kl)) - content_kl
        return Objective(
            loss=(kl - log_likelihood.sum()) / groups.num_groups,
            elbo=elbo,
            terms={
                "log_likelihood": log_likelihood,
                "style_kl": style_kl,
                "content_kl": content_kl,
            },
            num_observations=groups.num_observations,
            num_groups=groups.num_groups,
        )


def _weighted(kl: Tensor, weight: float, capacity: float | None) -> Tensor:
    """The weight times the sum of ``kl`` (M,), or how far that is from M capacities: shape ()."""
    total = kl.sum() if capacity is None else (kl.sum() - capacity * len(kl)).abs()
    return total if weight == 1 else weight * total


class ELBO(nn.Module):
    r"""The objective of a plain VAE, minus the mean of the observations' bounds.

    .. math:: \mathrm{ELBO}(x) = \mathbb E[\log p(x \mid z)]
        - \mathrm{KL}(q(z \mid x) \,\|\, p(z))

    (Kingma and Welling 2014, Eq. 3.) Every observation counts as a group of its own.

    Args:
        kl_weight: factor of the KL in the loss, at least 0; other than 1 it is a beta-VAE.

    Attributes:
        kl_scale: as in :class:`GroupELBO`.
    """

    def __init__(self, *, kl_weight: float = 1.0) -> None:
        super().__init__()
        check_number("kl_weight", kl_weight, minimum=0)
        self.kl_weight = kl_weight
        self.register_buffer("kl_scale", torch.ones(()), persistent=False)

    def forward(self, *, log_likelihood: Tensor, kl: Tensor) -> Objective:
        """Put the terms together.

        Args:
            log_likelihood: log p(x_i | z_i) at the sampled latents, (N,).
            kl: KL(q(z_i | x_i) || p(z)), (N,).
        """
        weight = self.kl_weight * self.kl_scale if self.training else self.kl_weight
        num_observations = len(log_likelihood)
        return Objective(
            loss=(weight * kl.sum() - log_likelihood.sum()) / num_observations,
            elbo=(log_likelihood - kl).detach(),
            terms={"log_likelihood": log_likelihood, "kl": kl},
            num_observations=num_observations,
            num_groups=num_observations,
        )
