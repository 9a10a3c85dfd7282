"""Encoders and decoders: a trunk of any kind, and heads for posteriors or parameters on it.

Shapes: N observations, ... the shape of one observation, D a posterior's dimensions, L latent
dimensions, P parameters of the likelihood an element.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlvae.gaussian import DiagonalGaussian

__all__ = ["ACTIVATIONS", "ConditionalEncoder", "Decoder", "Encoder", "SeparateEncoders"]

ACTIVATIONS = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
}


class Encoder(nn.Module):
    """A trunk, and on it one linear head for the mean and log-variance of every posterior.

    All heads are the rows of one matrix: one product instead of two for each posterior.
    """

    def __init__(self, trunk: nn.Sequential, width: int, dims: Sequence[int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.Linear(width, 2 * sum(dims))
        self.dims = tuple(dims)

    def forward(self, x: Tensor) -> tuple[DiagonalGaussian, ...]:
        """One posterior for each of ``dims``, of shape (N, D), from x (N, ...)."""
        parameters = self.heads(self.trunk(x)).split([d for d in self.dims for _ in "mv"], 1)
        return tuple(map(DiagonalGaussian, parameters[::2], parameters[1::2]))


class SeparateEncoders(nn.Module):
    """One encoder for each posterior, with nothing shared."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(self, x: Tensor) -> tuple[DiagonalGaussian, ...]:
        """One posterior for each encoder, of shape (N, D), from x (N, ...)."""
        return tuple(encoder(x)[0] for encoder in self.encoders)


class ConditionalEncoder(nn.Module):
    """An encoder whose posterior depends on something known besides the observation.

    What the trunk leaves and the context pass one more layer before the heads.

    Args:
        trunk: from observations (N, ...) to features (N, width).
        join: from features and context side by side to ``hidden`` units.
        hidden: what ``join`` leaves.
        dim: of the posterior, D.
    """

    def __init__(self, trunk: nn.Module, join: nn.Module, hidden: int, dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.join = join
        self.heads = nn.Linear(hidden, 2 * dim)

    def forward(self, x: Tensor, context: Tensor) -> DiagonalGaussian:
        """The posterior (N, D) given x (N, ...) and the context (N, K)."""
        return self.given(self.trunk(x), context)

    def given(self, features: Tensor, context: Tensor) -> DiagonalGaussian:
        """The posterior (N, D) given what the trunk made of the observations (N, width)."""
        joined = self.join(torch.cat((features, context.to(features.dtype)), 1))
        return DiagonalGaussian(*self.heads(joined).chunk(2, 1))


class Decoder(nn.Module):
    """From latents to the parameters of a likelihood.

    The head's second axis holds P, and behind it what the axes after do not: all of ``split``.
    """

    def __init__(self, trunk: nn.Sequential, head: nn.Module, split: Sequence[int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.split = tuple(split)

    def forward(self, latent: Tensor) -> Tensor:
        """Parameters (N, P, ...) from latents (N, L)."""
        return self.head(self.trunk(latent)).unflatten(1, self.split)
