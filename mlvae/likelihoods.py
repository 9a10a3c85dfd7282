r"""What a decoder's output means: the observation model p(x | c, s).

Each likelihood says how many parameters an element of an observation takes (``outputs``), and
turns them into a log-probability and a mean. Log-probabilities are in nats and summed over the
elements of an observation, never averaged.

The last parameter, where it is a scale, may be shared by elements (``scope``). It is then no
function of the latents but learned by itself: :func:`mlvae.models.decoder.build_decoder` makes a
decoder that owns it and repeats it for each element, so that a likelihood never sees a difference.

Shapes: N observations, ... the shape of one observation, P = ``outputs`` parameters an element.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from mlvae.errors import InputError, check_choice, check_number

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
HALF_STEP = 1 / 510  # half the distance of two 8-bit values on [0, 1]


def _full_precision(parameters: Tensor) -> Tensor:
    """Take half-precision decoder outputs to float32: a sum over pixels needs its digits."""
    return parameters.float() if parameters.dtype.itemsize < 4 else parameters


def _between(low: float, high: float, raw: Tensor) -> Tensor:
    r"""From any real r, of any shape, to between ``low`` = a and ``high`` = b.

    .. math:: \tfrac{b + a}{2} + \tfrac{b - a}{2} \tanh r = a + (b - a) \, \sigma(2 r)

    The sigmoid takes a fifth of the time of the hyperbolic tangent on a CPU.
    """
    return low + (high - low) * (2 * raw).sigmoid()


@dataclass(frozen=True)
class Bernoulli:
    r"""Binary elements; the decoder gives the logit :math:`a` of each.

    .. math:: \log p(x \mid a) = \sum x \log \sigma(a) + (1 - x) \log(1 - \sigma(a))

    (Kingma and Welling 2014, appendix C.1). Grey values in [0, 1] are allowed, as is common; the
    expression is then the expected log-probability of a binary image with those probabilities, not
    a density of the grey image.
    """

    outputs: ClassVar[int] = 1
    scope: ClassVar[str] = "element"

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-probability in nats of each of x (N, ...): (N,). ``parameters`` is (N, 1, ...)."""
        loss = functional.binary_cross_entropy_with_logits(
            _full_precision(parameters).flatten(1), x.flatten(1), reduction="none"
        )
        return -loss.sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        """Expected observation (N, ...)."""
        return parameters[:, 0].sigmoid()

    def check(self, x: Tensor) -> None:
        """Raise :class:`InputError` for observations that have no probability here."""
        low, high = (float(end) for end in x.aminmax())
        if low < 0 or high > 1:
            raise InputError(
                "the Bernoulli likelihood takes observations in [0, 1], "
                f"not in [{low:g}, {high:g}]; rescale them, or choose a Gaussian likelihood"
            )


@dataclass(frozen=True)
class Gaussian:
    r"""Normal elements of one fixed standard deviation; the decoder gives their mean.

    .. math:: \log p(x \mid \mu) =
        -\tfrac12 \sum \left( (x - \mu)^2 / \sigma^2 + \log(2 \pi \sigma^2) \right)

    Args:
        std: :math:`\sigma`, above zero. It sets how much a nat of KL weighs against an error in x.
    """

    std: float = 1.0
    outputs: ClassVar[int] = 1
    scope: ClassVar[str] = "element"

    def __post_init__(self) -> None:
        check_number("likelihood.std", self.std, minimum=0, exclusive=True)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-density in nats of each of x (N, ...): (N,). ``parameters`` is (N, 1, ...)."""
        error = (x - _full_precision(parameters)[:, 0]).flatten(1)
        constant = error.shape[1] * (LOG_TWO_PI + 2 * math.log(self.std))
        return -0.5 * (error.square().sum(1) / self.std**2 + constant)

    def mean(self, parameters: Tensor) -> Tensor:
        """Expected observation (N, ...); it may leave [0, 1]."""
        return parameters[:, 0]

    def check(self, x: Tensor) -> None:
        """Every finite observation has a density here."""


@dataclass(frozen=True)
class LearnedGaussian:
    r"""Normal elements; the decoder gives the mean and a bounded log-variance.

    .. math:: \log p(x \mid \mu, \ell) =
        -\tfrac12 \sum \left( (x - \mu)^2 e^{-\ell} + \ell + \log 2 \pi \right),
        \qquad \ell = \tfrac{b + a}{2} + \tfrac{b - a}{2} \tanh r

    where :math:`r` is the decoder's second output and [a, b] the interval. With the default
    interval :math:`\ell = \tanh r`, the observation model of the first author's MNIST code.

    A variance that is shared weighs errors against the KL as the data demand, and cannot, as one
    for each element can, single out what the decoder happens to get right (O. Rybkin, K.
    Daniilidis, S. Levine: Simple and Effective VAE Training with Calibrated Decoders. ICML 2021,
    arXiv:2006.13202).

    Args:
        log_variance_min: a, natural logarithm of the smallest variance.
        log_variance_max: b, natural logarithm of the largest variance.
        scope: what has a variance of its own: "element" is each pixel of each image, by its
            latents; "channel" each channel (entry of the first axis), and "scalar" is one for all,
            whatever the latents.
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
        r"""The bounded log-variance :math:`\ell` (N, ...)."""
        return _between(self.log_variance_min, self.log_variance_max, parameters[:, 1])

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-density in nats of each of x (N, ...): (N,). ``parameters`` is (N, 2, ...)."""
        parameters = _full_precision(parameters)
        if (
            torch.compiler.is_compiling()  # a compiler fuses the plain formula, and its gradient
            or torch._C._are_functorch_transforms_active()  # torch.func differentiates it itself
            or parameters.dtype != x.dtype
        ):
            # Whose gradient is one array where a slice's would be two: they are the largest.
            mean, raw = parameters.unbind(1)
            log_variance = _between(self.log_variance_min, self.log_variance_max, raw)
            error = (x - mean).square() * (-log_variance).exp()
            return -0.5 * (error + log_variance + LOG_TWO_PI).flatten(1).sum(1)
        return _LearnedGaussianLogProb.apply(
            parameters, x, self.log_variance_min, self.log_variance_max
        )

    def mean(self, parameters: Tensor) -> Tensor:
        """Expected observation (N, ...); it may leave [0, 1]."""
        return parameters[:, 0]

    def check(self, x: Tensor) -> None:
        """Every finite observation has a density here."""


class _LearnedGaussianLogProb(torch.autograd.Function):
    r"""The log-density of :class:`LearnedGaussian` with its gradient written out.

    With the error :math:`d = x - \mu` and :math:`u = \sigma(2 r)`, of which :math:`\ell` is
    :math:`a + (b - a) u`,

    .. math:: \partial_\mu \log p = d e^{-\ell}, \qquad
        \partial_r \log p = (b - a) (d^2 e^{-\ell} - 1) \, u (1 - u).

    These arrays are the largest of a step, and a CPU's time goes into passing through them: left
    to autograd, the same takes twice as long.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, parameters: Tensor, x: Tensor, low: float, high: float
    ) -> Tensor:
        mean, raw = parameters.flatten(2).unbind(1)
        place = (2 * raw).sigmoid_()
        error = x.flatten(1) - mean
        weighted = place * (low - high)
        if low:
            weighted.sub_(low)  # before the exponential: either part alone may leave float32
        weighted.exp_().mul_(error)
        ctx.save_for_backward(place, error, weighted)
        ctx.length, ctx.shape, ctx.x_shape = high - low, parameters.shape, x.shape
        total = torch.linalg.vecdot(error, weighted) + (high - low) * place.sum(1)
        return -0.5 * (total + error.shape[1] * (LOG_TWO_PI + low))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        place, error, weighted = ctx.saved_tensors
        gradient = gradient[:, None]
        result = place.new_empty(len(place), 2, place.shape[1])
        torch.mul(weighted, gradient, out=result[:, 0])
        slope = torch.addcmul(place.new_full((), -1), error, weighted)
        slope.mul_(gradient * ctx.length)
        torch.ops.aten.sigmoid_backward.grad_input(slope, place, grad_input=result[:, 1])
        of_x = -result[:, 0].view(ctx.x_shape) if ctx.needs_input_grad[1] else None
        return result.view(ctx.shape), of_x, None, None


