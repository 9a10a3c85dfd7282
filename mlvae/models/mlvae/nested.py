r"""The prior of a content given the content of the group that its group is in.

A donor is in one study: the content of the donor has the prior

.. math:: p(c_l \mid c_u) = N(c_l; W c_u + b, \operatorname{diag} e^{r})

with a learned map W, b and learned log-variances r, for the lower content :math:`c_l` (L,) and the
upper content :math:`c_u` (U,). The upper content has a standard normal prior.

Shapes: G lower groups, U upper groups, N observations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlvae.errors import InputError
from mlvae.groups import Groups
from mlvae.posteriors import DiagonalGaussian

__all__ = ["NestedPrior", "upper_groups"]


class NestedPrior(nn.Module):
    """A Gaussian around a linear map of the upper content. Its initial value is N(0, I).

    Args:
        upper_dim: number of dimensions of the upper content.
        lower_dim: number of dimensions of the lower content.

    Attributes:
        map: the linear map W, b.
        log_variance: r, (L,).

    Example:
        >>> q = DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 3))
        >>> NestedPrior(4, 3).kl(q, DiagonalGaussian(torch.ones(2, 4), torch.zeros(2, 4)))
        tensor([0., 0.], grad_fn=<MulBackward0>)
    """

    def __init__(self, upper_dim: int, lower_dim: int) -> None:
        super().__init__()
        self.map = nn.Linear(upper_dim, lower_dim)
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)
        self.log_variance = nn.Parameter(torch.zeros(lower_dim))

    def given(self, upper: Tensor) -> DiagonalGaussian:
        """The prior (G, L) given values (G, U) of the upper content."""
        mean = self.map(upper)
        return DiagonalGaussian(mean, self.log_variance.expand_as(mean))

    def kl(self, lower: DiagonalGaussian, upper: DiagonalGaussian) -> Tensor:
        r"""The expected KL from the prior, over the posterior of the upper content: (G,), in nats.

        .. math:: \mathbb E_{q(c_u)} \mathrm{KL}(q(c_l) \,\|\, p(c_l \mid c_u))
            = \tfrac12 \sum_d \Bigl( e^{\ell_d - r_d} - 1 - (\ell_d - r_d)
            + e^{-r_d} \bigl( (\mu_d - (W m + b)_d)^2 + \sum_k W_{dk}^2 v_k \bigr) \Bigr)

        with the means :math:`\mu, m` of the two posteriors, the log-variances :math:`\ell` of the
        lower and the variances v of the upper one. It is exact: no sample is drawn.

        Args:
            lower: q(c_l) of each group, (G, L).
            upper: q(c_u) of the group that each group is in, (G, U).
        """
        ratio = lower.log_variance - self.log_variance
        error = (lower.mean - self.map(upper.mean)).square()
        spread = upper.variance @ self.map.weight.square().T
        scaled = (error + spread) * (-self.log_variance).exp()
        return 0.5 * (ratio.expm1() - ratio + scaled).sum(-1)


def upper_groups(lower: Groups, upper: Groups) -> Tensor:
    """The number of the upper group that each lower group is in, (G,).

    Raises:
        InputError: if the members of a lower group are in several upper groups. A GPU does not
            wait for this check.
    """
    number = lower.max(upper.index.to(torch.float32)).clamp(min=0).long()
    checked = number.device.type == "cpu" and not torch.compiler.is_compiling()
    if checked and bool((lower.spread(number) != upper.index).any()):
        raise InputError(
            "nested groupings must have each lower group in one upper group, but a group is in "
            "several; give the groups of different upper groups different labels"
        )
    return number
