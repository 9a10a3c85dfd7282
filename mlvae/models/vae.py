"""The plain variational autoencoder: the baseline without groups.

Shapes: N observations, L latent dimensions, ... one observation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.errors import check_integer, check_number
from mlvae.groups import Groups
from mlvae.likelihoods import Bernoulli, Likelihood
from mlvae.models.checks import build_checked, check_batch, check_codes_batch
from mlvae.models.decoder import build_decoder
from mlvae.models.encoder import build_encoder
from mlvae.models.inputs import Observations, observations
from mlvae.models.latents import Latents, values_of
from mlvae.models.observed import sizes_of
from mlvae.models.part_checks import check_parts
from mlvae.models.protocol import config_of, takes_options
from mlvae.models.standardise import Standardise, check_standardise
from mlvae.models.summary import summary
from mlvae.networks import MLP, Network
from mlvae.objectives import ELBO, Objective
from mlvae.observations import check_shape
from mlvae.posteriors import DiagonalGaussian, Family

__all__ = ["VAE", "VAEOptions"]


@dataclass(frozen=True)
class VAEOptions:
    """Options of :class:`VAE`."""

    latent_dim: int = 20
    network: Network = MLP()
    likelihood: Likelihood = Bernoulli()
    kl_weight: float = 1.0
    standardise: str | None = None

    def __post_init__(self) -> None:
        check_parts(self.network, self.likelihood)
        check_standardise(self.standardise, self.likelihood)
        check_integer("latent_dim", self.latent_dim, minimum=1)
        check_number("kl_weight", self.kl_weight, minimum=0)


@takes_options(VAEOptions)
class VAE(nn.Module):
    """One latent for each observation; the groups are not used.

    D. P. Kingma, M. Welling: Auto-Encoding Variational Bayes. ICLR 2014, arXiv:1312.6114.

    Args:
        shape: shape of one observation; images (channels, height, width).
        latent_dim: number L of latent dimensions.
        network: builds the encoder and the decoder.
        likelihood: the observation model p(x | z).
        kl_weight: factor of the KL in the loss; 1 is the bound.
        standardise: "feature" or "channel": the model takes and returns raw units, and works with
            observations of mean 0 and deviation 1; "range": with values in [-1, 1]; see
            :class:`mlvae.models.Standardise`. None: no change. The options of the likelihood, such
            as ``std``, are in standardised units.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> VAE((1, 8, 8), latent_dim=4).infer(torch.rand(5, 1, 8, 8))
        DiagonalGaussian(shape=(5, 4), dtype=torch.float32)
    """

    Options = VAEOptions
    options: VAEOptions
    importance_weighted = True

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        self.options = self.Options(**options)
        self.latent_dim, self.likelihood = self.options.latent_dim, self.options.likelihood
        build_checked(self, self.options.network, self._build)

    def _build(self) -> None:
        options = self.options
        self.standardise = Standardise(options.standardise, self.shape)
        self.encoder = build_encoder(options.network, self.shape, (options.latent_dim,))
        self.decoder = build_decoder(
            options.network, options.latent_dim, self.shape, options.likelihood
        )
        self.objective = ELBO(kl_weight=options.kl_weight)

    def __repr__(self) -> str:
        return summary(self)

    @property
    def config(self) -> dict[str, Any]:
        """All options as plain values, for :func:`mlvae.models.build`."""
        return config_of(self, self.options)

    @property
    def scales(self) -> dict[str, Tensor]:
        """The factors of the objective that a warm-up sets."""
        return self.objective.scales

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The bound of each observation, from one sample of every latent.

        Args:
            batch: observations, float (N, ...) on the model's device. The groups are not used.
            generator: source of the noise, on the model's device; None is torch's own.
        """
        check_batch(batch, self.shape)
        latent = self._latent(batch.x)
        z = latent.sample(generator=generator)
        return self.objective(log_likelihood=self._log_likelihood(batch, z), kl=latent.kl())

    def _latent(self, x: Tensor) -> Any:
        """The posterior (N, L) of each of the floats x (N, ...)."""
        return self.encoder(self.standardise.inputs(self.likelihood, x))[0]

    def _log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        """The log p(x_i | z_i) (N,) of the observations of a batch, for latents z (N, L)."""
        parameters = self.decoder(z)
        return self.standardise.log_prob(self.likelihood, parameters, batch.x, batch.given)

    def codes(self, batch: Batch) -> dict[str, Family]:
        """The posterior "latent" of each observation of a batch, q(z | x_i): (N, L)."""
        check_codes_batch(batch)
        return {"latent": self.infer(batch.x)}

    def posteriors(self, x: Tensor) -> tuple[Family, Callable[[Tensor], DiagonalGaussian]]:
        """The latent posterior of each observation, and an empty style: S = 0.

        Args:
            x: observations, float (N, ...) on the model's device.

        Returns:
            q(z | x_i) (N, L), and the style posterior (N, 0) as a function of the latent.
        """
        latent = self._latent(x)
        return latent, lambda z: DiagonalGaussian.prior(len(x), 0, like=latent.mean)

    def pooled(self, latent: Family, groups: Groups) -> tuple[Family, Groups]:
        """The posteriors ``latent`` (N, L), and the groups that share one: every observation."""
        return latent, Groups.singletons(len(latent), latent.mean.device)

    def infer(self, x: Observations) -> Any:
        """The posterior of each observation x (N, ...), q(z | x_i): shape (N, L).

        Args:
            x: uint8 images or floats, in memory or on the disk, or :class:`~mlvae.GroupedData`.
        """
        return self._latent(observations(x, self.shape, self))

    def decode(self, latent: Latents, *, size: Any = None) -> Tensor:
        """The expected observation E[x | z] (N, ...) of latents (N, L), or of posterior means.

        Args:
            latent: values (N, L), or a posterior, whose mean is used.
            size: with a likelihood of counts, the total count of each observation, (N,) or one
                number; None: ``likelihood.total``.
        """
        z = values_of("latent", latent, self.latent_dim, self)
        return self.standardise.expected(self.likelihood, self.decoder(z), size)

    @torch.no_grad()
    def reconstruct(self, x: Observations, groups: object | None = None) -> Tensor:
        """Encode and decode observations x (N, ...) by posterior means; groups are not used."""
        x = observations(x, self.shape, self)
        return self.decode(self.infer(x), **sizes_of(self.likelihood, x))
