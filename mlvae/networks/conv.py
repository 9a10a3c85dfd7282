"""Convolutional networks, for images of any size and any number of channels.

Shapes: N observations, images (channels, height, width), W channels inside the network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

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
from mlvae.parts import take_lists
from mlvae.posteriors import DiagonalGaussian
from mlvae.posteriors.family import Head

__all__ = ["Conv", "Halving", "Residual", "channels_last", "normed", "shrink"]

CHANNELS_PER_GROUP = 8  # smallest number of channels that a group norm normalises together

Module = TypeVar("Module", bound=nn.Module)


class Residual(nn.Module):
    """A residual block: the input plus two convolutions of it, each behind a group norm.

    K. He et al.: Identity Mappings in Deep Residual Networks. ECCV 2016, arXiv:1603.05027 (figure
    1b). Y. Wu, K. He: Group Normalization. ECCV 2018, arXiv:1803.08494.
    """

    def __init__(self, width: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *normed(width, activation),
            nn.Conv2d(width, width, 3, padding=1),
            *normed(width, activation),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape, (N, W, height, width)."""
        return x + self.body(x)


class Halving(nn.Conv2d):
    """A convolution that halves height and width, rounding up.

    Images one pixel wide are convolved in float32. In bfloat16 on a CPU, PyTorch 2.14 does not
    write the elements of the weights' gradient that meet only the padding.

    Args:
        inputs: channels.
        outputs: channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, inputs, height, width) to (N, outputs, height / 2, width / 2)."""
        if x.shape[-1] > 1:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


@dataclass(frozen=True)
class Conv:
    """Convolutional encoders and decoder for images of any size.

    A stage of the encoder halves height and width, rounding up, and has residual blocks of one
    width. Linear heads read the output of the last stage. The decoder has the same stages in
    reverse order. It doubles the size by repeating pixels before a convolution, and drops the
    pixels that the encoder's rounding added. A transposed convolution would leave a checkerboard
    (A. Odena, V. Dumoulin, C. Olah: Deconvolution and Checkerboard Artifacts. Distill 2016).

    Weights of convolutions have the memory format channels last. On two CPU cores float32 then
    trains 1.25 to 1.7 times as many images per second. bfloat16 has the same speed.

    Args:
        widths: channels of each stage. The encoder's first stage has half the image's size. Stages
            beyond a size of 1x1 have no use.
        blocks: residual blocks per stage; 0 is a plain convolutional network.
        activation: one of tanh, relu, gelu, silu, elu, softplus.
        shared: True: one trunk with a head for every posterior. False: a separate encoder for
            each.
        dropout: probability that a feature is dropped in training mode, inside a block and before
            the heads of an encoder.

    Example:
        >>> network = Conv(widths=(8, 16))
        >>> (code,) = network.encoder((3, 25, 40), [4])(torch.rand(2, 3, 25, 40))
        >>> network.decoder(4, (3, 25, 40), outputs=2)(code.mean).shape
        torch.Size([2, 2, 3, 25, 40])
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: int = 1
    activation: str = "silu"
    shared: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        take_lists(self, "network", "widths")
        if not self.widths:
            raise InputError("network.widths must not be an empty list")
        for width in self.widths:
            check_integer("network.widths", width, minimum=2)  # a norm of one channel is zero
        check_integer("network.blocks", self.blocks, minimum=0)
        check_choice("network.activation", self.activation, ACTIVATIONS)
        check_flag("network.shared", self.shared)
        check_number("network.dropout", self.dropout, minimum=0, maximum=0.999)

    def encoder(
        self, shape: Sequence[int], dims: Sequence[int], family: Heads = DiagonalGaussian
    ) -> Encoder | SeparateEncoders:
        """From images of ``shape`` to one posterior of ``family`` for each of ``dims``."""
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
        return channels_last(encoder)

    def _encoder(self, shape: Sequence[int], dims: Sequence[int], family: Heads) -> Encoder:
        trunk, features = self._trunk(shape)
        encoder = Encoder(trunk, features, dims, family)
        shrink(encoder.heads)
        return channels_last(encoder)

    def _trunk(self, shape: Sequence[int]) -> tuple[nn.Sequential, int]:
        """The layers from images to features, and the number of features."""
        channels, *size = _image(shape)
        layers: list[nn.Module] = []
        for inputs, width in itertools.pairwise((channels, *self.widths)):
            layers += [Halving(inputs, width), *self._stage(width)]
        layers += [*self._close(self.widths[-1]), nn.Flatten()]
        layers += [nn.Dropout(self.dropout)] if self.dropout else []
        return nn.Sequential(*layers), self.widths[-1] * math.prod(self._sizes(size)[-1])

    def decoder(self, latent_dim: int, shape: Sequence[int], outputs: int) -> Decoder:
        """From ``latent_dim`` latents to ``outputs`` parameters per element of ``shape``."""
        channels, *size = _image(shape)
        *larger, smallest = self._sizes(size)
        first = (self.widths[-1], *smallest)
        layers: list[nn.Module] = [nn.Linear(latent_dim, math.prod(first)), nn.Unflatten(1, first)]
        for i in reversed(range(len(self.widths))):
            layers += self._stage(self.widths[i])
            if i == 0:
                layers += self._close(self.widths[0])
            layers.append(nn.Upsample(larger[i], mode="nearest"))
            if i > 0:
                layers.append(nn.Conv2d(self.widths[i], self.widths[i - 1], 3, padding=1))
        head = nn.Conv2d(self.widths[0], outputs * channels, 3, padding=1)
        shrink(head)
        decoder = Decoder(nn.Sequential(*layers), head, (outputs, channels))
        return channels_last(decoder)

    def _stage(self, width: int) -> list[nn.Module]:
        """Residual blocks; without any, a norm and an activation between convolutions."""
        if self.blocks == 0:
            return normed(width, self.activation)
        return [Residual(width, self.activation, self.dropout) for _ in range(self.blocks)]

    def _close(self, width: int) -> list[nn.Module]:
        """The norm and activation after the last residual block; a block ends without them."""
        return normed(width, self.activation) if self.blocks else []

    def _sizes(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Height and width of the image, and after each stage of the encoder."""
        return [tuple(-(-n // 2**i) for n in size) for i in range(len(self.widths) + 1)]


def normed(width: int, activation: str) -> list[nn.Module]:
    """A group norm with the smallest groups that divide ``width``, and an activation."""
    groups = max(1, width // CHANNELS_PER_GROUP)
    while width % groups:
        groups -= 1
    return [nn.GroupNorm(groups, width), ACTIVATIONS[activation]()]


def channels_last(module: Module) -> Module:
    """The module with weights of convolutions in the memory format channels last."""
    return module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


@torch.no_grad()
def shrink(head: nn.Linear | nn.Conv2d | nn.Conv1d) -> None:
    """Initialise a head near zero, so that log-variances are near zero too.

    Their exponentials weight every error. With faces of 64x64 pixels, five epochs then reach 2,500
    nats more per image.
    """
    head.weight.mul_(0.1)
    if head.bias is not None:
        head.bias.zero_()


def _image(shape: Sequence[int]) -> tuple[int, ...]:
    if len(shape) != 3:
        raise InputError(
            "network Conv takes images (channels, height, width), not observations of shape "
            f"{tuple(shape)}; choose the network Conv1d for signals, MLP for other shapes"
        )
    return tuple(shape)
