"""The Multi-Level Variational Autoencoder.

Shapes: N observations, G groups, C content and S style dimensions, ... one observation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.costs import Separation, Separators
from mlvae.data.grouped import GroupedData
from mlvae.errors import (
    InputError,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    shown,
)
from mlvae.evidence.rules import (
    ACCUMULATIONS,
    EVIDENCE_RULES,
    POSTERIOR_RULES,
    SUM_RULES,
    Posterior,
    evidence_of,
)
from mlvae.evidence.sources import EVIDENCE_FROM
from mlvae.groups import Groups
from mlvae.likelihoods import Bernoulli, Likelihood
from mlvae.models.cells import build_row_encoder, check_cells, imputed, row_shape, with_mask
from mlvae.models.checks import build_checked, check_batch, check_codes_batch
from mlvae.models.decoder import build_decoder
from mlvae.models.encoder import build_conditional_encoder
from mlvae.models.inputs import Observations, groups_given, observations
from mlvae.models.latents import Latents, check_simplex, side_by_side, values_of
from mlvae.models.observed import encoder_inputs, sizes_of
from mlvae.models.part_checks import check_parts
from mlvae.models.protocol import config_of, takes_options
from mlvae.models.standardise import Standardise, check_standardise
from mlvae.models.summary import summary
from mlvae.networks import MLP, Network
from mlvae.objectives import GroupELBO, Objective
from mlvae.observations import as_observations, check_shape
from mlvae.posteriors import DiagonalGaussian, Dirichlet, Family
from mlvae.posteriors.dirichlet import EvidenceHead

__all__ = ["MLVAE", "MLVAEOptions"]

CONTENT_DRAWS = ("observation", "group")
CONTENT_FAMILIES = ("gaussian", "dirichlet")


@dataclass(frozen=True)
class MLVAEOptions:
    """Options of :class:`MLVAE`."""

    content_dim: int = 10
    style_dim: int = 10
    network: Network = MLP()
    likelihood: Likelihood = Bernoulli()
    accumulation: str = "product"
    evidence_from: str = "all"
    content_draw: str = "observation"
    content_kl_weight: float = 1.0
    style_kl_weight: float = 1.0
    content_capacity: float | None = None
    style_capacity: float | None = None
    batch_groups: str = "whole"
    style_given_content: bool = False
    style_dropout: bool = True
    separation: Separation = Separation()
    standardise: str | None = None
    content_family: str = "gaussian"
    content_alpha: float = 1.0
    cells: str | None = None

    def __post_init__(self) -> None:
        check_parts(self.network, self.likelihood)
        check_standardise(self.standardise, self.likelihood)
        check_integer("content_dim", self.content_dim, minimum=1)
        check_integer("style_dim", self.style_dim, minimum=1)
        check_choice("accumulation", self.accumulation, ACCUMULATIONS)
        check_choice("evidence_from", self.evidence_from, ("all", *EVIDENCE_FROM))
        check_choice("content_draw", self.content_draw, CONTENT_DRAWS)
        check_flag("style_given_content", self.style_given_content)
        check_flag("style_dropout", self.style_dropout)
        if not self.style_dropout and not self.style_given_content:
            raise InputError(
                "style_dropout=False needs style_given_content=True: only then has the style an "
                "encoder of its own options"
            )
        if not isinstance(self.separation, Separation):
            raise InputError(f"separation must be Separation(...), not {shown(self.separation)}")
        if self.evidence_from != "all" and self.accumulation not in EVIDENCE_RULES:
            raise InputError(
                f"evidence_from={self.evidence_from} needs accumulation="
                f"{' or '.join(EVIDENCE_RULES)}, not {self.accumulation!r}"
            )
        check_choice("content_family", self.content_family, CONTENT_FAMILIES)
        check_number("content_alpha", self.content_alpha, minimum=1e-5, maximum=1e4)
        check_cells(self)
        if self.on_simplex:
            check_integer("content_dim", self.content_dim, minimum=2)
            if self.accumulation != "prior_product":
                raise InputError(
                    "content_family=dirichlet needs accumulation=prior_product, the sum of the "
                    f"prior and of the evidence of all members, not {self.accumulation!r}"
                )
        elif self.content_alpha != 1.0:
            raise InputError(
                f"content_alpha={self.content_alpha:g} needs content_family=dirichlet, not "
                f"{self.content_family!r}"
            )
        if self.content_per_member and self.content_draw == "group":
            raise InputError(
                f"evidence_from={self.evidence_from} infers a content for each observation: it "
                "needs content_draw=observation, not 'group'"
            )

    @property
    def on_simplex(self) -> bool:
        """Whether the content is a point on the simplex."""
        return self.content_family == "dirichlet"

    @property
    def content_per_member(self) -> bool:
        """Whether training infers one content posterior for each observation."""
        return self.evidence_from not in ("all", "subset")


@takes_options(MLVAEOptions)
class MLVAE(nn.Module):
    r"""Content shared by a group, style of each observation, learned from the grouping alone.

    .. math::
        p(x_G, c, s) = p(c) \prod_{i \in G} p(s_i) \, p(x_i \mid c, s_i), \qquad
        q(c, s \mid x_G) = q(c \mid x_G) \prod_{i \in G} q(s_i \mid x_i)

    with standard normal priors; that of the content may be a Dirichlet. :math:`q(c \mid x_G)`
    accumulates the evidence of all members.
    D. Bouchacourt, R. Tomioka, S. Nowozin: Multi-Level Variational Autoencoder: Learning
    Disentangled Representations from Grouped Observations. AAAI 2018, arXiv:1705.08841.

    Args:
        shape: shape of one observation; images (channels, height, width).
        content_dim: number C of content dimensions.
        style_dim: number S of style dimensions.
        network: builds the encoders and the decoder.
        likelihood: the observation model p(x | c, s).
        accumulation: the rule that makes q(c | x_G) from the members' q(c | x_i), by its name in
            :mod:`mlvae.evidence.rules`. "product" is the paper's. "prior_product" has the prior as
            one more factor. "prior_corrected" counts the prior of all factors once. "mean" is the
            GVAE's. "mixture" is the uniform mixture; its content KL is an upper bound, so the
            objective is still a lower bound.
        evidence_from: the members whose evidence gives the content in training mode. In evaluation
            mode it is always "all", so the bounds of all choices compare.

            - "all": all members, as in the paper.
            - "subset": a random subset of each group's members, small ones as often as large ones
              (:meth:`mlvae.Groups.random_subset`). Any q(c) gives a lower bound on log p(x_G), so
              the objective is still one. The choice also trains the content of single
              observations, which otherwise is used in accumulated form only.
            - "others": for each member, all members except itself. So evidence helps only if it
              describes what the members share. The content KL of a group is the mean over its
              members of KL(q(c | x_others) || p(c)). A group of one has the prior.
            - "other_part": for each member, the part of a random bipartition of the group that
              does not contain the member; small parts as often as large ones.
            - "fellow": for each member, one other member.
        content_draw: "observation" samples the content anew for each member of a group, as the
            first author's code does; "group" samples it once for all members. Both estimate the
            same bound without bias (footnote 1 of the paper). The first has the smaller variance.
        content_kl_weight: factor of the content KL in the loss; 1 is the bound.
        style_kl_weight: factor of the style KL in the loss; 1 is the bound.
        content_capacity: nats per group that the content KL is pulled to from both sides, instead
            of to 0; None is the bound. See :class:`~mlvae.objectives.GroupELBO`.
        style_capacity: nats per observation that the style KL is pulled to; None is the bound.
        batch_groups: in training mode, "whole": each group of a batch has a content KL; or
            "parts": the groups are parts of groups of the data and share one content KL, with
            the weight m / n for m of n members. See :class:`~mlvae.objectives.GroupELBO`.
        style_given_content: infer the style from the observation and the content,
            q(s | x_i, c), by a separate encoder (CxVAE: Group-Disentangling Conditional Shift,
            submitted to ICLR 2023). The objective is still a bound on log p(x_G), and can be
            tighter: given the content, the style need not repeat its information.
            :meth:`infer_style` takes the content of the observation itself by default.
        style_dropout: with ``style_given_content``, whether the style's encoder has the dropout of
            ``network`` too. Dropout is noise of training alone: a critic of the style does not see
            differences that it hides, and a probe of the trained model does.
        separation: further costs in training mode of a style with information about its group.
        standardise: "feature" or "channel": the model takes and returns raw units, and works with
            observations of mean 0 and deviation 1; "range": with values in [-1, 1]; see
            :class:`mlvae.models.Standardise`. None: no change. The options of the likelihood, such
            as ``std``, are in standardised units.
        content_family: "gaussian"; or "dirichlet": the content is a point on the simplex, C shares
            with the sum 1, such as the topics of a group of documents. An observation has
            nonnegative evidence :math:`e_i`, and

            .. math:: q(c \mid x_G) = \mathrm{Dir}\Bigl(\alpha + \sum_{i \in G} e_i\Bigr),
                \qquad p(c) = \mathrm{Dir}(\alpha)

            (:class:`mlvae.evidence.pseudo_counts.PseudoCounts`). It needs
            ``accumulation="prior_product"``: the evidence of the members is a factor each, and the
            prior is one more factor. The samples are exact, with implicit gradients, and the KL is
            exact.
        content_alpha: with "dirichlet", the concentration :math:`\alpha` of every component of the
            prior.
        cells: how rows of a table that miss cells are encoded; the likelihood must be
            :class:`~mlvae.likelihoods.MixedColumns`. None: all cells must be there. "evidence":
            each observed cell has evidence of the content of its own, and the evidence adds up
            over the cells of all rows of the group
            (:class:`mlvae.models.cells.CellEvidence`). A missing cell makes the content posterior
            wider, whatever the weights are. It needs ``accumulation="prior_product"``. "mask": the
            network computes content and style from all observed cells and the mask together. In
            both, the style is computed from the observed cells of the row and the mask.

    Warning:
        With ``evidence_from`` "others", "other_part" or "fellow", the training objective is not a
        bound on log p(x_G): each member is reconstructed from a posterior of its own.

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

    Options = MLVAEOptions
    importance_weighted = True

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        chosen = self.options = MLVAEOptions(**options)
        self.content_dim, self.style_dim = chosen.content_dim, chosen.style_dim
        self.likelihood = chosen.likelihood
        self.style_given_content = chosen.style_given_content
        self.rule = ACCUMULATIONS[chosen.accumulation]
        build_checked(self, chosen.network, self._build)

    def _build(self) -> None:
        chosen = self.options
        network, dims = chosen.network, (chosen.content_dim, chosen.style_dim)
        inputs = row_shape(chosen, self.shape)
        self.standardise = Standardise(chosen.standardise, self.shape)
        heads: Any = None  # Gaussians
        if chosen.on_simplex:
            heads = (EvidenceHead(chosen.content_alpha), DiagonalGaussian)
        if self.style_given_content:
            one = None if heads is None else heads[:1]
            self.encoder = build_row_encoder(chosen, inputs, dims[:1], one)
            of_style: Any = network
            if not chosen.style_dropout and hasattr(network, "dropout"):
                of_style = replace(of_style, dropout=0.0)
            self.style_encoder = build_conditional_encoder(of_style, inputs, dims[1], dims[0])
        else:
            self.encoder = build_row_encoder(chosen, inputs, dims, heads)
        self.decoder = build_decoder(network, sum(dims), self.shape, chosen.likelihood)
        self.objective = GroupELBO(
            content_kl_weight=chosen.content_kl_weight,
            style_kl_weight=chosen.style_kl_weight,
            content_capacity=chosen.content_capacity,
            style_capacity=chosen.style_capacity,
            batch_groups=chosen.batch_groups,
        )
        if chosen.separation.active:
            self.separators = Separators(chosen.separation, *dims)

    def __repr__(self) -> str:
        return summary(self)

    @property
    def config(self) -> dict[str, Any]:
        """All options as plain values, for :func:`mlvae.models.build`."""
        return config_of(self, self.options)

    @property
    def scales(self) -> dict[str, Tensor]:
        """The factors of the objective that a warm-up sets."""
        of_costs = self.separators.scales if self.options.separation.active else {}
        return {**self.objective.scales, **of_costs}

    @property
    def missing_cells(self) -> bool:
        """Whether rows may miss cells."""
        return self.options.cells is not None

    @property
    def pooling(self) -> dict[str, str]:
        """The rule that makes the content of a set from the contents of single observations."""
        rule = self.options.accumulation
        return {"content": POSTERIOR_RULES.get(rule, rule)}

    @property
    def spans_ranks(self) -> bool:
        """Whether the rule needs sums over a group alone, so that members may be on any rank."""
        return self.options.accumulation in SUM_RULES and self.options.evidence_from == "all"

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The bound of each group of a batch, from one sample of every latent.

        Args:
            batch: observations, float (N, ...) on the model's device, and their groups.
            generator: source of the noise, on the model's device; None is torch's own.
        """
        check_batch(batch, self.shape)
        x, groups = batch.x, batch.groups
        member_q, style_given = self.posteriors(x, batch.given)
        content = self._content(member_q, groups, generator)
        content_kl = content.kl()
        if self.training and self.options.content_per_member:
            content_kl = groups.sum(content_kl) / groups.sizes
            c = content.sample(generator=generator)  # no mixture, (N, C)
        elif self.options.content_draw == "observation":
            c = content.sample_members(groups, generator=generator)
        else:
            c = groups.spread(content.sample_groups(generator=generator))
        style = style_given(c)
        s = style.sample(generator=generator)
        parameters = self.decoder(torch.cat((c, s), 1))
        objective = self.objective(
            log_likelihood=self.standardise.log_prob(self.likelihood, parameters, x, batch.given),
            style_kl=style.kl(),
            content_kl=content_kl,
            groups=groups,
        )
        if self.training and self.options.separation.active:
            return self.separators(
                objective,
                c,
                s,
                groups,
                recognise=self._recognise,
                style=lambda: style_given(self._single(member_q).mean.detach()),
                generator=generator,
            )
        return objective

    def posteriors(
        self, x: Tensor, given: Mapping[str, Tensor] | None = None
    ) -> tuple[DiagonalGaussian | Dirichlet, Callable[[Tensor], DiagonalGaussian]]:
        """The outputs of the encoders for observations x, float (N, ...).

        Args:
            x: observations.
            given: known values of the observations; "observed" states which cells of a row are
                there.

        Returns:
            The content posterior of each observation by itself, q(c | x_i) (N, C); and the style
            posterior (N, S) as a function of the content (N, C), which matters only with
            ``style_given_content``.
        """
        x = self._inputs(x, given)
        if not self.style_given_content:
            member_q, style = self.encoder(x)
            return member_q, lambda content: style
        (member_q,) = self.encoder(x)
        features = self.style_encoder.trunk(x)
        return member_q, lambda content: self.style_encoder.given(features, content).moments()

    def _inputs(self, x: Tensor, given: Mapping[str, Tensor] | None) -> Tensor:
        """What the encoders receive of observations x, float (N, ...)."""
        if self.missing_cells:
            return with_mask(self.likelihood, x, given)  # type: ignore[arg-type]
        return self.standardise.inputs(self.likelihood, x)

    def pooled(self, member_q: Any, groups: Groups) -> tuple[Posterior, Groups]:
        """The content posterior (G, C) of the members' ``member_q`` (N, C), and its groups."""
        return self.rule(member_q, groups), groups

    def _content(self, member_q: Any, groups: Groups, generator: torch.Generator | None) -> Any:
        """The content posterior of each group (G, C), or with ``content_per_member`` (N, C)."""
        if not self.training or self.options.evidence_from == "all":
            return self.rule(member_q, groups)
        source = EVIDENCE_FROM[self.options.evidence_from]
        chosen = source(evidence_of(member_q), groups, generator)
        return EVIDENCE_RULES[self.options.accumulation](chosen)

    def _recognise(self, content: Tensor, style: Tensor) -> Any:
        """The content posteriors (N, C) of decoded observations, which stay standardised."""
        decoded = self.likelihood.mean(self.decoder(torch.cat((content, style), 1)))
        inputs = (
            with_mask(self.likelihood, decoded, None)  # type: ignore[arg-type]
            if self.missing_cells
            else encoder_inputs(self.likelihood, decoded)
        )
        single = self._single(self.encoder(inputs)[0])
        return single if self.options.on_simplex else single.moments()

    def _single(self, member_q: Any) -> Posterior:
        """The content posteriors (N, C) of observations that are groups of one."""
        return self.rule(member_q, Groups.singletons(len(member_q), member_q.mean.device))

    def codes(self, batch: Batch) -> dict[str, Family]:
        """The content of each observation's group (N, C), and the style of each observation.

        With ``style_given_content`` the style is given the content's mean.
        """
        check_codes_batch(batch)
        known = batch.given.get("observed")
        x = as_observations(batch.x, self.shape, self, observed=known)
        member_q, style_given = self.posteriors(x, batch.given)
        content = self.rule(member_q, batch.groups)[batch.groups.index]
        return {"content": content, "style": style_given(content.mean)}

    def infer_content(self, x: Observations, groups: Groups | object | None = None) -> Posterior:
        """The content posterior of each group, q(c | x_G): shape (G, C).

        Args:
            x: observations (N, ...), uint8 images or floats, in memory or on the disk; or
                :class:`~mlvae.GroupedData`, whose groups are used, in the order of
                ``group_names``. All are encoded at once.
            groups: :class:`Groups`, or labels of length N, whose groups come in sorted order.
                None: those of GroupedData; otherwise every observation is a group of one.

        Returns:
            Gaussians, or a :class:`mlvae.posteriors.mixture.GroupMixture` under the rule
            "mixture", or a :class:`mlvae.Dirichlet` with ``content_family="dirichlet"``.
        """
        groups, given = groups_given(x, groups), self._given(x)
        x = observations(x, self.shape, self)
        groups = Groups.singletons(len(x)) if groups is None else Groups.of(groups)
        if groups.num_observations != len(x):
            raise InputError(
                f"groups must name the group of each of the {len(x)} observations, "
                f"not of {groups.num_observations}"
            )
        return self.rule(self.encoder(self._inputs(x, given))[0], groups.to(x.device))

    def infer_style(self, x: Observations, content: Latents | None = None) -> DiagonalGaussian:
        """The style posterior of each observation x (N, ...), q(s | x_i): shape (N, S).

        Args:
            x: observations, as in :meth:`infer_content`.
            content: with ``style_given_content``, the content (N, C) of each observation, or a
                posterior, whose mean is used. None: the content of the observation itself,
                q(c | x_i). Otherwise it has no effect.

        Raises:
            InputError: if the content does not have one row for each observation.
        """
        given = self._given(x)
        member_q, style_given = self.posteriors(observations(x, self.shape, self), given)
        if content is None:
            content = self._single(member_q)
        c = values_of("content", content, self.content_dim, self)
        if len(c) != len(member_q):
            raise InputError(
                f"content must have a row for each of the {len(member_q)} observations, not "
                f"{len(c)}; content[groups.index] gives each observation the content of its group"
            )
        return style_given(c)

    def decode(self, content: Latents, style: Latents, *, size: Any = None) -> Tensor:
        """The expected observation E[x | c, s]: shape (N, ...).

        Args:
            content: values (N, C), or a posterior, whose mean is used. With
                ``content_family="dirichlet"`` the values are points on the simplex.
            style: values (N, S), or a posterior, whose mean is used. If one of the two has one
                row, the row is repeated.
            size: with a likelihood of counts, the total count of each observation, (N,) or one
                number; None: ``likelihood.total``.

        Raises:
            InputError: if the shapes do not fit.
        """
        latent = side_by_side(
            self,
            content=content,
            style=style,
            content_dim=self.content_dim,
            style_dim=self.style_dim,
        )
        if self.options.on_simplex:
            check_simplex("content", latent[:, : self.content_dim])
        return self.standardise.expected(self.likelihood, self.decoder(latent), size)

    @torch.no_grad()
    def swap(self, content_of: Observations, style_of: Observations) -> Tensor:
        """Decode the style of ``style_of`` with the content of ``content_of``, pair by pair.

        Both are observations (N, ...), or one of them a single observation (1, ...). Posterior
        means are decoded. Counts have the total of ``style_of``.
        """
        style_of = observations(style_of, self.shape, self)
        content_of = observations(content_of, self.shape, self)
        content, style = self.infer_content(content_of), self.infer_style(style_of)
        return self.decode(content, style, **sizes_of(self.likelihood, style_of))

    @torch.no_grad()
    def reconstruct(self, x: Observations, groups: Groups | object | None = None) -> Tensor:
        """Encode and decode observations x (N, ...), with the content of their groups.

        Posterior means are decoded. ``x`` and ``groups`` are as in :meth:`infer_content`.
        """
        content = self.infer_content(x, groups)
        style_of, groups = x, groups_given(x, groups)
        if groups is not None:
            content = content[Groups.of(groups).index.to(content.mean.device)]
        style = self.infer_style(style_of, content)
        x = observations(x, self.shape, self)
        return self.decode(content, style, **sizes_of(self.likelihood, x))

    def imputed(self, batch: Batch, **options: Any) -> Tensor:
        """Features (N, D) with values in the missing cells, as :func:`mlvae.models.cells.imputed`.

        Raises:
            InputError: if the model takes no missing cells.
        """
        if not self.missing_cells:
            raise InputError(
                "model must take missing cells, MLVAE(..., cells='evidence'), to impute"
            )
        check_batch(batch, self.shape)
        return imputed(self, batch, **options)

    def _given(self, x: object) -> Mapping[str, Tensor]:
        """The given values of grouped data, on the device of the model; none of an array."""
        device = next(self.parameters()).device
        given = x.given if isinstance(x, GroupedData) else {}
        return {name: values.to(device) for name, values in given.items()}
