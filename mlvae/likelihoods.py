r"""Likelihoods: the observation model p(x | c, s) with the parameters that a decoder computes.

A likelihood has P = ``outputs`` parameters for each element of an observation. It computes a
log-probability and a mean from them. Log-probabilities are in nats, and summed over the elements
of an observation, never averaged.

If the last parameter is a scale, elements can share it (``scope``). A shared scale is a free
parameter and no function of the latents. :func:`mlvae.models.decoder.build_decoder` builds a
decoder that has this parameter and repeats it for each element, so a likelihood always receives
one value per element.

Shapes: N observations, ... the shape of one observation, P parameters of an element.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.errors import InputError, check_choice, check_number
from mlvae.kernels import likelihood as kernel

__all__ = [
    "LIKELIHOODS",
    "SCOPES",
    "Bernoulli",
    "DiscretisedLogistic",
    "Gaussian",
    "LearnedGaussian",
    "Likelihood",
]

LOG_TWO_PI = math.log(2 * math.pi)
SCOPES = ("element", "channel", "scalar")
HALF_STEP = 1 / 510  # half the distance between two 8-bit values on [0, 1]


def _full_precision(parameters: Tensor) -> Tensor:
    """Convert half-precision decoder outputs to float32, which a sum over pixels needs."""
    return parameters.float() if parameters.dtype.itemsize < 4 else parameters


def _between(low: float, high: float, raw: Tensor) -> Tensor:
    r"""Map real numbers r to the interval from ``low`` = a to ``high`` = b.

    .. math:: \tfrac{b + a}{2} + \tfrac{b - a}{2} \tanh r = a + (b - a) \, \sigma(2 r)

    On a CPU, the sigmoid takes a fifth of the time of the hyperbolic tangent.
    """
    return low + (high - low) * (2 * raw).sigmoid()


@dataclass(frozen=True)
class Bernoulli:
    r"""Binary elements. The decoder computes the logit :math:`a` of each element.

    .. math:: \log p(x \mid a) = \sum x \log \sigma(a) + (1 - x) \log(1 - \sigma(a))

    (Kingma and Welling 2014, appendix C.1).

    Warning:
        Grey values in [0, 1] are allowed, as is common. The expression is then the expected
        log-probability of a binary image with these probabilities, and not a density of the grey
        image.
    """

    outputs: ClassVar[int] = 1
    scope: ClassVar[str] = "element"

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log-probabilities of x (N, ...) in nats: (N,). ``parameters`` is (N, 1, ...)."""
        loss = functional.binary_cross_entropy_with_logits(
            _full_precision(parameters).flatten(1), x.flatten(1), reduction="none"
        )
        return -loss.sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected observation (N, ...)."""
        return parameters[:, 0].sigmoid()

    def check(self, x: Tensor) -> None:
        """Raise :class:`InputError` for observations outside the support."""
        low, high = (float(end) for end in x.aminmax())
        if low < 0 or high > 1:
            raise InputError(
                "the Bernoulli likelihood takes observations in [0, 1], "
                f"not in [{low:g}, {high:g}]; rescale them, or choose a Gaussian likelihood"
            )


@dataclass(frozen=True)
class Gaussian:
    r"""Normal elements with a fixed standard deviation. The decoder computes the mean.

    .. math:: \log p(x \mid \mu) =
        -\tfrac12 \sum \left( (x - \mu)^2 / \sigma^2 + \log(2 \pi \sigma^2) \right)

    Args:
        std: :math:`\sigma`, above zero. It sets the weight of squared errors relative to the KL.
    """

    std: float = 1.0
    outputs: ClassVar[int] = 1
    scope: ClassVar[str] = "element"

    def __post_init__(self) -> None:
        check_number("likelihood.std", self.std, minimum=0, exclusive=True)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log-densities of x (N, ...) in nats: (N,). ``parameters`` is (N, 1, ...)."""
        error = (x - _full_precision(parameters)[:, 0]).flatten(1)
        constant = error.shape[1] * (LOG_TWO_PI + 2 * math.log(self.std))
        return -0.5 * (error.square().sum(1) / self.std**2 + constant)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected observation (N, ...), which is not restricted to [0, 1]."""
        return parameters[:, 0]

    def check(self, x: Tensor) -> None:
        """Accept all finite observations: each has a density."""


@dataclass(frozen=True)
class LearnedGaussian:
    r"""Normal elements. The decoder computes the mean and a bounded log-variance.

    .. math:: \log p(x \mid \mu, \ell) =
        -\tfrac12 \sum \left( (x - \mu)^2 e^{-\ell} + \ell + \log 2 \pi \right),
        \qquad \ell = \tfrac{b + a}{2} + \tfrac{b - a}{2} \tanh r

    where :math:`r` is the second parameter and [a, b] the interval. With the default interval,
    :math:`\ell = \tanh r`, which is the observation model of the first author's MNIST code.

    The maximum-likelihood value of a shared variance sets the weight of errors relative to the KL.
    A variance of each element can in addition become small for the elements that the decoder
    predicts well; a shared variance cannot (O. Rybkin, K. Daniilidis, S. Levine: Simple and
    Effective VAE Training with Calibrated Decoders. ICML 2021, arXiv:2006.13202).

    Args:
        log_variance_min: a, natural logarithm of the smallest variance.
        log_variance_max: b, natural logarithm of the largest variance.
        scope: which elements share a variance. "element": none, the variance of each element is a
            function of the latents. "channel": the elements of a channel (an entry of the first
            axis). "scalar": all elements. A shared variance is independent of the latents.
    """

    log_variance_min: float = -1.0
    log_variance_max: float = 1.0
    scope: str = "element"
    outputs: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_number("likelihood.log_variance_min", self.log_variance_min)
        check_number(
            "likelihood.log_variance_max",
            self.log_variance_max,
            minimum=self.log_variance_min,
            exclusive=True,
        )
        check_choice("likelihood.scope", self.scope, SCOPES)

    def log_variance(self, parameters: Tensor) -> Tensor:
        r"""Return the bounded log-variance :math:`\ell` (N, ...)."""
        return _between(self.log_variance_min, self.log_variance_max, parameters[:, 1])

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log-densities of x (N, ...) in nats: (N,). ``parameters`` is (N, 2, ...)."""
        parameters = _full_precision(parameters)
        low, high = self.log_variance_min, self.log_variance_max
        if kernel.worthwhile(parameters, x):
            return kernel.learned_gaussian_log_prob(parameters, x, low, high)
        mean, raw = parameters.unbind(1)  # its gradient is one array; slices would need two
        log_variance = _between(low, high, raw)
        error = (x - mean).square() * (-log_variance).exp()
        return -0.5 * (error + log_variance + LOG_TWO_PI).flatten(1).sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected observation (N, ...), which is not restricted to [0, 1]."""
        return parameters[:, 0]

    def check(self, x: Tensor) -> None:
        """Accept all finite observations: each has a density."""


@dataclass(frozen=True)
class DiscretisedLogistic:
    r"""Elements of 8 bits, x = v / 255. The decoder computes mean and log-scale of a logistic.

    The probability of a value v is the probability that the logistic distribution gives to the
    interval of one step around v. The intervals of 0 and 255 extend to infinity:

    .. math:: p(v) = \sigma(a) - \sigma(b), \qquad
        a = (x + \tfrac{1}{510} - \mu) / s, \quad b = (x - \tfrac{1}{510} - \mu) / s

    with :math:`\sigma(a) = 1` at 255 and :math:`\sigma(b) = 0` at 0 (T. Salimans, A. Karpathy, X.
    Chen, D. P. Kingma: PixelCNN++. ICLR 2017, arXiv:1701.05517, Eq. 2, with one component; D. P.
    Kingma et al.: Improved Variational Inference with Inverse Autoregressive Flow. NIPS 2016,
    arXiv:1606.04934). The 256 probabilities sum to one. Divided by log 2 and the number of
    elements, minus the log-probability is in bits per dimension.

    The code computes the difference as :math:`\sigma(a) \, \sigma(-b) \, (1 - e^{b - a})` with
    a - b = 1 / (255 s). The two are equal, and the product keeps its digits at any distance of x
    from the mean.

    Args:
        log_scale_min: natural logarithm of the smallest s. At -7, the most probable value has a
            probability of at most 0.79.
        log_scale_max: natural logarithm of the largest s. The log-scale is a function of the
            second parameter, as the log-variance of :class:`LearnedGaussian` is. Training begins
            in the middle of the interval; for the default interval, this is a standard deviation
            of 0.15.
        scope: which elements share a scale, as in :class:`LearnedGaussian`.
    """

    log_scale_min: float = -7.0
    log_scale_max: float = 2.0
    scope: str = "element"
    outputs: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_number("likelihood.log_scale_min", self.log_scale_min, minimum=-30, maximum=30)
        check_number(
            "likelihood.log_scale_max",
            self.log_scale_max,
            minimum=self.log_scale_min,
            maximum=30,
            exclusive=True,
        )
        check_choice("likelihood.scope", self.scope, SCOPES)

    def log_scale(self, parameters: Tensor) -> Tensor:
        """Return the bounded log-scale (N, ...)."""
        return _between(self.log_scale_min, self.log_scale_max, parameters[:, 1])

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log-probabilities of x (N, ...) in nats: (N,). ``parameters`` is (N, 2, ...)."""
        parameters = _full_precision(parameters)
        inverse = (-self.log_scale(parameters)).exp()
        error = x - parameters[:, 0]
        below = functional.logsigmoid((error + HALF_STEP) * inverse)
        above = functional.logsigmoid((HALF_STEP - error) * inverse)
        inside = (-(-2 * HALF_STEP * inverse).expm1()).log()
        first, last = x < HALF_STEP, x > 1 - HALF_STEP
        log_prob = torch.where(first, below, torch.where(last, above, below + above + inside))
        return log_prob.flatten(1).sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        r"""Return the expected observation (N, ...), without the rounding to 8 bits.

        It is the mean of the logistic clipped to [0, 1]. With
        :math:`h(z) = s \log(1 + e^{-|z| / s})`, it is
        :math:`\min(\max(\mu, 0), 1) + h(\mu) - h(\mu - 1)`. Rounding changes it by at most half a
        step, 1 / 510.
        """
        parameters = _full_precision(parameters)
        mean, scale = parameters[:, 0], self.log_scale(parameters).exp()
        low, high = (functional.softplus(-(mean - end).abs() / scale) for end in (0, 1))
        return mean.clamp(0, 1) + scale * (low - high)

    def check(self, x: Tensor) -> None:
        """Raise :class:`InputError` for observations outside the support."""
        values = 255 * x
        if ((values - values.round()).abs() > 0.01).any() or x.min() < 0 or x.max() > 1:
            raise InputError(
                "the discretised logistic likelihood takes observations of 8 bits, v / 255 for "
                "v = 0, ..., 255; give uint8 images, or choose another likelihood"
            )


Likelihood = Bernoulli | Gaussian | LearnedGaussian | DiscretisedLogistic
LIKELIHOODS = (Bernoulli, Gaussian, LearnedGaussian, DiscretisedLogistic)
