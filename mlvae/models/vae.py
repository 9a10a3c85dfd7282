"""The plain variational autoencoder: the baseline that knows of no groups.

Shapes: N observations, G groups, L latent dimensions, ... one observation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.errors import check_integer
from mlvae.gaussian import DiagonalGaussian
from mlvae.likelihoods import Bernoulli, Likelihood
from mlvae.models.decoder import build_decoder, check_parts
from mlvae.models.latents import values_of
from mlvae.networks import MLP, Network
from mlvae.objectives import ELBO, Objective
from mlvae.observations import as_observations, check_shape
from mlvae.parts import to_config

__all__ = ["VAE"]


class VAE(nn.Module):
    """One latent for each observation; the grouping is ignored.

    D. P. Kingma, M. Welling: Auto-Encoding Variational Bayes. ICLR 2014, arXiv:1312.6114.

    Args:
        shape: shape of one observation; images (channels, height, width).
        latent_dim: L.
        network: builds the encoder and the decoder.
        likelihood: the observation model p(x | z).
        kl_weight: factor of the KL in the loss; 1 is the bound.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> VAE((1, 8, 8), latent_dim=4).infer(torch.rand(5, 1, 8, 8))
        DiagonalGaussian(shape=(5, 4), dtype=torch.float32)
    """

    OPTIONS = ("latent_dim", "network", "likelihood", "kl_weight")

    def __init__(
        self,
        shape: Sequence[int],
        *,
        latent_dim: int = 20,
        network: Network = MLP(),  # noqa: B008 (frozen)
        likelihood: Likelihood = Bernoulli(),  # noqa: B008 (frozen)
        kl_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        check_parts(network, likelihood)
        check_integer("latent_dim", latent_dim, minimum=1)
        self.latent_dim = latent_dim
        self.network = network
        self.likelihood = likelihood
        self.encoder = network.encoder(self.shape, (latent_dim,))
        self.decoder = build_decoder(network, latent_dim, self.shape, likelihood)
        self.objective = ELBO(kl_weight=kl_weight)

    @property
    def config(self) -> dict[str, object]:
        """Everything but the shape that :func:`mlvae.models.build` needs to build it again."""
        return {
            "name": type(self).__name__,
            "latent_dim": self.latent_dim,
            "network": to_config(self.network),
            "likelihood": to_config(self.likelihood),
            "kl_weight": self.objective.kl_weight,
        }

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The bound of a batch, from one draw of every latent; its groups are not looked at."""
        (latent,) = self.encoder(batch.x)
        parameters = self.decoder(latent.sample(generator=generator))
        return self.objective(
            log_likelihood=self.likelihood.log_prob(parameters, batch.x), kl=latent.kl()
        )

    def infer(self, x: Tensor | np.ndarray) -> DiagonalGaussian:
        """The posterior of each observation x (N, ...), q(z | x_i): shape (N, L)."""
        return self.encoder(as_observations(x, self.shape, self))[0]

    def decode(self, latent: Tensor | np.ndarray | DiagonalGaussian) -> Tensor:
        """The expected observation E[x | z] (N, ...) of latents (N, L), or of posterior means."""
        z = values_of("latent", latent, self.latent_dim, self)
        return self.likelihood.mean(self.decoder(z))

    @torch.no_grad()
    def reconstruct(self, x: Tensor | np.ndarray, groups: object | None = None) -> Tensor:
        """Observations x (N, ...) encoded and decoded by posterior means; groups are ignored."""
        return self.decode(self.infer(x))
