"""The BetaVAE score of Higgins et al.: predict the factor that two observations share."""

from __future__ import annotations

import numpy as np

from mlvae.errors import check_integer
from mlvae.evaluation.measures.metrics.sampling import fixed_pairs, vote_tables
from mlvae.evaluation.measures.metrics.table import Array, checked

__all__ = ["beta_vae_score"]


def beta_vae_score(
    codes: Array,
    factors: Array,
    *,
    pairs: int = 64,
    train: int = 10_000,
    test: int = 5_000,
    factor_bins: int | None = None,
    seed: int = 0,
) -> float:
    r"""The BetaVAE score: an accuracy, of which chance is 1 / K.

    For each factor k in turn, L pairs of observations that share its value are drawn. A linear
    classifier predicts k from

    .. math:: z_\text{diff} = \frac1L \sum_{l=1}^L \bigl| z^{(l, 1)} - z^{(l, 2)} \bigr|,

    and is tested on separate draws (Higgins et al. 2017, ICLR, the disentanglement metric). The
    default sizes are those of Locatello et al. 2019 (arXiv:1811.12359). The score is easy to
    satisfy: a code of all factors but one scores 1 (Kim and Mnih 2018, arXiv:1802.05983), and so
    does a code with every factor in two dimensions.

    Pairs are drawn from the table, see :mod:`~mlvae.evaluation.measures.metrics.sampling`. The
    classifier is a logistic regression on standardised differences. Permuting, shifting and
    scaling dimensions therefore changes the score by rounding only.

    Args:
        codes: (N, D).
        factors: (N, K), at least two factors.
        pairs: number L of pairs of one draw.
        train: number of draws to train the classifier on.
        test: number of draws to test it on.
        factor_bins: number of intervals for a factor of more values than this; None treats every
            value as a category.
        seed: seed of the draws.

    Raises:
        InputError: if shapes do not fit, a number is not finite, a factor has one value or more
            than N / 2 values, or an option is out of range.

    Example:
        >>> factors = np.array([[a, b] for a in range(4) for b in range(3)] * 2)
        >>> beta_vae_score(factors[:, ::-1], factors, train=200, test=100)
        1.0
    """
    # Local imports: scikit-learn takes seconds, which `import mlvae` does not need.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = checked(codes, factors, count=2)
    check_integer("pairs", pairs, minimum=1)

    def mean_differences(factor: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        mean = np.zeros((count, x.shape[1]))
        # Sum pair by pair: an array of all pairs would need ``pairs`` times the memory.
        for first, second in zip(*fixed_pairs(factor, (pairs, count), rng), strict=True):
            mean += np.abs(x[first] - x[second]) / pairs
        return mean

    numbers = {"train": train, "test": test}
    fitted, tested = vote_tables(
        y, mean_differences, numbers=numbers, factor_bins=factor_bins, seed=seed
    )
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    return float(classifier.fit(*fitted).score(*tested))
