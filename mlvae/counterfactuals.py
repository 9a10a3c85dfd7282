"""Rows of a table as they would have been under an intervention.

Shapes: N rows, D features.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mlvae.data import GroupedData
from mlvae.data.tables.filled import filled_frame
from mlvae.data.tables.frames import columns_like
from mlvae.encoding import rows_of_table
from mlvae.errors import InputError, check_flag, check_integer, shown

__all__ = ["counterfactual"]


def counterfactual(
    model: Any,
    table: Any,
    intervention: Mapping[str, Any],
    *,
    keep_noise: bool = True,
    draws: int | None = None,
    seed: int = 0,
) -> Any:
    """The table after an intervention on one column, row by row.

    The latents of a row are inferred from the row as it is (abduction), the column is set
    (action), and the row is decoded (prediction). Real and positive numbers that the intervention
    causes keep the noise of their row, and counts are expected values. Numbers 0 and 1 become a
    probability, booleans and categories the most probable value. The rest stays as it is, and so
    does a row whose value the intervention does not change.

    Args:
        model: a trained :class:`~mlvae.models.DCEVAE`.
        table: a frame of pandas, polars or pyarrow with the columns of the training table; or
            :class:`~mlvae.GroupedData` of such a table.
        intervention: the column and its value, such as ``{"sex": 1}``; the value is 0, 1, False,
            True, or one of these for each row.
        keep_noise: False: all rows have expected values and probabilities. The mean difference of
            two such tables is the effect on a binary outcome, with ``draws=8`` or more: a
            probability at the mean of the latents is not the mean of the probabilities.
        draws: number of tables, each from one sample of the latents; None: one table from their
            posterior means.
        seed: seed of the samples.

    Returns:
        A frame of the same library, or features float32 (N, D) for GroupedData; with ``draws`` a
        list of these.

    Raises:
        InputError: if the model or the table does not fit, or another column is named.
    """
    if inspect.isclass(model) or not callable(getattr(model, "counterfactual", None)):
        raise InputError(f"model must have counterfactuals, as a DCEVAE, not {shown(model)}")
    name = model.options.roles.intervention
    if not isinstance(intervention, Mapping) or set(intervention) != {name}:
        raise InputError(
            f"intervention must be a value of the column {name!r} by its name, as "
            f"{{{name!r}: 1}}, not {shown(intervention)}"
        )
    if draws is not None:
        check_integer("draws", draws, minimum=1)
    check_integer("seed", seed, minimum=0)
    check_flag("keep_noise", keep_noise)
    data = rows_of_table(model, table)
    value = np.asarray(intervention[name], dtype=object)
    numbers = _numbers(name, value)
    training = model.training
    model.eval()
    try:
        generator = None
        if draws is not None:
            device = next(model.parameters()).device
            generator = torch.Generator(device).manual_seed(int(seed))
        options = {"keep_noise": keep_noise, "generator": generator}
        found = [model.counterfactual(data, numbers, **options).cpu() for _ in range(draws or 1)]
    finally:
        model.train(training)
    if not isinstance(table, GroupedData):
        columns = columns_like(model.table_columns).features
        changed = np.ones((len(data), len(columns)), bool)
        changed[:, model.columns["rest"]] = False
        found = [filled_frame(table, columns, x.numpy(), changed) for x in found]
    return found[0] if draws is None else found


def _numbers(name: str, value: np.ndarray) -> np.ndarray:
    """The values of an intervention as 0 and 1."""
    try:
        numbers = value.astype(np.float32)
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or numbers.ndim > 1 or not np.isin(numbers, (0, 1)).all():
        raise InputError(
            f"intervention on {name!r} must be 0 or 1, or such a value for each row, not "
            f"{shown(value.tolist())}"
        )
    return numbers
