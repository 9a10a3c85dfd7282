"""The Multi-Level Variational Autoencoder.

Shapes: N observations, G groups, C content and S style dimensions, ... one observation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mlvae.accumulation import ACCUMULATIONS, OF_EVIDENCE, Posterior
from mlvae.batch import Batch
from mlvae.errors import InputError, check_choice, check_flag, check_integer
from mlvae.evidence import Evidence
from mlvae.gaussian import DiagonalGaussian
from mlvae.groups import Groups
from mlvae.likelihoods import Bernoulli, Likelihood
from mlvae.mixture import GroupMixture
from mlvae.models.decoder import build_decoder, check_parts
from mlvae.models.evidence_from import EVIDENCE_FROM
from mlvae.models.latents import side_by_side, values_of
from mlvae.networks import MLP, Network
from mlvae.noise import per_group
from mlvae.objectives import GroupELBO, Objective
from mlvae.observations import as_observations, check_shape
from mlvae.parts import to_config
from mlvae.separation import Separation, Separators

__all__ = ["MLVAE"]

CONTENT_DRAWS = ("observation", "group")


class MLVAE(nn.Module):
    r"""Content shared by a group, style of each observation, learned from the grouping alone.

    .. math::
        p(x_G, c, s) = p(c) \prod_{i \in G} p(s_i) \, p(x_i \mid c, s_i), \qquad
        q(c, s \mid x_G) = q(c \mid x_G) \prod_{i \in G} q(s_i \mid x_i)

    with standard normal priors, and the evidence of all members accumulated in
    :math:`q(c \mid x_G)`. D. Bouchacourt, R. Tomioka, S. Nowozin: Multi-Level Variational
    Autoencoder: Learning Disentangled Representations from Grouped Observations. AAAI 2018,
    arXiv:1705.08841.

    Args:
        shape: shape of one observation; images (channels, height, width).
        content_dim: C.
        style_dim: S.
        network: builds the encoders and the decoder.
        likelihood: the observation model p(x | c, s).
        accumulation: rule that makes q(c | x_G) of the members' q(c | x_i), by its name in
            :mod:`mlvae.accumulation`: "product" is the paper's; "prior_product" has the prior as
            one more factor; "prior_corrected" counts the prior in each factor once in all; "mean"
            is the GVAE's; "mixture" is the uniform mixture, whose content KL is an upper bound,
            so that the objective is still a lower one.
        evidence_from: whose evidence the content is inferred from, while training; in evaluation
            mode it is always "all", so the bounds of all three compare.

            - "all" members, as in the paper.
            - "subset": a random subset of each group's members, one of them about as often as many
              (:meth:`mlvae.Groups.random_subset`). Any q(c) gives a lower bound on log p(x_G), so
              it is still one; it trains the content of single observations too, which otherwise
              is only ever seen accumulated.
            - "others": for each member, all but itself, so that evidence is of use only where it
              says what members share. The content KL of a group is then the mean over its members
              of KL(q(c | x_others) || p(c)), and the sum is no bound on log p(x_G): each member
              is reconstructed from a posterior of its own. A group of one has the prior.
            - "other_part": the same, from a random part of the group that the member is not in, a
              single one about as often as many.
            - "fellow": the same, from one other member.
        content_draw: "observation" draws the content anew for each member of a group, as the first
            author's code does; "group" once for all its members. Both estimate the same bound
            without bias (footnote 1 of the paper); the first has the smaller variance.
        content_kl_weight: factor of the content KL in the loss; 1 is the bound.
        style_kl_weight: factor of the style KL in the loss; 1 is the bound.
        content_capacity: nats a group that the content KL is pulled to from either side, instead
            of to 0; None is the bound. See :class:`~mlvae.objectives.GroupELBO`.
        style_capacity: nats an observation that the style KL is pulled to; None is the bound.
        batch_groups: what the groups of a batch are, while training: "whole" groups, each with a
            content KL, or "parts" of groups of the data, which share one: m / n of it where a
            batch has m of the n members. For what that is a bound on and what not, see
            :class:`~mlvae.objectives.GroupELBO`.
        style_given_content: infer the style from its observation and the content,
            q(s | x_i, c), by an encoder of its own (CxVAE: Group-Disentangling Conditional Shift,
            submitted to ICLR 2023). The bound is still one on log p(x_G), and can be tighter:
            given the content, the style need not tell of it. :meth:`infer_style` takes the content
            of the observation itself unless it is told.
        separation: further costs, while training, of a style that tells of its group.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> model = MLVAE((1, 28, 28), content_dim=10, style_dim=10)
        >>> images = torch.rand(6, 1, 28, 28)
        >>> model.infer_content(images, groups=["a", "b", "a", "a", "b", "b"])
        DiagonalGaussian(shape=(2, 10), dtype=torch.float32)
        >>> model.swap(content_of=images[:3], style_of=images[3:]).shape
        torch.Size([3, 1, 28, 28])
    """

    OPTIONS = (
        "content_dim",
        "style_dim",
        "network",
        "likelihood",
        "accumulation",
        "evidence_from",
        "content_draw",
        "content_kl_weight",
        "style_kl_weight",
        "content_capacity",
        "style_capacity",
        "batch_groups",
        "style_given_content",
        "separation",
    )

    def __init__(
        self,
        shape: Sequence[int],
        *,
        content_dim: int = 10,
        style_dim: int = 10,
        network: Network = MLP(),  # noqa: B008 (frozen)
        likelihood: Likelihood = Bernoulli(),  # noqa: B008 (frozen)
        accumulation: str = "product",
        evidence_from: str = "all",
        content_draw: str = "observation",
        content_kl_weight: float = 1.0,
        style_kl_weight: float = 1.0,
        content_capacity: float | None = None,
        style_capacity: float | None = None,
        batch_groups: str = "whole",
        style_given_content: bool = False,
        separation: Separation = Separation(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        check_parts(network, likelihood)
        check_integer("content_dim", content_dim, minimum=1)
        check_integer("style_dim", style_dim, minimum=1)
        check_choice("accumulation", accumulation, ACCUMULATIONS)
        check_choice("evidence_from", evidence_from, ("all", *EVIDENCE_FROM))
        check_choice("content_draw", content_draw, CONTENT_DRAWS)
        check_flag("style_given_content", style_given_content)
        if not isinstance(separation, Separation):
            raise InputError(f"separation must be Separation(...), not {separation!r}")
        if evidence_from != "all" and accumulation not in OF_EVIDENCE:
            raise InputError(
                f"evidence_from={evidence_from} needs accumulation={' or '.join(OF_EVIDENCE)}, "
                f"not {accumulation!r}"
            )
        self.content_of_each = evidence_from not in ("all", "subset")  # while training
        if self.content_of_each and content_draw == "group":
            raise InputError(
                f"evidence_from={evidence_from} has a content for each observation: it needs "
                "content_draw=observation, not 'group'"
            )
        self.content_dim = content_dim
        self.style_dim = style_dim
        self.network = network
        self.likelihood = likelihood
        self.accumulation = accumulation
        self.evidence_from = evidence_from
        self.content_draw = content_draw
        self.style_given_content = style_given_content
        self.separation = separation
        if style_given_content:
            self.encoder = network.encoder(self.shape, (content_dim,))
            self.style_encoder = network.conditional_encoder(self.shape, style_dim, content_dim)
        else:
            self.encoder = network.encoder(self.shape, (content_dim, style_dim))
        self.decoder = build_decoder(network, content_dim + style_dim, self.shape, likelihood)
        self.objective = GroupELBO(
            content_kl_weight=content_kl_weight,
            style_kl_weight=style_kl_weight,
            content_capacity=content_capacity,
            style_capacity=style_capacity,
            batch_groups=batch_groups,
        )
        if separation.active:
            self.separators = Separators(separation, content_dim, style_dim)

    @property
    def config(self) -> dict[str, object]:
        """Everything but the shape that :func:`mlvae.models.build` needs to build it again."""
        return {
            "name": type(self).__name__,
            "content_dim": self.content_dim,
            "style_dim": self.style_dim,
            "network": to_config(self.network),
            "likelihood": to_config(self.likelihood),
            "accumulation": self.accumulation,
            "evidence_from": self.evidence_from,
            "content_draw": self.content_draw,
            "content_kl_weight": self.objective.content_kl_weight,
            "style_kl_weight": self.objective.style_kl_weight,
            "content_capacity": self.objective.content_capacity,
            "style_capacity": self.objective.style_capacity,
            "batch_groups": self.objective.batch_groups,
            "style_given_content": self.style_given_content,
            "separation": to_config(self.separation),
        }

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The group bound of a batch, from one draw of every latent.

        Args:
            batch: observations, float (N, ...) on the model's device, and their groups.
            generator: source of the noise, on the model's device; None is torch's own.
        """
        x, groups = batch
        each, style_given = self.posteriors(x)
        content = self._content(each, groups, generator)
        content_kl = content.kl()
        if self.training and self.content_of_each:
            content_kl = groups.sum(content_kl) / groups.sizes
            c = content.sample(generator=generator)
        elif self.content_draw == "observation":
            c = _draw_for_each(content, groups, generator)
        else:
            c = groups.spread(_draw_for_groups(content, generator))
        style = style_given(c)
        s = style.sample(generator=generator)
        parameters = self.decoder(torch.cat((c, s), 1))
        objective = self.objective(
            log_likelihood=self.likelihood.log_prob(parameters, x),
            style_kl=style.kl(),
            content_kl=content_kl,
            groups=groups,
        )
        if self.training and self.separation.active:
            costs = self.separators(c, s, groups, recognise=self._recognise, generator=generator)
            objective = objective.plus(*costs)
        return objective

    def posteriors(
        self, x: Tensor
    ) -> tuple[DiagonalGaussian, Callable[[Tensor], DiagonalGaussian]]:
        """What the encoders make of observations x, float (N, ...).

        Returns:
            Each observation's own content posterior, q(c | x_i) (N, C); and its style posterior
            (N, S) as a function of the content (N, C), which only matters if
            ``style_given_content``.
        """
        if not self.style_given_content:
            each, style = self.encoder(x)
            return each, lambda content: style
        (each,) = self.encoder(x)
        features = self.style_encoder.trunk(x)
        return each, lambda content: self.style_encoder.given(features, content)

    def _content(
        self, each: DiagonalGaussian, groups: Groups, generator: torch.Generator | None
    ) -> Posterior:
        """The content posterior of each group (G, C); from others, of each observation (N, C)."""
        if not self.training or self.evidence_from == "all":
            return ACCUMULATIONS[self.accumulation](each, groups)
        chosen = EVIDENCE_FROM[self.evidence_from](Evidence.of(each), groups, generator)
        return OF_EVIDENCE[self.accumulation](chosen)

    def _recognise(self, content: Tensor, style: Tensor) -> DiagonalGaussian:
        """The content posteriors (N, C) of decoded observations."""
        decoded = self.likelihood.mean(self.decoder(torch.cat((content, style), 1)))
        alone = self._alone(self.encoder(decoded)[0])
        return DiagonalGaussian(alone.mean, alone.log_variance)

    def _alone(self, each: DiagonalGaussian) -> Posterior:
        """The content posteriors (N, C) of observations that are groups of their own."""
        groups = Groups.singletons(len(each), each.mean.device)
        return ACCUMULATIONS[self.accumulation](each, groups)

    def infer_content(
        self, x: Tensor | np.ndarray, groups: Groups | object | None = None
    ) -> Posterior:
        """The content posterior of each group, q(c | x_G): shape (G, C).

        Args:
            x: observations (N, ...), uint8 images or floats.
            groups: :class:`Groups`, or labels of length N, whose groups come in sorted order;
                None: every observation is its own group.

        Returns:
            A Gaussian, or a :class:`mlvae.mixture.GroupMixture` if that is the rule.
        """
        x = as_observations(x, self.shape, self)
        groups = Groups.singletons(len(x)) if groups is None else Groups.of(groups)
        if groups.num_observations != len(x):
            raise InputError(
                f"groups must name the group of each of the {len(x)} observations, "
                f"not of {groups.num_observations}"
            )
        return ACCUMULATIONS[self.accumulation](self.encoder(x)[0], groups.to(x.device))

    def infer_style(
        self, x: Tensor | np.ndarray, content: Tensor | np.ndarray | Posterior | None = None
    ) -> DiagonalGaussian:
        """The style posterior of each observation x (N, ...), q(s | x_i): shape (N, S).

        Args:
            x: observations (N, ...), uint8 images or floats.
            content: with ``style_given_content``, the content (N, C) that the style is inferred
                given, or a posterior, whose mean is taken; None: the mean of each observation's
                own, q(c | x_i). Otherwise it does not matter.
        """
        each, style_given = self.posteriors(as_observations(x, self.shape, self))
        if content is None:
            content = self._alone(each)
        return style_given(values_of("content", content, self.content_dim, self))

    def decode(
        self,
        content: Tensor | np.ndarray | Posterior,
        style: Tensor | np.ndarray | DiagonalGaussian,
    ) -> Tensor:
        """The expected observation E[x | c, s]: shape (N, ...).

        Args:
            content: values (N, C), or a posterior, whose mean is taken.
            style: values (N, S), or a posterior, whose mean is taken. Either may have one row,
                which then goes with every row of the other.

        Raises:
            InputError: if the shapes do not fit.
        """
        return self.likelihood.mean(self.decoder(side_by_side(self, content, style)))

    @torch.no_grad()
    def swap(self, content_of: Tensor | np.ndarray, style_of: Tensor | np.ndarray) -> Tensor:
        """Each of ``style_of`` with its content replaced by that of its pair in ``content_of``.

        Both are observations (N, ...), or one of them a single observation (1, ...). Posterior
        means are decoded.
        """
        return self.decode(self.infer_content(content_of), self.infer_style(style_of))

    @torch.no_grad()
    def reconstruct(self, x: Tensor | np.ndarray, groups: Groups | object | None = None) -> Tensor:
        """Observations x (N, ...) encoded and decoded, with the content of their groups.

        Posterior means are decoded. ``groups`` is as in :meth:`infer_content`.
        """
        content = self.infer_content(x, groups)
        if groups is not None:
            content = content[Groups.of(groups).index.to(content.mean.device)]
        return self.decode(content, self.infer_style(x, content))


def _draw_for_each(
    content: Posterior, groups: Groups, generator: torch.Generator | None
) -> Tensor:
    """For each observation a draw of its own from the content posterior of its group: (N, C)."""
    if isinstance(content, GroupMixture):
        return content.sample_each(generator=generator)
    spread = (groups.spread(content.mean), groups.spread(content.log_variance))
    return DiagonalGaussian(*spread).sample(generator=generator)


def _draw_for_groups(content: Posterior, generator: torch.Generator | None) -> Tensor:
    """A draw from the content posterior of each group: (G, C)."""
    of_members = isinstance(content, GroupMixture)  # which draws a member of each group first
    return content.sample(generator=generator if of_members else per_group(generator))
