"""SAP: the gap between the best two dimensions in the prediction of each factor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlvae.evaluation.measures.metrics.table import (
    Array,
    categories,
    checked,
    per_factor,
    split_rows,
)

__all__ = ["sap"]

#: Variance below which a dimension counts as constant.
CONSTANT = 1e-12


def sap(
    codes: Array,
    factors: Array,
    *,
    continuous: bool | Sequence[bool] = False,
    test_fraction: float = 1 / 3,
    seed: int = 0,
) -> float:
    r"""The separated attribute predictability, from 0 to 1.

    Every factor is predicted from every single dimension. The score is the gap between the best
    and the second-best prediction, mean over factors (Kumar et al. 2018, arXiv:1711.00848,
    Section 3). A quantity is predicted by linear regression and scored by

    .. math:: R^2 = \frac{\operatorname{Cov}(z_d, v_k)^2}
        {\operatorname{Var}(z_d) \operatorname{Var}(v_k)},

    on all rows. A category is predicted by one-against-all linear support vector machines
    (C = 0.01, values weighted equally) and scored by their accuracy on test rows, as in Locatello
    et al. 2019 (arXiv:1811.12359). Kumar et al. use thresholds of the dimension and the balanced
    accuracy.

    Chance is not subtracted. A perfect code of a category of two equally frequent values therefore
    has a gap of 1/2, and a code of more values a gap below 1. The support vector machines depend
    on the scale of the code: a code of very small numbers scores little above chance. The score of
    quantities does not depend on the scale.

    Args:
        codes: (N, D), at least two dimensions.
        factors: (N, K).
        continuous: True for quantities, False for categories: one value, or one per factor.
        test_fraction: fraction of the rows to test predictions of categories on.
        seed: seed of the choice of test rows.

    Raises:
        InputError: if shapes do not fit, a number is not finite, a factor has one value, or a
            category has more than N / 2 values.

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
    variance = (x**2).mean(0)
    covariance = (x * y[:, None]).mean(0)
    share = covariance**2 / np.maximum(variance, CONSTANT) / (y**2).mean()
    return np.where(variance > CONSTANT, share, 0.0)


def _accuracies(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Accuracy on the rows ``test`` of a category predicted from every dimension, (D,)."""
    from sklearn.svm import LinearSVC  # a local import: it takes seconds

    if len(np.unique(y[train])) < 2:  # a constant prediction
        return np.full(x.shape[1], np.mean(y[test] == y[train][0]))
    # The primal problem has no randomness and is faster for few dimensions.
    # The type of ``dual`` is inferred from its default "auto"; it also accepts a bool.
    machine = LinearSVC(C=0.01, class_weight="balanced", dual=False)  # pyright: ignore[reportArgumentType]
    return np.array(
        [
            machine.fit(x[train, d, None], y[train]).score(x[test, d, None], y[test])
            for d in range(x.shape[1])
        ]
    )
