"""One-dimensional convolutional networks, for signals of any length and number of channels.

Shapes: N observations, signals (channels, length), W channels inside the network.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlvae.errors import InputError, check_choice, check_flag, check_integer, check_number
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
from mlvae.networks.conv import normed, shrink
from mlvae.parts import take_lists
from mlvae.posteriors import DiagonalGaussian
from mlvae.posteriors.family import Head

__all__ = ["Conv1d", "Halving"]


class Halving(nn.Conv1d):
    """A convolution that halves the length, rounding up.

    Signals shorter than the kernel are convolved in float32. In bfloat16 on a CPU, PyTorch 2.14
    does not write the elements of the weights' gradient that meet only the padding.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: width of the kernel, an odd number.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, stride=2, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, inputs, length) to (N, outputs, length / 2)."""
        if x.shape[-1] >= self.kernel_size[0]:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float() if x.dtype == torch.bfloat16 else x)


@dataclass(frozen=True)
class Conv1d:
    """Convolutional encoders and decoder for signals (channels, length), of any length.

    The convolutions go along the last axis: the times of sensors, or the frames of a spectrogram
    whose channels are frequencies. A stage of the encoder is a convolution that halves the length,
    rounding up, a group norm and an activation. Linear heads read the output of the last stage.
    The decoder has the same stages in reverse order. It doubles the length by repeating elements
    before a convolution, and drops the elements that the encoder's rounding added.

    Args:
        widths: channels of each stage. Stages beyond a length of 1 have no use.
        kernel: width of the convolutions' kernels, an odd number.
        activation: one of tanh, relu, gelu, silu, elu, softplus.
        shared: True: one trunk with a head for every posterior. False: a separate encoder for
            each.
        dropout: probability that a feature is dropped in training mode, before the heads of an
            encoder.

    Example:
        >>> network = Conv1d(widths=(8, 16))
        >>> (code,) = network.encoder((3, 125), [4])(torch.randn(2, 3, 125))
        >>> network.decoder(4, (3, 125), outputs=2)(code.mean).shape
        torch.Size([2, 2, 3, 125])
    """

    widths: tuple[int, ...] = (32, 64, 128)
    kernel: int = 5
    activation: str = "silu"
    shared: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        take_lists(self, "network", "widths")
        if not self.widths:
            raise InputError("network.widths must not be an empty list")
        for width in self.widths:
            check_integer("network.widths", width, minimum=2)  # a norm of one channel is zero
        check_integer("network.kernel", self.kernel, minimum=1)
        if self.kernel % 2 == 0:
            raise InputError(f"network.kernel must be an odd number, not {self.kernel}")
        check_choice("network.activation", self.activation, ACTIVATIONS)
        check_flag("network.shared", self.shared)
        check_number("network.dropout", self.dropout, minimum=0, maximum=0.999)

    def encoder(
        self, shape: Sequence[int], dims: Sequence[int], family: Heads = DiagonalGaussian
    ) -> Encoder | SeparateEncoders:
        """From signals of ``shape`` to one posterior of ``family`` for each of ``dims``."""
        if not self.shared:
            pairs = zip(dims, heads_for(dims, family), strict=True)
            return SeparateEncoders([self._encoder(shape, [dim], head) for dim, head in pairs])
        return self._encoder(shape, dims, family)

    def conditional_encoder(
        self, shape: Sequence[int], dim: int, context: int, family: Head = DiagonalGaussian
    ) -> ConditionalEncoder:
        """From ``shape`` and ``context`` known numbers to a posterior of ``dim`` dimensions."""
        trunk, features = self._trunk(shape)
        join = nn.Sequential(nn.Linear(features + context, JOIN), ACTIVATIONS[self.activation]())
        encoder = ConditionalEncoder(trunk, join, JOIN, dim, family)
        shrink(encoder.heads)
        return encoder

    def _encoder(self, shape: Sequence[int], dims: Sequence[int], family: Heads) -> Encoder:
        trunk, features = self._trunk(shape)
        encoder = Encoder(trunk, features, dims, family)
        shrink(encoder.heads)
        return encoder

    def _trunk(self, shape: Sequence[int]) -> tuple[nn.Sequential, int]:
        """The layers from signals to features, and the number of features."""
        channels, length = _signal(shape)
        layers: list[nn.Module] = []
        for inputs, width in itertools.pairwise((channels, *self.widths)):
            layers += [Halving(inputs, width, self.kernel), *normed(width, self.activation)]
        layers.append(nn.Flatten())
        layers += [nn.Dropout(self.dropout)] if self.dropout else []
        return nn.Sequential(*layers), self.widths[-1] * self._lengths(length)[-1]

    def decoder(self, latent_dim: int, shape: Sequence[int], outputs: int) -> Decoder:
        """From ``latent_dim`` latents to ``outputs`` parameters per element of ``shape``."""
        channels, length = _signal(shape)
        *longer, shortest = self._lengths(length)
        first = (self.widths[-1], shortest)
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, first[0] * shortest),
            nn.Unflatten(1, first),
            *normed(first[0], self.activation),
        ]
        for i in reversed(range(len(self.widths))):
            layers.append(nn.Upsample(longer[i], mode="nearest"))
            if i > 0:
                layers.append(self._convolution(self.widths[i], self.widths[i - 1]))
                layers += normed(self.widths[i - 1], self.activation)
        head = self._convolution(self.widths[0], outputs * channels)
        shrink(head)
        return Decoder(nn.Sequential(*layers), head, (outputs, channels))

    def _convolution(self, inputs: int, outputs: int) -> nn.Conv1d:
        return nn.Conv1d(inputs, outputs, self.kernel, padding=self.kernel // 2)

    def _lengths(self, length: int) -> list[int]:
        """Length of the signal, and after each stage of the encoder."""
        return [-(-length // 2**i) for i in range(len(self.widths) + 1)]


def _signal(shape: Sequence[int]) -> tuple[int, int]:
    if len(shape) != 2:
        raise InputError(
            "network Conv1d takes signals (channels, length), not observations of shape "
            f"{tuple(shape)}; choose the network Conv for images, MLP for other shapes"
        )
    return shape[0], shape[1]
