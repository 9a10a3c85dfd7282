r"""The supervised vector-quantised VAE: one code for each known group.

Shapes: N observations, K known groups, D dimensions of a code, ... one observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import torch
from torch import Tensor, nn

from mlvae.arguments import check_generator
from mlvae.batch import Batch
from mlvae.errors import InputError, check_flag, check_integer, check_number, shown
from mlvae.likelihoods import Bernoulli, Likelihood
from mlvae.likelihoods.parameters import between, full_precision
from mlvae.models.checks import build_checked, check_batch, check_codes_batch
from mlvae.models.decoder import build_decoder
from mlvae.models.encoder import build_encoder
from mlvae.models.inputs import Observations, observations
from mlvae.models.known_groups import checked_names, labels_of
from mlvae.models.latents import Latents, values_of
from mlvae.models.observed import is_of_counts
from mlvae.models.part_checks import check_parts
from mlvae.models.protocol import config_of, takes_options
from mlvae.models.standardise import Standardise, check_standardise
from mlvae.models.summary import summary
from mlvae.networks import MLP, Network
from mlvae.objectives import Objective
from mlvae.observations import as_observations, check_shape
from mlvae.posteriors import Point

__all__ = ["SVQVAE", "SVQVAEOptions", "nearest"]


@dataclass(frozen=True)
class SVQVAEOptions:
    """Options of :class:`SVQVAE`."""

    group_names: tuple[object, ...] = ()
    latent_dim: int = 64
    network: Network = MLP()
    likelihood: Likelihood = Bernoulli()
    output_range: tuple[float, float] | None = None
    commitment_weight: float = 0.25
    push: bool = True
    push_weight: float = 0.1
    push_limit: float | None = None
    standardise: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "group_names", checked_names(self.group_names))
        check_parts(self.network, self.likelihood)
        check_standardise(self.standardise, self.likelihood)
        _check_mean(self.likelihood)
        object.__setattr__(self, "output_range", _range(self.output_range, self.likelihood))
        check_integer("latent_dim", self.latent_dim, minimum=1)
        check_number("commitment_weight", self.commitment_weight, minimum=0)
        check_flag("push", self.push)
        check_number("push_weight", self.push_weight, minimum=0)
        if self.push_limit is not None:
            check_number("push_limit", self.push_limit, minimum=0, exclusive=True)


@takes_options(SVQVAEOptions)
class SVQVAE(nn.Module):
    r"""A code for each known group, which every observation of the group is reconstructed from.

    With :math:`z = \tanh f(x)`, the code :math:`e_y` of the label y, and the stop-gradient
    :math:`\mathrm{sg}`, the loss of an observation is

    .. math:: \frac1E \lVert g(e_y) - x \rVert^2
        + \frac1D \bigl( \lVert \mathrm{sg}[z] - e_y \rVert^2
        + \beta \lVert z - \mathrm{sg}[e_y] \rVert^2
        - w \lVert \mathrm{sg}[z] - e_{k^*} \rVert^2
        - \lambda w \lVert z - \mathrm{sg}[e_{k^*}] \rVert^2 \bigr)

    with E elements of an observation, :math:`k^* = \arg\min_k \lVert z - e_k \rVert`, and
    :math:`w = 1` if :math:`k^* \ne y`, else 0. The loss of a batch is the mean. The label selects
    the code in training, never the distance. The gradient of the first term passes the code and
    reaches z (straight-through): the codes learn from the other terms alone. After training, the
    class of an observation is the nearest code (:meth:`nearest_code`). Y. Xue, M. Ding, X. Lu:
    Supervised Vector Quantized Variational Autoencoder for Learning Interpretable Global
    Representations. arXiv:1909.11124, 2019; reductions and constants are those of the authors'
    code.

    The model is a regularised auto-encoder. It has no prior, no sampling and **no bound** on
    log p(x). Its codes are

    - "content": the code of the group, a free parameter of each known group. It is looked up from
      the label, so evaluation does not probe it, and new groups have none;
    - "latent": z, the representation of the single observation, inferred from x alone.

    The decoder receives the code of the group and never z. So the reconstruction is the same for
    all observations of a group, and at best the mean of the group.

    Each observation has the terms ``reconstruction`` (first term), ``code_pull`` and
    ``latent_pull`` (second and third, without weight), ``code_push`` and ``latent_push`` (fourth
    and fifth, positive and without weight), and ``correct``: 1 if its nearest code is its own.

    Batches need the label of each observation: take them from
    ``data.labelled(model.group_names)``. :func:`mlvae.train` and
    :func:`mlvae.evaluation.evaluate` do so themselves.

    Args:
        shape: shape of one observation; images (channels, height, width).
        group_names: label of each group, length K, as ``data.group_names`` of the training data.
        latent_dim: number D of dimensions of z and of the codes.
        network: builds the encoder f and the decoder g.
        likelihood: its mean maps the decoder's output to the expected observation: the identity
            for :class:`~mlvae.likelihoods.Gaussian`, the sigmoid for ``Bernoulli``. Its density is
            not used, so a likelihood with further parameters, such as a variance, is refused.
        output_range: smallest and largest expected value; the decoder ends with a hyperbolic
            tangent of this range. It needs the likelihood ``Gaussian``. None: no limit.
        commitment_weight: :math:`\beta`.
        push: whether the loss has the fourth and the fifth term. The published one has.
        push_weight: :math:`\lambda`.
        push_limit: squared distance per dimension beyond which a wrong code is not pushed any
            further (a hinge): each squared distance d of the last two terms is replaced by
            min(d, limit). None is the published loss. The codes of rare groups are pushed more
            often than pulled; with a limit they stay within this distance of the observations.
        standardise: "feature" or "channel": the model takes and returns raw units, and works with
            observations of mean 0 and deviation 1; "range": with values in [-1, 1]; see
            :class:`mlvae.models.Standardise`. The reconstruction term is in these units. None: no
            change.

    Attributes:
        codebook: the codes, a parameter (K, D). The initial values are uniform between -1/K and
            1/K.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> from mlvae.data import GroupedData
        >>> data = GroupedData(torch.rand(6, 1, 8, 8), ["ann", "bob", "ann", "ann", "bob", "bob"])
        >>> model = SVQVAE((1, 8, 8), group_names=data.group_names, latent_dim=5)
        >>> model(data.labelled(model.group_names).batch()).per_observation["reconstruction"].shape
        torch.Size([6])
        >>> model.code_of("bob").shape, model.decode(model.code_of(["ann", "bob"])).shape
        (torch.Size([5]), torch.Size([2, 1, 8, 8]))
        >>> len(model.classify(data.x))
        6
    """

    Options = SVQVAEOptions
    needs = frozenset({"label"})
    given_codes = frozenset({"content"})
    unconditional_codes = frozenset({"latent"})

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        chosen = self.options = SVQVAEOptions(**options)
        self.group_names = list(chosen.group_names)
        self.latent_dim, self.likelihood = chosen.latent_dim, chosen.likelihood
        build_checked(self, chosen.network, self._build)

    def _build(self) -> None:
        chosen, number = self.options, len(self.group_names)
        self.standardise = Standardise(chosen.standardise, self.shape)
        codes = torch.empty(number, chosen.latent_dim).uniform_(-1 / number, 1 / number)
        self.codebook = nn.Parameter(codes)
        self.encoder = build_encoder(chosen.network, self.shape, (chosen.latent_dim,), Point)
        self.decoder = build_decoder(
            chosen.network, chosen.latent_dim, self.shape, chosen.likelihood
        )

    def __repr__(self) -> str:
        return summary(self)

    @property
    def config(self) -> dict[str, Any]:
        """All options as plain values, for :func:`mlvae.models.build`."""
        return config_of(self, self.options)

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The loss and its terms for a batch.

        Args:
            batch: observations, float (N, ...) on the model's device, and their labels.
            generator: not used: the model draws no random number.

        Raises:
            InputError: if the batch has no labels.
        """
        check_batch(batch, self.shape)
        check_generator(generator)
        z, label = self._latent(batch.x), labels_of(batch, self, wait=False)
        code = self.codebook[label]
        # The value is exactly the code; the gradient is that of z.
        expected = self._expected(code.detach() + (z - z.detach()))
        found = nearest(z, self.codebook)
        other, wrong = self.codebook[found], (found != label).to(z.dtype)
        error = (expected - self.standardise(batch.x)).square()
        return self._objective(
            {
                "reconstruction": error.flatten(1).mean(1),
                "code_pull": _distance(z.detach(), code),
                "latent_pull": _distance(z, code.detach()),
                "code_push": wrong * self._limited(_distance(z.detach(), other)),
                "latent_push": wrong * self._limited(_distance(z, other.detach())),
                "correct": 1 - wrong,
            }
        )

    def _objective(self, terms: dict[str, Tensor]) -> Objective:
        """The terms (N,) of the observations, and the loss with its weights."""
        chosen, number = self.options, len(terms["correct"])
        total = terms["reconstruction"] + terms["code_pull"]
        total = total + chosen.commitment_weight * terms["latent_pull"]
        if chosen.push:
            total = total - terms["code_push"] - chosen.push_weight * terms["latent_push"]
        return Objective(
            losses={"model": total.sum() / number},
            per_observation=terms,
            num_observations=number,
        )

    def _limited(self, distance: Tensor) -> Tensor:
        """Squared distances (N,), at most the limit of the push terms."""
        limit = self.options.push_limit
        return distance if limit is None else distance.clamp_max(limit)

    def _latent(self, x: Tensor) -> Tensor:
        """The latents z of raw observations, (N, D)."""
        (q,) = self.encoder(self.standardise.inputs(self.likelihood, x))
        return full_precision(q.mean).tanh()

    def _expected(self, code: Tensor) -> Tensor:
        """The expected observations (N, ...) of codes (N, D), in the units inside of the model."""
        parameters = full_precision(self.decoder(code))
        if self.options.output_range is not None:
            parameters = between(*self.options.output_range, parameters)
        return self.likelihood.mean(parameters)

    # Codes

    def codes(self, batch: Batch) -> dict[str, Point]:
        """The code of each observation's label, "content", and z, "latent": (N, D) each.

        Raises:
            InputError: if the batch has no labels; :meth:`infer` needs none.
        """
        check_codes_batch(batch)
        content = self.codebook[labels_of(batch, self)]
        x = as_observations(batch.x, self.shape, self)
        return {"content": Point(content), "latent": Point(self._latent(x))}

    def infer(self, x: Observations) -> Point:
        """The latent z of each observation x (N, ...): (N, D). No label is needed.

        Args:
            x: uint8 images or floats, in memory or on the disk, or :class:`~mlvae.GroupedData`.
        """
        return Point(self._latent(observations(x, self.shape, self)))

    def code_of(self, label: object) -> Tensor:
        """The code (D,) of the group with a label, or the codes (n, D) of a list of labels.

        Raises:
            InputError: if the model does not know a label.
        """
        names = list(label) if isinstance(label, list | tuple) else [label]
        rows = []
        for name in names:
            if not isinstance(name, str | Number) or name not in self.group_names:
                raise InputError(
                    f"label must be one of the {len(self.group_names)} groups that the model "
                    f"knows, model.group_names, not {shown(name)}"
                )
            rows.append(self.group_names.index(name))
        return self.codebook[rows if isinstance(label, list | tuple) else rows[0]]

    @torch.no_grad()
    def nearest_code(self, x: Observations) -> Tensor:
        """The number in ``group_names`` of the code that is nearest to z of each x (N, ...): (N,).

        Args:
            x: as of :meth:`infer`. Labels are not used.
        """
        return nearest(self.infer(x).mean, self.codebook)

    def classify(self, x: Observations) -> list:
        """The label of the nearest code of each observation x (N, ...), length N."""
        return [self.group_names[number] for number in self.nearest_code(x).tolist()]

    # Decoded observations

    def decode(self, content: Latents, latent: Latents | None = None) -> Tensor:
        """The expected observations (N, ...) of codes of groups.

        Args:
            content: codes (N, D), as :meth:`code_of` gives them.
            latent: z, which the decoder does not receive. The argument is there for
                ``decode(**codes)``, and has no effect.
        """
        code = values_of("content", content, self.latent_dim, self)
        return self.standardise.restore(self._expected(code))

    @torch.no_grad()
    def reconstruct(self, x: Observations) -> Tensor:
        """The expected observations (N, ...) of the nearest code of each x; labels are not used.

        All observations with one nearest code have the same reconstruction.
        """
        return self.decode(self.codebook[self.nearest_code(x)])


