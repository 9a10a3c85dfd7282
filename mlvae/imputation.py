"""Missing cells of a table in place of which a model puts values.

Shapes: N rows, C columns, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.data.tables.filled import filled_frame
from mlvae.data.tables.frames import columns_like
from mlvae.encoding import groups_of, rows_of_table, shared_codes, with_groupings
from mlvae.errors import InputError, check_integer, shown
from mlvae.models.protocol import traits

__all__ = ["impute"]


def impute(
    model: Any,
    table: Any,
    *,
    groups: Any = None,
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

    A model with grouped content, ``MLVAE(..., cells="evidence")``, has values from
    :math:`E[x_{ij} \mid x_{G, O}, m_G]`: the content is inferred from the observed cells of all
    rows of the group, the style from those of the row. All rows of a group have the same draw of
    the content in a table.

    Args:
        model: a trained model that takes missing cells: :class:`~mlvae.models.VSAE`, or
            :class:`~mlvae.models.MLVAE` with the option ``cells``.
        table: a frame of pandas, polars or pyarrow with the columns of the training table; or
            :class:`~mlvae.GroupedData` of ``from_frame(..., missing="keep")``.
        groups: of a model with grouped content, the label of each row's group, length N, or the
            name of a column of the frame; of several groupings, labels by the name of the
            grouping. None: the groups of GroupedData; the column of the frame
            that had the groups in training; otherwise each row is a group of its own.
        draws: number of tables; None: one table of expected values.
        samples: samples of the latents for the expected values.
        batch_size: number of rows that are computed at once.
        seed: seed of the samples.

    Returns:
        A frame of the same library, or features float32 (N, D) for GroupedData; with ``draws`` a
        list of these. A column of integers becomes floats where an expected value is put in it,
        and int64 where a draw is beyond its type.

    Raises:
        InputError: if the model takes no missing cells or has no groups, or the table lacks a
            column.
    """
    if not traits(model).missing_cells or not callable(getattr(model, "imputed", None)):
        raise InputError(
            "model must be one for tables with missing cells, such as VSAE or MLVAE with "
            f"cells='evidence', not {shown(model)}"
        )
    for name, value in {"samples": samples, "batch_size": batch_size}.items():
        check_integer(name, value, minimum=1)
    check_integer("seed", seed, minimum=0)
    if draws is not None:
        check_integer("draws", draws, minimum=1)
    data = _data(model, table, groups)
    found = list(_completed(model, data, draws, int(samples), int(batch_size), int(seed)))
    if not isinstance(table, GroupedData):
        observed = data.given["observed"].numpy()
        columns = columns_like(model.table_columns).features
        found = [filled_frame(table, columns, x.numpy(), ~observed) for x in found]
    return found[0] if draws is None else found


def _data(model: Any, table: Any, groups: Any) -> GroupedData:
    """The rows of the table in their groups, of each grouping of the model."""
    if not callable(getattr(model, "pooled", None)):
        if groups is None:
            return rows_of_table(model, table)
        raise InputError(
            f"groups must be None for a {type(model).__name__}, whose rows share no content"
        )
    if isinstance(table, GroupedData):
        data = table if groups is None else table.regrouped(groups)
    else:
        data = rows_of_table(model, table, groups)
    return with_groupings(traits(model), data, given=groups is not None)


@torch.inference_mode()
def _completed(
    model: Any, data: GroupedData, draws: int | None, samples: int, batch_size: int, seed: int
) -> Iterator[Tensor]:
    """Features (N, D) with values in the missing cells, once or ``draws`` times."""
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    averaged = samples if draws is None else None
    stated, training = traits(model), model.training
    model.eval()
    try:
        shared = shared_codes(model, data, batch_size)
        for _ in range(draws or 1):
            codes = shared
            if draws is not None:  # one draw of the content for all rows of a group
                codes = {name: q.sample_groups(generator=generator) for name, q in shared.items()}
            parts = []
            for rows in torch.arange(len(data), device=data.device).split(batch_size):
                batch = data.singles(rows).to(device)
                of_rows = {
                    name: values[groups_of(data, stated, name).index[rows].to(device)]
                    for name, values in codes.items()
                }
                found = model.imputed(batch, samples=averaged, generator=generator, **of_rows)
                parts.append(found.cpu())
            yield torch.cat(parts)
    finally:
        model.train(training)
