r"""Pseudo-counts: the evidence of observations about a content on the simplex.

An observation has nonnegative numbers :math:`e_{ik}`, as many counts of each component k. With the
prior Dir(:math:`\alpha`) the posterior of a group is

.. math:: q(c \mid x_G) = \mathrm{Dir}\Bigl(\alpha + \sum_{i \in G} e_i\Bigr) \propto
    p(c) \prod_{i \in G} \prod_k c_k^{e_{ik}}

It is Bayes' rule where the likelihood of an observation is proportional to
:math:`\prod_k c_k^{e_{ik}}`, as for draws of components: the Dirichlet is the conjugate prior. So
the evidence is additive, like that of Gaussians (:class:`mlvae.Evidence`).

Shapes: N observations, G groups, K components.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlvae.arguments import check_floats, check_mask, check_type
from mlvae.errors import InputError, check_integer
from mlvae.groups import Groups
from mlvae.posteriors.dirichlet import Dirichlet

__all__ = ["PseudoCounts"]


class PseudoCounts:
    """Nonnegative counts of the components of a Dirichlet, and the prior that they are added to.

    Args:
        counts: e, nonnegative, (..., K).
        prior: concentration of the prior, (K,).

    Example:
        >>> prior = torch.ones(2)
        >>> a, b = (PseudoCounts(torch.tensor(e), prior) for e in ([3.0, 0.0], [0.0, 4.0]))
        >>> (a + b).posterior().mean
        tensor([0.4444, 0.5556])
    """

    def __init__(self, counts: Tensor, prior: Tensor) -> None:
        check_floats("counts", counts, "(..., K)")
        check_floats("prior", prior, "(K,)", ndim=1)
        if prior.shape[0] != counts.shape[-1]:
            raise InputError(
                f"counts and prior must have equal numbers of components, not {counts.shape[-1]} "
                f"and {prior.shape[0]}"
            )
        self.counts = counts
        self.prior = prior

    @classmethod
    def of(cls, posterior: Dirichlet) -> PseudoCounts:
        """The evidence in the posteriors q(c | x_i) (..., K) of single observations.

        It is the concentration above the prior's, at least 0.
        """
        check_type("posterior", posterior, Dirichlet, "a Dirichlet")
        counts = posterior.concentration - posterior.prior_concentration
        return cls(counts.clamp(min=0), posterior.prior_concentration)

    @classmethod
    def none(cls, *shape: int, prior: Tensor) -> PseudoCounts:
        """No evidence, the zero of addition: ``shape`` + (K,) zeros."""
        for length in shape:
            check_integer("shape", length, minimum=0)
        check_floats("prior", prior, "(K,)", ndim=1)
        return cls(prior.new_zeros(*shape, len(prior)), prior)

    def __repr__(self) -> str:
        return f"PseudoCounts(shape={tuple(self.counts.shape)}, dtype={self.counts.dtype})"

    def __getitem__(self, rows: int | slice | Tensor | Sequence[int]) -> PseudoCounts:
        """The evidence at ``rows`` of the leading shape."""
        return PseudoCounts(self.counts[rows], self.prior)

    def only(self, mask: Tensor) -> PseudoCounts:
        """The evidence where ``mask`` (N,) is true, and no evidence elsewhere."""
        check_mask("mask", mask, len(self.counts))
        return PseudoCounts(self.counts.masked_fill(~mask[:, None], 0), self.prior)

    def where(self, mask: Tensor, other: PseudoCounts) -> PseudoCounts:
        """The evidence where ``mask`` (N,) is true, and that of ``other`` elsewhere."""
        other = self._fitting(other)
        check_mask("mask", mask, len(self.counts))
        return PseudoCounts(torch.where(mask[:, None], self.counts, other.counts), self.prior)

    def accumulate(self, groups: Groups) -> PseudoCounts:
        """Add the evidence (N, K) of the members of each group: (G, K). A segment sum."""
        check_type("groups", groups, Groups, "Groups")
        return PseudoCounts(groups.sum(self.counts), self.prior)

    def leave_one_out(self, groups: Groups) -> PseudoCounts:
        """For each observation, the evidence (N, K) of the other members of its group."""
        total = groups.spread(self.accumulate(groups).counts)
        return PseudoCounts(total, self.prior) - self

    def __add__(self, other: PseudoCounts | int) -> PseudoCounts:
        """The evidence of two disjoint sets of observations together.

        The number 0 is no evidence, so that ``sum`` of a list works.
        """
        if isinstance(other, int) and other == 0 and not isinstance(other, bool):
            return self
        return PseudoCounts(self.counts + self._fitting(other).counts, self.prior)

    __radd__ = __add__

    def __sub__(self, other: PseudoCounts) -> PseudoCounts:
        """Remove ``other``, which is a part of this evidence; what rounds below 0 is 0."""
        return PseudoCounts((self.counts - self._fitting(other).counts).clamp(min=0), self.prior)

    def _fitting(self, other: object) -> PseudoCounts:
        """``other``, which must be counts of the same shape."""
        check_type("evidence that is added or removed", other, PseudoCounts, "PseudoCounts")
        assert isinstance(other, PseudoCounts)
        if other.counts.shape != self.counts.shape:
            raise InputError(
                "evidence that is added or removed must have the shape "
                f"{tuple(self.counts.shape)}, not {tuple(other.counts.shape)}"
            )
        return other

    def posterior(self) -> Dirichlet:
        """The Dirichlet with the concentration of the prior plus the counts, (..., K)."""
        return Dirichlet.unchecked(self.prior + self.counts, self.prior)
