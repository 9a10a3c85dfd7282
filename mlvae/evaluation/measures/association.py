"""Association of a known value of groups with their content.

Shapes: M rows, G groups of rows, D dimensions, F folds, P permutations.
"""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from mlvae.data.row_order import check_row_order
from mlvae.data.values import as_numbers
from mlvae.errors import InputError, check_integer, shown
from mlvae.groups import Groups
from mlvae.groups.labels import is_missing, label_index

__all__ = ["Association", "association"]

#: Strengths of the ridge penalty, of which each training part chooses one.
PENALTIES = np.logspace(-3, 4, 8)

#: Bootstrap samples of the standard error.
SAMPLES = 500


class Association(NamedTuple):
    """How well content predicts a covariate of groups that the predictor has not seen.

    Attributes:
        kind: "number": the covariate is numbers and the score is R squared. "category": it is
            words, and the score is the accuracy.
        score: score of the predictions for held-out groups.
        standard_error: of the score, by a bootstrap over groups.
        chance: mean score with permuted covariates.
        p_value: share of permutations with a score at least as high, counting the covariate
            itself as one: at least 1 / (P + 1).
        num_groups: number of groups.
    """

    kind: str
    score: float
    standard_error: float
    chance: float
    p_value: float
    num_groups: int


def association(
    content: Any,
    covariate: Any,
    *,
    groups: Any = None,
    folds: int = 5,
    permutations: int = 100,
    seed: int = 0,
) -> Association:
    """Predict a covariate of groups, such as age or a diagnosis, from their content.

    A ridge regression, of one indicator for each word if the covariate is words, is trained on the
    groups of all folds but one and tested on the others. So each group is predicted once, and
    never by a regression that has seen it. The strength of the penalty is chosen by leave-one-out
    errors of the training rows. The covariate is then permuted between groups: the scores of
    permutations are what this number of groups and dimensions gives by chance.

    Args:
        content: content of groups, values (M, D) or posteriors, whose means are used.
        covariate: value of each row, length M: numbers, or words. Rows of a group have one value.
            Values that are not numbers, such as booleans and dates, are words.
        groups: the groups of the M rows, or their labels, if several rows are of one group, as
            those of several visits; None: every row is a group.
        folds: number F of folds.
        permutations: number P of permutations.
        seed: seed of the folds, the permutations and the bootstrap.

    Raises:
        InputError: if values are missing, rows of a group differ in the covariate, there are
            fewer groups than folds, or all groups have one value.

    Example:
        >>> random = np.random.default_rng(0)
        >>> content = random.normal(size=(60, 3))
        >>> age = 50 + 10 * content[:, 0] + random.normal(size=60)
        >>> found = association(content, age)
        >>> found.score > 0.9, found.p_value < 0.05
        (True, True)
    """
    for name, value, least in (
        ("folds", folds, 2),
        ("permutations", permutations, 1),
        ("seed", seed, 0),
    ):
        check_integer(name, value, minimum=least)
    check_row_order("content", content, covariate=covariate, groups=groups)
    x = _values(content)
    y, kind = _covariate(covariate, len(x))
    index, members = _groups(groups, len(x))
    value = _one_each(y, index, members)
    if len(members) < folds:
        raise InputError(f"folds={folds} needs at least as many groups, not {len(members)}")
    if len(np.unique(value)) == 1:
        raise InputError(f"covariate must differ between groups, but all have {value[0]}")
    random = np.random.default_rng(int(seed))
    fold = np.empty(len(members), dtype=int)
    fold[random.permutation(len(members))] = np.arange(len(members)) % int(folds)
    orders = [np.arange(len(members))]
    orders += [random.permutation(len(members)) for _ in range(int(permutations))]
    true = np.stack([value[order][index] for order in orders], 1)
    predicted = _predicted(x, true, fold[index], kind)
    score, *drawn = (_score(*pair, kind) for pair in zip(true.T, predicted.T, strict=True))
    return Association(
        kind,
        score,
        _standard_error(true[:, 0], predicted[:, 0], index, kind, random),
        float(np.mean(drawn)),
        (1 + sum(one >= score for one in drawn)) / (1 + len(drawn)),
        len(members),
    )


