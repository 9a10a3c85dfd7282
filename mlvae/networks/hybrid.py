"""Convolutional encoders with a fully connected decoder, for small images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlvae.networks.coders import ConditionalEncoder, Decoder, Encoder, SeparateEncoders
from mlvae.networks.conv import Conv
from mlvae.networks.mlp import MLP
from mlvae.parts import take_lists

__all__ = ["ConvMLP"]


@dataclass(frozen=True)
class ConvMLP:
    """What recognises well, and what draws small images fast.

    Of 28x28 images on a CPU, a fully connected decoder takes a fifth of the time of a
    convolutional one. Encoders are those of :class:`Conv`, the decoder is that of :class:`MLP`.

    Args:
        widths: channels inside each stage of the encoders.
        blocks: residual blocks a stage.
        hidden: widths of the decoder's hidden layers, the last first.
        activation: one of tanh, relu, gelu, silu, elu, softplus.
        shared: one trunk with a head for every posterior; otherwise a separate encoder for each.
        dropout: probability of leaving out a feature of the encoders, while training.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    blocks: int = 0
    hidden: tuple[int, ...] = (500, 500)
    activation: str = "silu"
    shared: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        take_lists(self, "network", "widths", "hidden")
        _ = self._conv, self._mlp  # which check their options

    @property
    def _conv(self) -> Conv:
        return Conv(self.widths, self.blocks, self.activation, self.shared, self.dropout)

    @property
    def _mlp(self) -> MLP:
        return MLP(self.hidden, self.activation)

    def encoder(self, shape: Sequence[int], dims: Sequence[int]) -> Encoder | SeparateEncoders:
        """From images of ``shape`` to one posterior for each of ``dims``."""
        return self._conv.encoder(shape, dims)

    def conditional_encoder(
        self, shape: Sequence[int], dim: int, context: int
    ) -> ConditionalEncoder:
        """From ``shape`` and ``context`` known numbers to a posterior of ``dim`` dimensions."""
        return self._conv.conditional_encoder(shape, dim, context)

    def decoder(self, latent_dim: int, shape: Sequence[int], outputs: int) -> Decoder:
        """From ``latent_dim`` latents to ``outputs`` parameters an element of ``shape``."""
        return self._mlp.decoder(latent_dim, shape, outputs)
