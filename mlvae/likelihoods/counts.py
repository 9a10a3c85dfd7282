r"""Counts: whole numbers of at least 0, such as molecules of a gene in a cell or words in a text.

The expected count of an element is its share times the size of the observation. The size is known:
it is the total count of the observation, or a given value. So the latents describe shares, and no
code needs to carry how many molecules were read from a cell.

Shapes: N observations, ... the shape of one observation, E its number of elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.arguments import check_floats
from mlvae.errors import InputError, check_choice, check_number, shown
from mlvae.likelihoods.parameters import (
    SCOPES,
    between,
    check_pair,
    check_parameters,
    finite_range,
    full_precision,
)

__all__ = [
    "LINKS",
    "NegativeBinomial",
    "Poisson",
    "check_counts",
    "check_sizes",
    "is_count",
    "not_a_count",
    "poisson_log_prob",
]

#: Functions from a decoder's outputs to shares: "softmax": they sum to one; "exp": they may not.
LINKS = ("softmax", "exp")

#: Largest count: all integers up to it differ in float32.
LARGEST = 2**24

#: Counts above this have a series for their Gamma functions.
MANY = 1e4

#: Inverse dispersions above this have a series for their Gamma functions.
NEARLY_POISSON = 1e3

#: Largest logarithm of the rate over the inverse dispersion for this series.
MOST_RATIO = 3.0

#: Smallest size. The size of an observation without counts is 0, which has no logarithm.
SMALLEST = 1e-6


@dataclass(frozen=True)
class Poisson:
    r"""Counts whose variance is their mean. The decoder computes a number :math:`a_e` for each.

    .. math:: \log p(x \mid a, n) = \sum_{e = 1}^{E} x_e \log \lambda_e - \lambda_e - \log x_e!,
        \qquad \lambda_e = n \rho_e

    with the size n of the observation and the shares :math:`\rho = \mathrm{softmax}(a)`, or
    :math:`\rho_e = e^{a_e} / E` with ``link="exp"``. The size is the value "size" that is given
    with the observation, ``GroupedData(..., given={"size": ...})``, if there is one; otherwise it
    is the sum of the observation's elements. So the log-probability is conditional on the size.

    The encoder receives :math:`\log(1 + t x_e / \sum_f x_f)` with t = ``total`` (:meth:`inputs`).
    It does not depend on the size.

    Args:
        total: t, the size of a decoded observation where no size is known. 10,000 is a convention
            for cells.
        link: "softmax": shares sum to one, for sizes that are sums of the observation. "exp": the
            shares are independent, for given sizes that count something else: all genes of which
            the elements are a part, or a time of exposure.

    Example:
        >>> counts = torch.tensor([[3.0, 0.0, 1.0]])
        >>> equal_shares = torch.zeros(1, 1, 3)
        >>> Poisson().mean(equal_shares, size=counts.sum(1))
        tensor([[1.3333, 1.3333, 1.3333]])
        >>> Poisson().log_prob(equal_shares, counts).exp()
        tensor([0.0096])
    """

    total: float = 1e4
    link: str = "softmax"
    outputs: ClassVar[int] = 1
    scope: ClassVar[str] = "element"
    counts: ClassVar[bool] = True
    given: ClassVar[tuple[str, ...]] = ("size",)

    def __post_init__(self) -> None:
        check_number("likelihood.total", self.total, minimum=0, exclusive=True)
        check_choice("likelihood.link", self.link, LINKS)

    def inputs(self, x: Tensor) -> Tensor:
        """Return what an encoder receives of counts x (N, ...): log-normalised counts."""
        return _normalised(x, self.total)

    def log_prob(self, parameters: Tensor, x: Tensor, size: Tensor | None = None) -> Tensor:
        """Return log-probabilities of x (N, ...) in nats: (N,).

        Args:
            parameters: of the decoder, (N, 1, ...).
            x: counts as floats, (N, ...).
            size: size of each observation, (N,); None: the sum of its elements.
        """
        check_pair(parameters, self.outputs, x)
        x = x.flatten(1)
        log_rate = _log_rate(full_precision(parameters)[:, 0], _size(x, size), self.link)
        return poisson_log_prob(x, log_rate).sum(1)

    def mean(self, parameters: Tensor, size: Tensor | None = None) -> Tensor:
        """Return expected counts (N, ...) of observations of ``size`` (N,); None: ``total``."""
        check_parameters(parameters, self.outputs)
        return _mean(parameters[:, 0], size, self.total, self.link)

    def check(self, x: Tensor, size: Tensor | None = None) -> None:
        """Raise :class:`InputError` unless x are counts and sizes are above zero."""
        check_counts(x, size)


@dataclass(frozen=True)
class NegativeBinomial:
    r"""Counts whose variance is above their mean. The decoder computes :math:`a_e` as for Poisson.

    .. math:: \log p(x \mid a, r, n) = \sum_{e = 1}^{E}
        \log \frac{\Gamma(x_e + r_e)}{\Gamma(r_e) \, x_e!}
        + r_e \log \frac{r_e}{r_e + \lambda_e} + x_e \log \frac{\lambda_e}{r_e + \lambda_e}

    with the rate :math:`\lambda_e` of :class:`Poisson` as mean, the inverse dispersion
    :math:`r_e`, and the variance :math:`\lambda_e + \lambda_e^2 / r_e`. It is a Poisson
    distribution whose rate is Gamma distributed with shape :math:`r_e`; for large :math:`r_e` it
    is Poisson. This is the observation model "nb" of scVI (R. Lopez, J. Regier, M. B. Cole, M. I.
    Jordan, N. Yosef: Deep generative modeling for single-cell transcriptomics. Nature Methods 15,
    2018), with observed sizes.

    :math:`\log r_e` is bounded as the log-variance of
    :class:`~mlvae.likelihoods.LearnedGaussian` is. Training begins in the middle of the interval.

    Args:
        total: as for :class:`Poisson`.
        link: as for :class:`Poisson`.
        log_inverse_dispersion_min: natural logarithm of the smallest :math:`r_e`.
        log_inverse_dispersion_max: natural logarithm of the largest :math:`r_e`.
        scope: which elements share an inverse dispersion. "channel": those of an entry of the
            first axis, so each gene of observations of shape (genes,) has its own. "scalar": all.
            A shared inverse dispersion is independent of the latents. "element": none, the decoder
            computes it.

    Example:
        >>> counts = torch.tensor([[3.0, 0.0, 1.0]])
        >>> parameters = torch.zeros(1, 2, 3)  # equal shares, the middle of the interval
        >>> NegativeBinomial().log_prob(parameters, counts).exp()
        tensor([0.0098])
    """

    total: float = 1e4
    link: str = "softmax"
    log_inverse_dispersion_min: float = -4.0
    log_inverse_dispersion_max: float = 6.0
    scope: str = "channel"
    outputs: ClassVar[int] = 2
    counts: ClassVar[bool] = True
    given: ClassVar[tuple[str, ...]] = ("size",)

    def __post_init__(self) -> None:
        check_number("likelihood.total", self.total, minimum=0, exclusive=True)
        check_choice("likelihood.link", self.link, LINKS)
        low = self.log_inverse_dispersion_min
        check_number("likelihood.log_inverse_dispersion_min", low, minimum=-20, maximum=20)
        check_number(
            "likelihood.log_inverse_dispersion_max",
            self.log_inverse_dispersion_max,
            minimum=low,
            maximum=20,
            exclusive=True,
        )
        check_choice("likelihood.scope", self.scope, SCOPES)

    def inputs(self, x: Tensor) -> Tensor:
        """Return what an encoder receives of counts x (N, ...): log-normalised counts."""
        return _normalised(x, self.total)

    def log_inverse_dispersion(self, parameters: Tensor) -> Tensor:
        r"""Return the bounded :math:`\log r` (N, ...)."""
        check_parameters(parameters, self.outputs)
        low, high = self.log_inverse_dispersion_min, self.log_inverse_dispersion_max
        return between(low, high, parameters[:, 1])

    def log_prob(self, parameters: Tensor, x: Tensor, size: Tensor | None = None) -> Tensor:
        """Return log-probabilities of x (N, ...) in nats: (N,).

        Args:
            parameters: of the decoder, (N, 2, ...).
            x: counts as floats, (N, ...).
            size: size of each observation, (N,); None: the sum of its elements.
        """
        check_pair(parameters, self.outputs, x)
        parameters, x = full_precision(parameters), x.flatten(1)
        log_rate = _log_rate(parameters[:, 0], _size(x, size), self.link)
        log_r = self.log_inverse_dispersion(parameters).flatten(1)
        r, ratio = log_r.exp(), log_rate - log_r
        powers = r * functional.softplus(ratio) + x * functional.softplus(-ratio)
        log_prob = _log_gamma_ratio(x, r) - r.lgamma() - powers
        if self.log_inverse_dispersion_max > math.log(NEARLY_POISSON):
            near = (r > NEARLY_POISSON) & (ratio < MOST_RATIO)
            log_prob = torch.where(near, _nearly_poisson(x, log_rate, log_r), log_prob)
        return log_prob.sum(1)

    def mean(self, parameters: Tensor, size: Tensor | None = None) -> Tensor:
        """Return expected counts (N, ...) of observations of ``size`` (N,); None: ``total``."""
        check_parameters(parameters, self.outputs)
        return _mean(parameters[:, 0], size, self.total, self.link)

    def check(self, x: Tensor, size: Tensor | None = None) -> None:
        """Raise :class:`InputError` unless x are counts and sizes are above zero."""
        check_counts(x, size)


def _normalised(x: Tensor, total: float) -> Tensor:
    """Logarithms of one plus counts x (N, ...) that are scaled to the sum ``total``."""
    if not torch.compiler.is_compiling():
        check_floats("x", x, "(N, ...)")
    size = x.flatten(1).sum(1).clamp_min(SMALLEST).view(-1, *[1] * (x.ndim - 1))
    return (x * (total / size)).log1p()


def _size(x: Tensor, size: Tensor | None) -> Tensor:
    """Sizes (N, 1) of observations x (N, E)."""
    if size is None:
        return x.sum(1, keepdim=True)
    if not torch.compiler.is_compiling():
        _check_size(size, len(x))
    return size.to(x).view(-1, 1)


def _check_size(size: object, number: int) -> None:
    """Raise :class:`InputError` unless ``size`` has a number for each of ``number`` observations.

    It reads no element, so it waits for no device.
    """
    shape = size.shape if isinstance(size, Tensor) and not size.is_complex() else None
    if shape not in ((number,), (number, 1)):
        raise InputError(
            f"size must be a number for each of {number} observations, not {shown(size)}"
        )


def _log_rate(outputs: Tensor, size: Tensor, link: str) -> Tensor:
    """Logarithms of expected counts (N, E), for outputs (N, ...) and sizes (N, 1)."""
    outputs = outputs.flatten(1)
    if link == "softmax":
        log_share = functional.log_softmax(outputs, 1)
    else:
        log_share = outputs - math.log(outputs.shape[1])
    return log_share + size.clamp_min(SMALLEST).log()


def _mean(outputs: Tensor, size: Tensor | None, total: float, link: str) -> Tensor:
    """Expected counts of the shape of ``outputs`` (N, ...)."""
    flat = full_precision(outputs).flatten(1)
    size = flat.new_full((len(flat), 1), total) if size is None else _size(flat, size)
    return _log_rate(flat, size, link).exp().view(outputs.shape)


def poisson_log_prob(x: Tensor, log_rate: Tensor) -> Tensor:
    r"""Log-probabilities of Poisson counts in nats, elementwise.

    .. math:: x \log \lambda - \lambda - \log x!

    For large x the three terms are large and cancel, so their sum has few digits in float32. With
    :math:`t = \log \lambda - \log x` and Stirling's series (DLMF 5.11.1), it is then
    :math:`x (t - (e^t - 1)) - \frac12 \log(2 \pi x) - \frac{1}{12 x} + \ldots`

    Args:
        x: counts as floats.
        log_rate: :math:`\log \lambda`, of the shape of ``x``.
    """
    many = x.clamp_min(MANY)
    t = log_rate - many.log()
    series = many * (t - t.expm1()) - 0.5 * (2 * math.pi * many).log() - 1 / (12 * many)
    return torch.where(x > MANY, series, x * log_rate - log_rate.exp() - (x + 1).lgamma())


def _log_gamma_ratio(x: Tensor, r: Tensor) -> Tensor:
    r"""The logarithm of :math:`\Gamma(x + r) / \Gamma(x + 1)`.

    For large x the two logarithms are large and nearly equal, so their difference has few digits
    in float32. With d = r - 1 and w = x + r / 2, the ratio is then
    :math:`w^d (1 - d (d^2 - 1) / (24 w^2) + \ldots)` (DLMF 5.11.13 and 5.11.14).
    """
    d, w = r - 1, (x + r / 2).clamp_min(1.0)
    series = d * w.log() - d * (d / w).square() / 24 + d / w.square() / 24
    return torch.where((x > MANY) & (r < x / 20), series, (x + r).lgamma() - (x + 1).lgamma())


def _nearly_poisson(x: Tensor, log_rate: Tensor, log_r: Tensor) -> Tensor:
    r"""Log-probabilities of negative binomial counts with a large inverse dispersion, elementwise.

    With :math:`\delta = (x - \lambda) / (r + \lambda)` and Stirling's series of
    :math:`\Gamma(x + r) / \Gamma(r)` (DLMF 5.11.1) they are

    .. math:: \log \mathrm{Poisson}(x; \lambda)
        + (r + \lambda) \bigl( (1 + \delta) \log(1 + \delta) - \delta \bigr)
        - \tfrac12 \log(1 + x / r) + \tfrac{1}{12} \Bigl( \frac{1}{x + r} - \frac1r \Bigr)
        + \ldots

    In the formula of :class:`NegativeBinomial` the terms with r cancel, and float32 keeps no digit
    of their sum.
    """
    # Bounded where the result is not used, so that gradients are finite.
    log_r = log_r.clamp_min(math.log(NEARLY_POISSON))
    log_rate = torch.minimum(log_rate, log_r + MOST_RATIO)
    r, rate = log_r.exp(), log_rate.exp()
    delta = (x - rate) / (r + rate)
    wider = (r + rate) * ((1 + delta) * delta.log1p() - delta)
    stirling = (1 / (x + r) - 1 / r) / 12 - 0.5 * (x / r).log1p()
    return poisson_log_prob(x, log_rate) + wider + stirling


def is_count(x: Tensor) -> Tensor:
    """Whether each element is a count: a mask of the shape of ``x``."""
    return (x >= 0) & (x <= LARGEST) & (x == x.round())


def not_a_count(row: int, place: Sequence[int], value: float) -> InputError:
    """An error about an element that is no count.

    Args:
        row: number of the observation.
        place: place of the element in the observation.
        value: the element.
    """
    column = f"column {place[0]}" if len(place) == 1 else f"element {tuple(place)}"
    return InputError(
        f"a likelihood of counts takes whole numbers from 0 to {LARGEST:,}, but {column} of "
        f"observation {row} has {value:.10g}; give raw counts, neither normalised nor as "
        "logarithms, or choose likelihood=learned_gaussian"
    )


def check_counts(x: Tensor, size: Tensor | None = None) -> None:
    """Raise :class:`InputError` unless x (N, ...) are counts and sizes are above zero."""
    finite_range(x)
    if not (counts := is_count(x)).all():
        row, *place = (~counts).nonzero()[0].tolist()
        raise not_a_count(row, place, float(x[~counts][0]))
    if size is not None:
        check_sizes(size, len(x))


def check_sizes(size: object, number: int) -> None:
    """Raise :class:`InputError` unless ``size`` has a number above zero for each observation."""
    _check_size(size, number)
    assert isinstance(size, Tensor)
    right = (size > 0) & size.isfinite()
    if not right.all():
        raise InputError(f"size must be above 0 and finite, not {float(size[~right][0]):g}")
