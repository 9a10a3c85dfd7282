"""Grids of groups: the evidence of several observations, and new members.

Shapes: n observations (...) in G groups; D dimensions of a code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mlvae.arguments import check_generator, check_type
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
    separates,
)
from mlvae.groups import Groups
from mlvae.models.protocol import Model
from mlvae.posteriors import Family

__all__ = ["accumulation_grid", "evidence_grid", "generation_grid"]


@torch.no_grad()
def accumulation_grid(model: Model, batch: Batch) -> Grid:
    """The effect of a group's evidence: observations, reconstructions alone, and with the group.

    A row for each group: its observations; each reconstructed with its own content; each
    reconstructed with the content accumulated over the row. All groups have the same number of
    observations.

    Args:
        model: the model.
        batch: n observations and their groups.
    """
    batch = drawable_batch(model, batch)
    x, groups = batch.x, batch.groups
    size = _equal_size(groups)
    order = groups.index.argsort(stable=True)
    single, grouped = (
        in_range(model.decode(**means_of(model.codes(part))), x)
        for part in (batch.singles(), batch)
    )
    parts = [
        block[order].unflatten(0, (groups.num_groups, size)) for block in (x, single, grouped)
    ]
    return labelled_grid(
        torch.cat(parts, 1),
        rows=names(groups),
        across={0: "observations", size: "content of each alone", 2 * size: "content of the row"},
        note="Middle and right: reconstructions. The style is always that of the observation.",
    )


@torch.no_grad()
def evidence_grid(model: Model, batch: Batch, *, counts: Sequence[int] | None = None) -> Grid:
    """The content of a group as its evidence grows.

    A row for each group: its first observation, then reconstructions of it with the content
    accumulated over the first k observations of the group. The style is always that of the first
    observation.

    Args:
        model: the model.
        batch: observations; each group has at least max(counts) of them.
        counts: the numbers k; None takes all of 1, 2, 3, 5, 10, 20, 50 up to the size of the
            smallest group.
    """
    batch = drawable_batch(model, batch)
    groups = batch.groups
    limit = int(groups.sizes.min())
    if counts is None:
        counts = [k for k in (1, 2, 3, 5, 10, 20, 50) if k <= limit]
    check_type("counts", counts, (list, tuple), "a list of numbers, as [1, 2, 5]")
    for k in counts:
        check_integer("counts", k, minimum=1)
    if not counts or max(counts) > limit:
        raise InputError(
            f"counts must be numbers up to the size of the smallest group, {limit}, "
            f"not {shown(counts)}"
        )
    order = groups.index.argsort(stable=True)
    start = groups.sizes.cumsum(0) - groups.sizes
    tiles = [batch.x[first_of_each(groups)]]
    for k in counts:
        members = order[start[:, None] + torch.arange(k, device=order.device)].flatten()
        index = torch.arange(groups.num_groups, device=order.device).repeat_interleave(k)
        sizes = torch.full_like(groups.sizes, k)
        part = replace(
            batch.singles(members), groups=Groups.unchecked(index, sizes, groups.origin)
        )
        first = first_of_each(part.groups)
        means = {name: values[first] for name, values in means_of(model.codes(part)).items()}
        tiles.append(in_range(model.decode(**means), batch.x))
    return labelled_grid(
        torch.stack(tiles, 1),
        rows=names(groups),
        columns=["observed", *[f"k = {k}" for k in counts]],
        across={1: "content of k observations"},
        note="First column: an observation of the group. Other columns: its reconstruction with "
        "the content of k observations and with its own style.",
    )


@torch.no_grad()
def generation_grid(
    model: Model,
    batch: Batch,
    *,
    columns: int = 8,
    generator: torch.Generator | None = None,
) -> Grid:
    """New members of groups: the content of a group with styles sampled from the prior.

    A row for each group. On the left are up to ``columns // 2`` of its observations. On the right
    are ``columns`` decoded observations with the mean of its content posterior, given all its
    observations, and random styles. The styles are the same in every row. A model without content
    and style gives samples from the prior of its codes.

    Args:
        model: its codes are random, with a prior.
        batch: n observations and their groups.
        columns: generated observations in a row.
        generator: source of the styles, on the device of the observations.
    """
    check_integer("columns", columns, minimum=1)
    check_generator(generator)
    columns, batch = int(columns), drawable_batch(model, batch)
    codes, x, groups = model.codes(batch), batch.x, batch.groups
    if not separates(codes):
        latents = {name: _prior(q, 8 * columns, generator) for name, q in codes.items()}
        decoded = in_range(model.decode(**latents), x).unflatten(0, (8, columns))
        return labelled_grid(decoded, note="Observations decoded from samples of the prior.")
    styles, half = _prior(codes["style"], columns, generator), columns // 2
    tiles = x.new_zeros(groups.num_groups, half + columns, *x.shape[1:])
    filled = torch.ones(groups.num_groups, half + columns, dtype=torch.bool)
    for group in range(groups.num_groups):
        members = (groups.index == group).nonzero()[:, 0]
        some = x[members[:half]]
        tiles[group, : len(some)] = some
        filled[group, len(some) : half] = False
        first = members[:1].expand(columns)  # decode takes as many rows of every code
        means = {name: q.mean[first] for name, q in codes.items() if name != "style"}
        tiles[group, half:] = in_range(model.decode(**means, style=styles), x)
    left = {0: "observations"} if half else {}
    return labelled_grid(
        tiles,
        rows=names(groups),
        down="content of",
        across={**left, half: "sampled styles"},
        filled=filled,
        note="Right: the content of the row's group with styles sampled from the prior; a column "
        "has one style.",
    )


def _equal_size(groups: Groups) -> int:
    """The size of all groups, or :class:`InputError`."""
    low, high = (int(end) for end in groups.sizes.aminmax())
    if low < high:
        raise InputError(
            "all groups of this grid must have the same number of observations, not "
            f"{low} to {high}"
        )
    return low


def _prior(q: Family, number: int, generator: torch.Generator | None) -> Tensor:
    """Samples (number, D) of the prior of the code with the posterior ``q``."""
    return q.prior_rows(number).sample(generator=generator)
