r"""The adaptive VAEs: the similar dimensions of a pair share their posterior.

Shapes: N observations, G groups of at most two, L latent dimensions, ... one observation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.errors import InputError, check_choice
from mlvae.evidence.rules import mean, product
from mlvae.groups import Groups
from mlvae.models.checks import check_batch
from mlvae.models.protocol import takes_options
from mlvae.models.vae import VAE, VAEOptions
from mlvae.objectives import Objective
from mlvae.posteriors import DiagonalGaussian

__all__ = ["AdaVAE", "AdaVAEOptions", "shared_dimensions"]

AVERAGES = {"product": product, "mean": mean}


@dataclass(frozen=True)
class AdaVAEOptions(VAEOptions):
    """Options of :class:`AdaVAE`."""

    average: str = "product"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("average", self.average, AVERAGES)


@takes_options(AdaVAEOptions)
class AdaVAE(VAE):
    r"""A VAE for pairs of observations that agree in an unknown subset of factors.

    The posteriors of the two observations of a pair are compared dimension by dimension.
    Dimensions with a small difference (:func:`shared_dimensions`) get a common posterior; the
    other dimensions keep their own. With these posteriors :math:`\hat q`, the bound of a pair is
    that of two observations,

    .. math:: \sum_{i = 1, 2} \mathbb E_{\hat q(z \mid x_i)}[\log p(x_i \mid z)]
        - \beta \, \mathrm{KL}(\hat q(z \mid x_i) \,\|\, p(z))

    with one sample for each observation. The KL of a shared dimension counts twice, once for each
    observation, unlike the content of :class:`~mlvae.models.MLVAE`. Any :math:`\hat q` gives a
    lower bound on :math:`\log p(x_1) + \log p(x_2)` under the plain VAE's model. F. Locatello,
    B. Poole, G. Rätsch, B. Schölkopf, O. Bachem, M. Tschannen: Weakly-Supervised Disentanglement
    Without Compromises. ICML 2020, arXiv:2002.02886.

    Training batches consist of pairs: ``Grouped(members=2)``. A group of one observation, as a
    label with an odd number of observations has it, shares nothing. In evaluation mode no
    dimension is shared and groups may have any size: the bound is that of the plain VAE, so the
    two compare per observation. In both modes the loss is in nats per group, twice the mean over
    observations of the authors' code.

    Args:
        shape: shape of one observation; images (channels, height, width).
        latent_dim: number L of latent dimensions.
        network: builds the encoder and the decoder.
        likelihood: the observation model p(x | z).
        kl_weight: :math:`\beta`, factor of the KL in the loss; 1 is the bound.
        average: the common posterior of two observations.

            - "product": their normalised product, as in the ML-VAE: Ada-ML-VAE. The authors'
              code (disentanglement_lib, and disent after it) uses the harmonic mean of the
              variances instead, twice the variance of the product.
            - "mean": the mean of means and of variances, as in the GVAE: Ada-GVAE.
        standardise: "feature" or "channel": the model takes and returns raw units, and works with
            observations of mean 0 and deviation 1; "range": with values in [-1, 1]; see
            :class:`mlvae.models.Standardise`. None: no change. The options of the likelihood, such
            as ``std``, are in standardised units.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> model = AdaVAE((1, 8, 8), latent_dim=4)
        >>> model(Batch(torch.rand(6, 1, 8, 8), Groups.of([0, 0, 1, 1, 2, 2]))).elbo.shape
        torch.Size([3])
    """

    Options = AdaVAEOptions
    options: AdaVAEOptions
    largest_group = 2

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The bound of each group of a batch, from one sample of every latent.

        Args:
            batch: observations, float (N, ...) on the model's device, and their groups; in
                training mode, groups of one or two observations.
            generator: source of the noise, on the model's device; None is torch's own.

        Raises:
            InputError: in training mode, if a group has more than two observations. On a CUDA
                device and compiled, the sizes are not read, because that would wait for the
                device; :func:`mlvae.train` checks them once per epoch.
        """
        check_batch(batch, self.shape)
        x, groups = batch.x, batch.groups
        latent = self._latent(x)
        if self.training:
            _check_pairs(groups)
            latent = self._adapted(latent, groups)
        parameters = self.decoder(latent.sample(generator=generator))
        single = self.objective(
            log_likelihood=self.standardise.log_prob(self.likelihood, parameters, x, batch.given),
            kl=latent.kl(),
        )
        return replace(
            single,
            losses={"model": single.loss * (groups.num_observations / groups.num_groups)},
            elbo=groups.sum(single.elbo),
            num_groups=groups.num_groups,
        )

    def _adapted(self, latent: DiagonalGaussian, groups: Groups) -> DiagonalGaussian:
        """The posteriors (N, L) with the shared dimensions of each pair averaged."""
        shared = shared_dimensions(latent, groups)
        common = AVERAGES[self.options.average](latent, groups)
        return DiagonalGaussian(
            torch.where(shared, groups.spread(common.mean), latent.mean),
            torch.where(shared, groups.spread(common.log_variance), latent.log_variance),
        )


@torch.no_grad()
def shared_dimensions(latent: DiagonalGaussian, groups: Groups) -> Tensor:
    r"""The dimensions that the two observations of each pair share: a mask (N, L).

    With the divergence of each dimension

    .. math:: \delta_d = \mathrm{KL}(q(z_d \mid x_1) \,\|\, q(z_d \mid x_2)), \qquad
        \tau = \tfrac12 \left( \max_d \delta_d + \min_d \delta_d \right)

    the dimensions with :math:`\delta_d < \tau` are shared (Locatello et al. 2020). At least one
    dimension is not shared. At least one is shared, unless all divergences are equal: then none
    is. So a group of one observation shares none. :math:`x_1` comes first in the batch. No
    gradient passes through the mask.

    Args:
        latent: q(z | x_i), (N, L).
        groups: groups of one or two observations.

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[0.0, 0.0], [0.1, 2.0]]), torch.zeros(2, 2))
        >>> shared_dimensions(q, Groups.of([0, 0]))
        tensor([[ True, False],
                [ True, False]])
    """
    place = torch.arange(len(latent), device=groups.index.device)
    total = groups.spread(groups.sum(place))
    other = torch.where(groups.spread(groups.sizes) == 2, total - place, place)
    first, second = latent[torch.minimum(place, other)], latent[torch.maximum(place, other)]
    # Each dimension is a Gaussian with L = 1.
    delta = DiagonalGaussian(first.mean[..., None], first.log_variance[..., None]).kl(
        DiagonalGaussian(second.mean[..., None], second.log_variance[..., None])
    )
    low, high = delta.aminmax(dim=1, keepdim=True)
    return delta < 0.5 * high + 0.5 * low  # each half first: the sum may overflow


def _check_pairs(groups: Groups) -> None:
    """Raise :class:`InputError` if a group on the CPU has more than two observations."""
    if groups.sizes.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if (largest := int(groups.sizes.max())) > 2:
        raise InputError(
            f"AdaVAE is trained on groups of at most 2 observations, not of {largest}; use "
            "batching=grouped with batching.members=2"
        )
