r"""Evidence: the natural parameters of a Gaussian factor of a content posterior.

A product of Gaussians is a sum of natural parameters, so evidence is additive: over the members of
a group, in any order, in parts, and over time. :mod:`mlvae.evidence.rules` defines the rules for
the posterior of a group.

Shapes: N observations, G groups, C content dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlvae.arguments import check_floats, check_mask, check_type
from mlvae.errors import InputError, check_integer
from mlvae.groups import Groups
from mlvae.kernels import accumulation as kernel
from mlvae.posteriors.gaussian import DiagonalGaussian

__all__ = ["Evidence"]


class Evidence:
    r"""Natural parameters of a Gaussian factor, in a form that does not overflow or underflow.

    A factor :math:`N(c; \mu, e^{\ell})` has the precision :math:`\lambda = e^{-\ell}` and the
    precision-weighted mean :math:`\lambda \mu`. Multiplying factors adds both:

    .. math:: \lambda_G = \sum_i \lambda_i, \qquad \lambda_G \mu_G = \sum_i \lambda_i \mu_i

    (Bouchacourt, Tomioka and Nowozin 2018, the product of normals that defines
    :math:`q(c \mid x_G) \propto \prod_i q(c \mid x_i)`). A sum of 100,000 precisions of
    :math:`e^{80}` overflows in float32. The object therefore stores :math:`\log \lambda` and
    :math:`\mu`. The sum is then a log-sum-exp and the mean a softmax-weighted average, and both
    stay finite.

    Args:
        log_precision: :math:`\log \lambda`, shape (..., C). Minus infinity means no evidence.
        mean: :math:`\mu`, shape (..., C).

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[0.0], [2.0]]), torch.zeros(2, 1))
        >>> a, b = Evidence.of(q[:1]), Evidence.of(q[1:])
        >>> (a + b).posterior().mean, (a + b).posterior().variance
        (tensor([[1.]]), tensor([[0.5000]]))
    """

    def __init__(self, log_precision: Tensor, mean: Tensor) -> None:
        check_floats("log_precision", log_precision, "(..., C)")
        check_floats("mean", mean, "(..., C)")
        if log_precision.shape != mean.shape:
            raise InputError(
                "log_precision and mean must have one shape, not "
                f"{tuple(log_precision.shape)} and {tuple(mean.shape)}"
            )
        self.log_precision = log_precision
        self.mean = mean

    @classmethod
    def of(cls, posterior: DiagonalGaussian) -> Evidence:
        """Return the evidence in the posteriors q(c | x_i) (..., C) of single observations."""
        check_type("posterior", posterior, DiagonalGaussian, "a DiagonalGaussian")
        return cls(-posterior.log_variance, posterior.mean)

    @classmethod
    def none(cls, *shape: int, like: Tensor | None = None) -> Evidence:
        """Return no evidence, the zero of addition, with the dtype and device of ``like``."""
        for length in shape:
            check_integer("shape", length, minimum=0)
        if like is not None:
            check_floats("like", like, "(...)")
        mean = torch.zeros(shape) if like is None else like.new_zeros(shape)
        return cls(torch.full_like(mean, -torch.inf), mean)

    def __repr__(self) -> str:
        return f"Evidence(shape={tuple(self.mean.shape)}, dtype={self.mean.dtype})"

    def __getitem__(self, rows: int | slice | Tensor | Sequence[int]) -> Evidence:
        """Return the evidence at ``rows`` of the leading shape."""
        return Evidence(self.log_precision[rows], self.mean[rows])

    @property
    def precision(self) -> Tensor:
        r"""The first natural parameter :math:`\lambda`, shape (..., C)."""
        return self.log_precision.exp()

    @property
    def precision_mean(self) -> Tensor:
        r"""The second natural parameter :math:`\lambda \mu`, shape (..., C)."""
        return self.precision * self.mean

    def only(self, mask: Tensor) -> Evidence:
        """Return the evidence where ``mask`` (N,) is true, and no evidence elsewhere."""
        check_mask("mask", mask, len(self.mean))
        log_precision = self.log_precision.masked_fill(~mask[:, None], -torch.inf)
        return Evidence(log_precision, self.mean)

    def where(self, mask: Tensor, other: Evidence) -> Evidence:
        """Return the evidence where ``mask`` (N,) is true, and that of ``other`` elsewhere."""
        other = self._fitting(other)
        check_mask("mask", mask, len(self.mean))
        chosen = mask[:, None]
        return Evidence(
            torch.where(chosen, self.log_precision, other.log_precision),
            torch.where(chosen, self.mean, other.mean),
        )

    def accumulate(self, groups: Groups) -> Evidence:
        """Add the evidence (N, C) of the members of each group: (G, C). A segment sum."""
        check_type("groups", groups, Groups, "Groups")
        scale, total, mean = self._sums(groups)
        return Evidence(scale + total.log(), mean)

    def posterior_of(self, groups: Groups) -> DiagonalGaussian:
        """Return ``accumulate(groups).posterior()``, (G, C), in fewer operations."""
        check_type("groups", groups, Groups, "Groups")
        local = type(groups) is Groups  # the sums of a share of a batch may be over ranks
        if local and kernel.applies(self.mean, groups.num_groups):
            index, num_groups = groups.index, groups.num_groups
            log_variance, mean = kernel.accumulated(
                -self.log_precision, self.mean, index, num_groups
            )
            return DiagonalGaussian(mean, log_variance)
        scale, total, mean = self._sums(groups)
        scale = scale.nan_to_num(torch.nan, torch.inf, neginf=0)  # groups without evidence
        return DiagonalGaussian(mean, -(scale + total.log()))

    def _sums(self, groups: Groups) -> tuple[Tensor, Tensor, Tensor]:
        """Return, per group (G, C), the largest log-precision, the scaled sum and the mean.

        The scaled sum is the sum of precisions divided by the largest one.
        """
        # The scale cancels from the result, so it needs no gradient.
        scale = groups.max(self.log_precision.detach())
        finite = scale.clamp(min=torch.finfo(scale.dtype).min)
        weight = (self.log_precision - groups.spread(finite)).exp()
        total, weighted = groups.sum(torch.stack((weight, weight * self.mean), 1)).unbind(1)
        total = total + (scale == -torch.inf)  # 1 instead of 0 where there is no evidence
        return scale, total, weighted / total

    def __add__(self, other: Evidence | int) -> Evidence:
        """Return the evidence of two disjoint sets of observations together.

        The number 0 is no evidence, so that ``sum`` of a list works.
        """
        if isinstance(other, int) and other == 0 and not isinstance(other, bool):
            return self
        other = self._fitting(other)
        scale = torch.maximum(self.log_precision, other.log_precision).detach()
        scale = scale.masked_fill(scale == -torch.inf, 0)
        weight = (self.log_precision - scale).exp()
        other_weight = (other.log_precision - scale).exp()
        total = weight + other_weight
        none = total == 0
        total = total.masked_fill(none, 1)
        log_precision = (scale + total.log()).masked_fill(none, -torch.inf)
        mean = (weight * self.mean + other_weight * other.mean) / total
        return Evidence(log_precision, mean)

    __radd__ = __add__

    def _fitting(self, other: object) -> Evidence:
        """``other``, which must be evidence of the same shape."""
        check_type("evidence that is added or removed", other, Evidence, "Evidence")
        assert isinstance(other, Evidence)
        if other.mean.shape != self.mean.shape:
            raise InputError(
                f"evidence that is added or removed must have the shape {tuple(self.mean.shape)}, "
                f"not {tuple(other.mean.shape)}"
            )
        return other

    def __sub__(self, other: Evidence) -> Evidence:
        """Remove ``other``, which is a part of this evidence.

        The result is no evidence where nothing remains, also by rounding.

        Warning:
            The result has few correct digits where ``other`` has nearly all of the precision. Use
            float64 if single observations dominate their groups.
        """
        other = self._fitting(other)
        log_share = other.log_precision - self.log_precision
        none = ~(log_share.detach().exp() < 1)  # NaN where neither has evidence
        # The mask comes before the exponential, whose gradient is NaN at NaN and at infinity.
        share = log_share.masked_fill(none, -torch.inf).exp()
        mean = self.mean + (self.mean - other.mean) * share / (1 - share)
        log_precision = self.log_precision + torch.log1p(-share)
        return Evidence(log_precision.masked_fill(none, -torch.inf), mean.masked_fill(none, 0))

    def leave_one_out(self, groups: Groups) -> Evidence:
        """Return, for each observation, the evidence (N, C) of the other members of its group."""
        group = self.accumulate(groups)
        return Evidence(groups.spread(group.log_precision), groups.spread(group.mean)) - self

    def posterior(self) -> DiagonalGaussian:
        """Return the Gaussian with these natural parameters, or the prior without evidence.

        The prior N(0, I) is not one of the factors, as in the paper.
        """
        none = self.log_precision == -torch.inf
        return DiagonalGaussian(
            self.mean.masked_fill(none, 0), -self.log_precision.masked_fill(none, 0)
        )
