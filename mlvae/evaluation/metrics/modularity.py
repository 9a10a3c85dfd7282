"""Modularity: does a dimension of the code know of one factor, and of no second one?"""

from __future__ import annotations

import numpy as np

from mlvae.evaluation.metrics.table import Array, information_table

__all__ = ["modularity"]


def modularity(
    codes: Array, factors: Array, *, bins: int = 20, factor_bins: int | None = None
) -> float:
    r"""Modularity, from 0 to 1.

    .. math:: 1 - \frac1D \sum_d
        \frac{\sum_{k \ne k_d} I(z_d; v_k)^2}{(K - 1) \, I(z_d; v_{k_d})^2}, \qquad
        k_d = \arg\max_k I(z_d; v_k)

    (Ridgeway and Mozer 2018, arXiv:1802.05312, Section 3). 1: each dimension knows of one factor
    only, in however many dimensions that one is. A dimension that has no information at all counts
    as 0, as in Locatello et al. 2019 (arXiv:1811.12359).

    The estimate of information is that of :mod:`mlvae.evaluation.metrics.table`. A dimension of
    noise has a little of it by chance, spread by chance over the factors: it counts as anything
    between, so a code of noise alone does not have 0, and only a gap to a control means something.
    It does not change if dimensions are permuted, shifted or scaled.

    Args:
        codes: (N, D).
        factors: (N, K), at least two factors.
        bins: intervals of equal width that each dimension is cut into over its range.
        factor_bins: a factor of more values is cut into as many intervals; None: every value is a
            category.

    Raises:
        InputError: if shapes do not fit, a number is not finite, a factor has one value, or more
            than N / 2.

    Example:
        >>> factors = np.array([[a, b] for a in range(4) for b in range(3)] * 2)
        >>> modularity(factors[:, [0, 1, 1]], factors)
        1.0
        >>> modularity(np.column_stack([factors[:, 0], np.zeros(24)]), factors)
        0.5
    """
    square = information_table(codes, factors, bins=bins, factor_bins=factor_bins, count=2)[0] ** 2
    most = square.max(1)
    others = square.sum(1) - most
    share = others / np.where(most > 0, most, 1) / (square.shape[1] - 1)
    return float(np.mean(np.where(most > 0, 1 - share, 0)))
