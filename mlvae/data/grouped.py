"""Grouped observations, whole and on one device, or on the disk.

Shapes: N observations, G groups, ... one observation.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.data.stored import StoredImages
from mlvae.errors import InputError
from mlvae.groups import Groups, label_index
from mlvae.observations import as_floats, as_tensor
from mlvae.origin import Origin

__all__ = ["GroupedData"]


class GroupedData:
    """Observations and the group of each.

    uint8 images stay uint8, on the training device, and become floats in [0, 1] batch by batch:
    a quarter of the memory, and nothing crosses to the device while training. Images on the disk
    stay there unless the device has room for them, and are read batch by batch.

    Args:
        x: observations (N, ...), an array or a tensor. uint8 are images, (N, height, width) or
            (N, channels, height, width), or anything else counted from 0 to 255. Floats of shape
            (N, features) are features of any finite value; with more dimensions they are images
            and must lie in [0, 1]. Or :class:`~mlvae.data.StoredImages`.
        group: label of each observation's group, length N, integers or strings.
        factors: known factors of variation by name, such as the direction of the light: N numbers
            each, NaN where one is not known. Nothing is trained on them.

    Attributes:
        x: the observations, uint8 or float32, or images on the disk; grey images have been given
            their channel.
        groups: the partition into G groups, numbered in sorted order of their labels.
        group_names: label of each group, length G.
        factors: float32 of shape (N,) by name.

    Raises:
        InputError: if shapes, types or values are not as above.

    Example:
        >>> data = GroupedData(np.zeros((4, 28, 28), np.uint8), ["ann", "bob", "ann", "bob"])
        >>> data
        GroupedData(4 observations of shape (1, 28, 28) in 2 groups)
    """

    def __init__(
        self,
        x: Tensor | np.ndarray | StoredImages,
        group: object,
        factors: Mapping[str, object] | None = None,
    ) -> None:
        if not isinstance(x, StoredImages):
            x = _checked(as_tensor(x).detach())
        self.x = x
        index, self.group_names = label_index(group)
        if len(index) != len(self.x):
            raise InputError(
                f"group must have one label for each of the {len(self.x)} observations, "
                f"not {len(index)}"
            )
        self.groups = Groups(index).to(self.x.device)
        self.factors = {
            name: _factor(name, values, len(self)).to(self.device)
            for name, values in (factors or {}).items()
        }

    def __repr__(self) -> str:
        groups = f"{len(self.group_names)} groups"
        return f"GroupedData({len(self)} observations of shape {self.shape} in {groups})"

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return tuple(self.x.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where batches are made; the observations are there too, or on the disk."""
        return self.groups.index.device

    def to(self, device: torch.device | str) -> GroupedData:
        """The same data on another device."""
        factors = {name: values.to(device) for name, values in self.factors.items()}
        return self._with(self.x.to(device), self.groups.to(device), self.group_names, factors)

    def subset(self, indices: Tensor | Sequence[int] | slice) -> GroupedData:
        """The observations at ``indices``; groups that lose all their members are dropped.

        A mask of N booleans chooses where it is true.

        Raises:
            InputError: if nothing is left, or ``indices`` are no vector of integers.
        """
        indices = self._rows(indices)
        kept, index = self.groups.index[indices].unique(return_inverse=True)
        names = [self.group_names[group] for group in kept.tolist()]
        factors = {name: values[indices] for name, values in self.factors.items()}
        return self._with(self.x[indices], Groups(index), names, factors)

    def _rows(self, indices: Tensor | Sequence[int] | slice) -> Tensor:
        """``indices``, or where a mask is true, as int64 on the device, or InputError."""
        if isinstance(indices, slice):
            indices = torch.arange(len(self))[indices]
        if not isinstance(indices, Tensor):
            array = np.array(indices)
            if array.dtype.kind not in "biuf":
                raise InputError(f"indices of {self} must be integers, not {indices!r}")
            indices = torch.from_numpy(array)
        indices = indices.to(self.device)
        if indices.dtype == torch.bool and indices.shape == (len(self),):
            indices = indices.nonzero()[:, 0]
        if indices.numel() == 0:
            raise InputError(f"a subset of {self} must keep at least one observation, not none")
        if indices.ndim != 1 or indices.is_floating_point() or indices.dtype == torch.bool:
            raise InputError(
                f"a subset of {self} takes indices (n,) or a mask of {len(self)} booleans, "
                f"not {indices.dtype} of shape {tuple(indices.shape)}"
            )
        low, high = (int(end) for end in indices.aminmax())
        if low < 0 or high >= len(self):
            raise InputError(
                f"indices of {self} must lie in [0, {len(self)}), not in [{low}, {high}]"
            )
        return indices.long()  # torch takes bytes for a mask

    @classmethod
    def _with(
        cls, x: Tensor | StoredImages, groups: Groups, names: list, factors: dict[str, Tensor]
    ) -> GroupedData:
        data = cls.__new__(cls)
        data.x, data.groups, data.group_names, data.factors = x, groups, names, factors
        return data

    def observations(self, indices: Tensor) -> Tensor:
        """The observations at ``indices`` (n,) as float32 (n, ...), images in [0, 1]."""
        return as_floats(self.kept(indices))

    def kept(self, indices: Tensor) -> Tensor:
        """The observations at ``indices`` (n,) as they are kept, (n, ...): uint8 or floats."""
        if not isinstance(self.x, StoredImages):
            return self.x.index_select(0, indices)
        pin = self.device.type == "cuda"
        return self.x.index_select(0, indices, pin=pin).to(self.device, non_blocking=True)

    def fingerprint(self) -> dict[str, object]:
        """Plain values that tell these data from others, by their groups and a few observations.

        By no observations if they are on the disk: to decode them anew may change a grey level.
        """
        some = b""
        if isinstance(self.x, Tensor):
            rows = torch.linspace(0, len(self) - 1, 64, dtype=torch.float64).long()
            some = self.x[rows.to(self.x.device)].cpu().numpy().tobytes()
        sizes = self.groups.sizes.cpu().numpy()
        names = "\0".join(map(str, self.group_names))
        return {
            "observations": len(self),
            "groups": len(sizes),
            "checksum": zlib.crc32(some, zlib.crc32(sizes.tobytes(), zlib.crc32(names.encode()))),
        }

    def expect(self, indices: Tensor) -> None:
        """Say which observations (n,) are asked for next: a disk may read them meanwhile."""
        if isinstance(self.x, StoredImages):
            self.x.expect(indices)

    def batch(self, indices: Tensor | Sequence[int] | None = None) -> Batch:
        """The observations at ``indices``, None for all, as one batch for a model.

        The groups of the batch know of which groups of these data they are parts.
        """
        if indices is None:
            rows, kept = torch.arange(len(self), device=self.device), slice(None)
            index, sizes = self.groups.index, self.groups.sizes
        else:
            rows = self._rows(indices)
            kept, index, sizes = self.groups.index[rows].unique(
                return_inverse=True, return_counts=True
            )
        number = torch.arange(self.groups.num_groups, device=self.device)[kept]
        return Batch(self.observations(rows), Groups.unchecked(index, sizes, self.origin(number)))

    def singles(self, indices: Tensor | Sequence[int]) -> Batch:
        """The observations at ``indices`` (n,), each by itself: n groups of one, in their order.

        They know of which groups of these data they are.
        """
        rows = self._rows(indices)
        alone = Groups.singletons(len(rows), self.device)
        alone.origin = self.origin(self.groups.index[rows])
        return Batch(self.observations(rows), alone)

    def origin(self, number: Tensor) -> Origin:
        """What parts (G,) of groups of these data, by their ``number`` (G,), come from."""
        return Origin(number, self.groups.sizes[number], self.group_names)

    def one_of_each(self, limit: int = 10) -> Tensor:
        """Indices of the first member of each of the first ``limit`` groups, in group order."""
        order = self.groups.index.argsort(stable=True)
        first = self.groups.sizes.cumsum(0) - self.groups.sizes
        return order[first[:limit]]


