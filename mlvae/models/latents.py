"""Conversion of user-supplied latents: values, or a posterior whose mean is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlvae.errors import InputError, shown
from mlvae.posteriors import Family, GroupFamily

__all__ = ["Latents", "check_simplex", "joined", "side_by_side", "values_of"]

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
    dims = {"content": content_dim, "style": style_dim}
    return joined(model, {"content": content, "style": style}, dims)


def joined(model: nn.Module, latents: Mapping[str, Latents], dims: Mapping[str, int]) -> Tensor:
    """The codes of a model as one row, (N, sum of ``dims``), in the order of ``dims``.

    Args:
        model: the model that receives the values.
        latents: values (N, D) or a posterior by the name of the code. A code of one row is
            repeated.
        dims: number of dimensions of each code.

    Raises:
        InputError: if the shapes do not fit.
    """
    values = [values_of(name, latents[name], dim, model) for name, dim in dims.items()]
    lengths = [len(each) for each in values]
    rows = max(lengths)
    if wrong := [length for length in lengths if length not in (1, rows)]:
        names = list(dims)
        found = f"{', '.join(names[:-1])} and {names[-1]}"
        raise InputError(
            f"{found} must have the same number of rows, not {rows} and {wrong[0]}; "
            "content[groups.index] gives each observation the content of its group"
        )
    return torch.cat([each.expand(rows, -1) for each in values], 1)
