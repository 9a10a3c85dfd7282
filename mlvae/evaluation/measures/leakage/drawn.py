"""Labelled codes that can be drawn anew from their posteriors.

Shapes: M codes, D dimensions, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlvae.posteriors import GroupFamily

__all__ = ["Drawn", "Scale"]

#: The least scale of a dimension, as a fraction of the largest one. A probe of means may find a
#: label in differences that are far smaller than the codes.
LEAST_SCALE = 1e-5

#: Largest magnitude of a standardised value. A pixel that is nearly constant in training has huge
#: values elsewhere.
MOST = 10.0


@dataclass(frozen=True, eq=False)
class Drawn:
    """Codes with their labels; a new draw of the same codes has new noise.

    Args:
        codes: posteriors of M codes, or fixed codes (M, D).
        labels: labels of the codes, integers in [0, L), (M,).
        rows: indices of the codes that are used; None: all of them.
    """

    codes: Tensor | GroupFamily
    labels: Tensor
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels) if self.rows is None else len(self.rows)

    @property
    def random(self) -> bool:
        """Whether two draws differ."""
        return not isinstance(self.codes, Tensor) and self.codes.random

    @property
    def dim(self) -> int:
        """D."""
        return (self.codes if isinstance(self.codes, Tensor) else self.codes.mean).shape[1]

    @property
    def y(self) -> Tensor:
        """The labels that are used."""
        return self.labels if self.rows is None else self.labels[self.rows]

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> Tensor:
        """One draw of every code that is used, float32, without gradient."""
        codes = self.codes
        x = codes if isinstance(codes, Tensor) else codes.sample_groups(generator=generator)
        return (x if self.rows is None else x[self.rows]).detach().float()

    @torch.no_grad()
    def average(self) -> Tensor:
        """The mean of every posterior, or the fixed codes, float32, without gradient."""
        codes = self.codes if isinstance(self.codes, Tensor) else self.codes.mean
        return (codes if self.rows is None else codes[self.rows]).detach().float()

    def draws(self, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``number`` draws one after the other, with their labels; one if draws are equal."""
        number = number if self.random else 1
        x = torch.cat([self.draw(generator) for _ in range(number)])
        return x, self.y.repeat(number)

    def part(self, rows: Tensor) -> Drawn:
        """The codes at ``rows`` of those that are used."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])


@dataclass(frozen=True, eq=False)
class Scale:
    """Standardisation by the mean and the standard deviation of training codes, (D,) each."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Scale:
        """The scale of codes (M, D)."""
        spread = x.std(0, correction=0)
        least = max(LEAST_SCALE * float(spread.max()), torch.finfo(torch.float32).tiny)
        return cls(x.mean(0), spread.clamp_min(least))

    def __call__(self, x: Tensor) -> Tensor:
        """Standardised codes (..., D), at most :data:`MOST` in magnitude."""
        return ((x - self.mean) / self.deviation).clamp(-MOST, MOST)
