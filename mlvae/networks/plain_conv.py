"""Plain convolutions without padding, whose features may be the code itself.

Shapes: N observations, images (channels, height, width), D dimensions of a code.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from mlvae.errors import InputError, check_choice, check_flag, check_integer
from mlvae.networks.coders import ACTIVATIONS, Decoder, Encoder
from mlvae.networks.conv import channels_last
from mlvae.parts import take_lists
from mlvae.posteriors import DiagonalGaussian
from mlvae.posteriors.family import Family, Head

__all__ = ["PlainConv"]


@dataclass(frozen=True)
class PlainConv:
    """Convolutions with chosen kernels and strides, and a decoder of transposed ones.

    The defaults are the published networks of the S-VQ-VAE for MNIST: two convolutions from
    1x28x28 to 50x8x8, whose 3,200 features are the code, and two transposed convolutions back.
    There is no padding, no normalisation and, with ``head=False``, no linear layer. Weights have
    the memory format channels last, which takes two thirds of the time on a CPU.

    Args:
        widths: channels of each convolution of the encoder.
        kernels: height and width of the kernels of the encoder.
        strides: strides of the encoder.
        decoder_kernels: kernels of the decoder, from the code to the image.
        decoder_strides: strides of the decoder.
        activation: after each convolution of the encoder, and between those of the decoder; one of
            tanh, relu, gelu, silu, elu, softplus.
        head: True: linear layers between the features and the code. False: the features are the
            code, which must have as many dimensions; the posteriors are points.

    Example:
        >>> from mlvae.posteriors import Point
        >>> network = PlainConv(head=False)
        >>> encoder = network.encoder((1, 28, 28), [3200], Point)
        >>> sum(parameter.numel() for parameter in encoder.parameters())
        25570
    """

    widths: tuple[int, ...] = (20, 50)
    kernels: tuple[int, ...] = (5, 5)
    strides: tuple[int, ...] = (2, 1)
    decoder_kernels: tuple[int, ...] = (3, 5)
    decoder_strides: tuple[int, ...] = (3, 1)
    activation: str = "relu"
    head: bool = True

    def __post_init__(self) -> None:
        lists = ("widths", "kernels", "strides", "decoder_kernels", "decoder_strides")
        take_lists(self, "network", *lists)
        for name in lists:
            for value in vars(self)[name]:
                check_integer(f"network.{name}", value, minimum=1)
            if len(vars(self)[name]) != len(self.widths) or not self.widths:
                raise InputError(
                    f"network.{name} must have a number for each convolution, as many as "
                    f"network.widths and at least one, not {len(vars(self)[name])}"
                )
        check_choice("network.activation", self.activation, ACTIVATIONS)
        check_flag("network.head", self.head)

    def encoder(
        self, shape: Sequence[int], dims: Sequence[int], family: Head = DiagonalGaussian
    ) -> nn.Module:
        """From images of ``shape`` to one posterior of ``family`` for each of ``dims``.

        Raises:
            InputError: if the kernels are larger than the images, or the code has not as many
                dimensions as there are features.
        """
        channels, *_ = shape
        layers: list[nn.Module] = []
        pairs = itertools.pairwise((channels, *self.widths))
        for (inputs, width), kernel, stride in zip(pairs, self.kernels, self.strides, strict=True):
            layers += [nn.Conv2d(inputs, width, kernel, stride), ACTIVATIONS[self.activation]()]
        trunk = channels_last(nn.Sequential(*layers, nn.Flatten()))
        features = math.prod(self._features(shape))
        if self.head:
            return Encoder(trunk, features, dims, family)
        if list(dims) != [features] or family.parameters_per_dim != 1:
            raise InputError(
                f"network.head=False needs a model with one code of {features} points, the "
                f"features of images of shape {tuple(shape)}, as SVQVAE with latent_dim={features}"
                f", not codes of {', '.join(map(str, dims))} dimensions of the family "
                f"{getattr(family, '__name__', family)}; set network.head=True"
            )
        return FeatureEncoder(trunk, family)

    def decoder(self, latent_dim: int, shape: Sequence[int], outputs: int) -> Decoder:
        """From ``latent_dim`` latents to ``outputs`` parameters per element of ``shape``.

        Raises:
            InputError: if the kernels of the decoder do not lead to images of ``shape``.
        """
        first, channels = self._features(shape), shape[0]
        layers: list[nn.Module] = []
        if self.head:
            layers += [nn.Linear(latent_dim, math.prod(first)), ACTIVATIONS[self.activation]()]
        elif latent_dim != math.prod(first):
            raise InputError(
                f"network.head=False needs latents of {math.prod(first)} dimensions for images of "
                f"shape {tuple(shape)}, not {latent_dim}"
            )
        layers.append(nn.Unflatten(1, first))
        widths = (*reversed(self.widths), outputs * channels)
        size, height, width = list(itertools.pairwise(widths)), *first[1:]
        for (a, b), kernel, stride in zip(
            size, self.decoder_kernels, self.decoder_strides, strict=True
        ):
            layers += [nn.ConvTranspose2d(a, b, kernel, stride), ACTIVATIONS[self.activation]()]
            height, width = ((n - 1) * stride + kernel for n in (height, width))
        if (height, width) != tuple(shape[1:]):
            raise InputError(
                f"network.decoder_kernels and decoder_strides must lead from {first} to images of "
                f"{shape[1]}x{shape[2]}, not {height}x{width}"
            )
        decoder = Decoder(nn.Sequential(*layers[:-2]), layers[-2], (outputs, channels))
        return channels_last(decoder)

    def _features(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Channels, height and width of the encoder's features."""
        if len(shape) != 3:
            raise InputError(
                "network PlainConv takes images (channels, height, width), not observations of "
                f"shape {tuple(shape)}; choose the network Conv1d for signals, MLP for others"
            )
        height, width = shape[1:]
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            height, width = ((n - kernel) // stride + 1 for n in (height, width))
        if min(height, width) < 1:
            raise InputError(
                f"network.kernels={list(self.kernels)} with strides {list(self.strides)} are "
                f"larger than images of {shape[1]}x{shape[2]}"
            )
        return self.widths[-1], height, width


class FeatureEncoder(nn.Module):
    """An encoder without a head: the features of the trunk are the code.

    Args:
        trunk: from observations (N, ...) to features (N, D).
        family: family of the posterior, with one parameter a dimension.
    """

    def __init__(self, trunk: nn.Sequential, family: Head) -> None:
        super().__init__()
        self.trunk, self.family = trunk, family

    def forward(self, x: Tensor) -> tuple[Family, ...]:
        """One posterior of shape (N, D), from x (N, ...)."""
        return (self.family.from_raw(self.trunk(x)),)
