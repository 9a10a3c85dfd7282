"""The expected observation of a likelihood's parameters, as steps that the page computes.

Shapes: E elements of an observation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mlvae.errors import InputError
from mlvae.explorer.arrays import Arrays
from mlvae.explorer.program import Step
from mlvae.likelihoods import (
    Bernoulli,
    DiscretisedLogistic,
    Gaussian,
    LearnedGaussian,
    MixedColumns,
    Multinomial,
    NegativeBinomial,
    Poisson,
)
from mlvae.likelihoods.columns.formulas import LEAST_GAP, LOG_VARIANCES, MOST_LOG_RATE, UNIT
from mlvae.models.standardise import Standardise

__all__ = ["expectation", "needs_first_only", "restoration"]


def needs_first_only(likelihood: object) -> bool:
    """Whether the expected observation depends on the first parameter of each element alone."""
    return type(likelihood) not in (DiscretisedLogistic, MixedColumns)


def expectation(likelihood: Any, elements: int) -> list[Step]:
    """The steps from parameters to the expected observation.

    Args:
        likelihood: the observation model, of a class of the library.
        elements: number E.

    Raises:
        InputError: if the likelihood is of another class.
    """
    kind = type(likelihood)
    if kind not in STEPS:
        names = ", ".join(sorted(each.__name__ for each in STEPS))
        raise InputError(
            f"the explorer takes a model with a likelihood of the library, {names}, not "
            f"{kind.__name__}; use mlvae.show.swaps for pictures"
        )
    return STEPS[kind](likelihood, elements)


def _shares(likelihood: Any, elements: int) -> list[Step]:
    """Expected counts of an observation with the total of the likelihood."""
    if getattr(likelihood, "link", "softmax") == "softmax":
        return [{"step": "softmax", "total": likelihood.total}]
    return [{"step": "exponential", "factor": likelihood.total / elements}]


def _logistic(likelihood: Any, elements: int) -> list[Step]:
    bounds = [likelihood.log_scale_min, likelihood.log_scale_max]
    shared = getattr(likelihood, "scope", "element") != "element"
    if shared:
        raise InputError(
            "the explorer takes a DiscretisedLogistic likelihood with scope=element, not "
            f"{likelihood.scope!r}"
        )
    return [{"step": "logistic", "bounds": bounds}]


def _columns(likelihood: MixedColumns, elements: int) -> list[Step]:
    columns = [
        {
            "kind": column.kind,
            "levels": column.levels,
            "mean": column.mean,
            "deviation": column.deviation,
        }
        for column in likelihood.columns
    ]
    constants = {
        "log_variances": list(LOG_VARIANCES),
        "unit": UNIT,
        "most_log_rate": MOST_LOG_RATE,
        "least_gap": LEAST_GAP,
        "half_log_two": 0.5 * math.log(2),
    }
    return [{"step": "columns", "columns": columns, **constants}]


#: The steps of each likelihood.
STEPS: dict[type, Callable[[Any, int], list[Step]]] = {
    Bernoulli: lambda likelihood, elements: [{"step": "activation", "name": "sigmoid"}],
    Gaussian: lambda likelihood, elements: [],
    LearnedGaussian: lambda likelihood, elements: [],
    Multinomial: _shares,
    Poisson: _shares,
    NegativeBinomial: _shares,
    DiscretisedLogistic: _logistic,
    MixedColumns: _columns,
}


def restoration(scale: Standardise | None, arrays: Arrays) -> list[Step]:
    """The step from standardised observations to raw ones; none for a model without a scale."""
    if scale is None or scale.kind is None:
        return []
    return [
        {
            "step": "affine",
            "factor": arrays.add(scale.deviation.cpu().flatten().numpy()),
            "shift": arrays.add(scale.mean.cpu().flatten().numpy()),
        }
    ]
