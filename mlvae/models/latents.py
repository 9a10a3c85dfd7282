"""What a person hands to a model as latents: values, or a posterior that stands for its mean."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mlvae.accumulation import Posterior
from mlvae.errors import InputError

__all__ = ["values_of"]


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
