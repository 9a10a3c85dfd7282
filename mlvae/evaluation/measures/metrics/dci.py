"""DCI: which dimensions trees use to predict each factor, and how well they predict it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlvae.errors import check_choice, check_integer
from mlvae.evaluation.measures.metrics.table import (
    Array,
    categories,
    checked,
    per_factor,
    split_rows,
)

__all__ = ["DCI", "TREES", "dci"]

TREES = ("forest", "boosting")


class DCI(NamedTuple):
    """The three scores and the importance they are computed from.

    Attributes:
        disentanglement: 1 if every dimension is important for one factor only; from 0 to 1.
        completeness: 1 if every factor uses one dimension only; from 0 to 1.
        informativeness: quality of the predictions, mean over factors, from 0 to 1: accuracy for
            categories, R2 for quantities, with negative R2 replaced by 0.
        importance: importance of each dimension for each factor, (D, K). Columns sum to one, or
            are 0 for a factor that the trees cannot predict.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray


def dci(
    codes: Array,
    factors: Array,
    *,
    continuous: bool | Sequence[bool] = False,
    trees: str = "forest",
    number: int = 100,
    test_fraction: float = 1 / 3,
    seed: int = 0,
) -> DCI:
    r"""Disentanglement, completeness and informativeness.

    With R the importance of dimension d for factor k, P its rows divided by their sums, Q its
    columns divided by their sums, and H_b the entropy to base b,

    .. math:: \mathcal D = \sum_d \frac{\sum_k R_{dk}}{\sum R} \bigl(1 - H_K(P_{d\cdot})\bigr),
        \qquad
        \mathcal C = \sum_k \frac{\sum_d R_{dk}}{\sum R} \bigl(1 - H_D(Q_{\cdot k})\bigr)

    (Eastwood and Williams 2018, ICLR, Section 2). The importance of a dimension is the decrease of
    impurity by its splits, as a fraction of the total. Informativeness is an accuracy on test rows
    as in Locatello et al. 2019 (arXiv:1811.12359); Eastwood and Williams report an error.

    The kind of trees changes the scores. "boosting" is the gradient boosting of Locatello et al.:
    one tree of three levels for each value of a factor in each of ``number`` steps, which takes
    minutes for factors of many values. "forest", the default, is a random forest whose trees
    consider all dimensions at each split and stop at eight levels or five rows; deeper trees would
    split noise, which counts as importance. On synthetic tables of 3,000 rows, the first two
    scores of the forest were lower by up to 0.04 and the third differed by at most 0.02, in a
    quarter to a half of the time.

    Args:
        codes: (N, D), at least two dimensions.
        factors: (N, K), at least two factors.
        continuous: True for quantities, False for categories: one value, or one per factor.
        trees: "forest" or "boosting".
        number: number of trees of a forest, or of steps of boosting.
        test_fraction: fraction of the rows to test predictions on.
        seed: seed of the choice of test rows and of the trees.

    Raises:
        InputError: if shapes do not fit, a number is not finite, a factor has one value, a
            category has more than N / 2 values, or an option is out of range.

    Example:
        >>> factors = np.array([[a, b] for a in range(3) for b in range(2)] * 30)
        >>> [round(score, 2) for score in dci(factors[:, ::-1], factors, number=10)[:3]]
        [1.0, 1.0, 1.0]
    """
    check_choice("trees", trees, TREES)
    check_integer("number", number, minimum=1)
    x, y = checked(codes, factors, dimensions=2, count=2)
    train, test = split_rows(len(x), test_fraction, seed)
    importance, scores = np.zeros((x.shape[1], y.shape[1])), []
    for k, quantity in enumerate(per_factor(continuous, y.shape[1])):
        target = y[:, k] if quantity else categories(y[:, k, None])[:, 0]
        if np.ptp(target[train]) == 0:  # a constant target: no tree has a split
            scores.append(0.0 if quantity else float(np.mean(target[test] == target[train][0])))
            continue
        parts = (x[train], target[train]), (x[test], target[test])
        importance[:, k], score = _fit_trees(trees, quantity, number, seed, *parts)
        scores.append(score)
    return DCI(
        _concentration(importance),
        _concentration(importance.T),
        float(np.mean(scores)),
        importance,
    )


def _fit_trees(
    kind: str,
    quantity: bool,
    number: int,
    seed: int,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, float]:
    """Importance of each dimension, (D,), and the test score, both at least 0."""
    from sklearn import ensemble  # a local import: it takes seconds

    options: dict[str, Any] = {"n_estimators": number, "random_state": seed}
    if kind == "boosting":
        regressor = ensemble.GradientBoostingRegressor
        classifier = ensemble.GradientBoostingClassifier
    else:
        regressor, classifier = ensemble.RandomForestRegressor, ensemble.RandomForestClassifier
        options |= {"max_features": None, "max_depth": 8, "min_samples_leaf": 5, "n_jobs": 1}
    model = (regressor if quantity else classifier)(**options).fit(*train)
    # Rounding in boosting can give an importance slightly below zero.
    return np.maximum(0, model.feature_importances_), max(0.0, model.score(*test))


def _concentration(importance: np.ndarray) -> float:
    """One minus the entropy of the rows, to base row length: a mean weighted by row sums."""
    total = importance.sum(1)
    if not total.any():
        return 0.0
    share = importance[total > 0] / total[total > 0, None]
    log = np.log(share, where=share > 0, out=np.zeros_like(share))
    entropy = -(share * log).sum(1) / np.log(share.shape[1])
    return float(np.average(1 - entropy, weights=total[total > 0]))
