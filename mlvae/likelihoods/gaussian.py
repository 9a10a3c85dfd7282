r"""Normal elements, with a fixed or a learned variance.

Shapes: N observations, ... the shape of one observation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mlvae.errors import check_choice, check_number
from mlvae.kernels import likelihood as kernel
from mlvae.likelihoods.parameters import (
    SCOPES,
    between,
    check_pair,
    check_parameters,
    finite_range,
    full_precision,
)

__all__ = ["Gaussian", "LearnedGaussian"]

LOG_TWO_PI = math.log(2 * math.pi)


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
    real: ClassVar[bool] = True
    scope: ClassVar[str] = "element"

    def __post_init__(self) -> None:
        check_number("likelihood.std", self.std, minimum=0, exclusive=True)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log-densities of x (N, ...) in nats: (N,). ``parameters`` is (N, 1, ...)."""
        check_pair(parameters, self.outputs, x)
        error = (x - full_precision(parameters)[:, 0]).flatten(1)
        constant = error.shape[1] * (LOG_TWO_PI + 2 * math.log(self.std))
        return -0.5 * (error.square().sum(1) / self.std**2 + constant)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected observation (N, ...), which is not restricted to [0, 1]."""
        check_parameters(parameters, self.outputs)
        return parameters[:, 0]

    def check(self, x: Tensor) -> None:
        """Raise :class:`InputError` unless all observations are finite: each has a density."""
        finite_range(x)


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
    real: ClassVar[bool] = True

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
        check_parameters(parameters, self.outputs)
        return between(self.log_variance_min, self.log_variance_max, parameters[:, 1])

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log-densities of x (N, ...) in nats: (N,). ``parameters`` is (N, 2, ...)."""
        check_pair(parameters, self.outputs, x)
        parameters = full_precision(parameters)
        low, high = self.log_variance_min, self.log_variance_max
        if kernel.worthwhile(parameters, x):
            return kernel.learned_gaussian_log_prob(parameters, x, low, high)
        mean, raw = parameters.unbind(1)  # its gradient is one array; slices would need two
        log_variance = between(low, high, raw)
        error = (x - mean).square() * (-log_variance).exp()
        return -0.5 * (error + log_variance + LOG_TWO_PI).flatten(1).sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected observation (N, ...), which is not restricted to [0, 1]."""
        check_parameters(parameters, self.outputs)
        return parameters[:, 0]

    def check(self, x: Tensor) -> None:
        """Raise :class:`InputError` unless all observations are finite: each has a density."""
        finite_range(x)
