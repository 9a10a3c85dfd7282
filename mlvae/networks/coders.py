"""Encoders and decoders: a trunk of any kind, with heads for posteriors or for parameters.

Shapes: N observations, ... the shape of one observation, D dimensions of a posterior, L latent
dimensions, P parameters of the likelihood per element.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlvae.errors import InputError, check_integer, shown
from mlvae.posteriors import DiagonalGaussian
from mlvae.posteriors.family import Family, Head

__all__ = [
    "ACTIVATIONS",
    "ConditionalEncoder",
    "Decoder",
    "Encoder",
    "Heads",
    "SeparateEncoders",
    "heads_for",
]

#: The family of all posteriors of an encoder, or a list with the family of each.
Heads = Head | Sequence[Head]

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
        family: family of the posteriors, or a list with the family of each.
    """

    def __init__(
        self,
        trunk: nn.Sequential,
        width: int,
        dims: Sequence[int],
        family: Heads = DiagonalGaussian,
    ) -> None:
        super().__init__()
        _check_modules(trunk=trunk)
        check_integer("width", width, minimum=1)
        check_lengths("dims", dims)
        self.trunk = trunk
        self.families = heads_for(dims, family)
        self.widths = [
            each.parameters_per_dim * dim for each, dim in zip(self.families, dims, strict=True)
        ]
        self.heads = nn.Linear(width, sum(self.widths))

    def forward(self, x: Tensor) -> tuple[Family, ...]:
        """One posterior of shape (N, D) for each of ``dims``, from x (N, ...)."""
        parameters = self.heads(self.trunk(x)).split(self.widths, 1)
        pairs = zip(self.families, parameters, strict=True)
        return tuple(family.from_raw(raw) for family, raw in pairs)


class SeparateEncoders(nn.Module):
    """One encoder for each posterior, without shared layers."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        if not isinstance(encoders, list | tuple) or not encoders:
            raise InputError(f"encoders must be a list of encoders, not {shown(encoders)}")
        _check_modules(**{f"encoders[{number}]": each for number, each in enumerate(encoders)})
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
        _check_modules(trunk=trunk, join=join)
        check_integer("hidden", hidden, minimum=1)
        check_integer("dim", dim, minimum=1)
        _check_family(family)
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
        _check_modules(trunk=trunk, head=head)
        check_lengths("split", split)
        self.trunk = trunk
        self.head = head
        self.split = tuple(split)

    def forward(self, latent: Tensor) -> Tensor:
        """Parameters (N, P, ...) from latents (N, L)."""
        return self.head(self.trunk(latent)).unflatten(1, self.split)


def heads_for(dims: Sequence[int], family: Heads) -> list[Head]:
    """The family of each of ``dims``.

    Raises:
        InputError: if a list of families has another length than ``dims``.
    """
    families = list(family) if isinstance(family, list | tuple) else [family] * len(dims)
    if len(families) != len(dims):
        raise InputError(
            f"family must be one family, or a list of {len(dims)}, not of {len(families)}"
        )
    for each in families:
        _check_family(each)
    return families  # type: ignore[return-value]


def check_lengths(name: str, lengths: object) -> None:
    """Raise :class:`InputError` unless ``lengths`` is a list of integers of at least 1."""
    if not isinstance(lengths, list | tuple) or not lengths:
        raise InputError(f"{name} must be a list of integers, not {shown(lengths)}")
    for length in lengths:
        check_integer(name, length, minimum=1)


def _check_modules(**modules: object) -> None:
    """Raise :class:`InputError` unless all arguments are modules of PyTorch."""
    for name, module in modules.items():
        if not isinstance(module, nn.Module):
            raise InputError(f"{name} must be a torch.nn.Module, not {shown(module)}")


def _check_family(family: object) -> None:
    """Raise :class:`InputError` unless ``family`` makes posteriors of a head's outputs."""
    if not all(hasattr(family, name) for name in ("from_raw", "parameters_per_dim")):
        raise InputError(
            f"family must be a family of posteriors, as DiagonalGaussian, not {shown(family)}"
        )
