r"""A table from a structural causal model, with the true counterfactual of each row.

.. math:: r \sim N(0, 1), \quad a \sim \mathrm{Bernoulli}(\sigma(r)), \quad
    d_1 = a + e_1, \quad d_2 = 0.5 \, e_1 - 0.5 \, a + 0.5 \, e_2, \quad
    y = 0.8 \, d_1 - 0.4 \, d_2 + 0.7 \, r + 0.5 \, a + 0.3 \, e_3

with standard normal :math:`e_1, e_2, e_3`. The common cause r of a and y makes the difference of
the groups of a larger than the effect of a. A counterfactual has the same r and e and the other a,
so it is known exactly, which no real table offers. The total effect of a on y is
:math:`0.8 + 0.2 + 0.5 = 1.5`.
"""

from __future__ import annotations

import numpy as np

from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.splits import Splits, split
from mlvae.data.tables.columns import Column, Columns
from mlvae.errors import check_integer

__all__ = ["TOTAL_EFFECT", "scm"]

#: Mean of y under a = 1 minus its mean under a = 0, for any row.
TOTAL_EFFECT = 1.5


def scm(*, rows: int = 5000, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Splits:
    """Rows of the columns a, d1, d2, r and y; each row is a group of its own.

    Args:
        rows: number of rows.
        validation: size of the validation, a fraction or a number of rows.
        test: size of the test, likewise.
        seed: seed of the draws and of the split.

    Returns:
        Splits with the true counterfactuals, the values under the other a, as the factors
        ``d1_other``, ``d2_other`` and ``y_other``.

    Example:
        >>> data = scm(rows=100).train
        >>> data.feature_names, sorted(data.factors)
        (['a', 'd1', 'd2', 'r', 'y'], ['d1_other', 'd2_other', 'y_other'])
    """
    check_integer("dataset.rows", rows, minimum=10)
    check_integer("dataset.seed", seed, minimum=0)
    random = np.random.default_rng(seed)
    r = random.normal(size=rows)
    a = (random.random(rows) < 1 / (1 + np.exp(-r))).astype(float)
    noise = random.normal(size=(3, rows))
    factual, other = (_caused(value, r, noise) for value in (a, 1 - a))
    x = np.stack([a, factual[0], factual[1], r, factual[2]], 1).astype(np.float32)
    names = ("d1_other", "d2_other", "y_other")
    factors = dict(zip(names, other, strict=True))
    columns = Columns((Column("a", "binary"), *map(Column, ("d1", "d2", "r", "y"))))
    data = GroupedData(
        x, np.arange(rows), factors, feature_names=columns.feature_names, kind="array"
    )
    data.columns = columns
    return split(data, validation=validation, test=test, seed=seed)


def _caused(
    a: np.ndarray, r: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The columns d1, d2 and y (N,) under the intervention a (N,)."""
    d1 = a + noise[0]
    d2 = 0.5 * noise[0] - 0.5 * a + 0.5 * noise[1]
    return d1, d2, 0.8 * d1 - 0.4 * d2 + 0.7 * r + 0.5 * a + 0.3 * noise[2]
