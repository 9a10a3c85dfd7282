"""The concentration of a Dirichlet prior: fixed, or moved to the moments of the posteriors.

Shapes: N observations, K components.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlvae.errors import check_choice, check_integer, check_number
from mlvae.posteriors.dirichlet import Dirichlet

__all__ = ["PRIOR_UPDATES", "DirichletPrior"]

PRIOR_UPDATES = ("fixed", "moments")

#: Weight of a batch in the running averages of the moments.
MOMENTUM = 0.01

#: Bounds of an updated concentration.
LEAST, MOST = 1e-3, 1e3


class DirichletPrior(nn.Module):
    r"""The concentration :math:`\alpha` of the prior of a latent on the simplex.

    With the update "moments", :math:`\alpha` follows the shares z of the training observations by
    the method of moments, as in DirVAE (Joo et al. 2019, arXiv:1901.02739):

    .. math:: m_k = \mathbb E[z_k], \quad s_k = \mathbb E[z_k^2], \qquad
        \alpha_k = m_k \, \frac1K \sum_j \frac{m_j - s_j}{s_j - m_j^2}

    The expectations are over observations and over their posteriors. Those over a posterior are
    exact. Those over observations are running averages, in which a batch has the weight 0.01. They
    are buffers, which a run saves and resumes, and begin at the moments of the first
    :math:`\alpha`. :math:`\alpha` gets no gradient.

    Args:
        alpha: the first concentration of every component, positive.
        dim: number K of components.
        update: "fixed" or "moments".

    Example:
        >>> DirichletPrior(0.5, 3)()
        tensor([0.5000, 0.5000, 0.5000])
    """

    first: Tensor
    second: Tensor
    fixed: Tensor

    def __init__(self, alpha: float, dim: int, update: str = "fixed") -> None:
        super().__init__()
        check_number("prior_alpha", alpha, minimum=0, exclusive=True)
        check_integer("dim", dim, minimum=2)
        check_choice("prior_update", update, PRIOR_UPDATES)
        self.moves = update == "moments"
        if self.moves:
            first = torch.full((dim,), 1 / dim)
            self.register_buffer("first", first)
            self.register_buffer("second", first * (alpha + 1) / (dim * alpha + 1))
        else:
            self.register_buffer("fixed", torch.full((dim,), float(alpha)), persistent=False)

    def forward(self) -> Tensor:
        """The concentration, (K,)."""
        if not self.moves:
            return self.fixed
        total = (self.first - self.second) / (self.second - self.first.square())
        return (self.first * total.mean()).clamp(LEAST, MOST)

    @torch.no_grad()
    def update(self, posterior: Dirichlet) -> None:
        """Add the posteriors (N, K) of a training batch to the averages; "fixed" does nothing."""
        if not self.moves:
            return
        a = posterior.concentration
        total, mean = a.sum(-1, keepdim=True), posterior.mean
        second = mean * (a + 1) / (total + 1)
        self.first.lerp_(mean.mean(0).to(self.first), MOMENTUM)
        self.second.lerp_(second.mean(0).to(self.second), MOMENTUM)
