"""Modularity: each dimension has information about one factor only."""

from __future__ import annotations

import numpy as np

from mlvae.evaluation.measures.metrics.table import Array, information_table

__all__ = ["modularity"]


def modularity(
    codes: Array, factors: Array, *, bins: int = 20, factor_bins: int | None = None
) -> float:
    r"""Modularity, from 0 to 1.

    .. math:: 1 - \frac1D \sum_d
        \frac{\sum_{k \ne k_d} I(z_d; v_k)^2}{(K - 1) \, I(z_d; v_{k_d})^2}, \qquad
        k_d = \arg\max_k I(z_d; v_k)

    (Ridgeway and Mozer 2018, arXiv:1802.05312, Section 3). The score is 1 if each dimension has
    information about one factor only; several dimensions may share a factor. A dimension without
    any information counts as 0, as in Locatello et al. 2019 (arXiv:1811.12359).

    See :mod:`~mlvae.evaluation.measures.metrics.table` for the estimate of information. By chance,
    the estimate for a dimension of noise is slightly above zero and uneven over the factors, so
    the dimension counts as a value between 0 and 1. A code of pure noise does not score 0; compare
    with a control. Permuting, shifting or scaling dimensions does not change the score.

    Args:
        codes: (N, D).
        factors: (N, K), at least two factors.
        bins: number of intervals of equal width over the range of each dimension.
        factor_bins: number of intervals for a factor of more values than this; None treats every
            value as a category.

    Raises:
        InputError: if shapes do not fit, a number is not finite, or a factor has one value or more
            than N / 2 values.

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
