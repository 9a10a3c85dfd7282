"""A figure of the contents of two groupings, each of one with each of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlvae import grids
from mlvae.data.grouped import GroupedData
from mlvae.errors import InputError, check_integer, shown
from mlvae.grids.factorial import content_names, factorial_rows
from mlvae.models.protocol import has_codes, traits
from mlvae.show.views import drawn
from mlvae.training.checks import with_needs

if TYPE_CHECKING:
    from mlvae.show.drawing import Picture

__all__ = ["combinations"]


def combinations(
    model: Any,
    data: GroupedData,
    rows: str | None = None,
    columns: str | None = None,
    most: int = 12,
) -> Picture:
    """The content of every group of one grouping with that of every group of another.

    Framed cells are combinations that the data have. Contents are accumulated over at most 1,024
    observations of the groups in the figure; see :func:`mlvae.grids.factorial_grid`.

    Args:
        model: a trained model with contents of at least two groupings.
        data: observations in these groupings.
        rows: name of the grouping of the rows; None: the first one of the model.
        columns: name of the grouping of the columns; None: the next one.
        most: largest number of groups of each grouping, the first ones with a label.

    Returns:
        A :class:`matplotlib.figure.Figure`.

    Raises:
        InputError: if the model has fewer contents, or the data have not its groupings.

    Example:
        >>> import torch, mlvae
        >>> labels = {"character": list("AABB"), "font": [0, 1, 0, 1]}
        >>> data = mlvae.GroupedData(torch.rand(4, 1, 8, 8), groups=labels)
        >>> model = mlvae.models.MLVAE((1, 8, 8), content_dim={"character": 3, "font": 2})
        >>> figure = combinations(model, data)
    """
    if not has_codes(model):
        raise InputError(f"model must have codes and decode, as a MLVAE, not {shown(model)}")
    if not isinstance(data, GroupedData):
        raise InputError(f"data must be GroupedData with several groupings, not {shown(data)}")
    check_integer("most", most, minimum=1)
    data = with_needs(model, data, "shown")
    known = content_names(model, list(traits(model).grouping_of))
    first, second = rows, columns
    for name in known:
        if first is None and name != second:
            first = name
        elif second is None and name != first:
            second = name
    chosen = slice(None)
    if first in data.groupings and second in data.groupings:
        chosen = factorial_rows(data, str(first), str(second), limit=most)
    data = data.to(next(model.parameters()).device)
    batch = data.batch(chosen)
    options = {"rows": first, "columns": second, "most": most}
    return drawn(grids.factorial_grid, model, data, batch, **options)
