"""The FactorVAE score of Kim and Mnih: find the dimension that varies least for a fixed factor."""

from __future__ import annotations

import numpy as np

from mlvae.errors import check_integer, check_number
from mlvae.evaluation.measures.metrics.sampling import fixed_rows, vote_tables
from mlvae.evaluation.measures.metrics.table import Array, checked

__all__ = ["factor_vae_score"]


def factor_vae_score(
    codes: Array,
    factors: Array,
    *,
    draws: int = 64,
    train: int = 10_000,
    test: int = 5_000,
    collapsed: float = 0.05,
    factor_bins: int | None = None,
    seed: int = 0,
) -> float:
    r"""The FactorVAE score: an accuracy, of which chance is 1 / K.

    For each factor k in turn, L observations that share its value are drawn. They vote for the
    dimension

    .. math:: \arg\min_d \operatorname{Var}_{l} \bigl( z_d^{(l)} \bigr)
        / \operatorname{Var} (z_d),

    where the denominator is the variance over the whole table. A first set of votes assigns to
    each dimension the factor with most votes for it. The score is the fraction of a second set of
    votes that agrees with this assignment (Kim and Mnih 2018, arXiv:1802.05983). The default sizes
    and ``collapsed`` are those of Locatello et al. 2019 (arXiv:1811.12359), who leave out
    dimensions of a smaller standard deviation: the means of unused dimensions have almost no
    variance, and the division by it would amplify noise. The score is 0 if no dimension is left.

    Observations are drawn from the table, see
    :mod:`~mlvae.evaluation.measures.metrics.sampling`. Permuting and shifting dimensions does not
    change the score. Scaling changes it only through ``collapsed``, whose unit assumes a prior of
    variance 1.

    Args:
        codes: (N, D).
        factors: (N, K), at least two factors.
        draws: number L of observations of one vote.
        train: number of votes that assign factors to dimensions.
        test: number of votes that test the assignment.
        collapsed: standard deviation below which a dimension is left out.
        factor_bins: number of intervals for a factor of more values than this; None treats every
            value as a category.
        seed: seed of the draws.

    Raises:
        InputError: if shapes do not fit, a number is not finite, a factor has one value or more
            than N / 2 values, or an option is out of range.

    Example:
        >>> factors = np.array([[a, b] for a in range(4) for b in range(3)] * 2)
        >>> factor_vae_score(factors[:, ::-1], factors, train=200, test=100)
        1.0
    """
    x, y = checked(codes, factors, count=2)
    check_integer("draws", draws, minimum=2)
    check_number("collapsed", collapsed, minimum=0)
    spread = x.std(0, ddof=1)
    used = (spread >= collapsed) & (spread > 0)
    if not used.any():
        return 0.0
    x = x[:, used] / spread[used]

    def least_varied(factor: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        rows = fixed_rows(factor, count, draws, rng)
        return np.array([x[row].var(0).argmin() for row in rows])

    numbers = {"train": train, "test": test}
    tables = vote_tables(y, least_varied, numbers=numbers, factor_bins=factor_bins, seed=seed)
    votes, tested = np.zeros((2, y.shape[1], x.shape[1]), int)
    for counts, (dimension, factor) in zip((votes, tested), tables, strict=True):
        np.add.at(counts, (factor, dimension), 1)
    return float(tested[votes.argmax(0), np.arange(x.shape[1])].sum() / tested.sum())
