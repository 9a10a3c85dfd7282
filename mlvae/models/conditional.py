"""The conditional VAE: content looked up by the label of the group.

Shapes: N observations, G groups of a batch, K groupings, L labels, C content and S style
dimensions, ... one observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.errors import InputError, check_integer, check_number, shown
from mlvae.groups.grouping import UNNAMED, check_grouping_name
from mlvae.likelihoods import Bernoulli, Likelihood
from mlvae.models.checks import build_checked, check_batch, check_codes_batch
from mlvae.models.decoder import build_decoder
from mlvae.models.encoder import build_conditional_encoder
from mlvae.models.known_groups import checked_names, labels_of
from mlvae.models.latents import Latents, joined
from mlvae.models.mlvae.contents import contents_of, side_by_side
from mlvae.models.mlvae.options import content_name
from mlvae.models.observed import sizes_of
from mlvae.models.part_checks import check_parts
from mlvae.models.protocol import config_of, takes_options
from mlvae.models.standardise import Standardise, check_standardise
from mlvae.models.summary import summary
from mlvae.networks import MLP, Network
from mlvae.objectives import GroupELBO, Objective
from mlvae.observations import as_observations, check_shape
from mlvae.posteriors import DiagonalGaussian, Family, Point

__all__ = ["ConditionalVAE", "ConditionalVAEOptions"]


@dataclass(frozen=True)
class ConditionalVAEOptions:
    """Options of :class:`ConditionalVAE`."""

    group_names: tuple[object, ...] | Mapping[str, tuple[object, ...]] = ()
    content_dim: int | Mapping[str, int] = 10
    style_dim: int = 10
    network: Network = MLP()
    likelihood: Likelihood = Bernoulli()
    style_kl_weight: float = 1.0
    standardise: str | None = None

    def __post_init__(self) -> None:
        self._check_contents()
        check_parts(self.network, self.likelihood)
        check_standardise(self.standardise, self.likelihood)
        check_integer("style_dim", self.style_dim, minimum=1)
        check_number("style_kl_weight", self.style_kl_weight, minimum=0)

    def _check_contents(self) -> None:
        """Check the labels and the dimensions of the content of each grouping."""
        names, dims = self.group_names, self.content_dim
        if not isinstance(names, Mapping) and not isinstance(dims, Mapping):
            check_integer("content_dim", dims, minimum=1)
            object.__setattr__(self, "group_names", checked_names(names))
            return
        if (
            not isinstance(names, Mapping)
            or not isinstance(dims, Mapping)
            or not dims
            or list(names) != list(dims)
        ):
            raise InputError(
                "model.group_names and model.content_dim must have the same groupings, as "
                "group_names={speaker: [ann, bob], digit: [7, 8]} and content_dim={speaker: 8, "
                f"digit: 8}}, not {shown(names)} and {shown(dims)}"
            )
        for name, dim in dims.items():
            check_grouping_name(name)
            check_integer(f"content_dim.{name}", dim, minimum=1)
        object.__setattr__(self, "content_dim", dict(dims))
        found = {name: checked_names(labels) for name, labels in names.items()}
        object.__setattr__(self, "group_names", found)


@takes_options(ConditionalVAEOptions)
class ConditionalVAE(nn.Module):
    r"""Content looked up by the group's label, style inferred given the content.

    .. math:: \log p(x_i \mid y) \ge \mathbb E_{q(s_i \mid x_i, y)}[\log p(x_i \mid c_y, s_i)]
        - \mathrm{KL}(q(s_i \mid x_i, y) \,\|\, p(s))

    with a learned vector :math:`c_y` (C,) for each label y; with several groupings, one for each
    label of each grouping. It is the M2 of D. P. Kingma,
    D. J. Rezende, S. Mohamed, M. Welling: Semi-Supervised Learning with Deep Generative Models,
    NeurIPS 2014, arXiv:1406.5298 (Eq. 6, without the constant log p(y)), with all labels observed;
    and a conditional VAE (K. Sohn, H. Lee, X. Yan: Learning Structured Output Representation using
    Deep Conditional Generative Models, NeurIPS 2015) whose prior of the latents does not depend on
    the condition.

    The model is an upper reference for :class:`~mlvae.models.MLVAE`, not a competitor: every
    observation comes with its label, in evaluation too, and the model has no content for labels
    outside the training data. Its content KL is 0, because the content is not inferred. Its bound
    is on :math:`\log p(x_G \mid y)`; the MLVAE's is on :math:`\log p(x_G)`, which includes the
    cost of the content.

    Batches need the label of each observation: take them from
    ``data.labelled(model.group_names)``. :func:`mlvae.train` and :func:`mlvae.evaluation.evaluate`
    do so themselves.

    Args:
        shape: shape of one observation; images (channels, height, width).
        group_names: label of each group, length L, as ``data.group_names`` of the training data;
            with several groupings, the labels of each by its name.
        content_dim: number C of content dimensions; with several groupings, the number of each by
            its name.
        style_dim: number S of style dimensions.
        network: builds the encoder and the decoder.
        likelihood: the observation model p(x | c, s).
        style_kl_weight: factor of the style KL in the loss; 1 is the bound.
        standardise: "feature" or "channel": the model takes and returns raw units, and works with
            observations of mean 0 and deviation 1; "range": with values in [-1, 1]; see
            :class:`mlvae.models.Standardise`. None: no change. The options of the likelihood, such
            as ``std``, are in standardised units.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> from mlvae.data import GroupedData
        >>> data = GroupedData(torch.rand(6, 1, 8, 8), ["ann", "bob", "ann", "ann", "bob", "bob"])
        >>> model = ConditionalVAE((1, 8, 8), group_names=data.group_names)
        >>> data = data.labelled(model.group_names)
        >>> model(data.batch()).elbo.shape
        torch.Size([2])
        >>> model.swap(content_of=data.singles([0, 2]), style_of=data.singles([1, 4])).shape
        torch.Size([2, 1, 8, 8])
    """

    Options = ConditionalVAEOptions
    needs = frozenset({"label"})

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        chosen = self.options = ConditionalVAEOptions(**options)
        self.content_dim, self.style_dim = chosen.content_dim, chosen.style_dim
        self.group_names: Any = chosen.group_names
        if isinstance(chosen.content_dim, Mapping):
            self.contents = {content_name(n): dim for n, dim in chosen.content_dim.items()}
            self.grouping_of = {content_name(name): name for name in chosen.content_dim}
        else:
            self.group_names = list(self.group_names)
            self.contents = {"content": chosen.content_dim}
            self.grouping_of = {"content": UNNAMED}
        self.group_codes = self.given_codes = frozenset(self.contents)
        self.likelihood = chosen.likelihood
        build_checked(self, chosen.network, self._build)

    def _build(self) -> None:
        chosen = self.options
        self.standardise = Standardise(chosen.standardise, self.shape)
        total = sum(self.contents.values())
        if isinstance(self.group_names, Mapping):
            sizes = zip(self.group_names.values(), self.contents.items(), strict=True)
            self.content = nn.ModuleDict(
                {name: nn.Embedding(len(labels), dim) for labels, (name, dim) in sizes}
            )
        else:
            self.content = nn.Embedding(len(self.group_names), total)
        self.encoder = build_conditional_encoder(
            chosen.network, self.shape, chosen.style_dim, total
        )
        self.decoder = build_decoder(
            chosen.network, total + chosen.style_dim, self.shape, chosen.likelihood
        )
        self.objective = GroupELBO(style_kl_weight=chosen.style_kl_weight)

    def __repr__(self) -> str:
        return summary(self)

    @property
    def config(self) -> dict[str, Any]:
        """All options as plain values, for :func:`mlvae.models.build`."""
        return config_of(self, self.options)

    @property
    def scales(self) -> dict[str, Tensor]:
        """The factors of the objective that a warm-up sets."""
        return self.objective.scales

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The bound of each group of a batch given its label, from one sample of every style.

        Args:
            batch: observations, float (N, ...) on the model's device, their groups and labels.
            generator: source of the noise, on the model's device; None is torch's own.

        Raises:
            InputError: if the batch has no labels.
        """
        check_batch(batch, self.shape)
        x, groups = batch.x, batch.groups
        c = side_by_side(self._looked_up(batch, wait=False))
        style = self.encoder(self.standardise.inputs(self.likelihood, x), c)
        s = style.sample(generator=generator)
        parameters = self.decoder(torch.cat((c, s), 1))
        return self.objective(
            log_likelihood=self.standardise.log_prob(self.likelihood, parameters, x, batch.given),
            style_kl=style.kl(),
            content_kl=s.new_zeros(groups.num_groups),
            groups=groups,
        )

    def codes(self, batch: Batch) -> dict[str, Family]:
        """The content of each observation's labels (N, C), and the style given it (N, S)."""
        check_codes_batch(batch)
        x = as_observations(batch.x, self.shape, self)
        found = self._looked_up(batch)
        inputs = self.standardise.inputs(self.likelihood, x)
        contents = {name: Point(values) for name, values in found.items()}
        return {**contents, "style": self.encoder(inputs, side_by_side(found))}

    def infer_content(self, batch: Batch) -> Tensor:
        """The content of each group of a batch, looked up by its label: (G, C).

        Raises:
            InputError: if the model has several groupings, whose groups differ.
        """
        check_codes_batch(batch)
        if isinstance(self.content, nn.ModuleDict):
            raise InputError(
                f"a model with the contents {', '.join(self.contents)} has no single content; use "
                "codes(batch)"
            )
        return self.content(self._label_of_groups(batch))

    def _looked_up(self, batch: Batch, *, wait: bool = True) -> dict[str, Tensor]:
        """The content of each observation's label (N, C), by its name."""
        if not isinstance(self.content, nn.ModuleDict):
            label = self._label_of_groups(batch, wait=wait)
            return {"content": batch.groups.spread(self.content(label))}
        labels = labels_of(batch, self, wait=wait)
        tables = self.content.items()
        return {name: table(labels[:, place]) for place, (name, table) in enumerate(tables)}

    def _label_of_groups(self, batch: Batch, *, wait: bool = True) -> Tensor:
        """The number of each group's label in ``group_names``, (G,)."""
        label = labels_of(batch, self, wait=wait)  # the same for all members of a group
        return label.new_zeros(batch.groups.num_groups).index_copy(0, batch.groups.index, label)

    def infer_style(self, batch: Batch) -> DiagonalGaussian:
        """The style posterior of each observation of a batch, q(s | x_i, y): shape (N, S)."""
        check_codes_batch(batch)
        x = as_observations(batch.x, self.shape, self)
        content = side_by_side(self._looked_up(batch))
        return self.encoder(self.standardise.inputs(self.likelihood, x), content)

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
            content: values (N, C) of the only content.
            style: values (N, S), or a posterior, whose mean is used. If one code has one row, the
                row is repeated.
            contents: with several groupings, the values of each content by the grouping's name.
            size: with a likelihood of counts, the total count of each observation, (N,) or one
                number; None: ``likelihood.total``.
            codes: values of each content by its own name, as ``content_speaker``.

        Raises:
            InputError: if a code is missing, or the shapes do not fit.
        """
        if style is None:
            raise InputError("style must be values (N, S), not None")
        values = contents_of(self, content, contents, codes)
        dims = {**self.contents, "style": self.style_dim}
        latent = joined(self, {**values, "style": style}, dims)
        return self.standardise.expected(self.likelihood, self.decoder(latent), size)

    @torch.no_grad()
    def swap(self, content_of: Batch, style_of: Batch) -> Tensor:
        """Decode the style of ``style_of`` with the content of ``content_of``, pair by pair.

        The style is inferred given its own label. Posterior means are decoded. Counts have the
        total of ``style_of``.
        """
        check_codes_batch(content_of)
        given: dict[str, Any] = self._looked_up(content_of)
        style = self.infer_style(style_of)
        x = as_observations(style_of.x, self.shape, self)
        given |= sizes_of(self.likelihood, x)
        return self.decode(style=style, **given)

    def reconstruct(self, batch: Batch) -> Tensor:
        """Encode and decode the observations of a batch by posterior means: (N, ...)."""
        return self.swap(batch, batch)
