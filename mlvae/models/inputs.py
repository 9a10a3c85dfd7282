"""Observations that a user gives to a method of a model.

Shapes: N observations, ... the shape of one observation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.data.grouped import GroupedData
from mlvae.data.rows.source import Source, is_source
from mlvae.errors import InputError
from mlvae.observations import as_observations

__all__ = ["Observations", "groups_given", "observations"]

#: What a model encodes: an array or a tensor (N, ...), a source, or grouped data.
Observations = Tensor | np.ndarray | Source | GroupedData

#: Largest number of elements of a source that are read at once: 256 MiB as float32.
MOST_ELEMENTS = 2**26


def observations(
    x: Any, shape: Sequence[int], model: Any, *, observed: Tensor | None = None
) -> Tensor:
    """Observations (N, ...) as floats on the device of ``model``, uint8 to [0, 1].

    Args:
        x: an array, a tensor, a source, or grouped data, whose observations are taken.
        shape: shape of one observation.
        model: the model that receives them.
        observed: whether each cell of a row is there, booleans (N, C); None: the mask of grouped
            data, or all cells.

    Raises:
        InputError: as :func:`mlvae.observations.as_observations`, or if a source has too many
            observations to read them at once.
    """
    if isinstance(x, GroupedData):
        observed = x.given.get("observed") if observed is None else observed
        x = x.x
    if not isinstance(x, Tensor) and is_source(x):
        if math.prod(x.shape) > MOST_ELEMENTS:
            most = max(1, MOST_ELEMENTS // math.prod(x.shape[1:]))
            raise InputError(
                f"x has {len(x):,} observations that are not in memory; encode them batch by "
                f"batch, mlvae.encode(model, data), or at most {most:,} at once: "
                "data.subset(range(1000))"
            )
        x = x.index_select(0, torch.arange(len(x)))
    return as_observations(x, shape, model, observed=observed)


def groups_given(x: object, groups: Any) -> Any:
    """The groups of observations: ``groups``, or those of grouped data; None if there are none.

    Raises:
        InputError: if there are both.
    """
    if not isinstance(x, GroupedData):
        return groups
    if groups is not None:
        raise InputError("groups must be None where x is GroupedData, which has groups")
    return x.groups
