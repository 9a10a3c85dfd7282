"""The scale of the training data, which a model that standardises measures before its first step.

Shapes: ... one observation.
"""

from __future__ import annotations

import math

import torch

from mlvae.data import GroupedData
from mlvae.models.protocol import traits

__all__ = ["measure_scale", "scale_is_known"]

#: Largest number of elements of a part: 32 MB in float64.
PART = 2**22


def scale_is_known(model: object) -> bool:
    """Whether a model or its likelihood scales the observations for the encoder."""
    scale, likelihood = traits(model).standardise, traits(model).likelihood
    standardises = scale is not None and scale.kind is not None
    return standardises or hasattr(likelihood, "inputs")


def measure_scale(model: object, data: GroupedData) -> None:
    """Measure the scale of all observations of ``data``, part by part, if a model needs it.

    Images on the disk are read once, in their order. A scale that was measured before stays.

    Raises:
        InputError: if a standard deviation is beyond the range of float32.
    """
    scale = traits(model).standardise
    if scale is None or not scale.to_measure:
        return
    rows = torch.arange(len(data), device=data.device)
    parts = rows.split(max(1, PART // math.prod(data.shape)))
    scale.measure(data.observations(part) for part in parts)
