r"""Elements of 8 bits.

Shapes: N observations, ... the shape of one observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.errors import InputError, check_choice, check_number
from mlvae.likelihoods.parameters import (
    SCOPES,
    between,
    check_pair,
    check_parameters,
    finite_range,
    full_precision,
)

__all__ = ["DiscretisedLogistic"]

HALF_STEP = 1 / 510  # half the distance between two 8-bit values on [0, 1]


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
        check_parameters(parameters, self.outputs)
        return between(self.log_scale_min, self.log_scale_max, parameters[:, 1])

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log-probabilities of x (N, ...) in nats: (N,). ``parameters`` is (N, 2, ...)."""
        check_pair(parameters, self.outputs, x)
        parameters = full_precision(parameters)
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
        check_parameters(parameters, self.outputs)
        parameters = full_precision(parameters)
        mean, scale = parameters[:, 0], self.log_scale(parameters).exp()
        low, high = (functional.softplus(-(mean - end).abs() / scale) for end in (0, 1))
        return mean.clamp(0, 1) + scale * (low - high)

    def check(self, x: Tensor) -> None:
        """Raise :class:`InputError` for observations outside the support."""
        low, high = finite_range(x)
        values = 255 * x
        if low < 0 or high > 1 or ((values - values.round()).abs() > 0.01).any():
            raise InputError(
                "the discretised logistic likelihood takes observations of 8 bits, v / 255 for "
                "v = 0, ..., 255; give uint8 images, or choose another likelihood"
            )
