"""The score of Higgins et al.: which factor do two observations share, judging by their codes?"""

from __future__ import annotations

import numpy as np

from mlvae.errors import check_integer
from mlvae.evaluation.metrics.sampling import fixed_pairs, vote_tables
from mlvae.evaluation.metrics.table import Array, checked

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
    r"""The BetaVAE score: accuracy, with chance at 1 / K.

    For each factor k in turn, L pairs of observations are drawn that share its value; a linear
    classifier tells k from

    .. math:: z_\text{diff} = \frac1L \sum_{l=1}^L \bigl| z^{(l, 1)} - z^{(l, 2)} \bigr|,

    and is tested on draws of its own (Higgins et al. 2017, ICLR, the disentanglement metric).
    Sizes are those of Locatello et al. 2019 (arXiv:1811.12359). It asks little: a code that knows
    every factor but one has 1 all the same (Kim and Mnih 2018, arXiv:1802.05983), and so has one
    that says things twice.

    Pairs are drawn from the table, see :mod:`mlvae.evaluation.metrics.sampling`. The classifier is
    a logistic regression on standardised differences, so that permuting, shifting and scaling
    dimensions change nothing but by rounding.

    Args:
        codes: (N, D).
        factors: (N, K), at least two factors.
        pairs: L.
        train: draws of a factor to train the classifier on.
        test: draws to test it on.
        factor_bins: a factor of more values is cut into as many intervals; None: every value is a
            category.
        seed: of the draws.

    Raises:
        InputError: if shapes do not fit, a number is not finite, a factor has one value, or more
            than N / 2, or an option is out of range.

    Example:
        >>> factors = np.array([[a, b] for a in range(4) for b in range(3)] * 2)
        >>> beta_vae_score(factors[:, ::-1], factors, train=200, test=100)
        1.0
    """
    # Seconds that `import mlvae` need not take.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = checked(codes, factors, count=2)
    check_integer("pairs", pairs, minimum=1)

    def differences(factor: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        mean = np.zeros((count, x.shape[1]))
        # One pair at a time: all at once would need pairs times the memory.
        for first, second in zip(*fixed_pairs(factor, (pairs, count), rng), strict=True):
            mean += np.abs(x[first] - x[second]) / pairs
        return mean

    numbers = {"train": train, "test": test}
    fitted, tested = vote_tables(
        y, differences, numbers=numbers, factor_bins=factor_bins, seed=seed
    )
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    return float(classifier.fit(*fitted).score(*tested))
