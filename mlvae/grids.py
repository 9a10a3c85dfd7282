"""Pictures of a model's codes, as grids of tiles: arrays in, arrays out.

Shapes: n images (channels, height, width) with values in [0, 1]; D dimensions of a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.arguments import check_generator, check_type
from mlvae.batch import Batch
from mlvae.data.grouped import GroupedData
from mlvae.errors import InputError, check_integer, check_number, shown
from mlvae.models.protocol import Model, has_codes
from mlvae.observations import as_floats
from mlvae.posteriors import Family

__all__ = [
    "accumulation_grid",
    "generation_grid",
    "interpolation_grid",
    "pictures",
    "reconstruction_grid",
    "separates",
    "swap_grid",
    "traversal_grid",
]

TILE = 56  # smallest height and width of a tile, in pixels


def separates(codes: Mapping[str, object]) -> bool:
    """Whether the codes of a model include a content and a style."""
    check_type("codes", codes, Mapping, "codes by name, as model.codes(batch)")
    return {"content", "style"} <= codes.keys()


@torch.no_grad()
def swap_grid(model: Model, batch: Batch) -> Tensor:
    """Every content with every style, laid out as in the paper.

    The first row and column are the images, the second row and column their reconstructions. The
    other tiles have the content of their column's image and the style of their row's image. In a
    good model each column keeps its character and each row keeps its style.

    Args:
        model: has the codes "content" and "style".
        batch: n images; each is used as a group of one.

    Returns:
        One image (channels, height, width) of (n + 2) x (n + 2) tiles.
    """
    batch = _images(model, batch).singles()
    x, n = batch.x, len(batch)
    codes = model.codes(batch)
    if not separates(codes):
        raise InputError(
            f"a swap needs a model with the codes content and style, not {', '.join(codes)}; "
            "use reconstruction_grid"
        )
    means = _means(codes)
    number = torch.arange(n, device=x.device)
    mean = _shown(model.decode(**means), x)
    content = {name: values[number.repeat(n)] for name, values in means.items() if name != "style"}
    swaps = model.decode(**content, style=means["style"][number.repeat_interleave(n)])
    swaps = _shown(swaps, x).unflatten(0, (n, n))
    blank = torch.ones_like(x[:1])
    rows = [torch.cat((blank, blank, x)), torch.cat((blank, blank, mean))]
    rows += [torch.cat((x[i : i + 1], mean[i : i + 1], swaps[i])) for i in range(n)]
    return _tiles(torch.cat(rows), n + 2)


@torch.no_grad()
def reconstruction_grid(model: Model, batch: Batch) -> Tensor:
    """Two rows: n images, and below each its reconstruction from itself alone."""
    batch = _images(model, batch).singles()
    decoded = _shown(model.decode(**_means(model.codes(batch))), batch.x)
    return _tiles(torch.cat((batch.x, decoded)), len(batch))


@torch.no_grad()
def interpolation_grid(model: Model, batch: Batch, *, steps: int = 9) -> Tensor:
    """A grid between two images, on straight lines between their posterior means.

    The first image is at the top left, the second at the bottom right. The content changes along
    the columns, the style along the rows. So the other two corners are the swaps of the two
    images. A model without content and style gives one row.

    Args:
        model: the model.
        batch: two images; each is used as a group of one.
        steps: tiles along each axis.
    """
    check_integer("steps", steps, minimum=2)
    batch = _images(model, batch, least=2)
    means = _means(model.codes(batch.singles()))
    way = torch.linspace(0, 1, steps, device=batch.x.device)[:, None]
    path = {name: torch.lerp(ends[:1], ends[1:2], way) for name, ends in means.items()}
    if separates(path):
        style = path.pop("style").repeat_interleave(steps, 0)
        path = {name: values.repeat(steps, 1) for name, values in path.items()} | {"style": style}
    return _tiles(_shown(model.decode(**path), batch.x), steps)


@torch.no_grad()
def generation_grid(
    model: Model,
    batch: Batch,
    *,
    columns: int = 8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """New members of groups: the content of a group with styles sampled from the prior.

    A row for each group. On the left are up to ``columns // 2`` of its images. On the right are
    ``columns`` images with the mean of its content posterior, given all its images, and random
    styles. The styles are the same in every row. A model without content and style gives samples
    from the prior of its codes.

    Args:
        model: its codes are random, with a prior.
        batch: n images and their groups.
        columns: generated images in a row.
        generator: source of the styles, on the device of the images.
    """
    check_integer("columns", columns, minimum=1)
    check_generator(generator)
    columns, batch = int(columns), _images(model, batch)
    codes, x, groups = model.codes(batch), batch.x, batch.groups
    if not separates(codes):
        latents = {name: _prior(q, 8 * columns, generator) for name, q in codes.items()}
        return _tiles(_shown(model.decode(**latents), x), columns)
    s = _prior(codes["style"], columns, generator)
    blank, half = torch.ones_like(x[:1]), columns // 2
    rows = []
    for group in range(groups.num_groups):
        members = (groups.index == group).nonzero()[:, 0]
        shown = x[members[:half]]
        rows += [shown, *[blank] * (half + 1 - len(shown))]
        first = members[:1].expand(columns)  # decode takes as many rows of every code
        means = {name: q.mean[first] for name, q in codes.items() if name != "style"}
        rows.append(_shown(model.decode(**means, style=s), x))
    return _tiles(torch.cat(rows), half + 1 + columns)


@torch.no_grad()
def accumulation_grid(model: Model, batch: Batch) -> Tensor:
    """The effect of a group's evidence: images, reconstructions alone, and with the group.

    A row for each group: its images; each image reconstructed with its own content; each image
    reconstructed with the content accumulated over the row. All groups have the same number of
    images.

    Args:
        model: the model.
        batch: n images and their groups.
    """
    batch = _images(model, batch)
    x, groups = batch.x, batch.groups
    if int(groups.sizes.min()) < int(groups.sizes.max()):
        raise InputError(
            "all groups of this grid must have the same number of images, not "
            f"{int(groups.sizes.min())} to {int(groups.sizes.max())}"
        )
    order = groups.index.argsort(stable=True)
    size = len(x) // groups.num_groups
    single, grouped = (
        _shown(model.decode(**_means(model.codes(part))), x) for part in (batch.singles(), batch)
    )
    parts = [
        block[order].unflatten(0, (groups.num_groups, size)) for block in (x, single, grouped)
    ]
    gap = torch.ones_like(parts[0][:, :1])
    grid = torch.cat((parts[0], gap, parts[1], gap, parts[2]), 1)
    return _tiles(grid.flatten(0, 1), grid.shape[1])


@torch.no_grad()
def traversal_grid(
    model: Model, batch: Batch, *, steps: int = 9, span: float = 3.0, most: int = 40
) -> Tensor:
    """The effect of each latent dimension on one image.

    A row for each dimension, in the order of the codes: the dimension goes from -``span`` to
    ``span``, and all others keep the image's posterior mean.

    Args:
        model: the model.
        batch: one image.
        steps: tiles in a row.
        span: in standard deviations of the prior.
        most: largest number of rows.
    """
    check_integer("steps", steps, minimum=2)
    check_integer("most", most, minimum=1)
    check_number("span", span, minimum=0, exclusive=True)
    batch = _images(model, batch).singles(torch.tensor([0]))
    means = _means(model.codes(batch))
    latent = torch.cat(list(means.values()), 1)
    shown = min(most, latent.shape[1])
    moved = latent.expand(shown, steps, -1).clone()
    way = torch.linspace(-float(span), float(span), steps, device=batch.x.device)
    for i in range(shown):
        moved[i, :, i] = way
    parts = moved.flatten(0, 1).split([values.shape[1] for values in means.values()], 1)
    return _tiles(_shown(model.decode(**dict(zip(means, parts, strict=True))), batch.x), steps)


def pictures(model: object, data: GroupedData) -> dict[str, Tensor]:
    """Grids of one image of each of the first ten groups, by name.

    Empty if the observations are not images of one or three channels, or the model has no codes.
    """
    check_type("data", data, GroupedData, "GroupedData")
    images = len(data.shape) == 3 and data.shape[0] in (1, 3)
    if not images or not has_codes(model):
        return {}
    training = model.training
    model.eval()
    batch = data.singles(data.one_of_each(limit=10))
    grids = {"reconstructions": reconstruction_grid(model, batch)}
    with torch.no_grad():
        if separates(model.codes(batch)):
            grids["swaps"] = swap_grid(model, batch)
    model.train(training)
    return grids


def _images(model: object, batch: object, *, least: int = 1) -> Batch:
    """``batch`` with float images in [0, 1].

    Raises:
        InputError: if the model has no codes, or the batch has fewer than ``least`` images.
    """
    if not has_codes(model):
        raise InputError(f"model must have codes and decode, as a MLVAE, not {shown(model)}")
    check_type("batch", batch, Batch, "a Batch, as data.singles([0, 1])")
    assert isinstance(batch, Batch)
    if batch.x.ndim != 4 or batch.x.shape[1] not in (1, 3) or len(batch) < least:
        raise InputError(
            f"batch must have at least {least} images of 1 or 3 channels, not the shape "
            f"{tuple(batch.x.shape)}"
        )
    return replace(batch, x=as_floats(batch.x))


def _means(codes: Mapping[str, Family]) -> dict[str, Tensor]:
    """The mean (N, D) of every code."""
    return {name: q.mean for name, q in codes.items()}


def _prior(q: Family, number: int, generator: torch.Generator | None) -> Tensor:
    """Samples (number, D) of the prior of the code with the posterior ``q``."""
    return q.prior(number, q.mean.shape[1], like=q.mean).sample(generator=generator)


def _shown(images: Tensor, like: Tensor) -> Tensor:
    """Decoded images with values in [0, 1]."""
    return images.to(like).clamp(0, 1)


def _tiles(images: Tensor, columns: int) -> Tensor:
    """Images enlarged by whole pixels, and tiled with a thin frame."""
    from torchvision.utils import make_grid  # takes seconds to import

    factor = max(1, -(-TILE // max(images.shape[-2:])))
    images = functional.interpolate(images.cpu(), scale_factor=factor, mode="nearest")
    return make_grid(images, nrow=columns, padding=2, pad_value=0.5)
