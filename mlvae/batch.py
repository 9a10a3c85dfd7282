"""The record that a model receives at every step.

Shapes: N observations, G groups, ... any trailing shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.arguments import as_device, integer_tensor
from mlvae.errors import InputError, check_text, shown
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
        further_groups: further groupings of the same observations, by name. A grouping of a
            training batch may have groups without members at its end, so that batches have one
            form; ``groups`` has none.
        grouping: name of the grouping ``groups``.

    Example:
        >>> batch = Batch(torch.rand(3, 2), Groups.of(["a", "b", "a"]), {"mask": torch.ones(3, 2)})
        >>> batch.singles(torch.tensor([2, 0])).given["mask"].shape
        torch.Size([2, 2])
        >>> groupings = {"speaker": Groups.of(["a", "b", "a"]), "digit": Groups.of([7, 7, 8])}
        >>> list(Batch.of(torch.rand(3, 2), groupings).groupings)
        ['speaker', 'digit']
    """

    x: Tensor
    groups: Groups
    given: Mapping[str, Tensor] = field(default_factory=dict)
    further_groups: Mapping[str, Groups] = field(default_factory=dict)
    grouping: str = "group"

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
        check_text("grouping", self.grouping)
        if not isinstance(self.further_groups, Mapping):
            raise InputError(
                f"further_groups must be Groups by name, not {shown(self.further_groups)}"
            )
        for name, groups in self.further_groups.items():
            if not isinstance(groups, Groups) or groups.num_observations != len(self.x):
                raise InputError(
                    f"further_groups {name} must be Groups of {len(self.x)} observations, not "
                    f"{shown(groups)}"
                )
            if name == self.grouping:
                raise InputError(f"further_groups must not have {name!r}, the name of groups")

    @classmethod
    def of(
        cls,
        x: Tensor,
        groupings: Mapping[str, Groups],
        given: Mapping[str, Tensor] | None = None,
    ) -> Batch:
        """A batch of observations x (N, ...) in several groupings, by name.

        Raises:
            InputError: if there is no grouping, or one does not fit the observations.
        """
        if not isinstance(groupings, Mapping) or not groupings:
            raise InputError(f"groupings must be Groups by name, not {shown(groupings)}")
        (name, groups), *rest = groupings.items()
        return cls(x, groups, given or {}, dict(rest), name)

    @classmethod
    def ungrouped(cls, x: Tensor | np.ndarray) -> Batch:
        """Observations x (N, ...), each a group of one. uint8 images become floats in [0, 1].

        Raises:
            InputError: if x has no axis behind the first, or its uint8 may be counts.
        """
        x = as_tensor(x)
        check_image_bytes(x)
        x = as_floats(x)
        if x.ndim < 2:
            raise InputError(f"x must have the shape (N, ...), not {tuple(x.shape)}")
        return cls(x, Groups.singletons(len(x), x.device))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def groupings(self) -> dict[str, Groups]:
        """All groupings by name, in order; the first one is ``groups``."""
        return {self.grouping: self.groups, **self.further_groups}

    @property
    def form(self) -> tuple:
        """Shapes, types and names. Batches of equal form fit the memory of one another."""
        given = tuple((name, tuple(v.shape), v.dtype) for name, v in self.given.items())
        groups = tuple(
            (name, each.num_groups, each.origin is not None)
            for name, each in self.groupings.items()
        )
        return tuple(self.x.shape), self.x.dtype, groups, given

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        device = as_device(device)
        return self._map(lambda values: values.to(device))

    def clone(self) -> Batch:
        """A copy in memory of its own."""
        return self._map(lambda values: values.clone())

    def _map(self, function: Callable[[Any], Any]) -> Batch:
        """The batch with ``function`` applied to every tensor and to all groups."""
        return Batch(
            function(self.x),
            function(self.groups),
            {name: function(values) for name, values in self.given.items()},
            {name: function(groups) for name, groups in self.further_groups.items()},
            self.grouping,
        )

    def copy_(self, other: Batch) -> None:
        """Copy all values of ``other``, a batch of the same :attr:`form`, into this memory."""
        self.x.copy_(other.x)
        self.groups.copy_(other.groups)
        for name, groups in self.further_groups.items():
            groups.copy_(other.further_groups[name])
        for name, values in self.given.items():
            values.copy_(other.given[name])

    def singles(self, rows: Tensor | None = None) -> Batch:
        """The observations at ``rows`` (n,), None for all, each as a group of one everywhere."""
        if rows is None:
            rows = torch.arange(len(self), device=self.groups.index.device)
        else:
            rows = self._rows(rows)
        return Batch(
            self.x[rows],
            self.groups.singles(rows),
            {name: values[rows] for name, values in self.given.items()},
            {name: groups.singles(rows) for name, groups in self.further_groups.items()},
            self.grouping,
        )

    def _rows(self, rows: object) -> Tensor:
        """Indices of observations (n,) on the device of the batch, or :class:`InputError`."""
        indices = integer_tensor("rows", rows, f"indices in [0, {len(self)})")
        outside = indices.ndim == 1 and ((indices < 0) | (indices >= len(self))).any()
        if indices.ndim != 1 or outside:
            raise InputError(f"rows must be indices (n,) in [0, {len(self)}), not {shown(rows)}")
        return indices.long().to(self.x.device)
