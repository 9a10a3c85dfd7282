"""The grid of two groupings: every group of one with every group of the other.

Shapes: n observations (...); D dimensions of a code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.errors import InputError, check_integer, shown
from mlvae.grids.grid import (
    Grid,
    drawable_batch,
    first_of_each,
    in_range,
    labelled_grid,
    means_of,
    names,
)
from mlvae.groups import Groups
from mlvae.models.protocol import Model, traits

__all__ = ["factorial_grid"]


@torch.no_grad()
def factorial_grid(
    model: Model,
    batch: Batch,
    *,
    down: str | None = None,
    across: str | None = None,
    rows: int = 12,
    columns: int = 12,
) -> Grid:
    """Decoded combinations of the groups of two groupings.

    The row gives the content of a group of one grouping, the column that of a group of the other.
    Both are accumulated over all observations of the batch. All other codes have their mean over
    the batch. Combinations without an observation in the batch have a frame: they are predicted
    from other combinations.

    Args:
        model: has a code for each of at least two groupings.
        batch: n observations in these groupings.
        down: grouping of the rows; None: the first one of the model.
        across: grouping of the columns; None: the first one of the model that is not ``down``.
        rows: largest number of groups in the rows, the first ones.
        columns: largest number of groups in the columns.

    Raises:
        InputError: if the model has fewer than two groupings, or the batch lacks one of them.
    """
    check_integer("rows", rows, minimum=1)
    check_integer("columns", columns, minimum=1)
    batch = drawable_batch(model, batch)
    of = dict(traits(model).grouping_of)
    chosen = _chosen(of, down, across)
    for name in chosen:
        if name not in batch.groupings:
            raise InputError(
                f"batch must have the grouping {name}, not only {', '.join(batch.groupings)}"
            )
    means = means_of(model.codes(batch))
    groups = [batch.groupings[name] for name in chosen]
    kept = [min(most, each.num_groups) for most, each in zip((rows, columns), groups, strict=True)]
    latents = {
        name: _cells(values, of.get(name), chosen, groups, kept) for name, values in means.items()
    }
    tiles = in_range(model.decode(**latents), batch.x).unflatten(0, kept)
    there = torch.zeros(groups[0].num_groups, groups[1].num_groups, dtype=torch.bool)
    there[groups[0].index.cpu(), groups[1].index.cpu()] = True
    labels = [names(each)[:most] for each, most in zip(groups, kept, strict=True)]
    return labelled_grid(
        tiles,
        rows=labels[0],
        columns=labels[1],
        down=chosen[0],
        across={0: chosen[1]},
        marked=~there[: kept[0], : kept[1]],
        note="A cell is decoded from the contents of its row and of its column, with the mean of "
        "the other codes. Framed: combinations without an observation.",
    )


def _chosen(of: dict[str, str], down: str | None, across: str | None) -> tuple[str, str]:
    """The groupings of the rows and of the columns, or :class:`InputError`."""
    known = list(dict.fromkeys(of.values()))
    for option, name in (("down", down), ("across", across)):
        if name is not None and name not in known:
            raise InputError(
                f"{option} must be a grouping of the model ({', '.join(known)}), not {shown(name)}"
            )
    first = down if down is not None else next((n for n in known if n != across), None)
    second = across if across is not None else next((n for n in known if n != first), None)
    if first is None or second is None or first == second:
        raise InputError(
            "a factorial grid needs a model with a content for each of two groupings, not for "
            f"{', '.join(known) or 'none'}"
        )
    return first, second


def _cells(
    values: Tensor,
    grouping: str | None,
    chosen: tuple[str, str],
    groups: list[Groups],
    kept: list[int],
) -> Tensor:
    """The value of one code in every cell, row by row: (rows * columns, D)."""
    height, width = kept
    if grouping == chosen[0]:
        return values[first_of_each(groups[0])][:height].repeat_interleave(width, 0)
    if grouping == chosen[1]:
        return values[first_of_each(groups[1])][:width].repeat(height, 1)
    return values.mean(0, keepdim=True).expand(height * width, -1)
