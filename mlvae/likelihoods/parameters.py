"""Parameters of likelihoods: their precision, their bounds, and the elements that share them."""

from __future__ import annotations

import torch
from torch import Tensor

from mlvae.arguments import check_floats
from mlvae.errors import InputError, shown

__all__ = ["SCOPES", "between", "check_pair", "check_parameters", "finite_range", "full_precision"]

#: The elements that share a scale: none, those of a channel, or all.
SCOPES = ("element", "channel", "scalar")


def full_precision(parameters: Tensor) -> Tensor:
    """Convert half-precision decoder outputs to float32, which a sum over pixels needs."""
    return parameters.float() if parameters.dtype.itemsize < 4 else parameters


def between(low: float, high: float, raw: Tensor) -> Tensor:
    r"""Map real numbers r to the interval from ``low`` = a to ``high`` = b.

    .. math:: \tfrac{b + a}{2} + \tfrac{b - a}{2} \tanh r = a + (b - a) \, \sigma(2 r)

    On a CPU, the sigmoid takes a fifth of the time of the hyperbolic tangent.
    """
    return low + (high - low) * (2 * raw).sigmoid()


def check_parameters(parameters: object, outputs: int) -> None:
    """Raise :class:`InputError` unless ``parameters`` is a tensor (N, ``outputs``, ...).

    Shapes are on the host, so the check waits for no device.
    """
    if torch.compiler.is_compiling():
        return
    expected = f"(N, {outputs}, ...)"
    check_floats("parameters", parameters, expected)
    assert isinstance(parameters, Tensor)
    if parameters.ndim < 3 or parameters.shape[1] != outputs:
        raise InputError(
            f"parameters must have the shape {expected}, not {tuple(parameters.shape)}"
        )


def check_pair(parameters: Tensor, outputs: int, x: object) -> None:
    """Raise :class:`InputError` unless parameters (N, ``outputs``, ...) and x (N, ...) fit."""
    if torch.compiler.is_compiling():
        return
    check_parameters(parameters, outputs)
    shape = parameters.shape[:1] + parameters.shape[2:]
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.shape != shape:
        raise InputError(f"x must be a tensor of floats of shape {tuple(shape)}, not {shown(x)}")


def finite_range(x: object) -> tuple[float, float]:
    """The smallest and the largest element of observations.

    Raises:
        InputError: if ``x`` is not a tensor of finite floats.
    """
    check_floats("x", x, "(N, ...)")
    assert isinstance(x, Tensor)
    if x.numel() == 0:
        raise InputError(f"x must have elements, not the shape {tuple(x.shape)}")
    low, high = (float(end) for end in x.detach().aminmax())
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise InputError("x must be finite, but has NaN or an infinity")
    return low, high
