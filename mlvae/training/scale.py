"""Advice about columns of very different scale, before a training and at its first step.

Shapes: N observations of D elements.
"""

from __future__ import annotations

import torch

from mlvae.data import GroupedData

__all__ = ["LARGEST", "RATIO", "scale_advice"]

#: Largest magnitude, and largest ratio of standard deviations, that need no advice.
LARGEST, RATIO = 1e4, 1e3

#: Largest number of observations to look at.
ROWS = 10_000


def scale_advice(data: GroupedData) -> str:
    """How to rescale arrays whose columns have very different or very large scales, or "".

    The likelihood is a sum over columns: one with a large scale outweighs all others, and the
    square of a very large value is infinite in float32. Images are in [0, 1] and need no advice.

    Example:
        >>> data = GroupedData(torch.tensor([[1.0, 2e6], [2.0, 5e6]]), [0, 1])
        >>> scale_advice(data).split(";")[0]
        'columns of x have standard deviations from 0.5 to 1.5e+06 and values up to 5e+06'
    """
    x = data.x
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        return ""
    rows = torch.linspace(0, len(x) - 1, min(len(x), ROWS), dtype=torch.float64).long()
    x = x[rows.to(x.device)].flatten(1).double()
    deviations = x.std(0, correction=0)
    deviations = deviations[deviations > 0]
    largest = float(x.abs().max())
    if largest <= 1 and float(x.min()) >= 0:
        return ""
    low, high = (float(end) for end in deviations.aminmax()) if len(deviations) else (0.0, 0.0)
    if largest <= LARGEST and high <= RATIO * low:
        return ""
    return (
        f"columns of x have standard deviations from {low:.3g} to {high:.3g} and values up to "
        f"{largest:.3g}; standardise each, (x - x.mean(0)) / x.std(0), or leave constant ones out"
    )
