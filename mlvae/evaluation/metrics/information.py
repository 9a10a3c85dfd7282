r"""How much of a factor is in a code, in whatever dimensions and whatever form it is there.

Of a category it is information in bits: what a predictor leaves unknown on test rows bounds
H(factor | code) from above (Barber and Agakov 2003), so

.. math:: I(\text{factor}; \text{code}) \ge H(\text{factor})
    - \mathbb E[-\log_2 p_{\text{predictor}}(\text{factor} \mid \text{code})],

up to the sampling error of the test rows. Below zero the bound is replaced by zero, which is a
bound as well. Of a quantity it is R2, the share of its variance that is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from mlvae.errors import check_choice
from mlvae.evaluation.metrics.table import Array, categories, checked, per_factor, split_rows
from mlvae.evaluation.probes import PROBES, entropy, probe

__all__ = ["FactorInformation", "factor_information"]


class FactorInformation(NamedTuple):
    """How much of one factor is in a code.

    Attributes:
        bits: of a category, at least so much information; None of a quantity.
        entropy_bits: all there is to know of a category, its entropy; None of a quantity.
        accuracy: of the probe of a category; None of a quantity.
        r2: of a quantity, the share of its variance that is predicted; None of a category.
    """

    bits: float | None = None
    entropy_bits: float | None = None
    accuracy: float | None = None
    r2: float | None = None

    @property
    def share(self) -> float:
        """What is in the code of all there is to know, from 0 to 1: of bits, or of variance."""
        if self.bits is None:
            return max(0.0, self.r2)
        return min(1.0, self.bits / self.entropy_bits)


def factor_information(
    codes: Array,
    factors: Array,
    *,
    continuous: bool | Sequence[bool] = False,
    probe_kind: str = "mlp",
    trees: int = 100,
    test_fraction: float = 1 / 3,
    seed: int = 0,
) -> list[FactorInformation]:
    """How much of every factor is in a code; see :mod:`mlvae.evaluation.metrics.information`.

    Categories are read by a probe, quantities by a forest of extremely randomised trees. Test rows
    of a category that no training row has are left out.

    Args:
        codes: (N, D); for the split of content and style, one of the two at a time.
        factors: (N, K).
        continuous: whether factors are quantities, for all of them or for each.
        probe_kind: see :class:`mlvae.evaluation.probes.Probe`.
        trees: of the forest.
        test_fraction: fraction of rows to test on.
        seed: of the choice of those rows, and of the predictors.

    Raises:
        InputError: if shapes do not fit, a number is not finite, a factor has one value, or a
            category more than N / 2 or only one in the rows to train on.

    Example:
        >>> factors = np.array([[a, b] for a in range(2) for b in range(4)] * 50)
        >>> style = np.eye(4)[factors[:, 1]]
        >>> light = factor_information(style, factors, probe_kind="logistic")
        >>> [round(of.share, 1) for of in light]
        [0.0, 1.0]
    """
    check_choice("probe_kind", probe_kind, PROBES)
    x, y = checked(codes, factors)
    rows = split_rows(len(x), test_fraction, seed)
    return [
        _quantity(x, column, rows, trees, seed)
        if quantity
        else _category(x, categories(column[:, None])[:, 0], rows, probe_kind, seed)
        for column, quantity in zip(y.T, per_factor(continuous, y.shape[1]), strict=True)
    ]


def _quantity(
    x: np.ndarray, y: np.ndarray, rows: tuple[np.ndarray, np.ndarray], trees: int, seed: int
) -> FactorInformation:
    from sklearn.ensemble import ExtraTreesRegressor  # seconds that `import mlvae` need not take

    train, test = rows
    forest = ExtraTreesRegressor(trees, min_samples_leaf=2, random_state=seed, n_jobs=1)
    return FactorInformation(r2=float(forest.fit(x[train], y[train]).score(x[test], y[test])))


def _category(
    x: np.ndarray, y: np.ndarray, rows: tuple[np.ndarray, np.ndarray], kind: str, seed: int
) -> FactorInformation:
    train, test = rows
    test = test[np.isin(y[test], y[train])]
    codes, labels = torch.from_numpy(x), torch.from_numpy(y)
    score = probe((codes[train], labels[train]), (codes[test], labels[test]), kind=kind, seed=seed)
    unknown = entropy(labels[test])
    return FactorInformation(
        max(0.0, unknown - score.conditional_entropy), unknown, score.accuracy
    )
