r"""Log-density of the learned Gaussian with its gradient written out.

The formula is in :class:`mlvae.likelihoods.LearnedGaussian`. With the error :math:`d = x - \mu`
and :math:`u = \sigma(2 r)`, the log-variance is :math:`\ell = a + (b - a) u`, and

.. math:: \frac{\partial \log p}{\partial \mu} = d e^{-\ell}, \qquad
    \frac{\partial \log p}{\partial r} = (b - a) (d^2 e^{-\ell} - 1) \, u (1 - u).

These arrays are the largest of a training step. On a CPU, the time is the time of the passes over
them. Autograd of the formula takes twice as long.

Shapes: N observations, ... the shape of one observation, E its number of elements.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

__all__ = ["learned_gaussian_log_prob", "worthwhile"]

LOG_TWO_PI = math.log(2 * math.pi)


def worthwhile(parameters: Tensor, x: Tensor) -> bool:
    """Return whether :func:`learned_gaussian_log_prob` can replace the formula and is faster.

    A compiler fuses the formula and its gradient, and ``torch.func`` differentiates the formula
    only. The written-out gradient needs one dtype.
    """
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or parameters.dtype != x.dtype
    )


def learned_gaussian_log_prob(parameters: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    """Return the log-density in nats of each observation: (N,). All derivatives are defined.

    Args:
        parameters: mean and unbounded log-variance of each element, (N, 2, ...).
        x: observations, (N, ...), of the dtype of ``parameters``.
        low: a, the smallest log-variance.
        high: b, the largest log-variance.
    """
    return _LogProb.apply(parameters, x, low, high)[0]


class _Context(FunctionCtx):
    """What the forward pass saves for the backward pass."""

    saved_tensors: tuple[Tensor, Tensor, Tensor]
    needs_input_grad: tuple[bool, ...]
    low: float
    length: float
    shape: torch.Size
    x_shape: torch.Size


class _LogProb(torch.autograd.Function):
    r"""The log-density (N,), and the intermediates u (N, E) and d (N, E) of the formula.

    The intermediates are outputs, so that the backward pass is a differentiable function of
    tensors in the graph: a second derivative passes through them.
    """

    @staticmethod
    def forward(
        ctx: _Context, parameters: Tensor, x: Tensor, low: float, high: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, raw = parameters.flatten(2).unbind(1)
        place = (2 * raw).sigmoid_()
        error = x.flatten(1) - mean
        weighted = place * (low - high)
        if low:
            weighted.sub_(low)  # before the exponential: one part may overflow alone
        weighted.exp_().mul_(error)
        ctx.save_for_backward(place, error, weighted)
        ctx.set_materialize_grads(False)
        ctx.low, ctx.length = low, high - low
        ctx.shape, ctx.x_shape = parameters.shape, x.shape
        total = torch.linalg.vecdot(error, weighted) + (high - low) * place.sum(1)
        return -0.5 * (total + error.shape[1] * (LOG_TWO_PI + low)), place, error

    @staticmethod
    def backward(
        ctx: _Context,
        gradient: Tensor | None,
        place_gradient: Tensor | None,
        error_gradient: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        second_order = place_gradient is not None or error_gradient is not None
        if gradient is None or second_order or torch.is_grad_enabled():
            gradients = gradient, place_gradient, error_gradient
            return *_differentiable_gradients(ctx, *gradients), None, None
        place, error, weighted = ctx.saved_tensors
        gradient = gradient[:, None]
        result = place.new_empty(len(place), 2, place.shape[1])
        torch.mul(weighted, gradient, out=result[:, 0])
        slope = torch.addcmul(place.new_full((), -1), error, weighted)
        slope.mul_(gradient * ctx.length)
        torch.ops.aten.sigmoid_backward.grad_input(slope, place, grad_input=result[:, 1])
        x_gradient = -result[:, 0].view(ctx.x_shape) if ctx.needs_input_grad[1] else None
        return result.view(ctx.shape), x_gradient, None, None


def _differentiable_gradients(
    ctx: _Context,
    gradient: Tensor | None,
    place_gradient: Tensor | None,
    error_gradient: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of parameters and x by differentiable operations, from all outputs."""
    place, error, _ = ctx.saved_tensors
    to_place = torch.zeros_like(place) if place_gradient is None else place_gradient
    to_error = torch.zeros_like(error) if error_gradient is None else error_gradient
    if gradient is not None:
        gradient = gradient[:, None]
        weighted = error * (-(ctx.low + ctx.length * place)).exp()
        to_error = to_error - gradient * weighted
        to_place = to_place + 0.5 * ctx.length * gradient * (error * weighted - 1)
    to_raw = 2 * place * (1 - place) * to_place
    x_gradient = to_error.view(ctx.x_shape) if ctx.needs_input_grad[1] else None
    return torch.stack((-to_error, to_raw), 1).view(ctx.shape), x_gradient
