"""Fully connected networks, for observations of any shape."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from mlvae.errors import check_choice, check_flag, check_integer
from mlvae.networks.coders import (
    ACTIVATIONS,
    JOIN,
    ConditionalEncoder,
    Decoder,
    Encoder,
    Heads,
    SeparateEncoders,
    heads_for,
)
from mlvae.networks.normalisation import BatchNorm
from mlvae.parts import take_lists
from mlvae.posteriors import DiagonalGaussian
from mlvae.posteriors.family import Head

__all__ = ["MLP"]

INITS = ("torch", "lecun")


@dataclass(frozen=True)
class MLP:
    """Fully connected encoders and decoder for observations of any shape.

    Args:
        hidden: widths of the encoder's hidden layers. The decoder has them in reverse order. An
            empty list gives a linear model.
        activation: after each hidden layer, one of tanh, relu, gelu, silu, elu, softplus.
        shared: True: one trunk with a head for every posterior. False: a separate encoder for
            each.
        init: initial weights. "torch" is PyTorch's default. "lecun" is that of the first author's
            MNIST code: normal with standard deviation 1/sqrt(fan-in) for weights, and
            1/sqrt(length) for biases.
        batch_norm: whether each hidden layer has a batch normalisation
            (:class:`~mlvae.networks.normalisation.BatchNorm`) before its activation.
    """

    hidden: tuple[int, ...] = (500,)
    activation: str = "tanh"
    shared: bool = True
    init: str = "torch"
    batch_norm: bool = False

    def __post_init__(self) -> None:
        take_lists(self, "network", "hidden")
        for width in self.hidden:
            check_integer("network.hidden", width, minimum=1)
        check_choice("network.activation", self.activation, ACTIVATIONS)
        check_flag("network.shared", self.shared)
        check_choice("network.init", self.init, INITS)
        check_flag("network.batch_norm", self.batch_norm)

    def encoder(
        self, shape: Sequence[int], dims: Sequence[int], family: Heads = DiagonalGaussian
    ) -> Encoder | SeparateEncoders:
        """From observations of ``shape`` to one posterior of ``family`` for each of ``dims``.

        ``family`` is one for all, or a list with the family of each.
        """
        if not self.shared:
            pairs = zip(dims, heads_for(dims, family), strict=True)
            return SeparateEncoders([self._encoder(shape, [dim], head) for dim, head in pairs])
        return self._encoder(shape, dims, family)

    def _encoder(self, shape: Sequence[int], dims: Sequence[int], family: Heads) -> Encoder:
        widths = (math.prod(shape), *self.hidden)
        trunk = nn.Sequential(nn.Flatten(), *self._layers(widths))
        encoder = Encoder(trunk, widths[-1], dims, family)
        pairs = zip(dims, encoder.families, strict=True)
        rows = [dim for dim, head in pairs for _ in range(head.parameters_per_dim)]
        self._initialise(encoder.heads, rows)
        return encoder

    def conditional_encoder(
        self, shape: Sequence[int], dim: int, context: int, family: Head = DiagonalGaussian
    ) -> ConditionalEncoder:
        """From ``shape`` and ``context`` known numbers to a posterior of ``dim`` dimensions."""
        widths = (math.prod(shape), *self.hidden)
        trunk = nn.Sequential(nn.Flatten(), *self._layers(widths))
        join = nn.Sequential(*self._layers((widths[-1] + context, JOIN)))
        encoder = ConditionalEncoder(trunk, join, JOIN, dim, family)
        self._initialise(encoder.heads, [dim] * family.parameters_per_dim)
        return encoder

    def decoder(self, latent_dim: int, shape: Sequence[int], outputs: int) -> Decoder:
        """From ``latent_dim`` latents to ``outputs`` parameters per element of ``shape``."""
        widths = (latent_dim, *reversed(self.hidden))
        head = nn.Linear(widths[-1], outputs * math.prod(shape))
        decoder = Decoder(nn.Sequential(*self._layers(widths)), head, (outputs, *shape))
        self._initialise(head, [math.prod(shape)] * outputs)
        return decoder

    def _layers(self, widths: Sequence[int]) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            # The normalisation subtracts the mean, and with it a bias.
            linear = nn.Linear(inputs, outputs, bias=not self.batch_norm)
            self._initialise(linear, [outputs])
            norm = [BatchNorm(outputs)] if self.batch_norm else []
            layers += [linear, *norm, ACTIVATIONS[self.activation]()]
        return layers

    def _initialise(self, linear: nn.Linear, lengths: Sequence[int]) -> None:
        """Initialise a layer that consists of independent layers of ``lengths`` rows each."""
        if self.init == "lecun":
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            with torch.no_grad():
                biases = () if linear.bias is None else linear.bias.split(list(lengths))
                for bias in biases:
                    bias.normal_(std=len(bias) ** -0.5)
