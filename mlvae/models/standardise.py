r"""Standardised observations: raw units outside of a model, mean 0 and deviation 1 inside.

Shapes: N observations, ... the shape of one observation, E its number of elements.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlvae.errors import InputError, check_choice
from mlvae.likelihoods import Likelihood
from mlvae.models.observed import encoder_inputs, expected, known_values
from mlvae.observations import check_shape

__all__ = ["STANDARDISATIONS", "Standardise", "check_standardise"]

#: Elements that share a scale: none, those of an entry of the first axis, or all ("range").
STANDARDISATIONS = ("feature", "channel", "range")


class Standardise(nn.Module):
    r"""Subtracts a mean and divides by a standard deviation, both measured on training data.

    A model with this module takes and returns observations in raw units. Encoder, decoder and
    likelihood work with :math:`z = (x - m) / d`, and the log-density of the raw observation is

    .. math:: \log p(x \mid c, s) = \log p(z \mid c, s) - \sum_{e = 1}^{E} \log d_e

    by the change of variables. :func:`mlvae.train` measures m and d on the training data before
    the first step. They are buffers of the model, so a run saves, resumes and loads them. A model
    that is trained again keeps them.

    Args:
        kind: "feature": a mean and a deviation of each element. "channel": of each entry of the
            first axis, as a channel of an image or a sensor of a signal. "range": all elements
            together are mapped to [-1, 1]; m is the middle between the smallest and the largest
            value of the training data, and d half of their difference. None: raw units
            everywhere; the module then has no buffers and changes no number.
        shape: shape of one observation.

    Attributes:
        mean: m, (...), with axes of length 1 where elements share it.
        deviation: d, of the shape of ``mean``; 1 where all training data are equal.
        measured: whether the values were measured, shape (). Before that they are 0 and 1.

    Example:
        >>> scale = Standardise("feature", (2,))
        >>> x = torch.tensor([[100.0, 7.0], [300.0, 7.0]])
        >>> scale.measure([x])
        >>> scale(x)
        tensor([[-1.,  0.],
                [ 1.,  0.]])
        >>> scale.restore(scale(x)).equal(x)
        True
    """

    mean: Tensor
    deviation: Tensor
    measured: Tensor

    def __init__(self, kind: str | None, shape: Sequence[int]) -> None:
        super().__init__()
        shape = check_shape(shape)
        self.kind, self.elements = kind, math.prod(shape)
        if kind is None:
            return
        check_choice("standardise", kind, STANDARDISATIONS)
        first = {"feature": shape, "channel": shape[:1], "range": (1,)}[kind]
        kept = (*first, *[1] * (len(shape) - len(first)))
        self.register_buffer("mean", torch.zeros(kept))
        self.register_buffer("deviation", torch.ones(kept))
        self.register_buffer("measured", torch.zeros((), dtype=torch.int64))

    def extra_repr(self) -> str:
        """The kind, for the text of the module."""
        return f"{self.kind!r}"

    @property
    def to_measure(self) -> bool:
        """Whether the values are still to be measured."""
        return self.kind is not None and not self.measured

    def forward(self, x: Tensor) -> Tensor:
        """Standardised observations (N, ...) of raw ones."""
        return x if self.kind is None else (x - self.mean) / self.deviation

    def restore(self, z: Tensor) -> Tensor:
        """Raw observations (N, ...) of standardised ones."""
        return z if self.kind is None else z * self.deviation + self.mean

    def inputs(self, likelihood: Likelihood, x: Tensor) -> Tensor:
        """What an encoder receives of raw observations (N, ...); counts have their own inputs."""
        return encoder_inputs(likelihood, self(x))

    def log_prob(
        self,
        likelihood: Likelihood,
        parameters: Tensor,
        x: Tensor,
        given: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The log-probability (N,) of raw observations x (N, ...), in nats.

        Args:
            likelihood: the observation model of standardised observations.
            parameters: of the decoder, (N, P, ...).
            x: raw observations.
            given: known values of the observations by name, (N, ...) each, of which a likelihood
                of counts uses "size".
        """
        known = known_values(likelihood, given or {})
        if self.kind is None:
            return likelihood.log_prob(parameters, x, **known)
        log_volume = self.deviation.log().sum() * (self.elements / self.deviation.numel())
        return likelihood.log_prob(parameters, self(x), **known) - log_volume

    def expected(self, likelihood: Likelihood, parameters: Tensor, size: Any = None) -> Tensor:
        """The expected raw observation (N, ...); counts have the total ``size`` (N,)."""
        return self.restore(expected(likelihood, parameters, size))

    @torch.no_grad()
    def measure(self, parts: Iterable[Tensor]) -> None:
        """Set mean and deviation to those of observations, which come in parts.

        The sums are in float64 on the host. The variance is divided by the number of values.

        Args:
            parts: observations, float (n, ...) each.

        Raises:
            InputError: if a deviation, or its inverse, is beyond the range of float32.
        """
        if self.kind is None:
            return
        moments = _Moments()
        for part in parts:
            moments.add(self._columns(part))
        mean, deviation = moments.range if self.kind == "range" else moments.normal
        mean, deviation = mean.float(), deviation.float()
        wrong = ~(mean.isfinite() & deviation.isfinite() & (1 / deviation).isfinite())
        if wrong.any():
            raise InputError(
                f"standardise={self.kind} needs standard deviations in the range of float32, from "
                f"1e-38 to 3e38, not {moments.normal[1][wrong][0]:.3g}; rescale x"
            )
        self.mean.copy_(mean.view_as(self.mean))
        self.deviation.copy_(deviation.view_as(self.deviation))
        self.measured.fill_(1)

    def _columns(self, part: Tensor) -> Tensor:
        """Columns of values with one scale: (n, E), (n * E / channels, channels), (n * E, 1)."""
        part = part.cpu().double()
        if self.kind == "range":
            return part.reshape(-1, 1)
        if self.kind == "feature":
            return part.flatten(1)
        return part.flatten(2).transpose(1, 2).flatten(0, 1) if part.ndim > 2 else part


