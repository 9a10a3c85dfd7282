"""The record that a model receives at every step.

Shapes: N observations, G groups, ... any trailing shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mlvae.arguments import as_device, integer_tensor
from mlvae.errors import InputError, shown
from mlvae.groups import Groups
from mlvae.observations import as_floats, as_tensor, check_image_bytes

__all__ = ["Batch"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Observations, their groups, and the values that are given with each observation.

    Only the methods of this class list its fields. Other code builds a changed batch by
    :func:`dataclasses.replace`, so that a new field is carried everywhere.

    Args:
        x: observations (N, ...); images are float in [0, 1], shape (N, channels, height, width).
        groups: the partition of the N observations into G groups.
        given: known values of the observations by name, each (N, ...): a mask, an action, a
            covariate, or the "label" that :meth:`mlvae.GroupedData.labelled` adds.

    Example:
        >>> batch = Batch(torch.rand(3, 2), Groups.of(["a", "b", "a"]), {"mask": torch.ones(3, 2)})
        >>> batch.singles(torch.tensor([2, 0])).given["mask"].shape
        torch.Size([2, 2])
    """

    x: Tensor
    groups: Groups
    given: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if torch.compiler.is_compiling():
            return
        if not isinstance(self.x, Tensor) or not isinstance(self.groups, Groups):
            raise InputError(
                "a Batch must have a tensor x (N, ...) and Groups, not "
                f"{shown(self.x)} and {shown(self.groups)}"
            )
        if self.x.is_complex():
            raise InputError(f"x must be real numbers, not {self.x.dtype}")
        if self.x.ndim == 0 or len(self.x) != self.groups.num_observations:
            raise InputError(
                f"a Batch must have the group of each observation of x {tuple(self.x.shape)}, not "
                f"of {self.groups.num_observations}"
            )
        if not isinstance(self.given, Mapping):
            raise InputError(f"given must be tensors by name, not {shown(self.given)}")
        for name, values in self.given.items():
            if not isinstance(values, Tensor) or values.ndim == 0 or len(values) != len(self.x):
                raise InputError(
                    f"given {name} must be a tensor of {len(self.x)} rows, not {shown(values)}"
                )

    @classmethod
    def ungrouped(cls, x: Tensor | np.ndarray) -> Batch:
        """Observations x (N, ...), each a group of one. uint8 images become floats in [0, 1]."""
        x = as_tensor(x)
        check_image_bytes(x)
        x = as_floats(x)
        if x.ndim < 2:
            raise InputError(f"x must have the shape (N, ...), not {tuple(x.shape)}")
        return cls(x, Groups.singletons(len(x), x.device))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def form(self) -> tuple:
        """Shapes, types and names. Batches of equal form fit the memory of one another."""
        given = tuple((name, tuple(v.shape), v.dtype) for name, v in self.given.items())
        origin = self.groups.origin is not None
        return tuple(self.x.shape), self.x.dtype, self.groups.num_groups, origin, given

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        device = as_device(device)
        given = {name: values.to(device) for name, values in self.given.items()}
        return Batch(self.x.to(device), self.groups.to(device), given)

    def clone(self) -> Batch:
        """A copy in memory of its own."""
        given = {name: values.clone() for name, values in self.given.items()}
        return Batch(self.x.clone(), self.groups.clone(), given)

    def copy_(self, other: Batch) -> None:
        """Copy all values of ``other``, a batch of the same :attr:`form`, into this memory."""
        self.x.copy_(other.x)
        self.groups.copy_(other.groups)
        for name, values in self.given.items():
            values.copy_(other.given[name])

    def singles(self, rows: Tensor | None = None) -> Batch:
        """The observations at ``rows`` (n,), None for all, each as a group of one."""
        if rows is None:
            rows = torch.arange(len(self), device=self.groups.index.device)
        else:
            rows = self._rows(rows)
        origin = self.groups.origin
        if origin is not None:
            origin = origin[self.groups.index[rows]]
        groups = Groups.singletons(len(rows), rows.device, origin=origin)
        given = {name: values[rows] for name, values in self.given.items()}
        return Batch(self.x[rows], groups, given)

    def _rows(self, rows: object) -> Tensor:
        """Indices of observations (n,) on the device of the batch, or :class:`InputError`."""
        indices = integer_tensor("rows", rows, f"indices in [0, {len(self)})")
        outside = indices.ndim == 1 and ((indices < 0) | (indices >= len(self))).any()
        if indices.ndim != 1 or outside:
            raise InputError(f"rows must be indices (n,) in [0, {len(self)}), not {shown(rows)}")
        return indices.long().to(self.x.device)
