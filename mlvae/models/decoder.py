"""The decoder of a model: a network, and the parameters that a likelihood learns by itself.

Shapes: N observations, ... the shape of one observation, L latent dimensions, P parameters of the
likelihood per element.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlvae.likelihoods import Likelihood
from mlvae.models.part_checks import check_decoder
from mlvae.networks import Network

__all__ = ["SharedScale", "build_decoder"]


class SharedScale(nn.Module):
    """A decoder with one more parameter of the likelihood, which does not depend on the latents.

    Args:
        decoder: gives the other parameters (N, P - 1, ...) from latents (N, L).
        shape: shape of the parameter. It is repeated along axes of length 1.

    Attributes:
        scale: the parameter, before the likelihood bounds it. The initial value 0 is the middle of
            its interval.
    """

    def __init__(self, decoder: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        self.decoder = decoder
        self.scale = nn.Parameter(torch.zeros(tuple(shape)))

    def forward(self, latent: Tensor) -> Tensor:
        """Parameters (N, P, ...) from latents (N, L)."""
        decoded = self.decoder(latent)
        scale = self.scale.expand(len(decoded), 1, *decoded.shape[2:])
        return torch.cat((decoded, scale), 1)  # float32 even under autocast


def build_decoder(
    network: Network, latent_dim: int, shape: Sequence[int], likelihood: Likelihood
) -> nn.Module:
    """Build the map from latents (N, L) to all parameters (N, P, ...) of ``likelihood``."""
    scope = getattr(likelihood, "scope", "element")
    if scope == "element":
        return _checked(network, latent_dim, shape, likelihood.outputs)
    decoder = _checked(network, latent_dim, shape, likelihood.outputs - 1)
    own = shape[0] if scope == "channel" else 1
    return SharedScale(decoder, (own, *[1] * (len(shape) - 1)))


def _checked(network: Network, latent_dim: int, shape: Sequence[int], outputs: int) -> nn.Module:
    """The decoder of a network, checked if the network is of a user's own class."""
    decoder = network.decoder(latent_dim, shape, outputs)
    check_decoder(decoder, network, latent_dim, shape, outputs)
    return decoder
