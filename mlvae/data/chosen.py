"""Chosen observations: their indices, and the groups of a batch of them.

Shapes: N observations, n of them chosen, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, shown
from mlvae.groups import Grouping, Groups, Origin

if TYPE_CHECKING:
    from mlvae.data.grouped import GroupedData

__all__ = ["Indices", "at_equal_distances", "chosen_rows", "origin_of", "part_of"]

#: Indices of observations, or a mask of N booleans.
Indices = Tensor | np.ndarray | Sequence[int] | slice


def chosen_rows(data: GroupedData, indices: Indices) -> Tensor:
    """``indices`` or the true places of a mask, int64 (n,) on the device, or InputError."""
    if isinstance(indices, slice):
        indices = torch.arange(len(data))[indices]
    if not isinstance(indices, Tensor):
        array = np.array(indices)
        if array.dtype.kind not in "biuf":
            raise InputError(f"indices of {data} must be integers, not {shown(indices)}")
        indices = torch.from_numpy(array)
    indices = indices.to(data.device)
    if indices.dtype == torch.bool and indices.shape == (len(data),):
        indices = indices.nonzero()[:, 0]
    if indices.numel() == 0:
        raise InputError(f"a subset of {data} must keep at least one observation, not none")
    if indices.ndim != 1 or indices.is_floating_point() or indices.dtype == torch.bool:
        raise InputError(
            f"a subset of {data} takes indices (n,) or a mask of {len(data)} booleans, "
            f"not {indices.dtype} of shape {tuple(indices.shape)}"
        )
    low, high = (int(end) for end in indices.aminmax())
    if low < 0 or high >= len(data):
        raise InputError(f"indices of {data} must lie in [0, {len(data)}), not in [{low}, {high}]")
    return indices.long()  # torch reads bytes as a mask


def origin_of(grouping: Grouping, number: Tensor) -> Origin:
    """The origin of parts (G,) of groups of a grouping, by the groups' ``number`` (G,)."""
    return Origin(number, grouping.groups.sizes[number], grouping.names)


def part_of(grouping: Grouping, rows: Tensor | None) -> Groups:
    """The groups of the observations at ``rows`` (n,), None for all, with their origin."""
    groups = grouping.groups
    index, sizes = groups.index, groups.sizes
    number = torch.arange(groups.num_groups, device=index.device)
    if rows is not None:
        number, index, sizes = index[rows].unique(return_inverse=True, return_counts=True)
    return Groups.unchecked(index, sizes, origin_of(grouping, number))


def at_equal_distances(
    length: int, most: int, *, device: torch.device | str | None = None
) -> Tensor:
    """At most ``most`` indices below ``length``, from the first to the last: int64 (n,).

    Args:
        length: number of observations.
        most: largest number of indices.
        device: device of the indices; None is the CPU.

    Example:
        >>> at_equal_distances(10, 4), at_equal_distances(2, 4)
        (tensor([0, 3, 6, 9]), tensor([0, 1]))
    """
    # float32 has no integers above 2^24; below, the indices are those of earlier versions.
    dtype = torch.float32 if length <= 2**24 else torch.float64
    ends = 0, length - 1, min(length, most)
    return torch.linspace(*ends, dtype=dtype, device=device).long()
