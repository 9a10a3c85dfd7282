"""How much a code depends on the observation: KL, active dimensions, weights of the decoder.

Shapes: N observations, D dimensions of a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlvae.posteriors import DiagonalGaussian, Dirichlet

__all__ = ["ACTIVE", "COLLAPSED", "Activity", "activity", "column_norms"]

#: A code with a smaller mean KL, in nats per observation, has collapsed.
COLLAPSED = 0.5

#: A dimension is active if the variance of its posterior mean over observations is a larger
#: fraction of its prior variance.
ACTIVE = 0.01


@dataclass(frozen=True, eq=False)
class Activity:
    """The dependence of a code on the observation.

    Attributes:
        kl: KL divergence from the prior in nats, mean over observations.
        by_dimension: the same of each dimension, (D,); of a Dirichlet, that of the Gamma
            variables, whose sum is at least ``kl``.
        share: variance of the posterior mean over observations, divided by the variance of the
            prior, (D,).
    """

    kl: float
    by_dimension: Tensor
    share: Tensor

    @property
    def active(self) -> int:
        """Number of active dimensions."""
        return int((self.share > ACTIVE).sum())

    @property
    def collapsed(self) -> bool:
        """Whether the code has almost no information about the observation."""
        return self.kl < COLLAPSED


@torch.no_grad()
def activity(posterior: DiagonalGaussian | Dirichlet) -> Activity:
    r"""The dependence of posteriors of single observations on the observation.

    A dimension is active if :math:`\mathrm{Var}_x(\mathbb E[z_d \mid x])` is more than 0.01 of the
    prior variance (Y. Burda, R. Grosse, R. Salakhutdinov: Importance Weighted Autoencoders. ICLR
    2016, arXiv:1509.00519, for priors of variance 1).

    Args:
        posterior: with a prior, (N, D).

    Example:
        >>> means = torch.tensor([[2.0, 0.01], [-2.0, -0.01]])
        >>> found = activity(DiagonalGaussian(means, torch.tensor([[-4.0, 0.0]]).expand(2, 2)))
        >>> found.active, found.collapsed
        (1, False)
    """
    q = posterior.to(torch.float64)
    if isinstance(q, Dirichlet):
        by_dimension = q.component_kl()
    else:
        ratio = q.log_variance
        by_dimension = 0.5 * (ratio.expm1() - ratio + q.mean.square())
    spread = q.mean.var(0, correction=0)
    share = spread / q.prior_rows(1).moments().variance[0]
    return Activity(float(q.kl().mean()), by_dimension.mean(0), share)


@torch.no_grad()
def column_norms(model: Any, widths: Mapping[str, int]) -> dict[str, Tensor]:
    """Euclidean norms of the columns of the decoder's first layer, (D,) by code.

    Empty if the model has no decoder whose first linear layer takes the codes side by side.

    Args:
        model: with the attribute ``decoder``.
        widths: number of dimensions of each code, in the order of the decoder's input.
    """
    decoder = getattr(model, "decoder", None)
    parts = decoder.modules() if isinstance(decoder, nn.Module) else ()
    first = next((part for part in parts if isinstance(part, nn.Linear)), None)
    # A decoder without hidden layers has its head before its trunk in the order of modules.
    if first is None or first.in_features != sum(widths.values()):
        return {}
    norms = first.weight.double().norm(dim=0).cpu()
    return dict(zip(widths, norms.split(list(widths.values())), strict=True))
