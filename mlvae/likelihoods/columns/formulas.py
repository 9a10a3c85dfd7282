r"""The formula of each kind of column, for all columns of the kind at once.

A decoder gives two numbers a and r for each feature. Numbers are standardised by the mean m and
the deviation d of the training rows, so that a = 0 is a typical value. Kinds are those of
A. Nazábal, P. M. Olmos, Z. Ghahramani, I. Valera: Handling Incomplete Heterogeneous Data using
VAEs. Pattern Recognition 107, 2020, arXiv:1807.03653, section 3.

Shapes: N rows, K columns of the kind, L levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.likelihoods.columns.layout import Levels, Numbers
from mlvae.likelihoods.counts import poisson_log_prob
from mlvae.likelihoods.parameters import between

__all__ = ["LOG_VARIANCES", "carried", "cell_log_prob", "draws", "expected", "raw", "standardised"]

LOG_TWO_PI = math.log(2 * math.pi)

#: Bounds of the logarithm of the variance of standardised numbers.
LOG_VARIANCES = (-8.0, 2.0)

#: Added to the second output, so that the variance is 1 where a decoder gives 0.
UNIT = math.atanh(0.6)

#: Largest logarithm of the rate of a count: float32 has all integers up to 2^24.
MOST_LOG_RATE = 24 * math.log(2)

#: Smallest distance of two thresholds of an ordinal column.
LEAST_GAP = 1e-3

#: A positive number, in place of one that is missing or not positive.
TINY = torch.finfo(torch.float32).tiny


def cell_log_prob(kind: str, a: Tensor, r: Tensor, x: Tensor, place: Numbers | Levels) -> Tensor:
    """Log-probability of each cell in nats, (N, K).

    Args:
        kind: one of :data:`~mlvae.likelihoods.columns.layout.KINDS`.
        a: first outputs of the decoder, (N, K), or (N, K, L) for columns with levels.
        r: second outputs, likewise.
        x: the cells, likewise. A cell that is impossible under its kind has a finite value or an
            infinite one; the caller checks the data before training.
        place: the columns.
    """
    if isinstance(place, Levels):
        chosen = _ordinal(a, r, place) if kind == "ordinal" else _categorical(a, place)
        return (x * place.real * chosen).sum(-1)
    if kind == "real":
        z = (x - place.mean) / place.deviation
        return _normal(z, a, r) - place.deviation.log()
    if kind == "positive":
        log_x = x.clamp_min(TINY).log()
        z = (log_x - place.mean) / place.deviation
        return _normal(z, a, r) - place.deviation.log() - log_x
    if kind == "count":
        return poisson_log_prob(x, _log_rate(a, place))
    return x * functional.logsigmoid(a) + (1 - x) * functional.logsigmoid(-a)  # binary


def expected(kind: str, a: Tensor, r: Tensor, place: Numbers | Levels) -> Tensor:
    """Expected features, of the shape of ``a``: of a column with levels, their probabilities."""
    if isinstance(place, Levels):
        chosen = _ordinal(a, r, place) if kind == "ordinal" else _categorical(a, place)
        return chosen.exp() * place.real
    if kind == "real":
        return place.mean + place.deviation * a
    if kind == "positive":  # the mean of a log-normal distribution
        variance = place.deviation.square() * _log_variance(r).exp()
        return (place.mean + place.deviation * a + 0.5 * variance).exp()
    if kind == "count":
        return _log_rate(a, place).exp()
    return a.sigmoid()


def draws(
    kind: str,
    a: Tensor,
    r: Tensor,
    place: Numbers | Levels,
    generator: torch.Generator | None,
) -> Tensor:
    """One draw of each cell as features, of the shape of ``a``. It has no gradient."""
    a, r = a.detach(), r.detach()
    if isinstance(place, Levels):
        weights = expected(kind, a, r, place).flatten(0, 1)
        level = weights.multinomial(1, generator=generator)
        return torch.zeros_like(weights).scatter_(1, level, 1.0).view_as(a)
    if kind in ("real", "positive"):
        noise = torch.randn(a.shape, generator=generator, device=a.device, dtype=a.dtype)
        z = a + (0.5 * _log_variance(r)).exp() * noise
        value = place.mean + place.deviation * z
        return value if kind == "real" else value.exp()
    if kind == "count":
        return torch.poisson(_log_rate(a, place).exp(), generator=generator)
    return torch.bernoulli(a.sigmoid(), generator=generator)


def standardised(kind: str, x: Tensor, place: Numbers | Levels) -> Tensor:
    """Features as an encoder receives them, of the shape of ``x``: levels stay 1 and 0."""
    if isinstance(place, Levels) or kind == "binary":
        return x
    if kind == "positive":
        x = x.clamp_min(TINY).log()
    elif kind == "count":
        x = x.log1p()
    return (x - place.mean) / place.deviation


def carried(
    kind: str, x: Tensor, factual: Sequence[Tensor], other: Sequence[Tensor], place: Numbers
) -> Tensor:
    """Numbers (N, K) with the noise of the cells x under other outputs of the decoder.

    Args:
        kind: "real" or "positive".
        x: the cells, (N, K).
        factual: outputs a and r for these cells.
        other: outputs a and r that replace them.
        place: the columns.
    """
    (a, r), (b, s) = factual, other
    noise = (standardised(kind, x, place) - a) * (-0.5 * _log_variance(r)).exp()
    return raw(kind, b + (0.5 * _log_variance(s)).exp() * noise, place)


def raw(kind: str, inputs: Tensor, place: Numbers) -> Tensor:
    """Numbers in their own units, of standardised ones."""
    if kind == "binary":
        return inputs
    x = place.mean + place.deviation * inputs
    return {"positive": torch.exp, "count": torch.expm1}.get(kind, lambda value: value)(x)


def _log_variance(r: Tensor) -> Tensor:
    """Logarithm of the variance of standardised numbers."""
    return between(*LOG_VARIANCES, r + UNIT)


def _normal(z: Tensor, a: Tensor, r: Tensor) -> Tensor:
    """Log-density of standardised numbers under a normal distribution of mean a."""
    log_variance = _log_variance(r)
    error = (z - a).square() * (-log_variance).exp()
    return -0.5 * (error + log_variance + LOG_TWO_PI)


def _log_rate(a: Tensor, place: Numbers) -> Tensor:
    """Logarithm of the rate of counts, for which a = 0 is near the mean of the training rows."""
    return (place.mean + place.deviation * a).clamp(max=MOST_LOG_RATE)


def _categorical(a: Tensor, place: Levels) -> Tensor:
    """Log-probabilities (N, K, L) of the levels; 0 at a place without a level."""
    scores = a.masked_fill(~place.real, -torch.inf)
    return functional.log_softmax(scores, -1).masked_fill(~place.real, 0.0)


def _ordinal(a: Tensor, r: Tensor, place: Levels) -> Tensor:
    r"""Log-probabilities (N, K, L) of ordered levels; 0 at a place without a level.

    .. math:: P(y \le l) = \sigma(t_l - a), \qquad t_{l + 1} = t_l + \mathrm{softplus}(r_{l + 1})

    (the proportional-odds model: P. McCullagh: Regression Models for Ordinal Data. JRSS B 42,
    1980). The location a is the first output of the column, and thresholds begin around 0. With
    u the logit of P(y <= l) and v that of P(y <= l - 1),
    :math:`\sigma(u) - \sigma(v) = \sigma(u) \sigma(-v) (1 - e^{v - u})`, which loses no digits.
    """
    levels = a.shape[-1]
    gaps = functional.softplus(r[..., 1 : levels - 1]) + LEAST_GAP
    middle = 0.5 * math.log(2) * (place.number - 2)[:, None]
    first = r[..., :1] - middle
    thresholds = torch.cat((first, first + gaps.cumsum(-1)), -1)  # (N, K, L - 1)
    logits = thresholds - a[..., :1]
    last = torch.arange(levels, device=a.device) == place.number[:, None] - 1
    below = functional.pad(functional.logsigmoid(logits), (0, 1))  # log P(y <= l); 0 at the last
    below = below.masked_fill(last, 0.0)
    above = functional.pad(functional.logsigmoid(-logits), (1, 0))  # log P(y > l - 1); 0 at first
    share = functional.pad((-(-gaps).expm1()).log(), (1, 1)).masked_fill(last, 0.0)
    return (below + above + share).masked_fill(~place.real, 0.0)
