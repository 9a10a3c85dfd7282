"""The score of Kim and Mnih: which dimension hardly varies when a factor is held fixed?"""

from __future__ import annotations

import numpy as np

from mlvae.errors import check_integer, check_number
from mlvae.evaluation.metrics.sampling import fixed_rows, vote_tables
from mlvae.evaluation.metrics.table import Array, checked

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
    r"""The FactorVAE score: accuracy, with chance at 1 / K.

    For each factor k in turn, L observations are drawn that share its value; the vote is for the
    dimension

    .. math:: \arg\min_d \operatorname{Var}_{l} \bigl( z_d^{(l)} \bigr)
        / \operatorname{Var} (z_d),

    whose denominator is over the whole table. Each dimension stands for the factor that most votes
    of a first set say, and the score is the fraction of a second set that it is right about (Kim
    and Mnih 2018, arXiv:1802.05983). Sizes and ``collapsed`` are those of Locatello et al. 2019
    (arXiv:1811.12359), who leave out dimensions whose standard deviation is smaller: those that
    a model does not use have next to no variance of their means, and dividing by it would
    make noise of them. 0 if none is left.

    Observations are drawn from the table, see :mod:`mlvae.evaluation.metrics.sampling`. Permuting
    and shifting dimensions changes nothing; nor does scaling, but for ``collapsed``, which is in
    units of a prior of variance 1.

    Args:
        codes: (N, D).
        factors: (N, K), at least two factors.
        draws: L.
        train: votes that decide for what a dimension stands.
        test: votes to test it on.
        collapsed: standard deviation below which a dimension is left out.
        factor_bins: a factor of more values is cut into as many intervals; None: every value is a
            category.
        seed: of the draws.

    Raises:
        InputError: if shapes do not fit, a number is not finite, a factor has one value, or more
            than N / 2, or an option is out of range.

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

    def dimensions(factor: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        rows = fixed_rows(factor, count, draws, rng)
        return np.array([x[row].var(0).argmin() for row in rows])

    numbers = {"train": train, "test": test}
    tables = vote_tables(y, dimensions, numbers=numbers, factor_bins=factor_bins, seed=seed)
    votes, tested = np.zeros((2, y.shape[1], x.shape[1]), int)
    for counts, (dimension, factor) in zip((votes, tested), tables, strict=True):
        np.add.at(counts, (factor, dimension), 1)
    return float(tested[votes.argmax(0), np.arange(x.shape[1])].sum() / tested.sum())
