"""Encoders and decoders: a trunk of any kind, with heads for posteriors or for parameters.

Shapes: N observations, ... the shape of one observation, D dimensions of a posterior, L latent
dimensions, P parameters of the likelihood per element.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlvae.posteriors import DiagonalGaussian
from mlvae.posteriors.family import Family, Head

__all__ = ["ACTIVATIONS", "ConditionalEncoder", "Decoder", "Encoder", "SeparateEncoders"]

#: Units of the layer that joins features and context.
JOIN = 256

ACTIVATIONS = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
}


class Encoder(nn.Module):
    """A trunk, and one linear head for the parameters of every posterior.

    All heads are the rows of one matrix: one product instead of several.

    Args:
        trunk: from observations (N, ...) to features (N, width).
        width: number of features.
        dims: dimensions D of each posterior.
        family: family of the posteriors.
    """

    def __init__(
        self,
        trunk: nn.Sequential,
        width: int,
        dims: Sequence[int],
        family: Head = DiagonalGaussian,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.family = family
        self.widths = [family.parameters_per_dim * dim for dim in dims]
        self.heads = nn.Linear(width, sum(self.widths))

    def forward(self, x: Tensor) -> tuple[Family, ...]:
        """One posterior of shape (N, D) for each of ``dims``, from x (N, ...)."""
        parameters = self.heads(self.trunk(x)).split(self.widths, 1)
        return tuple(map(self.family.from_raw, parameters))


class SeparateEncoders(nn.Module):
    """One encoder for each posterior, without shared layers."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(self, x: Tensor) -> tuple[Family, ...]:
        """One posterior of shape (N, D) for each encoder, from x (N, ...)."""
        return tuple(encoder(x)[0] for encoder in self.encoders)


class ConditionalEncoder(nn.Module):
    """An encoder of a posterior that depends on the observation and on known numbers.

    The features of the observation and the known numbers pass one more layer before the head.

    Args:
        trunk: from observations (N, ...) to features (N, width).
        join: from features and context side by side to ``hidden`` units.
        hidden: units that ``join`` returns.
        dim: dimensions D of the posterior.
        family: family of the posterior.
    """

    def __init__(
        self,
        trunk: nn.Module,
        join: nn.Module,
        hidden: int,
        dim: int,
        family: Head = DiagonalGaussian,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.join = join
        self.family = family
        self.heads = nn.Linear(hidden, family.parameters_per_dim * dim)

    def forward(self, x: Tensor, context: Tensor) -> Family:
        """The posterior (N, D) given x (N, ...) and the context (N, K)."""
        return self.given(self.trunk(x), context)

    def given(self, features: Tensor, context: Tensor) -> Family:
        """The posterior (N, D) given the trunk's features (N, width) and the context (N, K)."""
        joined = self.join(torch.cat((features, context.to(features.dtype)), 1))
        return self.family.from_raw(self.heads(joined))


class Decoder(nn.Module):
    """From latents to the parameters of a likelihood.

    Args:
        trunk: from latents (N, L) to features.
        head: from features to the parameters. Its second axis is the product of ``split``.
        split: shape that the second axis of the head's output is unflattened to; P comes first.
    """

    def __init__(self, trunk: nn.Sequential, head: nn.Module, split: Sequence[int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.split = tuple(split)

    def forward(self, latent: Tensor) -> Tensor:
        """Parameters (N, P, ...) from latents (N, L)."""
        return self.head(self.trunk(latent)).unflatten(1, self.split)
