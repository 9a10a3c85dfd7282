"""What a person hands to a model as latents: values, or a posterior that stands for its mean."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mlvae.accumulation import Posterior
from mlvae.errors import InputError

__all__ = ["side_by_side", "values_of"]


def values_of(
    name: str, latents: Tensor | np.ndarray | Posterior, width: int, model: nn.Module
) -> Tensor:
    """Values (N, width) of ``latents``, which are such values or a posterior.

    Args:
        name: of the latents, to begin an error with.
        latents: an array becomes floats on the device of ``model``.
        width: their dimensions.
        model: that takes them.

    Raises:
        InputError: if they are no numbers of that shape.
    """
    values = getattr(latents, "mean", None)
    if isinstance(latents, Tensor) or not isinstance(values, Tensor):
        values = latents
    parameter = next(model.parameters())
    if isinstance(values, Tensor):
        values = values.to(parameter.dtype)
    else:
        try:
            values = torch.from_numpy(np.array(values, dtype=np.float64)).to(parameter)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{name} must be numbers (N, {width}) or a posterior: {error}"
            ) from error
    if values.ndim != 2 or values.shape[1] != width:
        raise InputError(f"{name} must be (N, {width}), not {tuple(values.shape)}")
    return values


def side_by_side(
    model: nn.Module,
    content: Tensor | np.ndarray | Posterior,
    style: Tensor | np.ndarray | Posterior,
) -> Tensor:
    """What the decoder of ``model`` takes: (N, C + S).

    Args:
        model: one with a ``content_dim`` and a ``style_dim``.
        content: values (N, C), or a posterior, whose mean is taken.
        style: values (N, S), likewise. Either may have one row, which then goes with every row of
            the other.

    Raises:
        InputError: if the shapes do not fit.
    """
    c = values_of("content", content, model.content_dim, model)
    s = values_of("style", style, model.style_dim, model)
    if len(c) != len(s) and 1 not in (len(c), len(s)):
        raise InputError(
            f"content and style must have the same number of rows, not {len(c)} and {len(s)}; "
            "content[groups.index] gives each observation its group's content"
        )
    rows = max(len(c), len(s))
    return torch.cat((c.expand(rows, -1), s.expand(rows, -1)), 1)
