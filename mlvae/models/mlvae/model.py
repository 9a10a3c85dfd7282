"""The Multi-Level Variational Autoencoder.

Shapes: N observations, G groups, C content and S style dimensions, ... one observation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.costs import Separators
from mlvae.data.grouped import GroupedData
from mlvae.errors import InputError
from mlvae.evidence.rules import (
    ACCUMULATIONS,
    POSTERIOR_RULES,
    SUM_RULES,
    Posterior,
)
from mlvae.groups import Groups
from mlvae.models.cells import imputed
from mlvae.models.checks import build_checked, check_batch, check_codes_batch
from mlvae.models.inputs import Observations, groups_given
from mlvae.models.latents import Latents, check_simplex, joined
from mlvae.models.mlvae.bound import bound
from mlvae.models.mlvae.building import build_parts
from mlvae.models.mlvae.contents import (
    as_one,
    contents_of,
    groupings_of_batch,
    side_by_side,
    sources_of,
)
from mlvae.models.mlvae.inference import (
    check_one,
    decoded,
    inferred,
    inferred_style,
    named_groups,
    posteriors,
    read,
)
from mlvae.models.mlvae.options import MLVAEOptions
from mlvae.models.observed import sizes_of
from mlvae.models.protocol import config_of, takes_options
from mlvae.models.standardise import Standardise
from mlvae.models.summary import summary
from mlvae.objectives import GroupELBO, Objective
from mlvae.observations import as_observations, check_shape
from mlvae.posteriors import DiagonalGaussian, Family

__all__ = ["MLVAE"]


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

    With several groupings k, such as speaker and digit, each group of each grouping has a content:

    .. math:: p(x, c, s) = \prod_k \prod_{G \in k} p(c_G) \prod_i p(s_i) \,
        p(x_i \mid c_{G_1(i)}, c_{G_2(i)}, \ldots, s_i)

    Each observation pays evidence into the account of its group in each grouping. The order of the
    groupings does not matter.

    Args:
        shape: shape of one observation; images (channels, height, width).
        content_dim: number C of content dimensions; or the number for each grouping of the data by
            its name, as ``{"speaker": 8, "digit": 16}``.
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
        nested: names of groupings, each with its groups within those of the one before, as
            ``("study", "donor")``. The content of a donor then has a learned Gaussian prior given
            the content of the study (:class:`~mlvae.models.mlvae.nested.NestedPrior`).
        cells: how rows of a table that miss cells are encoded; the likelihood must be
            :class:`~mlvae.likelihoods.MixedColumns`. None: all cells must be there. "evidence":
            each observed cell has evidence of the contents of its own, and the evidence adds up
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
        >>> model = MLVAE((12,), content_dim={"speaker": 8, "digit": 16}, style_dim=4)
        >>> x = torch.rand(4, 12)
        >>> contents = model.infer_contents(x, groups={"speaker": [0, 0, 1, 1]})
        >>> {name: q.mean.shape for name, q in contents.items()}
        {'speaker': torch.Size([2, 8]), 'digit': torch.Size([4, 16])}
        >>> model.swap(speaker_of=x[:1], digit_of=x[1:], style_of=x[:1]).shape
        torch.Size([3, 12])
    """

    Options = MLVAEOptions

    standardise: Standardise
    encoder: nn.Module
    decoder: nn.Module
    objective: GroupELBO
    separators: Separators

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        chosen = self.options = MLVAEOptions(**options)
        self.content_dim, self.style_dim = chosen.content_dim, chosen.style_dim
        self.grouping_of, self.nested = chosen.grouping_of, chosen.nested
        # The order of the groupings in the options has no influence on the model.
        self.contents = dict(sorted(chosen.contents.items()))
        self.likelihood = chosen.likelihood
        self.style_given_content = chosen.style_given_content
        self.rule = ACCUMULATIONS[chosen.accumulation]
        build_checked(self, chosen.network, partial(build_parts, self))

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
        return dict.fromkeys(self.options.contents, POSTERIOR_RULES.get(rule, rule))

    @property
    def group_codes(self) -> frozenset[str]:
        """The names of the contents."""
        return frozenset(self.contents)

    @property
    def importance_weighted(self) -> bool:
        """Whether the bound divides into groups: with one content."""
        return len(self.contents) == 1

    @property
    def spans_ranks(self) -> bool:
        """Whether the rule needs sums over a group alone, so that members may be on any rank."""
        return self.options.accumulation in SUM_RULES and self.options.evidence_from == "all"

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The bound of a batch, from one sample of every latent: of each group of one grouping.

        With several groupings, the bound is of each observation; see
        :meth:`~mlvae.objectives.GroupELBO.of_groupings`.

        Args:
            batch: observations, float (N, ...) on the model's device, and their groupings.
            generator: source of the noise, on the model's device; None is torch's own.
        """
        check_batch(batch, self.shape)
        return bound(self, batch, generator)

    def posteriors(
        self, x: Tensor, given: Mapping[str, Tensor] | None = None
    ) -> tuple[Any, Callable[[Tensor], DiagonalGaussian]]:
        """The outputs of the encoders for observations x, float (N, ...).

        Args:
            x: observations.
            given: known values of the observations; "observed" states which cells of a row are
                there.

        Returns:
            The content posterior of each observation by itself, q(c | x_i) (N, C), or of several
            contents each by its name; and the style posterior (N, S) as a function of the contents
            side by side (N, C), which matters only with ``style_given_content``. The contents are
            in the order of ``contents``, sorted by name.
        """
        member_qs, style_given = posteriors(self, x, given)
        return (member_qs if len(member_qs) > 1 else as_one(member_qs)), style_given

    def pooled(self, member_q: Any, groups: Groups) -> tuple[Posterior, Groups]:
        """The content posterior (G, C) of the members' ``member_q`` (N, C), and its groups."""
        return self.rule(member_q, groups), groups

    def codes(self, batch: Batch) -> dict[str, Family]:
        """The contents of each observation's groups (N, C), and the style of each observation.

        With ``style_given_content`` the style is given the means of the contents.
        """
        check_codes_batch(batch)
        groupings = groupings_of_batch(self, batch)
        x = as_observations(batch.x, self.shape, self, observed=batch.given.get("observed"))
        member_qs, style_given = posteriors(self, x, batch.given)
        found = {
            name: self.rule(q, groupings[name])[groupings[name].index]
            for name, q in member_qs.items()
        }
        style = style_given(side_by_side({name: q.mean for name, q in found.items()}))
        return {**{name: found[name] for name in self.options.contents}, "style": style}

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

        Raises:
            InputError: if the model has several contents, or the groups do not fit.
        """
        check_one(self, "infer_content", "infer_contents(x, groups={...})")
        groups = groups_given(x, groups)
        found = inferred(self, *read(self, x), dict.fromkeys(self.contents, groups))
        return as_one(found)

    def infer_contents(
        self, x: Observations, groups: Mapping[str, object] | None = None
    ) -> dict[str, Posterior]:
        """The content posterior of each group of each grouping, (G, C) by the grouping's name.

        Args:
            x: observations, as in :meth:`infer_content`. The groupings of GroupedData are used.
            groups: :class:`Groups` or labels of length N by the name of the grouping. An
                observation without a label (None, NaN), and every observation in a grouping that
                is not named, is a group of one. Groups are in sorted order of the labels, those
                without a label last.

        Returns:
            Posteriors as :meth:`infer_content` returns them.

        Raises:
            InputError: if the model has no content of a grouping, or the groups do not fit.
        """
        named = named_groups(self, x, groups)
        chosen = {name: named.get(self.grouping_of[name]) for name in self.contents}
        found = inferred(self, *read(self, x), chosen)
        return {grouping: found[name] for name, grouping in self.grouping_of.items()}

    def infer_style(
        self,
        x: Observations,
        content: Latents | None = None,
        *,
        contents: Mapping[str, Latents] | None = None,
    ) -> DiagonalGaussian:
        """The style posterior of each observation x (N, ...), q(s | x_i): shape (N, S).

        Args:
            x: observations, as in :meth:`infer_content`.
            content: with ``style_given_content``, the content (N, C) of each observation, or a
                posterior, whose mean is used. None: the content of the observation itself,
                q(c | x_i). Otherwise it has no effect.
            contents: the same by the name of the grouping, for several contents.

        Raises:
            InputError: if the content does not have one row for each observation.
        """
        return inferred_style(self, *read(self, x), content, contents)

    def decode(
        self,
        content: Latents | None = None,
        style: Latents | None = None,
        *,
        contents: Mapping[str, Latents] | None = None,
        size: Any = None,
        **codes: Latents,
    ) -> Tensor:
        """The expected observation E[x | c, s]: shape (N, ...).

        Args:
            content: values (N, C), or a posterior, whose mean is used. With
                ``content_family="dirichlet"`` the values are points on the simplex.
            style: values (N, S), or a posterior, whose mean is used. If one of the two has one
                row, the row is repeated.
            contents: values or posteriors by the name of the grouping, for several contents.
            size: with a likelihood of counts, the total count of each observation, (N,) or one
                number; None: ``likelihood.total``.
            codes: the same as ``contents`` by the names of the codes, as ``content_speaker``.

        Raises:
            InputError: if a code is missing, or the shapes do not fit.
        """
        values = contents_of(self, content, contents, codes)
        if style is None:
            raise InputError("style must be values (N, S) or a posterior, not None")
        dims = {**self.contents, "style": self.style_dim}
        latent = joined(self, {**values, "style": style}, dims)
        if self.options.on_simplex:
            parts = latent.split(list(dims.values()), 1)
            for name, part in zip(self.contents, parts, strict=False):
                check_simplex(name, part)
        return self.standardise.expected(self.likelihood, self.decoder(latent), size)

    @torch.no_grad()
    def swap(
        self,
        content_of: Observations | None = None,
        style_of: Observations | None = None,
        **sources: Observations,
    ) -> Tensor:
        """Decode the style of ``style_of`` with the content of ``content_of``, pair by pair.

        All are observations (N, ...), or a single observation (1, ...). Posterior means are
        decoded. Counts have the total of ``style_of``.

        Args:
            content_of: observations that give the content.
            style_of: observations that give the style.
            sources: observations that give the content of each of several groupings, as
                ``speaker_of``.

        Raises:
            InputError: if a code has no observations, or a name is unknown.
        """
        if style_of is None:
            raise InputError("style_of must be observations (N, ...), not None")
        contents = {}
        for name, source in sources_of(self, content_of, sources).items():
            contents[self.grouping_of[name]] = inferred(self, *read(self, source), {name: None})[
                name
            ]
        x, given = read(self, style_of)
        style, sizes = inferred_style(self, x, given), sizes_of(self.likelihood, x)
        return decoded(self, contents, style, **sizes)

    @torch.no_grad()
    def reconstruct(self, x: Observations, groups: Any = None) -> Tensor:
        """Encode and decode observations x (N, ...), with the contents of their groups.

        Posterior means are decoded. ``x`` and ``groups`` are as in :meth:`infer_content`, or with
        several contents as in :meth:`infer_contents`.
        """
        if isinstance(x, GroupedData) or groups is None or isinstance(groups, Mapping):
            named = named_groups(self, x, groups)
        else:
            check_one(self, "reconstruct", "groups={...}")
            named = {as_one(self.grouping_of): Groups.of(groups)}
        values, given = read(self, x)
        chosen = {name: named.get(self.grouping_of[name]) for name in self.contents}
        means = {}
        for name, q in inferred(self, values, given, chosen).items():
            groups = chosen[name]
            means[name] = q.mean if groups is None else q.mean[groups.index.to(q.mean.device)]
        latents = {self.grouping_of[name]: mean for name, mean in means.items()}
        style = inferred_style(self, values, given, contents=latents)
        return decoded(self, latents, style, **sizes_of(self.likelihood, values))

    def imputed(self, batch: Batch, **options: Any) -> Tensor:
        """Features (N, D) with values in missing cells, as :func:`mlvae.models.cells.imputed`.

        Raises:
            InputError: if the model takes no missing cells.
        """
        if not self.missing_cells:
            raise InputError(
                "model must take missing cells, MLVAE(..., cells='evidence'), to impute"
            )
        check_batch(batch, self.shape)
        return imputed(self, batch, **options)