def _values(content: Any) -> np.ndarray:
    """Content as float64 (M, D)."""
    mean = getattr(content, "mean", None)
    values = content if mean is None or callable(mean) else mean
    try:
        x = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
        if x.dtype == object and x.ndim:  # numbers of a type that NumPy lacks
            x = as_numbers("content must be numbers (M, D)", x, missing=None)
        if x.dtype.kind not in "biuf":
            raise TypeError(f"not {x.dtype}")
        x = x.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"content must be numbers (M, D), not {shown(content)}") from error
    if x.ndim != 2 or 0 in x.shape or not np.isfinite(x).all():
        raise InputError(f"content must be finite numbers (M, D), not of shape {x.shape}")
    return x


def _covariate(covariate: Any, length: int) -> tuple[np.ndarray, str]:
    """The covariate as numbers or words (M,), and its kind."""
    if hasattr(covariate, "detach"):
        covariate = covariate.detach().cpu()
    typed = hasattr(covariate, "dtype")  # a list of a number and a text would become two texts
    values = np.asarray(covariate) if typed else np.array(covariate, dtype=object)
    if values.shape != (length,):
        raise InputError(
            f"covariate must have one value for each of {length} rows, not shape {values.shape}"
        )
    if missing := sum(map(is_missing, values.tolist())):
        raise InputError(f"covariate must have a value for each row, but {missing} are missing")
    if values.dtype.kind in "iuf" or (values.dtype == object and all(map(_is_number, values))):
        numbers = values.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise InputError("covariate must be finite, but has an infinity; leave its rows out")
        return numbers, "number"
    try:
        index, words = label_index(values)
    except InputError as error:
        raise InputError(f"covariate: {error}") from error
    return np.array(words)[index.numpy()].astype(str), "category"


def _is_number(value: object) -> bool:
    """Whether a value is a number, and no boolean."""
    return isinstance(value, Real | Decimal) and not isinstance(value, bool | np.bool_)


def _groups(groups: Any, length: int) -> tuple[np.ndarray, list]:
    """The number of each row's group, (M,), and the labels of groups."""
    if groups is None:
        return np.arange(length), list(range(length))
    index, members = label_index(groups.index if isinstance(groups, Groups) else groups)
    if len(index) != length:
        raise InputError(
            f"groups must have one label for each of {length} rows, not shape {tuple(index.shape)}"
        )
    return index.cpu().numpy(), members


def _one_each(y: np.ndarray, index: np.ndarray, members: list) -> np.ndarray:
    """The value of each group, (G,), or :class:`InputError` if its rows have several."""
    value = np.empty(len(members), dtype=y.dtype)
    value[index] = y
    if (different := value[index] != y).any():
        group = members[index[int(different.argmax())]]
        raise InputError(
            "covariate must have one value for all rows of a group, but group "
            f"{shown(group)} has several"
        )
    return value


def _predicted(x: np.ndarray, true: np.ndarray, fold: np.ndarray, kind: str) -> np.ndarray:
    """The predictions for each row by the predictors of the other folds, (M, 1 + P).

    Args:
        x: content, (M, D).
        true: the covariate and its permutations, (M, 1 + P).
        fold: fold of each row, (M,).
        kind: "number" or "category".
    """
    # Local imports: they take time that `import mlvae` does not need.
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    words = np.unique(true)
    targets = true if kind == "number" else (true[..., None] == words).reshape(len(true), -1)
    decisions = np.empty(targets.shape)
    for number in np.unique(fold):
        test, train = fold == number, fold != number
        scale = StandardScaler().fit(x[train])
        ridge = RidgeCV(PENALTIES, alpha_per_target=True)
        ridge.fit(scale.transform(x[train]), targets[train].astype(np.float64))
        decisions[test] = ridge.predict(scale.transform(x[test])).reshape(-1, targets.shape[1])
    if kind == "number":
        return decisions
    return words[decisions.reshape(*true.shape, len(words)).argmax(-1)]


def _score(true: np.ndarray, predicted: np.ndarray, kind: str) -> float:
    """R squared of numbers, or the accuracy of words."""
    if kind == "category":
        return float(np.mean(true == predicted))
    spread = np.square(true - true.mean()).sum()
    return float(1 - np.square(true - predicted).sum() / spread) if spread > 0 else float("nan")


def _standard_error(
    true: np.ndarray,
    predicted: np.ndarray,
    index: np.ndarray,
    kind: str,
    random: np.random.Generator,
) -> float:
    """Standard deviation of the score over bootstrap samples of groups."""
    rows = [np.flatnonzero(index == number) for number in range(index.max() + 1)]
    scores = []
    for _ in range(SAMPLES):
        chosen = np.concatenate([rows[g] for g in random.integers(0, len(rows), len(rows))])
        scores.append(_score(true[chosen], predicted[chosen], kind))
    return float(np.nanstd(scores))
