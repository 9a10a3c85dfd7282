"""Conversion of user-supplied latents: values, or a posterior whose mean is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlvae.errors import InputError, shown
from mlvae.posteriors import Family, GroupFamily

__all__ = ["Latents", "check_simplex", "side_by_side", "values_of"]

#: Largest difference of the sum of shares from 1: half-precision shares have this error.
TOLERANCE = 1e-2

#: Values (N, D), or a posterior whose mean (N, D) is used.
Latents = Tensor | np.ndarray | Family | GroupFamily


def values_of(name: str, latents: Latents, width: int, model: nn.Module) -> Tensor:
    """Values (N, width) of ``latents``.

    Args:
        name: name of the latents, first word of an error message.
        latents: values or a posterior. An array becomes floats on the device of ``model``.
        width: number of dimensions.
        model: the model that receives the values.

    Raises:
        InputError: if the latents are not numbers of that shape.
    """
    parameter = next(model.parameters())
    mean = getattr(latents, "mean", None)
    if isinstance(latents, Tensor):
        values = latents
    elif isinstance(mean, Tensor) and not isinstance(latents, type):
        values = mean
    else:
        values = _numbers(name, latents, width)
    if values.is_complex():
        raise InputError(f"{name} must be real numbers (N, {width}), not {values.dtype}")
    values = values.to(parameter)
    if values.ndim != 2 or values.shape[1] != width:
        raise InputError(f"{name} must be (N, {width}), not {tuple(values.shape)}")
    if not torch.compiler.is_compiling() and not values.isfinite().all():
        raise InputError(f"{name} must be finite, but has NaN or an infinity")
    return values


def check_simplex(name: str, values: Tensor) -> None:
    """Raise :class:`InputError` unless rows of ``values`` (N, K) are shares with the sum 1."""
    if torch.compiler.is_compiling():
        return
    error = (values.sum(1) - 1).abs()
    if not bool(((values >= -TOLERANCE).all(1) & (error < TOLERANCE)).all()):
        raise InputError(
            f"{name} must be points on the simplex: shares of at least 0 with the sum 1 in each "
            f"row, not values in [{float(values.min()):g}, {float(values.max()):g}] with a sum of "
            f"{float(values[error.argmax()].sum()):g}"
        )


def _numbers(name: str, latents: Any, width: int) -> Tensor:
    """An array, or a list of numbers or tensors, as a tensor."""
    try:
        if isinstance(latents, list | tuple) and any(isinstance(row, Tensor) for row in latents):
            return torch.stack([torch.as_tensor(row) for row in latents])
        array = np.asarray(latents)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"not {shown(latents)}")
        return torch.from_numpy(array.astype(np.float64))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} must be numbers (N, {width}) or a posterior: {error}") from error


def side_by_side(
    model: nn.Module, *, content: Latents, style: Latents, content_dim: int, style_dim: int
) -> Tensor:
    """The input of the decoder of ``model``: content and style as one row, (N, C + S).

    Args:
        model: the model that receives the values.
        content: values (N, C), or a posterior, whose mean is used.
        style: values (N, S), likewise. If one of the two has one row, the row is repeated.
        content_dim: number C of content dimensions.
        style_dim: number S of style dimensions.

    Raises:
        InputError: if the shapes do not fit.
    """
    c = values_of("content", content, content_dim, model)
    s = values_of("style", style, style_dim, model)
    if len(c) != len(s) and 1 not in (len(c), len(s)):
        raise InputError(
            f"content and style must have the same number of rows, not {len(c)} and {len(s)}; "
            "content[groups.index] gives each observation the content of its group"
        )
    rows = max(len(c), len(s))
    return torch.cat((c.expand(rows, -1), s.expand(rows, -1)), 1)
