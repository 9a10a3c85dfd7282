r"""Evidence: what observations say of their group's content, and how it adds up.

A product of Gaussians is a sum of natural parameters, so evidence is additive: over the members of
a group, in any order, in pieces, over time. The rules that make a group's posterior are
in :mod:`mlvae.accumulation`.

Shapes: N observations, G groups, C content dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlvae.gaussian import DiagonalGaussian
from mlvae.groups import Groups
from mlvae.kernels.accumulation import accumulated, worthwhile

__all__ = ["Evidence"]


class Evidence:
    r"""Natural parameters of a Gaussian factor, held so that they neither over- nor underflow.

    A factor :math:`N(c; \mu, e^{\ell})` has the precision :math:`\lambda = e^{-\ell}` and the
    precision-weighted mean :math:`\lambda \mu`. Multiplying factors adds both:

    .. math:: \lambda_G = \sum_i \lambda_i, \qquad \lambda_G \mu_G = \sum_i \lambda_i \mu_i

    (Bouchacourt, Tomioka and Nowozin 2018, the product of normals that defines
    :math:`q(c \mid x_G) \propto \prod_i q(c \mid x_i)`). Precisions of :math:`e^{80}` added
    100,000 times leave float32, so what is stored is :math:`\log \lambda` and :math:`\mu`: the sum
    is a log-sum-exp and the mean a softmax-weighted average, both finite throughout.

    Args:
        log_precision: :math:`\log \lambda`, shape (..., C); minus infinity is no evidence at all.
        mean: :math:`\mu`, shape (..., C).

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[0.0], [2.0]]), torch.zeros(2, 1))
        >>> a, b = Evidence.of(q[:1]), Evidence.of(q[1:])
        >>> (a + b).posterior().mean, (a + b).posterior().variance
        (tensor([[1.]]), tensor([[0.5000]]))
    """

    def __init__(self, log_precision: Tensor, mean: Tensor) -> None:
        self.log_precision = log_precision
        self.mean = mean

    @classmethod
    def of(cls, posterior: DiagonalGaussian) -> Evidence:
        """The evidence that each observation's own posterior q(c | x_i) (..., C) carries."""
        return cls(-posterior.log_variance, posterior.mean)

    @classmethod
    def none(cls, *shape: int, like: Tensor | None = None) -> Evidence:
        """No evidence, the zero of addition; dtype and device are those of ``like``."""
        mean = torch.zeros(shape) if like is None else like.new_zeros(shape)
        return cls(torch.full_like(mean, -torch.inf), mean)

    def __repr__(self) -> str:
        return f"Evidence(shape={tuple(self.mean.shape)}, dtype={self.mean.dtype})"

    def __getitem__(self, rows: object) -> Evidence:
        """The evidence at ``rows`` of the leading shape."""
        return Evidence(self.log_precision[rows], self.mean[rows])

    @property
    def precision(self) -> Tensor:
        r"""First natural parameter :math:`\lambda`, shape (..., C)."""
        return self.log_precision.exp()

    @property
    def precision_mean(self) -> Tensor:
        r"""Second natural parameter :math:`\lambda \mu`, shape (..., C)."""
        return self.precision * self.mean

    def only(self, mask: Tensor) -> Evidence:
        """The evidence where ``mask`` (N,) is true, and none elsewhere."""
        log_precision = self.log_precision.masked_fill(~mask[:, None], -torch.inf)
        return Evidence(log_precision, self.mean)

    def accumulate(self, groups: Groups) -> Evidence:
        """Add the evidence (N, C) of the members of each group: (G, C). One segment sum."""
        scale, total, mean = self._added(groups)
        return Evidence(scale + total.log(), mean)

    def posterior_of(self, groups: Groups) -> DiagonalGaussian:
        """``accumulate(groups).posterior()``, (G, C), in fewer operations: every step needs it."""
        alone = type(groups) is Groups  # the sums of a share of a batch may be over ranks
        few = worthwhile(self.mean, groups.num_groups)
        if torch.compiler.is_compiling() and alone and few:
            values = -self.log_precision, self.mean
            log_variance, mean = accumulated(*values, groups.index, groups.num_groups)
            return DiagonalGaussian(mean, log_variance)
        scale, total, mean = self._added(groups)
        scale = scale.nan_to_num(torch.nan, torch.inf, neginf=0)  # of no evidence alone
        return DiagonalGaussian(mean, -(scale + total.log()))

    def _added(self, groups: Groups) -> tuple[Tensor, Tensor, Tensor]:
        """Of each group the largest log-precision, all its precisions over that one, the mean."""
        # The scale cancels from the result, so no gradient needs to pass through it.
        scale = groups.max(self.log_precision.detach())
        finite = scale.clamp(min=torch.finfo(scale.dtype).min)
        weight = (self.log_precision - groups.spread(finite)).exp()
        total, weighted = groups.sum(torch.stack((weight, weight * self.mean), 1)).unbind(1)
        total = total + (scale == -torch.inf)  # 1 for no evidence, whose total is 0
        return scale, total, weighted / total

    def __add__(self, other: Evidence) -> Evidence:
        """Evidence of both, as if from disjoint sets of observations."""
        scale = torch.maximum(self.log_precision, other.log_precision).detach()
        scale = scale.masked_fill(scale == -torch.inf, 0)
        mine, theirs = (self.log_precision - scale).exp(), (other.log_precision - scale).exp()
        total = mine + theirs
        none = total == 0
        total = total.masked_fill(none, 1)
        log_precision = (scale + total.log()).masked_fill(none, -torch.inf)
        return Evidence(log_precision, (mine * self.mean + theirs * other.mean) / total)

    def __sub__(self, other: Evidence) -> Evidence:
        """What is left once ``other``, a part of this evidence, is taken away.

        A part that holds nearly all of the precision leaves few digits to the rest: use float64
        where single observations dominate their groups. Where nothing is left, or rounding leaves
        less, the result is no evidence.
        """
        share = (other.log_precision - self.log_precision).exp()
        none = ~(share < 1)  # also where there was no evidence to begin with
        share = share.masked_fill(none, 0)
        mean = self.mean + (self.mean - other.mean) * share / (1 - share)
        left = self.log_precision + torch.log1p(-share)
        return Evidence(left.masked_fill(none, -torch.inf), mean.masked_fill(none, 0))

    def leave_one_out(self, groups: Groups) -> Evidence:
        """Evidence (N, C) of every observation's fellow members, itself left out, in one pass."""
        whole = self.accumulate(groups)
        return Evidence(groups.spread(whole.log_precision), groups.spread(whole.mean)) - self

    def posterior(self) -> DiagonalGaussian:
        """The Gaussian with these natural parameters; where there is no evidence, the prior.

        The prior N(0, I) is not itself one of the factors, as in the paper.
        """
        none = self.log_precision == -torch.inf
        return DiagonalGaussian(
            self.mean.masked_fill(none, 0), -self.log_precision.masked_fill(none, 0)
        )
