"""A decoder as a list of steps that the page computes: its layers, then the expected observation.

A step is a dictionary with the key "step" and the places of its weights. ``decoder.js`` has one
function for each kind of step. Layers are translated by their exact class, because a subclass may
compute something else.

Shapes: C channels, P parameters of the likelihood per element, ... one observation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlvae.errors import InputError
from mlvae.explorer.arrays import Arrays
from mlvae.models.decoder import SharedScale
from mlvae.networks import Decoder
from mlvae.networks.conv import Residual
from mlvae.networks.normalisation import BatchNorm
from mlvae.networks.topic import _Mixture, _Product

__all__ = ["Step", "layers"]

Step = dict[str, Any]

#: Activations of ``decoder.js``.
ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Tanh: "tanh",
    nn.ReLU: "relu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.ELU: "elu",
    nn.Softplus: "softplus",
    nn.Sigmoid: "sigmoid",
}

#: Layers that compute nothing in evaluation mode.
WITHOUT_EFFECT = (nn.Dropout, nn.Identity, nn.Flatten)


def layers(decoder: nn.Module, arrays: Arrays, *, first_only: bool) -> list[Step]:
    """The steps from latents to the parameters (P, ...) of a likelihood.

    Args:
        decoder: the decoder of a model in evaluation mode.
        arrays: receives the weights.
        first_only: whether the first parameter of each element is enough. The rows of the last
            layer that compute the others are then left out.

    Raises:
        InputError: if the decoder has a layer that the page cannot compute.
    """
    if type(decoder) is SharedScale:
        if not first_only:
            raise _unknown(decoder)
        return layers(decoder.decoder, arrays, first_only=True)
    if type(decoder) is not Decoder:
        raise _unknown(decoder)
    steps = _translated(decoder.trunk, arrays)
    outputs, *rest = decoder.split
    if not first_only or outputs == 1:
        return [*steps, *_translated(decoder.head, arrays)]
    kept = math.prod(rest)  # channels, or all elements
    return [*steps, *_translated(_first_rows(decoder.head, kept), arrays)]


def _first_rows(head: nn.Module, kept: int) -> nn.Module:
    """A layer with the first ``kept`` outputs of a linear or a convolutional one."""
    if type(head) is nn.Linear:
        short = nn.Linear(head.in_features, kept, bias=head.bias is not None)
        short.weight = nn.Parameter(head.weight.detach()[:kept])
    elif type(head) is nn.Conv2d or type(head) is nn.Conv1d:
        short = type(head)(
            head.in_channels,
            kept,
            head.kernel_size,  # type: ignore[arg-type]
            padding=head.padding,  # type: ignore[arg-type]
            stride=head.stride,  # type: ignore[arg-type]
        )
        short.weight = nn.Parameter(head.weight.detach()[:kept])
    elif type(head) is nn.ConvTranspose2d:
        short = nn.ConvTranspose2d(
            head.in_channels,
            kept,
            head.kernel_size,  # type: ignore[arg-type]
            stride=head.stride,  # type: ignore[arg-type]
            padding=head.padding,  # type: ignore[arg-type]
        )
        short.weight = nn.Parameter(head.weight.detach()[:, :kept])
    else:
        return nn.Sequential(head, _Take(kept))
    if head.bias is not None:
        short.bias = nn.Parameter(head.bias.detach()[:kept])
    return short


class _Take(nn.Module):
    """The first entries of the first axis."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def _translated(layer: nn.Module, arrays: Arrays) -> list[Step]:
    """The steps of a layer."""
    kind = type(layer)
    if kind is nn.Sequential:
        return [step for each in layer.children() for step in _translated(each, arrays)]
    if kind in ACTIVATIONS:
        _check_activation(layer)
        return [{"step": "activation", "name": ACTIVATIONS[kind]}]
    if kind in WITHOUT_EFFECT:
        return []
    if kind in LAYERS:
        return LAYERS[kind](layer, arrays)
    raise _unknown(layer)


def _check_activation(layer: Any) -> None:
    """Raise :class:`InputError` unless an activation has the options of the library."""
    same = {
        nn.GELU: lambda: layer.approximate == "none",
        nn.ELU: lambda: layer.alpha == 1,
        nn.Softplus: lambda: layer.beta == 1 and layer.threshold == 20,
    }
    if not same.get(type(layer), lambda: True)():
        raise _unknown(layer)


def _linear(layer: Any, arrays: Arrays) -> list[Step]:
    return [{"step": "linear", **_weights(layer.weight, layer.bias, arrays)}]


