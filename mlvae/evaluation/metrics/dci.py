"""DCI: what trees need of a code to predict the factors, and how well they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlvae.errors import check_choice, check_integer
from mlvae.evaluation.metrics.table import Array, categories, checked, per_factor, split_rows

__all__ = ["DCI", "TREES", "dci"]

TREES = ("forest", "boosting")


class DCI(NamedTuple):
    """The three scores, and what they come from.

    Attributes:
        disentanglement: does a dimension matter to one factor only, from 0 to 1.
        completeness: is a factor in one dimension only, from 0 to 1.
        informativeness: how well factors are predicted, at most 1: the mean over factors of the
            accuracy, or of R2, at least 0, for quantities.
        importance: of each dimension for each factor, (D, K); columns sum to one, or are 0 for a
            factor of which the trees find nothing.
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
    columns, and H_b the entropy to base b,

    .. math:: \mathcal D = \sum_d \frac{\sum_k R_{dk}}{\sum R} \bigl(1 - H_K(P_{d\cdot})\bigr),
        \qquad
        \mathcal C = \sum_k \frac{\sum_d R_{dk}}{\sum R} \bigl(1 - H_D(Q_{\cdot k})\bigr)

    (Eastwood and Williams 2018, ICLR, Section 2). Importance is the impurity that splits by a
    dimension take away, a share of one. Informativeness is measured on test rows, and as accuracy,
    as in Locatello et al. 2019 (arXiv:1811.12359), where Eastwood and Williams have an error.

    Which trees it are decides the scores. "boosting" is the gradient boosting of Locatello et al.:
    a tree of three levels for each value of a factor in each of ``number`` steps, which takes
    minutes where there are many values. "forest", the default, is a random forest whose trees look
    at all dimensions before each split and stop at eight levels or five rows; grown further, they
    would split noise, which counts as importance. On synthetic tables of 3,000 rows its first two
    scores were lower by up to 0.04, the third within 0.02, in a quarter to a half of the time.

    Args:
        codes: (N, D), at least two dimensions.
        factors: (N, K), at least two factors.
        continuous: whether factors are quantities, for all of them or for each.
        trees: "forest" or "boosting".
        number: of trees of a forest, or of steps of boosting.
        test_fraction: fraction of rows to test predictions on.
        seed: of the choice of those rows and of the trees.

    Raises:
        InputError: if shapes do not fit, a number is not finite, a factor has one value, a
            category more than N / 2, or an option is out of range.

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
        if np.ptp(target[train]) == 0:  # trees have nothing to learn
            scores.append(0.0 if quantity else float(np.mean(target[test] == target[train][0])))
            continue
        model = _trees(trees, quantity, number, seed).fit(x[train], target[train])
        importance[:, k] = np.maximum(0, model.feature_importances_)  # boosting rounds below
        scores.append(max(0.0, model.score(x[test], target[test])))
    return DCI(
        _concentration(importance),
        _concentration(importance.T),
        float(np.mean(scores)),
        importance,
    )


def _trees(kind: str, quantity: bool, number: int, seed: int) -> object:
    from sklearn import ensemble  # seconds that `import mlvae` need not take

    if kind == "boosting":
        boosting = (
            ensemble.GradientBoostingRegressor
            if quantity
            else (ensemble.GradientBoostingClassifier)
        )
        return boosting(n_estimators=number, random_state=seed)
    forest = ensemble.RandomForestRegressor if quantity else ensemble.RandomForestClassifier
    return forest(
        number, max_features=None, max_depth=8, min_samples_leaf=5, random_state=seed, n_jobs=1
    )


def _concentration(importance: np.ndarray) -> float:
    """1 minus the entropy of each row, to the base of their length, weighted by their sums."""
    total = importance.sum(1)
    if not total.any():
        return 0.0
    share = importance[total > 0] / total[total > 0, None]
    log = np.log(share, where=share > 0, out=np.zeros_like(share))
    entropy = -(share * log).sum(1) / np.log(share.shape[1])
    return float(np.average(1 - entropy, weights=total[total > 0]))
