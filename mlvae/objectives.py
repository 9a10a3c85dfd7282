r"""The objective of a batch: losses, the evidence lower bound, its terms and their units.

Shapes: N observations, G groups. Every term of a bound is in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from mlvae.errors import InputError, check_choice, check_integer, check_number, shown
from mlvae.groups import Groups

__all__ = ["ELBO", "GroupELBO", "GroupingTerms", "Objective"]

BATCH_GROUPS = ("whole", "parts")


@dataclass(frozen=True, eq=False)
class GroupingTerms:
    """The terms of one grouping of several.

    Args:
        terms: terms of shape (G,) by name; 0 for a group without members.
        num_groups: number of groups with members, floats of shape (). In a share of a batch, one
            rank has the number and the others have 0.
    """

    terms: Mapping[str, Tensor]
    num_groups: Tensor


@dataclass(frozen=True, eq=False)
class Objective:
    """What a model returns for a batch. The field of a term is its unit.

    Args:
        losses: the quantity that each player minimises, by the player's name, shape () each. Each
            is a mean over the ``num_groups`` groups of the batch, or over its ``num_observations``
            observations where ``num_groups`` is None.
        per_observation: terms of shape (N,).
        num_observations: number N of observations.
        per_group: terms of shape (G,).
        scalars: values of the whole batch, shape ().
        elbo: evidence lower bound in nats, without weights and without gradient: of each group,
            shape (G,), or of each observation, (N,), where ``num_groups`` is None. None: the model
            has no bound.
        num_groups: G, or None if the model does not use groups, or uses several groupings.
        per_grouping: terms of the groups of each of several groupings, by its name.

    Example:
        >>> loss = torch.tensor(2.0, requires_grad=True)
        >>> objective = Objective({"model": loss}, {"error": torch.ones(3)}, num_observations=3)
        >>> objective.loss, objective.count
        (tensor(2., requires_grad=True), 3)
    """

    losses: Mapping[str, Tensor]
    per_observation: Mapping[str, Tensor]
    num_observations: int
    per_group: Mapping[str, Tensor] = field(default_factory=dict)
    scalars: Mapping[str, Tensor] = field(default_factory=dict)
    elbo: Tensor | None = None
    num_groups: int | None = None
    per_grouping: Mapping[str, GroupingTerms] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if torch.compiler.is_compiling():
            return
        for name in ("losses", "per_observation", "per_group", "scalars"):
            values = getattr(self, name)
            fits = isinstance(values, Mapping) and (values or name != "losses")
            if not fits or any(not isinstance(value, Tensor) for value in values.values()):
                raise InputError(f"{name} must be tensors by name, not {shown(values)}")
        found = self.per_grouping
        terms = isinstance(found, Mapping) and list(found.values())
        if terms is False or any(not isinstance(each, GroupingTerms) for each in terms):
            raise InputError(
                f"per_grouping must be GroupingTerms by name of the grouping, not {shown(found)}"
            )
        # A rank may have no observation of a batch.
        check_integer("num_observations", self.num_observations, minimum=0)
        if self.num_groups is not None:
            check_integer("num_groups", self.num_groups, minimum=1)
        for name, value in self.per_observation.items():
            _check_term(name, value, self.num_observations)
        for name, value in self.per_group.items():
            _check_term(name, value, self.num_groups)
        if self.elbo is not None:
            _check_term("elbo", self.elbo, self.count)

    @property
    def loss(self) -> Tensor:
        """The loss of the player "model", shape ()."""
        return self.losses["model"]

    @property
    def count(self) -> int:
        """Number of groups or of observations that every loss is a mean over."""
        return self.num_observations if self.num_groups is None else self.num_groups

    def plus(
        self,
        cost: Tensor,
        per_observation: Mapping[str, Tensor],
        per_group: Mapping[str, Tensor],
        per_grouping: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> Objective:
        """The objective with a ``cost`` of the whole batch, shape (), added to the model's loss.

        The cost is divided by :attr:`count`, as the loss is. The terms of the cost are added.
        """
        added = per_grouping or {}
        groupings = {
            name: replace(each, terms={**each.terms, **added.get(name, {})})
            for name, each in self.per_grouping.items()
        }
        return replace(
            self,
            losses={**self.losses, "model": self.loss + cost / max(1, self.count)},
            per_observation={**self.per_observation, **per_observation},
            per_group={**self.per_group, **per_group},
            per_grouping=groupings,
        )


def _check_term(name: str, value: object, length: int | None) -> None:
    """Raise :class:`InputError` unless ``value`` is floats (``length``,); None: of any length."""
    if (
        not isinstance(value, Tensor)
        or not value.is_floating_point()
        or value.ndim != 1
        or (length is not None and value.shape[0] != length)
    ):
        expected = f"floats of shape ({length},)"
        raise InputError(f"the term {name} must be {expected}, not {shown(value)}")


class GroupELBO(nn.Module):
    r"""The objective of the Multi-Level VAE: minus the mean of the group bounds.

    .. math:: \mathrm{ELBO}(G) = \sum_{i \in G} \mathbb E[\log p(x_i \mid c, s_i)]
        - \sum_{i \in G} \mathrm{KL}(q(s_i \mid x_i) \,\|\, p(s_i))
        - \mathrm{KL}(q(c \mid x_G) \,\|\, p(c))

    (Bouchacourt, Tomioka and Nowozin 2018.) The content KL enters once per group, not once per
    member. The loss divides by the number of groups, not of observations (their Eq. 5). With both
    weights 1 it is the published objective.

    Args:
        content_kl_weight: factor of the content KL in the loss, at least 0.
        style_kl_weight: factor of the style KL in the loss, at least 0.
        content_capacity: nats per group. The loss then contains, instead of the content KL, the
            absolute difference between the mean content KL of the batch's groups and this
            capacity (C. Burgess et al.: Understanding Disentangling in beta-VAE. 2018,
            arXiv:1804.03599, Eq. 8, there with a growing capacity). The KL is pulled to the
            capacity from both sides. None: the bound.
        style_capacity: nats per observation; the same for the style.
        batch_groups: how the groups of a training batch are weighted.

            - "whole": each group of the batch is a group by itself, with one content KL.
            - "parts": the groups of the batch are parts of groups of the data, as
              :class:`~mlvae.data.Shuffled` and :class:`~mlvae.data.Grouped` cut them. The parts of
              a group share one content KL: the KL of a part with m of n members has the weight
              m / n. The sum over an epoch of the loss times its G is then minus

              .. math:: \sum_{G} \Bigl( \sum_{i \in G} t_i - \sum_{S} \frac{m_S}{n_G}
                  \mathrm{KL}(q(c \mid x_S) \,\|\, p(c)) \Bigr), \qquad
                  t_i = \mathbb E[\log p(x_i \mid c, s_i)]
                  - \mathrm{KL}(q(s_i \mid x_i) \,\|\, p(s))

              over the groups G of the data and their parts S, for any sizes. Every observation
              counts once. Every group has one content KL, the mean over its parts weighted by
              size. The loss of a batch divides by the number of groups of that batch. So the mean
              gradient of an epoch's batches is proportional to the gradient of this sum if all
              batches have the same number of groups.

    Warning:
        The sum of "parts" is not a bound on log p(x_G). If q(c) did not depend on the drawn
        members, n / m times the summand of a random part would be an unbiased estimate of the
        bound of the whole group. But q(c | x_S) fits the members that it is inferred from better
        than the others. So the mean over parts is in general above the bound of the whole group
        under q(c | x_S), and can be above log p(x_G). "whole" is a lower bound on log p(x_S) of
        each part.

    Attributes:
        kl_scale: a further factor of both KL terms in training mode, shape (). A warm-up moves it
            from 0 to 1. It is 1 unless it is set, and is not saved.
        style_scale: the same for the style KL alone.
    """

    kl_scale: Tensor
    style_scale: Tensor

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

    @property
    def scales(self) -> dict[str, Tensor]:
        """The factors that a warm-up sets, by name, shape () each."""
        return {"kl_scale": self.kl_scale, "style_scale": self.style_scale}

    def forward(
        self, *, log_likelihood: Tensor, style_kl: Tensor, content_kl: Tensor, groups: Groups
    ) -> Objective:
        """Combine the terms of the bound.

        Args:
            log_likelihood: log p(x_i | c, s_i) at the sampled latents, (N,).
            style_kl: KL(q(s_i | x_i) || p(s)), (N,).
            content_kl: KL(q(c | x_G) || p(c)), (G,).
            groups: the group of each observation.

        Raises:
            InputError: in training mode with ``batch_groups="parts"``, if the groups have no
                origin in the data.
        """
        content_kl = groups.count_once(content_kl)
        parts = self.training and self.batch_groups == "parts"
        part = _part_of_data(groups, content_kl.dtype) if parts else None
        style, content = style_kl.sum(), (content_kl if part is None else part * content_kl).sum()
        if self.style_capacity is not None:
            style = _gap(style, self.style_capacity * len(style_kl), groups)
        if self.content_capacity is not None:
            number = groups.count_once(torch.ones_like(content_kl) if part is None else part).sum()
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
            elbo = groups.count_once(groups.sum(log_likelihood - style_kl)) - content_kl
        return Objective(
            losses={"model": (kl - log_likelihood.sum()) / groups.num_groups},
            per_observation={"log_likelihood": log_likelihood, "style_kl": style_kl},
            per_group={"content_kl": content_kl},
            elbo=elbo,
            num_observations=groups.num_observations,
            num_groups=groups.num_groups,
        )

    def of_groupings(
        self,
        *,
        log_likelihood: Tensor,
        style_kl: Tensor,
        content_kl: Mapping[str, Tensor],
        groupings: Mapping[str, Groups],
    ) -> Objective:
        r"""Combine the terms of the bound of several groupings.

        .. math:: \mathrm{ELBO} = \sum_i \mathbb E[\log p(x_i \mid c, s_i)]
            - \sum_i \mathrm{KL}(q(s_i \mid x_i) \,\|\, p(s_i))
            - \sum_k \sum_{G \in k} \mathrm{KL}(q(c_G \mid x_G) \,\|\, p(c_G))

        over the groupings k and their groups G. The groups of crossed groupings share
        observations, so the bound does not divide into groups. The loss is a mean over
        observations, and each member of a group of n bears 1 / n of its content KL.

        Args:
            log_likelihood: as in :meth:`forward`.
            style_kl: as in :meth:`forward`.
            content_kl: content KL of the groups of each grouping, (G,), by its name.
            groupings: the group of each observation in each grouping. Groups without members have
                no part in the bound.

        Raises:
            InputError: as in :meth:`forward`.
        """
        bound, style = log_likelihood - style_kl, style_kl.sum()
        content, found = style.new_zeros(()), {}
        for name, kl in content_kl.items():
            groups = groupings[name]
            member = groups.sizes.clamp(min=1).to(kl.dtype).reciprocal()
            bound = bound - groups.spread(kl * member)
            if self.training and self.batch_groups == "parts":
                member = member * _part_of_data(groups, kl.dtype)
            total = groups.spread(kl * member).sum()
            if self.content_capacity is not None:
                number = groups.spread(member).sum()
                total = _gap(total, self.content_capacity * number, groups)
            content = content + total
            present = groups.sizes > 0
            found[name] = GroupingTerms(
                {"content_kl": groups.count_once(kl.masked_fill(~present, 0))},
                groups.count_once(present.to(kl.dtype)).sum(),
            )
        if self.style_capacity is not None:
            first = next(iter(groupings.values()))
            style = _gap(style, self.style_capacity * len(style_kl), first)
        style = _times(self.style_kl_weight, style)
        content = _times(self.content_kl_weight, content)
        kl = style + content
        if self.training:
            kl = self.kl_scale * (self.style_scale * style + content)
        return Objective(
            losses={"model": (kl - log_likelihood.sum()) / max(1, len(style_kl))},
            per_observation={"log_likelihood": log_likelihood, "style_kl": style_kl},
            per_grouping=found,
            elbo=bound.detach(),
            num_observations=len(style_kl),
        )


def _gap(total: Tensor, capacity: Tensor | float, groups: Groups) -> Tensor:
    """Absolute difference () between a batch's ``total`` () and its ``capacity``, in nats.

    Several processes that hold one batch return their shares of the difference.
    """
    return groups.rank_share(groups.all_reduce(total - capacity).abs())


def _times(weight: float, total: Tensor) -> Tensor:
    return total if weight == 1 else weight * total


def _part_of_data(groups: Groups, dtype: torch.dtype) -> Tensor:
    """Weight m / n of each group (G,): m members in the batch of n members in the data."""
    if groups.origin is None:
        raise InputError(
            "batch_groups=parts needs the sizes of the groups in the data; take batches from "
            "mlvae.data.Shuffled, Grouped or GroupedData.batch, or set batch_groups=whole"
        )
    return groups.sizes.to(dtype) / groups.origin.sizes.to(dtype)


class ELBO(nn.Module):
    r"""The objective of a plain VAE: minus the mean of the observations' bounds.

    .. math:: \mathrm{ELBO}(x) = \mathbb E[\log p(x \mid z)]
        - \mathrm{KL}(q(z \mid x) \,\|\, p(z))

    (Kingma and Welling 2014, Eq. 3.)

    Args:
        kl_weight: factor of the KL in the loss, at least 0. Another value than 1 is a beta-VAE.

    Attributes:
        kl_scale: as in :class:`GroupELBO`.
    """

    kl_scale: Tensor

    def __init__(self, *, kl_weight: float = 1.0) -> None:
        super().__init__()
        check_number("kl_weight", kl_weight, minimum=0)
        self.kl_weight = kl_weight
        self.register_buffer("kl_scale", torch.ones(()), persistent=False)

    @property
    def scales(self) -> dict[str, Tensor]:
        """The factors that a warm-up sets, by name, shape () each."""
        return {"kl_scale": self.kl_scale}

    def forward(self, *, log_likelihood: Tensor, kl: Tensor) -> Objective:
        """Combine the terms of the bound.

        Args:
            log_likelihood: log p(x_i | z_i) at the sampled latents, (N,).
            kl: KL(q(z_i | x_i) || p(z)), (N,).
        """
        weight = self.kl_weight * self.kl_scale if self.training else self.kl_weight
        num_observations = len(log_likelihood)
        return Objective(
            losses={"model": (weight * kl.sum() - log_likelihood.sum()) / num_observations},
            per_observation={"log_likelihood": log_likelihood, "kl": kl},
            elbo=(log_likelihood - kl).detach(),
            num_observations=num_observations,
        )
