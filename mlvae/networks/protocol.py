"""What the library expects of a network.

Shapes: N observations, ... the shape of one observation, D dimensions of a posterior, L latent
dimensions, P parameters of the likelihood per element, K known numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import nn

__all__ = ["ConditionalNetwork", "Network"]


class Network(Protocol):
    """A recipe for an encoder and a decoder: a frozen dataclass with these two methods.

    A network is no module: it builds modules for any shape, so that a model can be saved and built
    again from plain values. Fields are numbers, texts, lists, or further dataclasses.
    :class:`~mlvae.networks.Encoder` and :class:`~mlvae.networks.Decoder` add the heads to layers
    of your own. A model with a network of your own is checked on two observations when it is
    built and when its training starts. :func:`mlvae.load` takes the class:
    ``mlvae.load(run, parts=[Linear])``.

    Example:
        >>> from dataclasses import dataclass
        >>> import math, torch, mlvae
        >>> from mlvae.networks import Decoder, Encoder
        >>> @dataclass(frozen=True)
        ... class Linear:
        ...     width: int = 16
        ...     def encoder(self, shape, dims):
        ...         layers = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), self.width))
        ...         return Encoder(layers, self.width, dims)
        ...     def decoder(self, latent_dim, shape, outputs):
        ...         head = nn.Linear(latent_dim, outputs * math.prod(shape))
        ...         return Decoder(nn.Sequential(), head, (outputs, *shape))
        >>> model = mlvae.models.MLVAE((3, 8), network=Linear())
        >>> model.reconstruct(torch.rand(5, 3, 8)).shape
        torch.Size([5, 3, 8])
    """

    def encoder(self, shape: Sequence[int], dims: Sequence[int]) -> nn.Module:
        """Build the encoder.

        Args:
            shape: shape of one observation.
            dims: dimensions D of each posterior, such as (10, 10) for content and style.

        Returns:
            A module from x (N, ...) to a tuple with one posterior for each of ``dims``, such as
            :class:`~mlvae.posteriors.DiagonalGaussian` of shape (N, D). In evaluation mode the
            posterior of an observation depends on no other one.
        """
        ...

    def decoder(self, latent_dim: int, shape: Sequence[int], outputs: int) -> nn.Module:
        """Build the decoder.

        Args:
            latent_dim: L.
            shape: shape of one observation.
            outputs: number P of parameters that the likelihood has for each element.

        Returns:
            A module from latents (N, L) to parameters (N, P, ...), any real numbers.
        """
        ...


class ConditionalNetwork(Network, Protocol):
    """A network for models that infer a code given known numbers.

    :class:`~mlvae.models.ConditionalVAE` needs it, and :class:`~mlvae.models.MLVAE` with
    ``style_given_content``.
    """

    def conditional_encoder(self, shape: Sequence[int], dim: int, context: int) -> nn.Module:
        """Build the encoder of a posterior that depends on known numbers.

        Args:
            shape: shape of one observation.
            dim: dimensions D of the posterior.
            context: K.

        Returns:
            A :class:`~mlvae.networks.ConditionalEncoder`: from x (N, ...) and the known numbers
            (N, K) to a posterior (N, D).
        """
        ...
