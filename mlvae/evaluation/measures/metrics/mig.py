"""The mutual information gap (MIG) between the best two dimensions for each factor."""

from __future__ import annotations

import numpy as np

from mlvae.evaluation.measures.metrics.table import Array, information_table

__all__ = ["mig"]


def mig(codes: Array, factors: Array, *, bins: int = 20, factor_bins: int | None = None) -> float:
    r"""The mutual information gap, from 0 to 1.

    .. math:: \text{MIG} = \frac1K \sum_k \frac{1}{H(v_k)}
        \Bigl( I(z_{d_k}; v_k) - \max_{d \ne d_k} I(z_d; v_k) \Bigr), \qquad
        d_k = \arg\max_d I(z_d; v_k)

    (Chen et al. 2018, arXiv:1802.04942, Section 4). Chen et al. use draws from the posterior. Here
    codes are cut into intervals, as in Locatello et al. 2019 (arXiv:1811.12359); see
    :mod:`~mlvae.evaluation.measures.metrics.table`. The score is 1 if one dimension determines
    each factor and no other dimension has information about it. It is 0 for a code with every
    factor in two dimensions, and can be 0 for a rotation of a code that scores 1.

    Permuting, shifting or scaling dimensions does not change the score, nor does the unit of
    information. If ``bins`` is less than the number of values of a factor, no code reaches 1.

    Args:
        codes: (N, D), at least two dimensions.
        factors: (N, K).
        bins: number of intervals of equal width over the range of each dimension.
        factor_bins: number of intervals for a factor of more values than this; None treats every
            value as a category.

    Raises:
        InputError: if shapes do not fit, a number is not finite, or a factor has one value or more
            than N / 2 values.

    Example:
        >>> factors = np.array([[a, b] for a in range(4) for b in range(3)] * 2)
        >>> mig(factors[:, ::-1] / 7, factors)
        1.0
        >>> mig(factors[:, [0, 1, 1]], factors)  # the second factor in two dimensions
        0.5
    """
    information, entropy = information_table(
        codes, factors, bins=bins, factor_bins=factor_bins, dimensions=2
    )
    second, first = np.sort(information, axis=0)[-2:]
    return float(np.mean((first - second) / entropy))
