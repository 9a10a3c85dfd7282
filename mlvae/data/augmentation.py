r"""Augmentation by new groups: all images of a group are warped alike.

A change that all members of a group share is a change of their content: a face that is wider in
every photograph is another person's face. So few groups become many, and the content must learn to
describe shapes instead of the identities of the training groups.

Shapes: N observations, G groups, images (channels, height, width).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.arguments import check_type
from mlvae.batch import Batch
from mlvae.errors import (
    InputError,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_text,
    shown,
)
from mlvae.groups.shares import per_grouping
from mlvae.noise import normal, per_group, uniform

__all__ = ["GroupWarp"]


@dataclass(frozen=True)
class GroupWarp:
    r"""A random warp of every group of a batch, the same for all its members.

    The warped image at the point p, with coordinates in [-1, 1], is the image at

    .. math:: (I + a \, Z) \, p + b \, z + e \, u(p)

    with Z (2, 2) and z (2,) standard normal, and u a smooth field, interpolated between standard
    normal vectors on a lattice of ``lattice`` x ``lattice`` points. Points outside the image have
    the value of its border.

    Args:
        affine: a, scale of stretching, shearing and rotation.
        shift: b, scale of the translation.
        elastic: e, scale of the elastic deformation.
        lattice: points of the lattice along an axis.
        flip: mirror a group, left to right, with probability 1/2.
        by: name of the grouping whose groups are warped; None: the first one.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> from mlvae import Groups
        >>> batch = Batch(torch.rand(4, 1, 8, 8), Groups.of([0, 0, 1, 1]))
        >>> GroupWarp()(batch).x.shape
        torch.Size([4, 1, 8, 8])
    """

    affine: float = 0.05
    shift: float = 0.03
    elastic: float = 0.05
    lattice: int = 4
    flip: bool = True
    by: str | None = None

    def __post_init__(self) -> None:
        for name in ("affine", "shift", "elastic"):
            check_number(f"augmentation.{name}", vars(self)[name], minimum=0)
        check_integer("augmentation.lattice", self.lattice, minimum=2)
        check_flag("augmentation.flip", self.flip)
        if self.by is not None:
            check_text("augmentation.by", self.by)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise :class:`InputError` for observations that are not images."""
        if len(shape) != 3:
            raise InputError(
                "augmentation takes images (channels, height, width), not observations of shape "
                f"{shape}; leave it out"
            )

    def __call__(self, batch: Batch, *, generator: torch.Generator | None = None) -> Batch:
        """Warp every group of the batch; ``generator`` is on its device."""
        check_type("batch", batch, Batch, "a Batch, as Batch(x, groups)")
        if batch.x.ndim != 4 or not batch.x.is_floating_point():
            raise InputError(
                "augmentation takes float images (N, channels, height, width), not "
                f"{shown(batch.x)}"
            )
        x, groups, source = batch.x, batch.groups, per_group(generator)
        if self.by is not None:
            check_choice("augmentation.by", self.by, batch.groupings)
            groups = batch.groupings[self.by]
            source = source if groups is batch.groups else per_grouping(generator, groups)
        grid = self._grid(groups.num_groups, x, source)
        warped = functional.grid_sample(
            x, groups.spread(grid), padding_mode="border", align_corners=False
        )
        return replace(batch, x=warped)  # averages of neighbours: still within [0, 1]

    def _grid(self, count: int, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Source of each point of the warped images, as (x, y): (G, height, width, 2)."""
        source = {"generator": generator, "device": x.device}
        matrix = torch.eye(2, device=x.device) + self.affine * normal((count, 2, 2), **source)
        if self.flip:
            mirrored = uniform((count,), **source) < 0.5
            sign = torch.where(mirrored, -1.0, 1.0)
            matrix = matrix * torch.stack((sign, torch.ones_like(sign)), 1)[:, None]
        theta = torch.cat((matrix, self.shift * normal((count, 2, 1), **source)), 2)
        size = [count, 1, *x.shape[-2:]]
        grid = functional.affine_grid(theta, size, align_corners=False)
        field = self.elastic * normal((count, 2, self.lattice, self.lattice), **source)
        bend = functional.interpolate(field, x.shape[-2:], mode="bicubic", align_corners=True)
        return grid + bend.movedim(1, -1)
