"""The interface of posterior families.

Shapes: N rows (observations or groups), D latent dimensions.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from mlvae.groups import Groups
from mlvae.posteriors.gaussian import DiagonalGaussian, Rows

__all__ = ["Family", "GroupFamily", "Head"]


class GroupFamily(Protocol):
    """The posterior of each of G groups: what an accumulation rule returns."""

    random: ClassVar[bool]
    simplex: ClassVar[bool]

    @property
    def mean(self) -> Tensor:
        """Expected value of each row, (G, D)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Rows) -> Family:
        """The posteriors at ``rows``, one for each."""
        ...

    def moments(self) -> DiagonalGaussian:
        """The Gaussians with the same means and variances."""
        ...

    def kl(self) -> Tensor:
        """KL divergence from the family's prior, or an upper bound on it, in nats: (G,)."""
        ...

    def sample_groups(self, *, generator: torch.Generator | None = None) -> Tensor:
        """One differentiable sample for each group, (G, D)."""
        ...

    def sample_members(
        self, groups: Groups, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Differentiable samples of the posterior of each observation's group, (N, D)."""
        ...


class Family(GroupFamily, Protocol):
    """A kind of posterior with one distribution a row.

    ``random`` says whether two samples differ. ``simplex`` says whether the dimensions of a value
    are shares with the sum 1; otherwise they are any real numbers.
    """

    parameters_per_dim: ClassVar[int]

    def prior_rows(self, number: int) -> Family:
        """The prior, ``number`` times; a family without a prior raises :class:`InputError`."""
        ...

    @classmethod
    def cat(cls, parts: Any) -> Any:
        """The rows of all ``parts``, one after the other."""
        ...

    def to(self, target: torch.dtype | torch.device | str) -> Family:
        """The same distributions in another dtype or on another device."""
        ...

    def sample(
        self, shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Differentiable samples, ``shape`` + (N, D)."""
        ...

    def weighted_sample(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """One sample z (N, D), and log p(z) - log q(z) in nats (N,) with the prior p."""
        ...

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of ``value`` (N, D) in nats, summed over dimensions: (N,)."""
        ...


class Head(Protocol):
    """What a network's head builds: the class of a family, or an object with these members."""

    parameters_per_dim: int

    def from_raw(self, raw: Tensor) -> Family:
        """The distributions that outputs (N, ``parameters_per_dim`` * D) describe."""
        ...
