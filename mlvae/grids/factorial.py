"""The factorial grid: the contents of two groupings, each of one with each of the other.

Shapes: n observations (...) in R groups of one grouping and K groups of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.data.grouped import GroupedData
from mlvae.errors import InputError, check_choice, check_integer
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

__all__ = ["content_names", "factorial_grid", "factorial_rows"]

#: Most observations of a picture during training.
MOST = 1024


def content_names(model: object, codes: Sequence[str]) -> dict[str, str]:
    """The names of the contents among ``codes`` by the name of their grouping."""
    stated = traits(model)
    return {
        stated.grouping_of[name]: name
        for name in codes
        if name in stated.group_codes and name in stated.grouping_of
    }


@torch.no_grad()
def factorial_grid(
    model: Model,
    batch: Batch,
    *,
    rows: str | None = None,
    columns: str | None = None,
    most: int = 12,
) -> Grid:
    """The content of every group of one grouping with that of every group of another.

    The row gives the content of one grouping, the column that of the other. Each is accumulated
    over the observations of its group in the batch. The first row and the first column are
    observations of the groups. All other codes are the means over the batch. A cell is framed if
    the batch has an observation of both groups; the other cells are combinations that it lacks.

    Args:
        model: has contents of at least two groupings.
        batch: observations in these groupings.
        rows: name of the grouping of the rows; None: the first one.
        columns: name of the grouping of the columns; None: the next one.
        most: largest number of groups of each grouping.

    Raises:
        InputError: if the model has fewer contents, or no content of a grouping.

    Example:
        >>> from mlvae import GroupedData, models
        >>> labels = {"character": list("AABB"), "font": [0, 1, 0, 1]}
        >>> data = GroupedData(torch.rand(4, 1, 8, 8), groups=labels)
        >>> model = models.MLVAE((1, 8, 8), content_dim={"character": 3, "font": 2})
        >>> factorial_grid(model, data.batch([0, 1, 2])).tiles.shape  # and a row and a column
        torch.Size([3, 3, 1, 8, 8])
    """
    check_integer("most", most, minimum=1)
    batch = drawable_batch(model, batch)
    codes = model.codes(batch)
    known = content_names(model, list(codes))
    if len(known) < 2:
        raise InputError(
            f"a factorial grid needs contents of two groupings, not {', '.join(known) or 'none'}"
        )
    for option, name in (("rows", rows), ("columns", columns)):
        if name is not None:
            check_choice(option, name, known)
    first = rows if rows is not None else next(name for name in known if name != columns)
    second = columns if columns is not None else next(name for name in known if name != first)
    if first == second:
        raise InputError(f"rows and columns must be different groupings, not {first!r} twice")
    down, across = batch.groupings[first], batch.groupings[second]
    of_rows, of_columns = (first_of_each(groups)[:most] for groups in (down, across))
    height, width = len(of_rows), len(of_columns)
    means = means_of(codes)
    latents = {name: m.mean(0).expand(height * width, -1) for name, m in means.items()}
    latents[known[first]] = means[known[first]][of_rows].repeat_interleave(width, 0)
    latents[known[second]] = means[known[second]][of_columns].repeat(height, 1)
    decoded = in_range(model.decode(**latents), batch.x).unflatten(0, (height, width))
    tiles = batch.x.new_zeros(height + 1, width + 1, *batch.x.shape[1:])
    tiles[0, 1:], tiles[1:, 0], tiles[1:, 1:] = batch.x[of_columns], batch.x[of_rows], decoded
    filled, marked = torch.ones(2, height + 1, width + 1, dtype=torch.bool)
    filled[0, 0], marked[0], marked[:, 0] = False, False, False
    marked[1:, 1:] = _present(down, across)[:height, :width]
    return labelled_grid(
        tiles,
        rows=["observed", *names(down)[:height]],
        columns=["observed", *names(across)[:width]],
        down=f"{first} of",
        across={1: f"{second} of"},
        below=[1],
        filled=filled,
        marked=marked,
        note=f"A cell has the content of its row's {first} and of its column's {second}. Framed: "
        "combinations that were observed.",
    )


def factorial_rows(data: GroupedData, rows: str, columns: str, *, limit: int = 10) -> Tensor:
    """Indices of observations of the first ``limit`` groups of each of two groupings.

    At most 1,024 observations, at even distances. Groups without a label are left out.
    """
    chosen = torch.ones(len(data), dtype=torch.bool, device=data.device)
    for name in (rows, columns):
        grouping = data.groupings[name]
        chosen &= (grouping.groups.index < limit) & grouping.labelled
    found = chosen.nonzero()[:, 0]
    some = torch.linspace(0, len(found) - 1, min(len(found), MOST), dtype=torch.float64).long()
    return found[some.to(found.device)]


def _present(rows: Groups, columns: Groups) -> Tensor:
    """Whether an observation is in the group of a row and in that of a column, (R, K)."""
    found = torch.zeros(rows.num_groups, columns.num_groups, dtype=torch.bool)
    found[rows.index.cpu(), columns.index.cpu()] = True
    return found
