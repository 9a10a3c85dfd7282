"""The Dirichlet variational autoencoder: latents on the simplex.

Shapes: N observations, K latent components, ... one observation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.errors import check_choice, check_integer, check_number
from mlvae.models.checks import check_batch
from mlvae.models.decoder import build_decoder
from mlvae.models.encoder import build_encoder
from mlvae.models.latents import Latents, check_simplex, values_of
from mlvae.models.protocol import takes_options
from mlvae.models.standardise import Standardise
from mlvae.models.vae import VAE, VAEOptions
from mlvae.objectives import ELBO, Objective
from mlvae.posteriors import Dirichlet
from mlvae.posteriors.dirichlet import DIVERGENCES, SAMPLERS
from mlvae.posteriors.dirichlet_prior import PRIOR_UPDATES, DirichletPrior

__all__ = ["DirVAE", "DirVAEOptions"]


@dataclass(frozen=True)
class DirVAEOptions(VAEOptions):
    """Options of :class:`DirVAE`."""

    latent_dim: int = 50
    prior_alpha: float = 0.98
    prior_update: str = "fixed"
    sampler: str = "approximate"
    kl: str = "gamma"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("latent_dim", self.latent_dim, minimum=2)
        check_number("prior_alpha", self.prior_alpha, minimum=1e-5, maximum=1e4)
        check_choice("prior_update", self.prior_update, PRIOR_UPDATES)
        check_choice("sampler", self.sampler, SAMPLERS)
        check_choice("kl", self.kl, DIVERGENCES)


@takes_options(DirVAEOptions)
class DirVAE(VAE):
    r"""A VAE whose latent is a point on the simplex: K shares with the sum 1.

    .. math:: p(z) = \mathrm{Dir}(z; \alpha), \qquad q(z \mid x) = \mathrm{Dir}(z; a(x)), \qquad
        \mathbb E_q[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x) \,\|\, p(z))

    W. Joo, W. Lee, S. Park, I.-C. Moon: Dirichlet Variational Autoencoder. Pattern Recognition
    107, 2020, arXiv:1901.02739. The published model has the sampler "approximate", the divergence
    "gamma" and :math:`\alpha = 0.98`. The groups are not used.

    Args:
        shape: shape of one observation; images (channels, height, width).
        latent_dim: number K of components, at least 2.
        network: builds the encoder and the decoder. A model of many components often stays at a
            KL of 0 with a plain network: ``MLP(batch_norm=True)``, or a warm-up of the KL, leaves
            this state.
        likelihood: the observation model p(x | z).
        kl_weight: factor of the KL in the loss; 1 is the objective above.
        standardise: as in :class:`~mlvae.models.VAE`.
        prior_alpha: concentration :math:`\alpha` of every component of the prior.
        prior_update: "fixed"; or "moments": :math:`\alpha` follows the posteriors of the training
            (:class:`~mlvae.posteriors.dirichlet_prior.DirichletPrior`).
        sampler: of the training. "approximate": the published approximation of the inverse Gamma
            CDF; "implicit": exact samples with implicit gradients. See
            :meth:`mlvae.Dirichlet.sample`.
        kl: "gamma": the published KL of independent Gamma variables, an upper bound on that of the
            Dirichlet distributions; "dirichlet": the latter. See :meth:`mlvae.Dirichlet.kl`.

    Warning:
        Samples of the sampler "approximate" are not of q(z | x). So the objective of such a
        training is no bound on log p(x), and is often far above the bound. The terms
        ``approximate_log_likelihood`` and ``approximate_objective`` have these samples. The bound
        is computed from exact samples, in evaluation mode alone; in training mode there is none.
        The loss is that of the training in both modes.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> model = DirVAE((1, 8, 8), latent_dim=4)
        >>> q = model.infer(torch.rand(5, 1, 8, 8))
        >>> q, q.mean.sum(1).detach().round(decimals=3)
        (Dirichlet(shape=(5, 4), dtype=torch.float32), tensor([1., 1., 1., 1., 1.]))
    """

    Options = DirVAEOptions
    options: DirVAEOptions

    def _build(self) -> None:
        options = self.options
        self.standardise = Standardise(options.standardise, self.shape)
        self.encoder = build_encoder(
            options.network, self.shape, (options.latent_dim,), family=(Dirichlet,)
        )
        self.decoder = build_decoder(
            options.network, options.latent_dim, self.shape, options.likelihood
        )
        self.objective = ELBO(kl_weight=options.kl_weight)
        self.prior = DirichletPrior(options.prior_alpha, options.latent_dim, options.prior_update)

    def _latent(self, x: Tensor) -> Dirichlet:
        return super()._latent(x).with_prior(self.prior())

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The objective of each observation, from one sample of every latent.

        Args:
            batch: observations, float (N, ...) on the model's device. The groups are not used.
            generator: source of the noise, on the model's device; None is torch's own.
        """
        check_batch(batch, self.shape)
        latent = self._latent(batch.x)
        if self.training:
            # Before the KL: a compiled gradient reads the averages after they have moved.
            self.prior.update(latent)
            latent = latent.with_prior(self.prior())
        kl = latent.kl(self.options.kl)
        if self.options.sampler == "approximate":
            return self._approximate(batch, latent, kl, generator)
        z = latent.sample(generator=generator)
        return self.objective(log_likelihood=self._log_likelihood(batch, z), kl=kl)

    def _approximate(
        self, batch: Batch, latent: Dirichlet, kl: Tensor, generator: torch.Generator | None
    ) -> Objective:
        """The objective with approximate samples; in evaluation mode the bound beside it."""
        z = latent.sample(generator=generator, sampler="approximate")
        approximate = self._log_likelihood(batch, z)
        objective = self.objective(log_likelihood=approximate, kl=kl)
        terms = {
            "kl": kl,
            "approximate_log_likelihood": approximate,
            "approximate_objective": approximate - kl,
        }
        if self.training:
            return replace(objective, per_observation=terms, elbo=None)
        exact = self._log_likelihood(batch, latent.sample(generator=generator))
        terms = {"log_likelihood": exact, **terms}
        return replace(objective, per_observation=terms, elbo=(exact - kl).detach())

    def decode(self, latent: Latents, *, size: Any = None) -> Tensor:
        """The expected observation E[x | z] (N, ...) of points on the simplex.

        Args:
            latent: shares (N, K) with the sum 1, or a posterior, whose mean is used.
            size: as in :meth:`mlvae.models.VAE.decode`.

        Raises:
            InputError: if the values are not on the simplex.
        """
        z = values_of("latent", latent, self.latent_dim, self)
        check_simplex("latent", z)
        return super().decode(z, size=size)
