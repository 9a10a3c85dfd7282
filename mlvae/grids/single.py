"""Grids of observations, each with codes of its own: swaps, reconstructions, changed codes.

Shapes: n observations (...); D dimensions of a code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mlvae.arguments import check_type
from mlvae.batch import Batch
from mlvae.data.grouped import GroupedData
from mlvae.errors import InputError, check_integer, check_number
from mlvae.grids.factorial import content_names, factorial_grid, factorial_rows
from mlvae.grids.grid import (
    Grid,
    drawable,
    drawable_batch,
    first_of_each,
    in_range,
    labelled_grid,
    means_of,
    names,
    separates,
)
from mlvae.models.protocol import Model, has_codes
from mlvae.posteriors import Family

__all__ = [
    "interpolation_grid",
    "pictures",
    "reconstruction_grid",
    "swap_grid",
    "traversal_grid",
]


@torch.no_grad()
def swap_grid(model: Model, batch: Batch) -> Grid:
    """Every content with every style.

    The column gives the content: that of a group, accumulated over its observations. The row gives
    the style: that of the first observation of a group. The first row and the first column are
    these first observations. So the diagonal has their reconstructions. In a good model each
    column keeps its character and each row keeps its style.

    Args:
        model: has the codes "content" and "style".
        batch: observations of n groups.

    Returns:
        A grid of (n + 1) x (n + 1) cells.
    """
    batch = drawable_batch(model, batch)
    codes = model.codes(batch)
    if not separates(codes):
        raise InputError(
            f"a swap needs a model with the codes content and style, not {', '.join(codes)}; "
            "use reconstruction_grid"
        )
    means, labels = means_of(codes), names(batch.groups)
    first = first_of_each(batch.groups)
    x, n = batch.x[first], len(first)
    number = torch.arange(n, device=x.device)
    content = {
        name: values[first][number.repeat(n)] for name, values in means.items() if name != "style"
    }
    styles = means["style"][first][number.repeat_interleave(n)]
    swaps = in_range(model.decode(**content, style=styles), x).unflatten(0, (n, n))
    tiles = x.new_zeros(n + 1, n + 1, *x.shape[1:])
    tiles[0, 1:], tiles[1:, 0], tiles[1:, 1:] = x, x, swaps
    filled = torch.ones(n + 1, n + 1, dtype=torch.bool)
    filled[0, 0] = False
    return labelled_grid(
        tiles,
        rows=["observed", *labels],
        columns=["observed", *labels],
        down="style of",
        across={1: "content of"},
        below=[1],
        filled=filled,
        marked=torch.diag_embed(torch.tensor([False] + [True] * n)),
        note="A cell has the content of its column and the style of its row. Framed: "
        "reconstructions.",
    )


@torch.no_grad()
def reconstruction_grid(model: Model, batch: Batch) -> Grid:
    """A row of observations and a row of their reconstructions.

    If a group has several observations, a third row has the reconstructions with the content that
    is accumulated over the group.
    """
    batch = drawable_batch(model, batch)
    alone = in_range(model.decode(**means_of(model.codes(batch.singles()))), batch.x)
    rows, tiles = ["observation", "reconstruction"], [batch.x, alone]
    if batch.groups.num_groups < len(batch):
        rows.append("with its group")
        tiles.append(in_range(model.decode(**means_of(model.codes(batch))), batch.x))
    labels = names(batch.groups)
    return labelled_grid(
        torch.stack(tiles),
        rows=rows,
        columns=[labels[group] for group in batch.groups.index.tolist()],
        note="Each observation is reconstructed from its own posterior means.",
    )


@torch.no_grad()
def interpolation_grid(model: Model, batch: Batch, *, steps: int = 9) -> Grid:
    """A grid between two observations, on straight lines between their posterior means.

    The first observation is at the top left, the second at the bottom right. The content changes
    from left to right, the style from top to bottom. So the other two corners are the swaps of the
    two. A model without content and style gives one row.

    Args:
        model: the model.
        batch: two observations; each is used as a group of one.
        steps: tiles along each axis.
    """
    check_integer("steps", steps, minimum=2)
    batch = drawable_batch(model, batch, least=2).singles()
    labels, means = names(batch.groups), means_of(model.codes(batch))
    way = torch.linspace(0, 1, steps, device=batch.x.device)[:, None]
    path = {name: torch.lerp(ends[:1], ends[1:2], way) for name, ends in means.items()}
    middle = [""] * (steps - 2)
    ends, split = [labels[0], *middle, labels[1]], separates(path)
    if split:
        style = path.pop("style").repeat_interleave(steps, 0)
        path = {name: values.repeat(steps, 1) for name, values in path.items()} | {"style": style}
    decoded = in_range(model.decode(**path), batch.x).unflatten(0, (-1, steps))
    marked = torch.zeros(decoded.shape[:2], dtype=torch.bool)
    marked[0, 0] = marked[-1, -1] = True
    change = "Content changes from left to right, style from top to bottom"
    return labelled_grid(
        decoded,
        marked=marked,
        rows=ends if split else [""],
        columns=ends,
        down="style" if split else "",
        across={0: "content" if split else "latent"},
        note=f"{change if split else 'The latent changes from left to right'}, on a straight "
        "line between posterior means. Framed: reconstructions of the two observations.",
    )


@torch.no_grad()
def traversal_grid(
    model: Model, batch: Batch, *, steps: int = 9, span: float = 3.0, most: int = 40
) -> Grid:
    """The effect of each latent dimension on one observation.

    A row for each dimension, in the order of the codes: the dimension goes from -``span`` to
    ``span``, and all others keep the observation's posterior mean. A share of a code on the
    simplex goes from 0 to 1, and the others keep their proportions.

    Args:
        model: the model.
        batch: one observation.
        steps: tiles in a row.
        span: in standard deviations of the prior.
        most: largest number of rows.
    """
    check_integer("steps", steps, minimum=2)
    check_integer("most", most, minimum=1)
    check_number("span", span, minimum=0, exclusive=True)
    batch = drawable_batch(model, batch).singles(torch.tensor([0]))
    codes = model.codes(batch)
    means = means_of(codes)
    sizes = [values.shape[1] for values in means.values()]
    number, starts = min(most, sum(sizes)), torch.tensor([0, *sizes]).cumsum(0).tolist()
    moved = torch.cat(list(means.values()), 1).expand(number, steps, -1).clone()
    for q, start, size in zip(codes.values(), starts, sizes, strict=False):
        for i in range(start, min(start + size, number)):
            moved[i, :, start : start + size] = _path(q, i - start, steps, float(span))
    parts = dict(zip(means, moved.flatten(0, 1).split(sizes, 1), strict=True))
    decoded = in_range(model.decode(**parts), batch.x).unflatten(0, (number, steps))
    rows = [
        f"{name} {i + 1}" for name, size in zip(means, sizes, strict=True) for i in range(size)
    ]
    columns, title = _ends([q.simplex for q in codes.values()], steps, float(span))
    return labelled_grid(
        decoded,
        rows=rows[:number],
        columns=columns,
        across={0: title},
        below=[start for start in starts[1:-1] if start < number],
        note="In a row one dimension changes; the others keep the values of one observation.",
    )


def _path(q: Family, dimension: int, steps: int, span: float) -> Tensor:
    """The mean of one posterior with one dimension that changes, (steps, D)."""
    mean = q.mean[0]
    path = mean.expand(steps, -1).clone()
    if not q.simplex:
        path[:, dimension] = torch.linspace(-span, span, steps, device=mean.device)
        return path
    share = torch.linspace(0, 1, steps, device=mean.device)
    others = mean.index_fill(0, torch.tensor(dimension, device=mean.device), 0)
    # A share of 1 leaves no proportions of the others.
    others = torch.where(others.sum() > 0, others / others.sum(), 1 / max(1, len(mean) - 1))
    path = (1 - share)[:, None] * others
    path[:, dimension] = share
    return path


def _ends(simplex: Sequence[bool], steps: int, span: float) -> tuple[list[str], str]:
    """The labels of the columns of a traversal and their title."""
    if any(simplex) and not all(simplex):
        return (
            ["least", *[""] * (steps - 2), "most"],
            f"share of the component, 0 to 1; other dimensions, -{span:g} to {span:g} prior "
            "standard deviations",
        )
    low, high, title = -span, span, "value of the dimension, in prior standard deviations"
    if all(simplex):
        low, high, title = 0.0, 1.0, "share of the component"
    way = torch.linspace(low, high, steps).round(decimals=2)
    return [f"{value:g}" for value in way.tolist()], title


def pictures(model: object, data: GroupedData) -> dict[str, Grid]:
    """Grids of one observation of each of the first ten groups, by name.

    A model with contents of several groupings has a factorial grid of the first two.

    Empty if the observations are neither images nor series, or the model has no codes.
    """
    check_type("data", data, GroupedData, "GroupedData")
    if not drawable(data.shape) or not has_codes(model):
        return {}
    training = model.training
    model.eval()
    batch = data.singles(data.one_of_each(limit=10))
    grids = {"reconstructions": reconstruction_grid(model, batch)}
    with torch.no_grad():
        codes = model.codes(batch)
    if separates(codes):
        grids["swaps"] = swap_grid(model, batch)
    if len(contents := content_names(model, list(codes))) > 1:
        rows, columns, *_ = contents
        if len(chosen := factorial_rows(data, rows, columns)):
            grids["factorial"] = factorial_grid(model, data.batch(chosen))
    model.train(training)
    names = tuple(data.feature_names or ())
    return {name: replace(grid, features=names) for name, grid in grids.items()}