def _factor(name: str, values: object, length: int) -> Tensor:
    """A known factor as the class keeps it, or :class:`InputError`."""
    try:
        values = torch.as_tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"factor {name} must be numbers of shape ({length},): {error}") from error
    if values.shape != (length,):
        raise InputError(
            f"factor {name} must have a number for each of the {length} observations, "
            f"not shape {tuple(values.shape)}"
        )
    return values


def _checked(x: Tensor) -> Tensor:
    """``x`` as the class keeps it, or :class:`InputError`."""
    if x.ndim < 2 or x.numel() == 0:
        raise InputError(f"x must have shape (N, ...) with N at least 1, not {tuple(x.shape)}")
    if x.ndim == 4 and x.shape[1] > 4 and x.shape[3] in (1, 3, 4):
        raise InputError(
            f"x has shape {tuple(x.shape)}: images must be (N, channels, height, width); "
            "use numpy.moveaxis(x, -1, 1)"
        )
    if x.dtype == torch.uint8:
        return x.unsqueeze(1) if x.ndim == 3 else x
    x = x.float()
    if (wrong := ~x.isfinite()).any():
        row = int(wrong.flatten(1).any(1).nonzero()[0])
        raise InputError(
            f"x must be finite in float32, but observation {row} has NaN, an infinity or a number "
            "beyond 3.4e38"
        )
    if x.ndim > 2:
        low, high = (float(end) for end in x.aminmax())
        if low < 0 or high > 1:
            raise InputError(
                f"float images must lie in [0, 1], not in [{low:g}, {high:g}]; "
                "give 0 to 255 as uint8, or rescale"
            )
        return x.unsqueeze(1) if x.ndim == 3 else x
    return x
