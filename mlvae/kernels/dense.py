r"""A linear layer with its activation as one kernel, and the products of its gradient as another.

.. math:: y = f(z), \quad z = x W^\top + b, \qquad
    d = f'(z) \odot \frac{\partial L}{\partial y}, \quad
    \frac{\partial L}{\partial x} = d \, W, \quad
    \frac{\partial L}{\partial W} = d^\top x, \quad
    \frac{\partial L}{\partial b} = \sum_n d_n

Of a few hundred observations each of these products occupies a part of a CUDA device for a few
microseconds, and PyTorch's kernels run one after another. Factors are bfloat16 and sums float32,
as under autocast; what follows a product is done before its result is rounded.

Large layers are left to PyTorch's products, where those are faster.

Shapes: n observations, i inputs and o outputs of the layer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

__all__ = ["ACTIVATIONS", "dense"]

#: What follows a layer, by the name it has here: functions whose slope follows from their value.
ACTIVATIONS = ("none", "tanh", "relu")


def dense(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation: str = "none",
    before: str = "none",
    slope_behind: bool = False,
) -> Tensor:
    """The layer's outputs, bfloat16 (n, o), differentiable once.

    Of two such layers, one behind the other and nothing else using what is between them, the
    second can multiply its gradient of x by the slope of the first one's activation, while it has
    it at hand: ``before`` of the second, and then ``slope_behind`` of the first.

    Args:
        x: inputs, (n, i).
        weight: (o, i).
        bias: (o,).
        activation: one of :data:`ACTIVATIONS`.
        before: the activation that x comes from, whose slope is taken care of here.
        slope_behind: whether the gradient that comes in has the slope of ``activation`` in it.
    """
    return _Dense.apply(x, weight, bias, activation, before, slope_behind)


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        activation: str,
        before: str,
        slope_behind: bool,
    ) -> Tensor:
        ctx.activation = "none" if slope_behind else activation
        ctx.before, ctx.dtype = before, x.dtype
        x, weight = x.bfloat16(), weight.bfloat16()
        y = _outputs(x, weight, bias, activation)
        ctx.save_for_backward(x, weight, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        gradient = _times_slope(gradient, y, ctx.activation)
        needs_x = ctx.needs_input_grad[0]
        of_x, of_weight, of_bias = _gradients(gradient, x, weight, needs_x, ctx.before)
        of_x = of_x.to(ctx.dtype) if needs_x else None
        return of_x, of_weight, of_bias, None, None, None


def _worthwhile(n: int, o: int, i: int, *, most: int, rows: int | None = None) -> bool:
    """Whether our kernels are the faster ones, as measured on an H100.

    PyTorch's are for large products, but not where rows of 2 i or 2 o bytes are not aligned to 16.
    """
    if max(n * i, n * o, i * o) >= 2**31:  # our kernels count places by 32 bits
        return False
    if n * i * o <= most and n <= (rows or n):
        return True
    return (i % 8 > 0 or o % 8 > 0) and min(i, o) >= 128


def _times_slope(gradient: Tensor, y: Tensor, activation: str) -> Tensor:
    if activation == "tanh":
        return torch.ops.aten.tanh_backward(gradient, y)
    if activation == "relu":
        return torch.ops.aten.threshold_backward(gradient, y, 0)
    return gradient


@torch.library.custom_op("mlvae::dense", mutates_args=())
def _outputs(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    if x.is_cuda and _worthwhile(len(x), *weight.shape, most=2**31):
        from mlvae.kernels import dense_triton

        return dense_triton.outputs(x.contiguous(), weight.contiguous(), bias, activation)
    z = functional.linear(x, weight, bias.to(x.dtype))
    return {"none": lambda z: z, "tanh": torch.tanh, "relu": torch.relu}[activation](z)


@_outputs.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    return x.new_empty(len(x), len(weight))


@torch.library.custom_op("mlvae::dense_gradients", mutates_args=())
def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, needs_x: bool, before: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Of x (n, i), or nothing (0,) if it needs none; of the weight (o, i); of the bias (o,)."""
    if x.is_cuda and _worthwhile(len(x), *weight.shape, most=2**30, rows=2048):
        from mlvae.kernels import dense_triton

        gradient, x, weight = (each.contiguous() for each in (gradient, x, weight))
        return dense_triton.gradients(gradient, x, weight, needs_x, before)
    of_x = _times_slope(gradient @ weight, x, before) if needs_x else x.new_empty(0)
    return of_x, (gradient.T @ x).float(), gradient.sum(0, dtype=torch.float32)


@_gradients.register_fake
def _(
    gradient: Tensor, x: Tensor, weight: Tensor, needs_x: bool, before: str
) -> tuple[Tensor, Tensor, Tensor]:
    of_x = torch.empty_like(x) if needs_x else x.new_empty(0)
    of_weight = torch.empty_like(weight, dtype=torch.float32)
    return of_x, of_weight, weight.new_empty(len(weight), dtype=torch.float32)
