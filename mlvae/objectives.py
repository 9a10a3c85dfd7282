r"""The group evidence lower bound, its terms, their reductions and their weights.

Shapes: N observations, G groups. Every term is in nats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mlvae.errors import InputError, check_choice, check_number
from mlvae.groups import Groups

__all__ = ["ELBO", "GroupELBO", "Objective"]

BATCH_GROUPS = ("whole", "parts")


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
        elbo_total: the sum of ``elbo``, shape (), where it is known without it; a training step
            needs no more. None: it is summed.
    """

    loss: Tensor
    elbo: Tensor
    terms: dict[str, Tensor]
    num_observations: int
    num_groups: int
    elbo_total: Tensor | None = None

    def plus(self, cost: Tensor, terms: dict[str, Tensor]) -> Objective:
        """The same with ``cost``, shape (), added to the loss before its mean over groups."""
        loss = self.loss + cost / self.num_groups
        return replace(self, loss=loss, terms={**self.terms, **terms})

    def totals(self) -> dict[str, Tensor]:
        """Sums over the batch, each of shape () and in nats; divide by N or G as you need.

        The loss is a mean over groups; its total is the loss times G.
        """
        sums = {name: term.detach().sum() for name, term in self.terms.items()}
        elbo = self.elbo.sum() if self.elbo_total is None else self.elbo_total
        return {"loss": self.loss.detach() * self.num_groups, "elbo": elbo, **sums}


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
        batch_groups: what the groups of a batch are, while training. "whole": groups by
            themselves, each with a content KL. "parts": parts of groups of the data, as
            :class:`~mlvae.data.Shuffled` and :class:`~mlvae.data.Grouped` cut them, which share
            one content KL: that of m of n members is weighted by m / n. Summed over an epoch,
            the loss times its G is then minus

            .. math:: \sum_{G} \Big( \sum_{i \in G} t_i - \sum_{S} \frac{m_S}{n_G}
                \mathrm{KL}(q(c \mid x_S) \,\|\, p(c)) \Big), \qquad
                t_i = \mathbb E[\log p(x_i \mid c, s_i)] - \mathrm{KL}(q(s_i \mid x_i) \,\|\, p(s))

            over groups G of the data and their parts S, whatever the sizes of either: every
            observation counts once, and every group once has a content KL, the mean over its
            parts by size. As the loss of a batch divides by its own number of groups, the mean
            gradient of an epoch's batches is proportional to that of this sum where the number
            is the same in all of them.

            What it is not: for a q(c) that is the same whichever members are drawn, n / m times
            what a random part adds is an unbiased estimate of the bound of the whole group. But
            q(c | x_S) fits the members it is inferred from better than the others. So the mean
            over parts is in general above the bound that q(c | x_S) has on all of the group, and
            may be above log p(x_G). "whole" is a lower bound, on log p(x_S) of each part.

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
        batch_groups: str = "whole",
    ) -> None:
        super().__init__()
        check_choice("batch_groups", batch_groups, BATCH_GROUPS)
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
        self.batch_groups = batch_groups
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

        Raises:
            InputError: if groups are parts, while training, and do not know of what.
        """
        content_kl = groups.once(content_kl)
        parts = self.training and self.batch_groups == "parts"
        part = _part_of_data(groups, content_kl.dtype) if parts else None
        style, content = style_kl.sum(), (content_kl if part is None else part * content_kl).sum()
        if self.style_capacity is not None:
            style = _gap(style, self.style_capacity * len(style_kl), groups)
        if self.content_capacity is not None:
            number = groups.once(torch.ones_like(content_kl) if part is None else part).sum()
            content = _gap(content, self.content_capacity * number, groups)
        style, content = (
            _times(self.style_kl_weight, style),
            _times(self.content_kl_weight, content),
        )
        if self.training:
            kl = self.kl_scale * (self.style_scale * style + content)
        else:
            kl = style + content
        with torch.no_grad():
            each = log_likelihood - style_kl
            elbo = groups.once(groups.sum(each)) - content_kl
            elbo_total = each.sum() - content_kl.sum()
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
            elbo_total=elbo_total,
        )


def _gap(total: Tensor, capacity: Tensor | float, groups: Groups) -> Tensor:
    """How far a batch's ``total`` () is from its ``capacity``, in nats, of either what is here."""
    return groups.part(groups.everywhere(total - capacity).abs())


def _times(weight: float, total: Tensor) -> Tensor:
    return total if weight == 1 else weight * total


def _part_of_data(groups: Groups, dtype: torch.dtype) -> Tensor:
    """The m / n of each group, of which m of the n members in the data are here: (G,)."""
    if groups.origin is None:
        raise InputError(
            "batch_groups=parts must know how many members groups have in the data; take batches "
            "from mlvae.data.Shuffled, Grouped or GroupedData.batch, or set batch_groups=whole"
        )
    return groups.sizes.to(dtype) / groups.origin.sizes.to(dtype)


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
