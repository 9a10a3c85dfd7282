r"""The adaptive VAEs: of a pair, what is alike is shared, dimension by dimension.

Shapes: N observations, G groups of at most two, L latent dimensions, ... one observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mlvae.accumulation import mean, product
from mlvae.batch import Batch
from mlvae.errors import InputError, check_choice
from mlvae.gaussian import DiagonalGaussian
from mlvae.groups import Groups
from mlvae.likelihoods import Bernoulli, Likelihood
from mlvae.models.vae import VAE
from mlvae.networks import MLP, Network
from mlvae.objectives import Objective

__all__ = ["AdaVAE", "shared_dimensions"]

AVERAGES = {"product": product, "mean": mean}


class AdaVAE(VAE):
    r"""A VAE trained on pairs that agree in some factors, nobody says which or how many.

    For the two observations of a pair, dimensions whose posteriors differ little
    (:func:`shared_dimensions`) take a common posterior, of the others each keeps its own. With
    these posteriors :math:`\hat q`, the bound of a pair is that of two observations,

    .. math:: \sum_{i = 1, 2} \mathbb E_{\hat q(z \mid x_i)}[\log p(x_i \mid z)]
        - \beta \, \mathrm{KL}(\hat q(z \mid x_i) \,\|\, p(z))

    with a draw for each observation. The KL of a shared dimension counts twice, once for each
    observation, unlike the content of :class:`~mlvae.models.MLVAE`. Any :math:`\hat q` gives a
    lower bound on :math:`\log p(x_1) + \log p(x_2)` under the plain VAE's model. F. Locatello,
    B. Poole, G. Rätsch, B. Schölkopf, O. Bachem, M. Tschannen: Weakly-Supervised Disentanglement
    Without Compromises. ICML 2020, arXiv:2002.02886.

    Batches are pairs while training: ``Grouped(members=2)``. A group of one, as a label with an
    odd number of observations leaves it, has nothing to share. In evaluation mode nobody shares
    and groups may have any size: the bound is the plain VAE's, so the two compare per
    observation. Either way the loss is in nats per group, twice the mean over observations that
    the authors' code has.

    Args:
        shape: shape of one observation; images (channels, height, width).
        latent_dim: L.
        network: builds the encoder and the decoder.
        likelihood: the observation model p(x | z).
        average: the common posterior of two observations.

            - "product": their normalised product, as in the ML-VAE: Ada-ML-VAE. The authors'
              code (disentanglement_lib, and disent after it) has instead the harmonic mean of the
              variances, twice the product's.
            - "mean": the mean of means and of variances, as in the GVAE: Ada-GVAE.
        kl_weight: :math:`\beta`, factor of the KL in the loss; 1 is the bound.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> model = AdaVAE((1, 8, 8), latent_dim=4)
        >>> model(Batch(torch.rand(6, 1, 8, 8), Groups.of([0, 0, 1, 1, 2, 2]))).elbo.shape
        torch.Size([3])
    """

    OPTIONS = ("latent_dim", "network", "likelihood", "average", "kl_weight")

    def __init__(
        self,
        shape: Sequence[int],
        *,
        latent_dim: int = 20,
        network: Network = MLP(),  # noqa: B008 (frozen)
        likelihood: Likelihood = Bernoulli(),  # noqa: B008 (frozen)
        average: str = "product",
        kl_weight: float = 1.0,
    ) -> None:
        check_choice("average", average, AVERAGES)
        super().__init__(
            shape,
            latent_dim=latent_dim,
            network=network,
            likelihood=likelihood,
            kl_weight=kl_weight,
        )
        self.average = average

    @property
    def config(self) -> dict[str, object]:
        """Everything but the shape that :func:`mlvae.models.build` needs to build it again."""
        return {**super().config, "average": self.average}

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The bound of each group of a batch, from one draw of every latent.

        Args:
            batch: observations, float (N, ...) on the model's device, and their groups; while
                training, of two observations or one.
            generator: source of the noise, on the model's device; None is torch's own.

        Raises:
            InputError: if a group has more than two observations while training. On a CUDA
                device, and compiled, only what their mean number tells is noticed: to look at the
                others would be to wait for it.
        """
        x, groups = batch
        (latent,) = self.encoder(x)
        if self.training:
            _check_pairs(groups)
            latent = self._adapted(latent, groups)
        parameters = self.decoder(latent.sample(generator=generator))
        single = self.objective(
            log_likelihood=self.likelihood.log_prob(parameters, x), kl=latent.kl()
        )
        return replace(
            single,
            loss=single.loss * (groups.num_observations / groups.num_groups),
            elbo=groups.sum(single.elbo),
            num_groups=groups.num_groups,
        )

    def _adapted(self, latent: DiagonalGaussian, groups: Groups) -> DiagonalGaussian:
        """The posterior (N, L) of each observation, with what its pair shares averaged."""
        shared = shared_dimensions(latent, groups)
        common = AVERAGES[self.average](latent, groups)
        return DiagonalGaussian(
            torch.where(shared, groups.spread(common.mean), latent.mean),
            torch.where(shared, groups.spread(common.log_variance), latent.log_variance),
        )


@torch.no_grad()
def shared_dimensions(latent: DiagonalGaussian, groups: Groups) -> Tensor:
    r"""In which dimensions the two observations of each pair are alike: a mask (N, L).

    With the divergence of each dimension

    .. math:: \delta_d = \mathrm{KL}(q(z_d \mid x_1) \,\|\, q(z_d \mid x_2)), \qquad
        \tau = \tfrac12 \left( \max_d \delta_d + \min_d \delta_d \right)

    those with :math:`\delta_d < \tau` are shared (Locatello et al. 2020). At least one is not, and
    at least one is unless all differ equally: then none is, so neither of an observation with
    itself, a group of one. :math:`x_1` is the one that comes first in the batch. No gradient
    passes through the choice.

    Args:
        latent: q(z | x_i), (N, L).
        groups: of one or two observations each.

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
    # One dimension at a time is a Gaussian with L = 1.
    delta = DiagonalGaussian(first.mean[..., None], first.log_variance[..., None]).kl(
        DiagonalGaussian(second.mean[..., None], second.log_variance[..., None])
    )
    low, high = delta.aminmax(dim=1, keepdim=True)
    return delta < 0.5 * high + 0.5 * low  # halved first: the sum may overflow


def _check_pairs(groups: Groups) -> None:
    """Raise :class:`InputError` if some group has more than two observations."""
    if groups.sizes.device.type == "cpu" and not torch.compiler.is_compiling():
        largest = int(groups.sizes.max())
    else:  # not less than the mean, which is known here
        largest = -(-groups.num_observations // groups.num_groups)
    if largest > 2:
        raise InputError(
            f"AdaVAE is trained on groups of two, not on one of at least {largest}; use "
            "batching=grouped with batching.members=2"
        )
