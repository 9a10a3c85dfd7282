"""Latents without uncertainty.

Shapes: N rows (observations or groups), D latent dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mlvae.arguments import check_floats, check_generator, check_type
from mlvae.errors import InputError
from mlvae.groups import Groups
from mlvae.posteriors.gaussian import DiagonalGaussian, Rows, check_parts_of, sample_shape

__all__ = ["Point"]


class Point:
    """A family of posteriors: all probability at one value.

    Codes of a codebook and contents of a label are points. A point has no density, so a model with
    points has no KL divergence of them.

    Args:
        mean: the values, (N, D).

    Attributes:
        parameters_per_dim: 1; a network's head gives the value.
        random: False; every sample is the value itself.
        simplex: False; the dimensions of a value are independent.

    Example:
        >>> Point(torch.ones(2, 3)).sample().shape
        torch.Size([2, 3])
    """

    parameters_per_dim: ClassVar[int] = 1
    random: ClassVar[bool] = False
    simplex: ClassVar[bool] = False

    def __init__(self, mean: Tensor) -> None:
        check_floats("mean", mean, "(N, D)")
        self.mean = mean

    @classmethod
    def from_raw(cls, raw: Tensor) -> Point:
        """The points at the outputs ``raw`` (N, D) of a network's head."""
        return cls(raw)

    @classmethod
    def cat(cls, parts: Sequence[Point]) -> Point:
        """The rows of all ``parts``, one after the other."""
        check_parts_of(cls, parts)
        return cls(torch.cat([part.mean for part in parts]))

    def prior_rows(self, number: int) -> Point:
        """Raise :class:`InputError`: points have no prior."""
        raise InputError("a code of points has no prior, so no sample of it can be drawn")

    def __repr__(self) -> str:
        return f"Point(shape={tuple(self.mean.shape)}, dtype={self.mean.dtype})"

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: Rows) -> Point:
        """The points at ``rows``; an index tensor may repeat rows."""
        return Point(self.mean[rows])

    def to(self, target: torch.dtype | torch.device | str) -> Point:
        """The points in another dtype or on another device."""
        return Point(self.mean.to(target))

    def moments(self) -> DiagonalGaussian:
        """The same means with equal variances of 1, for measures that need a variance.

        The variance is a placeholder. A product of equal variances is the plain average.
        """
        return DiagonalGaussian(self.mean, torch.zeros_like(self.mean))

    def sample(
        self, shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """The values, repeated: ``shape`` + (N, D)."""
        check_generator(generator)
        return self.mean.expand(*sample_shape(shape), *self.mean.shape)

    def sample_groups(self, *, generator: torch.Generator | None = None) -> Tensor:
        """The value of each group, (G, D)."""
        return self.mean

    def sample_members(
        self, groups: Groups, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """For each observation the value of its group: (N, D)."""
        check_type("groups", groups, Groups, "Groups")
        check_generator(generator)
        return groups.spread(self.mean)

    def weighted_sample(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Raise :class:`InputError`: a point has no density."""
        raise InputError("a point has no density, so no sample of it has a weight")

    def log_prob(self, value: Tensor) -> Tensor:
        """Raise :class:`InputError`: a point has no density."""
        raise InputError("a point has no density, so a code of points has no log-probability")

    def kl(self) -> Tensor:
        """Raise :class:`InputError`: the KL divergence of a point from a density is infinite."""
        raise InputError("a point has no density, so a code of points has no KL divergence")
