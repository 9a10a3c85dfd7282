"""The score of Higgins et al.: which factor do two observations share, judging by their codes?"""

from __future__ import annotations

import numpy as np

from mlvae.errors import check_integer
from mlvae.evaluation.metrics.sampling import fixed_pairs
from mlvae.evaluation.metrics.table import Array, categories, checked

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
    check_integer("seed", seed, minimum=0)
    for name, value in (("train", train), ("test", test)):
        check_integer(name, value, minimum=y.shape[1])
    y, rng = categories(y, factor_bins), np.random.default_rng(seed)
    drawn = [_draw(x, y, number, pairs, rng) for number in (train, test)]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    return float(classifier.fit(*drawn[0]).score(*drawn[1]))


def _draw(
    x: np.ndarray, y: np.ndarray, number: int, pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Differences (number, D), and which factor was shared (number,): all as often."""
    shared = np.arange(number) % y.shape[1]
    difference = np.zeros((number, x.shape[1]))
    for k in range(y.shape[1]):
        first, second = fixed_pairs(y[:, k], (pairs, int((shared == k).sum())), rng)
        # One pair at a time: all at once would need pairs times the memory.
        for one, other in zip(first, second, strict=True):
            difference[shared == k] += np.abs(x[one] - x[other]) / pairs
    return difference, shared
