"""What a person hands to a model, made into what its networks take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mlvae.errors import InputError, check_integer

__all__ = ["as_observations", "check_shape"]


def check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of one observation as a tuple of positive integers, or :class:`InputError`."""
    if len(tuple(shape)) == 0:
        raise InputError("shape must have at least one dimension: that of one observation")
    for length in shape:
        check_integer("shape", length, minimum=1)
    return tuple(shape)


def as_observations(x: Tensor | np.ndarray, shape: Sequence[int], model: nn.Module) -> Tensor:
    """Observations (N, ...) as floats on the device of ``model``; uint8 images become [0, 1].

    Raises:
        InputError: if the observations do not have ``shape``.
    """
    x = torch.as_tensor(x)
    if x.shape[1:] != torch.Size(shape) or x.ndim == 0:
        raise InputError(
            f"the model takes observations of shape (N, {', '.join(map(str, shape))}), "
            f"not {tuple(x.shape)}"
        )
    parameter = next(model.parameters())
    x = x.to(parameter.device)
    if x.dtype == torch.uint8:
        return x.to(parameter.dtype) / 255
    return x.to(parameter.dtype)
