"""Pictures of what a model has learned, as grids of tiles: arrays in, arrays out.

Shapes: n images of shape (channels, height, width), values in [0, 1]; L latent dimensions, those
of the content before those of the style.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.batch import Batch
from mlvae.data.grouped import GroupedData
from mlvae.groups import Groups
from mlvae.models import told_groups

__all__ = [
    "accumulation_grid",
    "generation_grid",
    "interpolation_grid",
    "pictures",
    "reconstruction_grid",
    "swap_grid",
    "traversal_grid",
]

TILE = 56  # least height and width of a tile, in pixels


def swap_grid(model: nn.Module, x: Tensor | Batch) -> Tensor:
    """Every content with every style, laid out as in the paper.

    The first row and column are the images themselves, the second row and column their
    reconstructions. Elsewhere the column gives the content and the row the style, so a column that
    keeps its character and a row that keeps its hand are what a good model shows.

    Args:
        model: one with ``swap`` and ``reconstruct``.
        x: n images, float in [0, 1]; for a model that is told their groups, a batch of them, each
            by itself.

    Returns:
        One image (channels, height, width) of (n + 2) x (n + 2) tiles.
    """
    told, x = x, x.x if isinstance(x, Batch) else x
    n, number = len(x), torch.arange(len(x), device=x.device)
    mean = _shown(model.reconstruct(told), x)
    swaps = model.swap(
        content_of=_some(told, number.repeat(n)), style_of=_some(told, number.repeat_interleave(n))
    )
    swaps = swaps.to(x).clamp(0, 1).unflatten(0, (n, n))
    blank = torch.ones_like(x[:1])
    rows = [torch.cat((blank, blank, x)), torch.cat((blank, blank, mean))]
    rows += [torch.cat((x[i : i + 1], mean[i : i + 1], swaps[i])) for i in range(n)]
    return _tiles(torch.cat(rows), n + 2)


def reconstruction_grid(model: nn.Module, x: Tensor | Batch) -> Tensor:
    """Two rows: n images, and below each its reconstruction from itself alone."""
    told, x = x, x.x if isinstance(x, Batch) else x
    return _tiles(torch.cat((x, _shown(model.reconstruct(told), x))), len(x))


@torch.no_grad()
def interpolation_grid(model: nn.Module, start: Tensor, end: Tensor, *, steps: int = 9) -> Tensor:
    """From one image at the top left to another at the bottom right, between posterior means.

    The content moves along the columns, the style along the rows, so the other two corners are
    the swaps of the images at the ends. A model with a single latent gives one row.

    Args:
        model: one with ``infer_content``, ``infer_style`` and ``decode``, or ``infer`` and
            ``decode``.
        start: one image (1, channels, height, width).
        end: another.
        steps: tiles along each axis.
    """
    way = torch.linspace(0, 1, steps, device=start.device)[:, None]
    ends = torch.cat((start, end))
    if not hasattr(model, "infer_style"):
        return _tiles(_shown(model.decode(_between(model.infer(ends).mean, way)), start), steps)
    content = _between(model.infer_content(ends).mean, way)
    style = _between(model.infer_style(ends).mean, way)
    images = model.decode(content.repeat(steps, 1), style.repeat_interleave(steps, 0))
    return _tiles(_shown(images, start), steps)


@torch.no_grad()
def generation_grid(
    model: nn.Module,
    x: Tensor,
    groups: Groups,
    *,
    columns: int = 8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """New members of groups: the content of a group, styles drawn from the prior.

    A row for each group: on the left ``columns // 2`` of its images (as many as there are), on the
    right ``columns`` of its content, the mean of what all its members say, with random styles;
    the styles are the same in every row. A model with a single latent gives draws of its prior.

    Args:
        model: as in :func:`interpolation_grid`.
        x: n images.
        groups: their groups.
        columns: images that are generated in a row.
        generator: of the styles, on the device of ``x``.
    """
    if not hasattr(model, "infer_style"):
        z = torch.randn(8 * columns, model.latent_dim, generator=generator, device=x.device)
        return _tiles(_shown(model.decode(z), x), columns)
    content = model.infer_content(x, groups).mean
    s = torch.randn(columns, model.style_dim, generator=generator, device=x.device)
    blank, half = torch.ones_like(x[:1]), columns // 2
    rows = []
    for group, c in enumerate(content):
        members = x[groups.index == group][:half]
        rows += [members, *[blank] * (half + 1 - len(members))]
        rows.append(_shown(model.decode(c[None], s), x))
    return _tiles(torch.cat(rows), half + 1 + columns)


@torch.no_grad()
def accumulation_grid(model: nn.Module, x: Tensor, groups: Groups) -> Tensor:
    """What a group's evidence adds: images, their reconstructions alone, and with the group.

    A row for each group: its images, each reconstructed with the content that it shows alone, each
    with the content accumulated over the row. All groups must have the same number of images.

    Args:
        model: one with ``reconstruct``.
        x: n images.
        groups: their groups.
    """
    order = groups.index.argsort(stable=True)
    size = len(x) // groups.num_groups
    blocks = (x, _shown(model.reconstruct(x), x), _shown(model.reconstruct(x, groups), x))
    parts = [block[order].unflatten(0, (groups.num_groups, size)) for block in blocks]
    gap = torch.ones_like(parts[0][:, :1])
    grid = torch.cat((parts[0], gap, parts[1], gap, parts[2]), 1)
    return _tiles(grid.flatten(0, 1), grid.shape[1])


@torch.no_grad()
def traversal_grid(
    model: nn.Module, x: Tensor, *, steps: int = 9, span: float = 3.0, most: int = 40
) -> Tensor:
    """What each latent dimension does to one image.

    A row for each dimension, first those of the content, then those of the style: it goes from
    -``span`` to ``span`` while all others keep the image's posterior mean.

    Args:
        model: as in :func:`interpolation_grid`.
        x: one image (1, channels, height, width).
        steps: tiles in a row.
        span: in standard deviations of the prior.
        most: dimensions that are shown.
    """
    split = hasattr(model, "infer_style")
    posteriors = [model.infer_content(x), model.infer_style(x)] if split else [model.infer(x)]
    latent = torch.cat([posterior.mean for posterior in posteriors], 1)
    shown = min(most, latent.shape[1])
    moved = latent.expand(shown, steps, -1).clone()
    way = torch.linspace(-span, span, steps, device=x.device)
    for i in range(shown):
        moved[i, :, i] = way
    parts = moved.flatten(0, 1).split([posterior.mean.shape[1] for posterior in posteriors], 1)
    return _tiles(_shown(model.decode(*parts), x), steps)


def _between(ends: Tensor, way: Tensor) -> Tensor:
    """Points (steps, D) from the first to the second of ``ends`` (2, D)."""
    return torch.lerp(ends[:1], ends[1:], way)


def _some(x: Tensor | Batch, rows: Tensor) -> Tensor | Batch:
    """The images at ``rows``, each by itself; of a batch with where they come from."""
    if not isinstance(x, Batch):
        return x[rows]
    alone = Groups.singletons(len(rows), rows.device)
    alone.origin = x.groups.origin[x.groups.index[rows]]
    return Batch(x.x[rows], alone)


def _shown(images: Tensor, like: Tensor) -> Tensor:
    """Decoded images as they can be drawn."""
    return images.to(like).clamp(0, 1)


def pictures(model: nn.Module, data: GroupedData) -> dict[str, Tensor]:
    """The grids that ``model`` can give of one image of each of the first ten groups.

    Empty where observations are no images of one or three channels, or the model reconstructs
    nothing.
    """
    images = len(data.shape) == 3 and data.shape[0] in (1, 3)
    if not images or not hasattr(model, "reconstruct"):
        return {}
    training = model.training
    model.eval()
    rows = data.one_of_each(limit=10)
    told = told_groups(model)
    x = data.singles(rows) if told else data.observations(rows)
    grids = {"reconstructions": reconstruction_grid(model, x)}
    if hasattr(model, "swap"):
        grids["swaps"] = swap_grid(model, x)
    model.train(training)
    return grids


def _tiles(images: Tensor, columns: int) -> Tensor:
    """Small images enlarged by whole pixels, and tiled with a thin frame."""
    from torchvision.utils import make_grid  # seconds that `import mlvae` need not take

    factor = max(1, -(-TILE // max(images.shape[-2:])))
    images = functional.interpolate(images.cpu(), scale_factor=factor, mode="nearest")
    return make_grid(images, nrow=columns, padding=2, pad_value=0.5)
