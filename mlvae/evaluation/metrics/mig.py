"""The mutual information gap: is a factor in one dimension of the code, and in no second one?"""

from __future__ import annotations

import numpy as np

from mlvae.evaluation.metrics.table import Array, information_table

__all__ = ["mig"]


def mig(codes: Array, factors: Array, *, bins: int = 20, factor_bins: int | None = None) -> float:
    r"""The mutual information gap, from 0 to 1.

    .. math:: \text{MIG} = \frac1K \sum_k \frac{1}{H(v_k)}
        \Bigl( I(z_{d_k}; v_k) - \max_{d \ne d_k} I(z_d; v_k) \Bigr), \qquad
        d_k = \arg\max_d I(z_d; v_k)

    (Chen et al. 2018, arXiv:1802.04942, Section 4). There the information is that of draws from
    the posterior, and here, as in Locatello et al. 2019 (arXiv:1811.12359), that of codes cut into
    intervals; see :mod:`mlvae.evaluation.metrics.table` for the estimate. 1: every factor is
    determined by one dimension, and no other knows anything of it. A rotation of such a code may
    have 0, and so has a code that says everything twice.

    It does not change if dimensions are permuted, shifted or scaled, nor with the unit of
    information. With ``bins`` fewer than the values of a factor, no code reaches 1.

    Args:
        codes: (N, D), at least two dimensions.
        factors: (N, K).
        bins: intervals of equal width that each dimension is cut into over its range.
        factor_bins: a factor of more values is cut into as many intervals; None: every value is a
            category.

    Raises:
        InputError: if shapes do not fit, a number is not finite, a factor has one value, or more
            than N / 2.

    Example:
        >>> factors = np.array([[a, b] for a in range(4) for b in range(3)] * 2)
        >>> mig(factors[:, ::-1] / 7, factors)
        1.0
        >>> mig(factors[:, [0, 1, 1]], factors)  # the second one twice
        0.5
    """
    information, entropy = information_table(
        codes, factors, bins=bins, factor_bins=factor_bins, dimensions=2
    )
    second, first = np.sort(information, axis=0)[-2:]
    return float(np.mean((first - second) / entropy))
