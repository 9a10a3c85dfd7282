"""All metrics of one table of codes and factors, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlvae.errors import check_choice
from mlvae.evaluation.measures.metrics.betavae import beta_vae_score
from mlvae.evaluation.measures.metrics.dci import dci
from mlvae.evaluation.measures.metrics.factorvae import factor_vae_score
from mlvae.evaluation.measures.metrics.mig import mig
from mlvae.evaluation.measures.metrics.modularity import modularity
from mlvae.evaluation.measures.metrics.sap import sap
from mlvae.evaluation.measures.metrics.table import Array, categories, checked, per_factor

__all__ = ["METRICS", "SCORES", "scores"]

METRICS = ("mig", "sap", "dci", "beta_vae", "factor_vae", "modularity")

#: Label of each score in tables and figures.
SCORES = {
    "mig": "MIG",
    "sap": "SAP",
    "disentanglement": "DCI disentanglement",
    "completeness": "DCI completeness",
    "informativeness": "DCI informativeness",
    "beta_vae": "BetaVAE",
    "factor_vae": "FactorVAE",
    "modularity": "modularity",
}


def scores(
    codes: Array,
    factors: Array,
    *,
    continuous: bool | Sequence[bool] = False,
    metrics: Sequence[str] = METRICS,
    trees: str = "forest",
    bins: int = 20,
    factor_bins: int = 20,
    seed: int = 0,
) -> tuple[dict[str, float], np.ndarray | None]:
    """All scores that can be computed from the table, by the names of :data:`SCORES`.

    For a single factor these are MIG and SAP; the other scores compare factors.

    Args:
        codes: (N, D), at least two dimensions.
        factors: (N, K).
        continuous: True for quantities, False for categories: one value, or one per factor.
        metrics: names in :data:`METRICS`.
        trees: trees of DCI, see :func:`~mlvae.evaluation.measures.metrics.dci.dci`.
        bins: number of intervals of a dimension, for metrics that count values.
        factor_bins: number of intervals of a quantity of more values, for the same metrics.
            Categories are not cut.
        seed: seed of all draws.

    Returns:
        The scores, and the importance of each dimension for each factor (D, K) if ``metrics``
        contains "dci".

    Raises:
        InputError: if a metric is unknown or raises an error.

    Example:
        >>> factors = np.array([[a, b] for a in range(3) for b in range(2)] * 30)
        >>> found, importance = scores(factors, factors, metrics=("mig", "modularity"))
        >>> found, importance
        ({'mig': 1.0, 'modularity': 1.0}, None)
    """
    for metric in metrics:
        check_choice("metrics", metric, METRICS)
    x, y = checked(codes, factors, dimensions=2)
    quantities = per_factor(continuous, y.shape[1])
    counted = np.column_stack(
        [
            categories(column[:, None], factor_bins if quantity else None)
            for column, quantity in zip(y.T, quantities, strict=True)
        ]
    )
    functions = {
        "mig": lambda: {"mig": mig(x, counted, bins=bins)},
        "sap": lambda: {"sap": sap(x, y, continuous=quantities, seed=seed)},
        "dci": lambda: dci(x, y, continuous=quantities, trees=trees, seed=seed)._asdict(),
        "beta_vae": lambda: {"beta_vae": beta_vae_score(x, counted, seed=seed)},
        "factor_vae": lambda: {"factor_vae": factor_vae_score(x, counted, seed=seed)},
        "modularity": lambda: {"modularity": modularity(x, counted, bins=bins)},
    }
    found: dict[str, Any] = {}
    for metric in metrics:
        if y.shape[1] > 1 or metric in ("mig", "sap"):
            found |= functions[metric]()
    importance = found.pop("importance", None)
    return found, importance