class _Moments:
    """Moments and extremes of columns, merged part by part (Chan et al. 1983)."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, columns: Tensor) -> None:
        """Add values (n, D) in float64."""
        number, mean = len(columns), columns.mean(0)
        squares = (columns - mean).square().sum(0)
        low, high = columns.aminmax(dim=0)
        if self.count == 0:
            self.count, self.mean, self.squares = number, mean, squares
            self.low, self.high = low, high
            return
        total, shift = self.count + number, mean - self.mean
        self.mean = self.mean + shift * (number / total)
        self.squares = self.squares + squares + shift.square() * (self.count * number / total)
        self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)
        self.count = total

    @property
    def normal(self) -> tuple[Tensor, Tensor]:
        """Means and standard deviations, (D,) each; the deviation is 1 where values are equal."""
        return self.mean, self._unless_equal((self.squares / self.count).sqrt())

    @property
    def range(self) -> tuple[Tensor, Tensor]:
        """Middles and halves of the range, (D,) each; the half is 1 where values are equal."""
        half = 0.5 * self.high - 0.5 * self.low  # each half first: the difference may overflow
        return self.low + half, self._unless_equal(half)

    def _unless_equal(self, found: Tensor) -> Tensor:
        return torch.where(self.low == self.high, torch.ones_like(found), found)


def check_standardise(kind: object, likelihood: Likelihood) -> None:
    """Raise :class:`InputError` unless observations of ``likelihood`` can be standardised so.

    Args:
        kind: the option ``standardise`` of a model.
        likelihood: a density on all real numbers has the attribute ``real = True``. Bits and
            counts are not real numbers any more once they are divided.
    """
    if kind is None:
        return
    check_choice("standardise", kind, STANDARDISATIONS)
    if not getattr(likelihood, "real", False):
        raise InputError(
            f"standardise={kind} needs a density on all real numbers: likelihood=gaussian, "
            "learned_gaussian or shared_gaussian, or a class of your own with the attribute "
            f"real = True, not {type(likelihood).__name__}; set standardise to null, or choose "
            "another likelihood"
        )
