r"""A linear layer with its activation as one operation, and its gradients as a second one.

.. math:: y = f(z), \quad z = x W^\top + b, \qquad
    d = f'(z) \odot \frac{\partial L}{\partial y}, \quad
    \frac{\partial L}{\partial x} = d \, W, \quad
    \frac{\partial L}{\partial W} = d^\top x, \quad
    \frac{\partial L}{\partial b} = \sum_n d_n

On a CUDA device, the products of a few hundred observations occupy a part of the device for a few
microseconds, and PyTorch launches them one after another. Small layers therefore use the Triton
kernels of this package. Large layers use PyTorch's products, which are faster there. A CPU uses
oneDNN's fused layer, as PyTorch's compiler does for inference.

The activation and its slope are applied before the product is rounded.

Shapes: n observations, i inputs and o outputs of the layer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional

__all__ = ["ACTIVATIONS", "dense"]

#: Activations by name. The slope of each is a function of its value.
ACTIVATIONS = ("none", "tanh", "relu")

TRITON_DEVICES = ("cuda",)
ONEDNN_DTYPES = (torch.float32, torch.bfloat16)


def dense(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation: str = "none",
    before: str = "none",
    slope_behind: bool = False,
    half: bool = False,
) -> Tensor:
    """Return the outputs of the layer, (n, o).

    Warning:
        The outputs are differentiable once. A backward pass with ``create_graph=True`` raises.

    If the only use of a layer's outputs is a second layer, the second layer can multiply its
    gradient of x by the slope of the first layer's activation, in the same kernel. Then ``before``
    of the second layer is the activation of the first, and ``slope_behind`` of the first is true.

    Args:
        x: inputs, (n, i).
        weight: (o, i).
        bias: (o,).
        activation: one of :data:`ACTIVATIONS`.
        before: the activation that computed x, if this layer multiplies by its slope.
        slope_behind: whether the incoming gradient already contains the slope of ``activation``.
        half: use bfloat16 for factors and outputs and float32 for sums, as autocast does.

    Raises:
        RuntimeError: in a backward pass with ``create_graph=True``.
    """
    return _Dense.apply(x, weight, bias, activation, before, slope_behind, half)


class _Context(FunctionCtx):
    """What the forward pass saves for the backward pass."""

    saved_tensors: tuple[Tensor, Tensor, Tensor]
    needs_input_grad: tuple[bool, ...]
    activation: str
    before: str
    dtype: torch.dtype


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context,
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
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            # Two layers may share a slope, so the graph of their gradients would be wrong.
            raise RuntimeError(
                "mlvae.kernels.dense can be differentiated once, but create_graph=True needs "
                "more; use torch.nn.functional.linear"
            )
        x, weight, y = ctx.saved_tensors
        gradient = _times_slope(gradient, y, ctx.activation)
        needs_x = ctx.needs_input_grad[0]
        x_gradient, *others = _gradients(gradient, x, weight, needs_x, ctx.before)
        return x_gradient.to(ctx.dtype) if needs_x else None, *others, None, None, None, None


def _worthwhile(x: Tensor, weight: Tensor, *, most: int, rows: int | None = None) -> bool:
    """Return whether the Triton kernels are faster than PyTorch's, by measurements on an H100.

    They are faster for small products, and for large ones whose rows of 2 i or 2 o bytes are not
    aligned to 16 bytes.

    Args:
        x: inputs, (n, i).
        weight: (o, i).
        most: largest n i o of a small product.
        rows: largest n of a small product; None has no limit.
    """
    (n, i), o = x.shape, len(weight)
    if x.device.type not in TRITON_DEVICES or x.dtype != torch.bfloat16:
        return False
    if max(n * i, n * o, i * o) >= 2**31:  # the kernels use 32-bit offsets
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
    """Return the outputs of the layer (n, o) by PyTorch or oneDNN."""
    if (
        x.device.type == "cpu"
        and x.dtype in ONEDNN_DTYPES
        and torch.backends.mkldnn.is_available()
    ):
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, activation, [], "")
    z = functional.linear(x, weight, bias)
    return {"none": lambda z: z, "tanh": torch.tanh, "relu": torch.relu}[activation](z)


@torch.library.custom_op("mlvae::dense_gradients", mutates_args=())
def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, needs_x: bool, before: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x (n, i), the weight (o, i) and the bias (o,).

    The gradient of x has shape (0,) without ``needs_x``.
    """
    if _worthwhile(x, weight, most=2**30, rows=2048):
        from mlvae.kernels import dense_triton

        gradient, x, weight = gradient.contiguous(), x.contiguous(), weight.contiguous()
        return dense_triton.gradients(gradient, x, weight, needs_x, before)
    x_gradient = x.new_empty(0)
    if needs_x:
        x_gradient = _times_slope(_linear(gradient, weight.T, None), x, before)
    dtype = _parameter_dtype(x.dtype)
    if gradient.device.type == "cpu" and dtype != gradient.dtype:
        # On a CPU, a bfloat16 sum makes a float32 copy, which takes longer than a product.
        bias_gradient = (gradient.new_ones(1, len(gradient)) @ gradient)[0].to(dtype)
    else:
        bias_gradient = gradient.sum(0, dtype=dtype)
    return x_gradient, (gradient.T @ x).to(dtype), bias_gradient


@_gradients.register_fake
def _(
    gradient: Tensor, x: Tensor, weight: Tensor, needs_x: bool, before: str
) -> tuple[Tensor, Tensor, Tensor]:
    x_gradient = x.new_empty(x.shape if needs_x else 0)
    dtype = _parameter_dtype(x.dtype)
    weight_gradient = weight.new_empty(weight.shape, dtype=dtype)
    return x_gradient, weight_gradient, weight.new_empty(weight.shape[0], dtype=dtype)


def _parameter_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of the parameter gradients: float32 if the factors are bfloat16."""
    return torch.float32 if dtype == torch.bfloat16 else dtype
