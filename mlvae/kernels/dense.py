r"""A linear layer with its activation as one kernel, and the products of its gradient as another.

.. math:: y = f(z), \quad z = x W^\top + b, \qquad
    d = f'(z) \odot \frac{\partial L}{\partial y}, \quad
    \frac{\partial L}{\partial x} = d \, W, \quad
    \frac{\partial L}{\partial W} = d^\top x, \quad
    \frac{\partial L}{\partial b} = \sum_n d_n

On a CUDA device, of a few hundred observations each of these products occupies a part of it for a
few microseconds, and PyTorch's kernels run one after another; there the kernels are ours, but of
large layers, where PyTorch's products are faster. On a CPU they are oneDNN's, which PyTorch's own
compiler calls in the same way where nothing is trained.

What follows a product is done before its result is rounded.

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

OURS = ("cuda",)  # devices that have kernels of ours
ONEDNN = (torch.float32, torch.bfloat16)  # what oneDNN multiplies


def dense(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation: str = "none",
    before: str = "none",
    slope_behind: bool = False,
    half: bool = False,
) -> Tensor:
    """The layer's outputs, (n, o), differentiable once.

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
        half: make factors and outputs bfloat16, with sums in float32, as under autocast.
    """
    return _Dense.apply(x, weight, bias, activation, before, slope_behind, half)


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
        half: bool,
    ) -> Tensor:
        ctx.activation = "none" if slope_behind else activation
        ctx.before, ctx.dtype = before, x.dtype
        if half:
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
        return of_x, of_weight, of_bias, None, None, None, None


def _worthwhile(x: Tensor, weight: Tensor, *, most: int, rows: int | None = None) -> bool:
    """Whether our kernels are the faster ones, as measured on an H100.

    PyTorch's are for large products, but not where rows of 2 i or 2 o bytes are not aligned to 16.
    """
    (n, i), o = x.shape, len(weight)
    if x.device.type not in OURS or x.dtype != torch.bfloat16:
        return False
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
    if _worthwhile(x, weight, most=2**31):
        from mlvae.kernels import dense_triton

        return dense_triton.outputs(x.contiguous(), weight.contiguous(), bias, activation)
    return _linear(x, weight, bias.to(x.dtype), activation)


@_outputs.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none") -> Tensor:
    """The layer by PyTorch's means."""
    if x.device.type == "cpu" and x.dtype in ONEDNN and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, activation, [], "")
    z = functional.linear(x, weight, bias)
    return {"none": lambda z: z, "tanh": torch.tanh, "relu": torch.relu}[activation](z)


@torch.library.custom_op("mlvae::dense_gradients", mutates_args=())
def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, needs_x: bool, before: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Of x (n, i), or nothing (0,) if it needs none; of the weight (o, i); of the bias (o,)."""
    if _worthwhile(x, weight, most=2**30, rows=2048):
        from mlvae.kernels import dense_triton

        gradient, x, weight = (each.contiguous() for each in (gradient, x, weight))
        return dense_triton.gradients(gradient, x, weight, needs_x, before)
    of_x = x.new_empty(0)
    if needs_x:
        of_x = _times_slope(_linear(gradient, weight.T, None), x, before)
    whole = _whole(x.dtype)
    if gradient.device.type == "cpu" and whole != gradient.dtype:
        # A CPU adds halves up by way of a copy in float32, which takes longer than a product.
        of_bias = (gradient.new_ones(1, len(gradient)) @ gradient)[0].to(whole)
    else:
        of_bias = gradient.sum(0, dtype=whole)
    return of_x, (gradient.T @ x).to(whole), of_bias


@_gradients.register_fake
def _(
    gradient: Tensor, x: Tensor, weight: Tensor, needs_x: bool, before: str
) -> tuple[Tensor, Tensor, Tensor]:
    of_x = x.new_empty(x.shape if needs_x else 0)
    whole = _whole(x.dtype)
    of_weight = weight.new_empty(weight.shape, dtype=whole)
    return of_x, of_weight, weight.new_empty(weight.shape[0], dtype=whole)


def _whole(dtype: torch.dtype) -> torch.dtype:
    """That of the parameters, of which the factors may be halves."""
    return torch.float32 if dtype == torch.bfloat16 else dtype
