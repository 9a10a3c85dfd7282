"""Missing cells of a table in place of which a model puts values.

Shapes: N rows, C columns, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.data.tables.columns import column_names
from mlvae.data.tables.filled import filled_frame
from mlvae.data.tables.frames import columns_like, opened
from mlvae.errors import InputError, check_integer, shown
from mlvae.likelihoods import MixedColumns
from mlvae.models.protocol import traits

__all__ = ["impute"]


def impute(
    model: Any,
    table: Any,
    *,
    draws: int | None = None,
    samples: int = 100,
    batch_size: int = 4096,
    seed: int = 0,
) -> Any:
    r"""The table with a value in every missing cell. Observed cells stay as they are.

    Without ``draws`` a number is the expected value :math:`E[x_j \mid x_O, m]`, the mean over
    samples of the latents, and a word is the most probable category. With ``draws`` each table has
    one draw of the latents and of the cells: multiple imputation (D. B. Rubin: Multiple Imputation
    for Nonresponse in Surveys. 1987), from which a user computes the uncertainty of a result.

    Args:
        model: a model that takes missing cells, such as a trained
            :class:`~mlvae.models.VSAE`.
        table: a frame of pandas, polars or pyarrow with the columns of the training table; or
            :class:`~mlvae.GroupedData` of ``from_frame(..., missing="keep")``.
        draws: number of tables; None: one table of expected values.
        samples: samples of the latents for the expected values.
        batch_size: number of rows that are computed at once.
        seed: seed of the samples.

    Returns:
        A frame of the same library, or features float32 (N, D) for GroupedData; with ``draws`` a
        list of these. A column of integers becomes floats where an expected value is put in it.

    Raises:
        InputError: if the model takes no missing cells, or the table lacks a column.
    """
    if not traits(model).missing_cells:
        raise InputError(
            f"model must be one for tables with missing cells, such as VSAE, not {shown(model)}"
        )
    for name, value in {"samples": samples, "batch_size": batch_size}.items():
        check_integer(name, value, minimum=1)
    check_integer("seed", seed, minimum=0)
    if draws is not None:
        check_integer("draws", draws, minimum=1)
    data = _data(model, table)
    found = list(_completed(model, data, draws, int(samples), int(batch_size), int(seed)))
    if not isinstance(table, GroupedData):
        observed = data.given["observed"].numpy()
        columns = columns_like(model.table_columns).features
        found = [filled_frame(table, columns, x.numpy(), ~observed) for x in found]
    return found[0] if draws is None else found


def _data(model: Any, table: Any) -> GroupedData:
    """The rows of a table, with the columns of the training table."""
    if isinstance(table, GroupedData):
        return table
    if column_names(table) is None:
        raise InputError(
            "table must be a frame of pandas, polars or pyarrow, or GroupedData, not "
            f"{shown(table)}"
        )
    record = getattr(model, "table_columns", None)
    if record is None:
        raise InputError(
            "model must be trained on a table, GroupedData.from_frame(...), to impute a frame"
        )
    rows = np.arange(len(opened(table, "table")))
    return GroupedData.from_frame(table, rows, like=columns_like(record), missing="keep")


@torch.inference_mode()
def _completed(
    model: Any, data: GroupedData, draws: int | None, samples: int, batch_size: int, seed: int
) -> Iterator[Tensor]:
    """Features (N, D) with values in the missing cells, once or ``draws`` times."""
    likelihood: MixedColumns = model.likelihood
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        for number in range(1 if draws is None else draws):
            generator = torch.Generator(device).manual_seed(seed + number)
            parts = []
            for rows in torch.arange(len(data), device=data.device).split(batch_size):
                batch = data.singles(rows).to(device)
                observed = model.observed(batch)
                q = model.posterior(batch.x, observed)
                if draws is None:
                    values = torch.zeros_like(batch.x)
                    for _ in range(samples):
                        z = q.sample(generator=generator)
                        values += likelihood.mean(model.decoder(z)) / samples
                else:
                    parameters = model.decoder(q.sample(generator=generator))
                    values = likelihood.sample(parameters, generator=generator)
                parts.append(torch.where(likelihood.spread(observed), batch.x, values).cpu())
            yield torch.cat(parts)
    finally:
        model.train(training)
