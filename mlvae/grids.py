"""Pictures of what a model has learned, as grids of tiles: arrays in, arrays out.

Shapes: n images of shape (channels, height, width), values in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.data.grouped import GroupedData

__all__ = ["pictures", "reconstruction_grid", "swap_grid"]

TILE = 56  # least height and width of a tile, in pixels


def swap_grid(model: nn.Module, x: Tensor) -> Tensor:
    """Every content with every style, laid out as in the paper.

    The first row and column are the images themselves, the second row and column their
    reconstructions. Elsewhere the column gives the content and the row the style, so a column that
    keeps its character and a row that keeps its hand are what a good model shows.

    Args:
        model: one with ``swap`` and ``reconstruct``.
        x: n images, float in [0, 1].

    Returns:
        One image (channels, height, width) of (n + 2) x (n + 2) tiles.
    """
    n = len(x)
    mean = model.reconstruct(x).to(x).clamp(0, 1)
    swaps = model.swap(
        content_of=x.repeat(n, *[1] * (x.ndim - 1)), style_of=x.repeat_interleave(n, 0)
    )
    swaps = swaps.to(x).clamp(0, 1).unflatten(0, (n, n))
    blank = torch.ones_like(x[:1])
    rows = [torch.cat((blank, blank, x)), torch.cat((blank, blank, mean))]
    rows += [torch.cat((x[i : i + 1], mean[i : i + 1], swaps[i])) for i in range(n)]
    return _tiles(torch.cat(rows), n + 2)


def reconstruction_grid(model: nn.Module, x: Tensor) -> Tensor:
    """Two rows: n images, and below each its reconstruction from itself alone."""
    return _tiles(torch.cat((x, model.reconstruct(x).to(x).clamp(0, 1))), len(x))


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
    x = data.observations(data.one_of_each(limit=10))
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