@torch.no_grad()
def nearest(latent: Tensor, codebook: Tensor) -> Tensor:
    """The number of the nearest code of each row, (N,); of equal distances the first.

    Args:
        latent: z, (N, D).
        codebook: codes, (K, D).

    Example:
        >>> nearest(torch.tensor([[0.1, 0.3], [0.9, 0.0]]), torch.eye(2))
        tensor([1, 0])
    """
    with torch.autocast(latent.device.type, enabled=False):  # differences of distances are small
        # Without |z|^2, which is equal for all codes.
        return (codebook.square().sum(1) - 2 * latent @ codebook.T).argmin(1)


def _distance(first: Tensor, second: Tensor) -> Tensor:
    """The mean squared difference of the rows of two tensors (N, D): (N,)."""
    return (first - second).square().mean(1)


def _check_mean(likelihood: Likelihood) -> None:
    """Raise :class:`InputError` unless the decoder's output is an expected value alone."""
    name = type(likelihood).__name__
    if is_of_counts(likelihood):
        raise InputError(
            f"a SVQVAE minimises squared errors, which do not fit counts, not {name}; transform "
            "the counts, such as log1p, and use likelihood=gaussian"
        )
    if likelihood.outputs != 1:
        raise InputError(
            f"a SVQVAE uses the mean of the likelihood alone, but {name} has {likelihood.outputs} "
            "parameters of an element; use likelihood=gaussian, or bernoulli for values in [0, 1]"
        )


def _range(value: Any, likelihood: Likelihood) -> tuple[float, float] | None:
    """The option ``output_range`` as two numbers, or None."""
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InputError(f"output_range must be two numbers, as [-1, 1], not {shown(value)}")
    low, high = value
    check_number("output_range[0]", low)
    check_number("output_range[1]", high, minimum=low, exclusive=True)
    if not getattr(likelihood, "real", False):
        raise InputError(
            f"output_range needs likelihood=gaussian, not {type(likelihood).__name__}, whose mean "
            "has a range already; set output_range to null"
        )
    return float(low), float(high)