@dataclass(frozen=True)
class DiscretisedLogistic:
    r"""Elements of 8 bits, x = v / 255; the decoder gives the mean and log-scale of a logistic.

    The probability of a value v is what the logistic distribution has within half a step of it,
    and at 0 and 255 all that lies beyond:

    .. math:: p(v) = \sigma(a) - \sigma(b), \qquad
        a = (x + \tfrac{1}{510} - \mu) / s, \quad b = (x - \tfrac{1}{510} - \mu) / s

    with :math:`\sigma(a) = 1` at 255 and :math:`\sigma(b) = 0` at 0 (T. Salimans, A. Karpathy, X.
    Chen, D. P. Kingma: PixelCNN++. ICLR 2017, arXiv:1701.05517, Eq. 2, with one component; D. P.
    Kingma et al.: Improved Variational Inference with Inverse Autoregressive Flow. NIPS 2016,
    arXiv:1606.04934). The 256 probabilities sum to one. Divided by log 2 and the number of
    elements, minus the log-probability is in bits per dimension.

    The difference is computed as :math:`\sigma(a) \, \sigma(-b) \, (1 - e^{b - a})`, which equals
    it and loses no digits however far x is from the mean; a - b is known to be 1 / (255 s).

    Args:
        log_scale_min: natural logarithm of the smallest s. At -7 the likeliest value has a
            probability of up to 0.79.
        log_scale_max: natural logarithm of the largest s. Between the two, the log-scale is as the
            log-variance of :class:`LearnedGaussian`; in the middle of the default interval, where
            training begins, the standard deviation is 0.15.
        scope: what has a scale of its own, as in :class:`LearnedGaussian`.
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
        """The bounded log-scale (N, ...)."""
        return _between(self.log_scale_min, self.log_scale_max, parameters[:, 1])

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-probability in nats of each of x (N, ...): (N,). ``parameters`` is (N, 2, ...)."""
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
        r"""Expected observation (N, ...), to within the half step 1 / 510 of rounding to 8 bits.

        That of the logistic clipped to [0, 1]: with :math:`h(z) = s \log(1 + e^{-|z| / s})`, it is
        :math:`\min(\max(\mu, 0), 1) + h(\mu) - h(\mu - 1)`.
        """
        parameters = _full_precision(parameters)
        mean, scale = parameters[:, 0], self.log_scale(parameters).exp()
        low, high = (functional.softplus(-(mean - end).abs() / scale) for end in (0, 1))
        return mean.clamp(0, 1) + scale * (low - high)

    def check(self, x: Tensor) -> None:
        """Raise :class:`InputError` for observations that have no probability here."""
        values = 255 * x
        if ((values - values.round()).abs() > 0.01).any() or x.min() < 0 or x.max() > 1:
            raise InputError(
                "the discretised logistic likelihood takes observations of 8 bits, v / 255 for "
                "v = 0, ..., 255; give uint8 images, or choose another likelihood"
            )


Likelihood = Bernoulli | Gaussian | LearnedGaussian | DiscretisedLogistic
LIKELIHOODS = (Bernoulli, Gaussian, LearnedGaussian, DiscretisedLogistic)
