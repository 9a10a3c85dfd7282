"""Which costs a model pays, besides its bound, for styles that tell of their groups."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlvae.errors import check_integer, check_number
from mlvae.gaussian import DiagonalGaussian
from mlvae.groups import Groups
from mlvae.noise import ShareGenerator, normal, uniform
from mlvae.objectives import Objective
from mlvae.separation.critics import ContentCritic, PairCritic
from mlvae.separation.matching import moment_gap, squared_mmd
from mlvae.shares import Share

__all__ = ["Separation", "Separators"]


class Costs(NamedTuple):
    """The costs of a batch.

    Attributes:
        total: the weighted sum over observations, shape ().
        per_observation: unweighted costs (N,) by name.
        per_group: unweighted costs (G,) by name.
    """

    total: Tensor
    per_observation: dict[str, Tensor]
    per_group: dict[str, Tensor]


@dataclass(frozen=True)
class Separation:
    r"""Weights of further costs while training; at 0, the default, the objective is the bound.

    Each is added to minus the bound of a batch, summed over observations, before the mean over
    groups: a weight says how many nats of the bound an observation may give up for a unit.

    Args:
        moments: of the gap between mean and variances of each group's styles and those of the
            prior (:func:`~mlvae.separation.matching.moment_gap`).
        mmd: of the maximum mean discrepancy of each group's styles from the prior
            (:func:`~mlvae.separation.matching.squared_mmd`).
        pair_critic: of what a critic tells of two styles being of one group
            (:class:`~mlvae.separation.critics.PairCritic`).
        content_critic: of what a critic tells of a style and a content belonging together
            (:class:`~mlvae.separation.critics.ContentCritic`).
        swap: of how badly the content is found again, once it has been decoded with the style of
            another observation: minus the log-density of that content under the posterior of the
            decoded image, in nats. It is the bound on the information that the image has of its
            content (D. Barber, F. Agakov: The IM Algorithm. NeurIPS 2003); as a cycle through
            content and swapped style it was proposed by A. H. Jha, S. Anand, M. Singh, V. S. R.
            Veeravasarapu: Disentangling Factors of Variation with Cycle-Consistent Variational
            Auto-Encoders. ECCV 2018, arXiv:1804.10469.
        width: units in each of a critic's hidden layers.

    Example:
        >>> Separation(content_critic=10.0).active
        True
    """

    moments: float = 0.0
    mmd: float = 0.0
    pair_critic: float = 0.0
    content_critic: float = 0.0
    swap: float = 0.0
    width: int = 256

    def __post_init__(self) -> None:
        for field in fields(self)[:-1]:
            check_number(f"separation.{field.name}", getattr(self, field.name), minimum=0)
        check_integer("separation.width", self.width, minimum=1)

    @property
    def active(self) -> bool:
        """Whether any cost has a weight."""
        return any(getattr(self, field.name) for field in fields(self)[:-1])


class Separators(nn.Module):
    """The costs that have a weight, and the critics they need.

    Args:
        separation: the weights.
        content_dim: C.
        style_dim: S.
    """

    def __init__(self, separation: Separation, content_dim: int, style_dim: int) -> None:
        super().__init__()
        self.separation = separation
        dims = (content_dim, style_dim, separation.width)
        self.pair_critic = PairCritic(*dims) if separation.pair_critic else None
        self.content_critic = ContentCritic(*dims) if separation.content_critic else None

    def forward(
        self,
        objective: Objective,
        c: Tensor,
        s: Tensor,
        groups: Groups,
        *,
        recognise: Callable[[Tensor, Tensor], DiagonalGaussian],
        generator: torch.Generator | None = None,
    ) -> Objective:
        """Add the costs and their terms to ``objective``.

        A batch that is shared by ranks has the costs of one process: each rank compares all
        observations of the batch.

        Args:
            objective: the bound of the batch.
            c: the sampled content of each observation, (N, C).
            s: the sampled style of each observation, (N, S).
            groups: the group of each observation.
            recognise: decodes contents (N, C) with styles (N, S) and infers the content posterior
                (N, C) of each decoded observation.
            generator: source of prior samples, pairs and permutations, on the device of ``c``.
        """
        if not isinstance(groups, Share):
            return objective.plus(*self._costs(c, s, groups, recognise, generator))
        codes, whole = groups.whole(torch.cat((c, s), 1))
        if isinstance(generator, ShareGenerator):
            generator = generator.whole
        costs = self._costs(
            codes[:, : c.shape[1]], codes[:, c.shape[1] :], whole, recognise, generator
        )
        per_observation = {name: v[groups.rows] for name, v in costs.per_observation.items()}
        per_group = {name: groups.own_groups(v) for name, v in costs.per_group.items()}
        return objective.plus(groups.part(costs.total), per_observation, per_group)

    def _costs(
        self,
        c: Tensor,
        s: Tensor,
        groups: Groups,
        recognise: Callable[[Tensor, Tensor], DiagonalGaussian],
        generator: torch.Generator | None,
    ) -> Costs:
        """The costs of a whole batch."""
        weights = self.separation
        per_observation: dict[str, Tensor] = {}
        per_group: dict[str, Tensor] = {}
        loss = c.new_zeros(())
        if weights.moments:
            per_group["moment_gap"] = moment_gap(s, groups)
            loss = loss + weights.moments * (groups.sizes * per_group["moment_gap"]).sum()
        if weights.mmd:
            prior = normal(s.shape, generator=generator, dtype=s.dtype, device=s.device)
            per_group["mmd"] = squared_mmd(s, prior, groups)
            loss = loss + weights.mmd * (groups.sizes * per_group["mmd"]).sum()
        for name, critic, weight in (
            ("pair_critic", self.pair_critic, weights.pair_critic),
            ("content_critic", self.content_critic, weights.content_critic),
        ):
            if critic is not None:
                losses = critic(c, s, groups, weight, generator)
                per_observation[name] = 2 * math.log(2) - losses  # gain over a random guess
                loss = loss + losses.sum()  # the critic's gradient; the encoder's is reversed
        if weights.swap:
            order = uniform((len(s),), generator=generator, device=s.device).argsort()
            per_observation["swap"] = -recognise(c, s[order]).log_prob(c)
            loss = loss + weights.swap * per_observation["swap"].sum()
        return Costs(loss, per_observation, per_group)
