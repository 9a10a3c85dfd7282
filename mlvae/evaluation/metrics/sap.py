"""SAP: how much better is the best dimension of the code at predicting a factor than the next?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlvae.evaluation.metrics.table import Array, categories, checked, per_factor, split_rows

__all__ = ["sap"]

#: Squared spread of a dimension below which it predicts nothing.
NOTHING = 1e-12


def sap(
    codes: Array,
    factors: Array,
    *,
    continuous: bool | Sequence[bool] = False,
    test_fraction: float = 1 / 3,
    seed: int = 0,
) -> float:
    r"""The separated attribute predictability, from 0 to 1.

    Every factor is predicted from every dimension alone; the score is the gap between the best and
    the second best, averaged over factors (Kumar et al. 2018, arXiv:1711.00848, Section 3). The
    prediction of a quantity is a line, and is worth

    .. math:: R^2 = \frac{\operatorname{Cov}(z_d, v_k)^2}
        {\operatorname{Var}(z_d) \operatorname{Var}(v_k)},

    on all rows. That of a category is a linear support vector machine for each value against the
    others (C = 0.01, values weighted to count the same), and is worth its accuracy on test rows,
    as in Locatello et al. 2019 (arXiv:1811.12359). Kumar et al. themselves cut the dimension by
    thresholds and balance the accuracy.

    Two things follow. Chance is not subtracted, so a perfect code of a category of two equally
    frequent values has a gap of 1/2, and one of more values less than 1. And such a machine does
    depend on the scale of a code: one of tiny numbers is read hardly better than chance. The score
    of quantities does not.

    Args:
        codes: (N, D), at least two dimensions.
        factors: (N, K).
        continuous: whether factors are quantities, for all of them or for each.
        test_fraction: fraction of rows to test predictions of categories on.
        seed: of the choice of those rows.

    Raises:
        InputError: if shapes do not fit, a number is not finite, a factor has one value, or a
            category more than N / 2.

    Example:
        >>> factors = np.array([[a, b] for a in range(2) for b in range(2)] * 30)
        >>> sap(8 * factors, factors, continuous=True)
        1.0
        >>> round(sap(8 * factors, factors), 1)
        0.5
    """
    x, y = checked(codes, factors, dimensions=2)
    rows = split_rows(len(x), test_fraction, seed)
    scores = [
        _explained(x, column)
        if quantity
        else _accuracies(x, categories(column[:, None])[:, 0], *rows)
        for column, quantity in zip(y.T, per_factor(continuous, y.shape[1]), strict=True)
    ]
    second, first = np.sort(np.array(scores), axis=1)[:, -2:].T
    return float(np.mean(first - second))


def _explained(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared correlation of every dimension with a quantity, (D,)."""
    x, y = x - x.mean(0), y - y.mean()
    spread = (x**2).mean(0)
    together = (x * y[:, None]).mean(0) ** 2
    return np.where(spread > NOTHING, together / np.maximum(spread, NOTHING) / (y**2).mean(), 0.0)


def _accuracies(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Accuracy on the rows ``test`` of a category read from every dimension alone, (D,)."""
    from sklearn.svm import LinearSVC  # seconds that `import mlvae` need not take

    if len(np.unique(y[train])) < 2:  # nothing to tell apart: always the one that there is
        return np.full(x.shape[1], np.mean(y[test] == y[train][0]))
    # The primal problem has no randomness and, with few dimensions, is the faster one.
    machine = LinearSVC(C=0.01, class_weight="balanced", dual=False)
    return np.array(
        [
            machine.fit(x[train, d, None], y[train]).score(x[test, d, None], y[test])
            for d in range(x.shape[1])
        ]
    )