def _weights(weight: Tensor, bias: Tensor | None, arrays: Arrays) -> dict[str, Any]:
    """The places of a weight and a bias; a layer without a bias has none."""
    found = {"weight": arrays.weights(_host(weight))}
    return found if bias is None else {**found, "bias": arrays.add(_host(bias))}


def _batch_norm(layer: Any, arrays: Arrays) -> list[Step]:
    """A normalisation by running averages, as factors and shifts."""
    if layer.running_mean is None:
        raise _unknown(layer)
    factor = (layer.running_var.double() + layer.eps).rsqrt()
    shift = -layer.running_mean.double() * factor
    if layer.affine:
        factor, shift = factor * layer.weight, shift * layer.weight + layer.bias
    return [
        {"step": "affine", "factor": arrays.add(_host(factor)), "shift": _place(shift, arrays)}
    ]


def _group_norm(layer: Any, arrays: Arrays) -> list[Step]:
    if not layer.affine:
        raise _unknown(layer)
    weights = {"weight": _place(layer.weight, arrays), "bias": _place(layer.bias, arrays)}
    return [{"step": "group_norm", "groups": layer.num_groups, "eps": layer.eps, **weights}]


def _convolution(layer: Any, arrays: Arrays) -> list[Step]:
    """A convolution of images (C, height, width), or of signals, which are one pixel high."""
    plain = layer.padding_mode == "zeros" and layer.groups == 1 and set(layer.dilation) == {1}
    if not plain or not isinstance(layer.padding, tuple):
        raise _unknown(layer)
    return [{"step": "convolution", **_kernels(layer, arrays)}]


def _transposed(layer: Any, arrays: Arrays) -> list[Step]:
    plain = layer.groups == 1 and set(layer.dilation) == {1} and not any(layer.output_padding)
    if not plain:
        raise _unknown(layer)
    return [{"step": "transposed", **_kernels(layer, arrays)}]


def _kernels(layer: Any, arrays: Arrays) -> dict[str, Any]:
    weight = layer.weight if layer.weight.ndim == 4 else layer.weight.unsqueeze(2)
    flat = layer.weight.ndim == 3
    return {
        **_weights(weight, layer.bias, arrays),
        "stride": [1, *layer.stride] if flat else list(layer.stride),
        "padding": [0, *layer.padding] if flat else list(layer.padding),
    }


def _unflatten(layer: Any, arrays: Arrays) -> list[Step]:
    channels, *size = layer.unflattened_size
    if layer.dim != 1 or len(size) > 2:
        raise _unknown(layer)
    return [{"step": "reshape", "shape": [channels, *[1] * (2 - len(size)), *size]}]


def _upsample(layer: Any, arrays: Arrays) -> list[Step]:
    if layer.mode != "nearest" or layer.size is None:
        raise _unknown(layer)
    size = list(layer.size) if isinstance(layer.size, Sequence) else [1, layer.size]
    return [{"step": "upsample", "size": [1] * (2 - len(size)) + size}]


def _residual(layer: Any, arrays: Arrays) -> list[Step]:
    return [{"step": "residual", "body": _translated(layer.body, arrays)}]


def _softmax(layer: Any, arrays: Arrays) -> list[Step]:
    return [{"step": "softmax", "total": 1.0}]


def _product(layer: Any, arrays: Arrays) -> list[Step]:
    return _linear(layer.topics, arrays) + _batch_norm(layer.norm, arrays)


def _mixture(layer: Any, arrays: Arrays) -> list[Step]:
    """The words of each topic, as the layer computes them of one topic at a time."""
    words = layer(torch.eye(len(layer.topics)).to(layer.topics)).exp()
    return [{"step": "linear", "weight": arrays.weights(_host(words.T))}, {"step": "log"}]


def _take(layer: Any, arrays: Arrays) -> list[Step]:
    return [{"step": "take", "number": layer.number}]


#: The translation of each class of layers.
LAYERS: dict[type[nn.Module], Callable[[Any, Arrays], list[Step]]] = {
    nn.Linear: _linear,
    BatchNorm: _batch_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed,
    nn.Unflatten: _unflatten,
    nn.Upsample: _upsample,
    Residual: _residual,
    nn.Softmax: _softmax,
    _Product: _product,
    _Mixture: _mixture,
    _Take: _take,
}


def _place(values: Tensor, arrays: Arrays) -> dict[str, Any]:
    return arrays.add(_host(values))


def _host(values: Tensor) -> Any:
    return values.detach().float().cpu().contiguous().numpy()


def _unknown(layer: nn.Module) -> InputError:
    return InputError(
        "the explorer decodes in the browser with layers of mlvae.networks, not with "
        f"{type(layer).__name__}; use a network of the library, or mlvae.show.swaps for pictures"
    )
