"""White shapes on black with known factors, drawn by the library.

Shapes: N observations, F samples along each side of a shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.splits import Splits, split_by
from mlvae.errors import InputError, check_choice, check_integer, shown

__all__ = ["COUNTS", "FACTORS", "SHAPES", "combinations", "render", "sprites", "values_of"]

#: The shapes; the factor ``shape`` is the position here.
SHAPES = ("square", "ellipse", "heart")

#: The values of each factor, in the order of the grid: 3 * 6 * 40 * 32 * 32 = 737,280 sprites.
FACTORS: dict[str, np.ndarray] = {
    "shape": np.arange(3, dtype=np.float32),
    "scale": np.linspace(0.5, 1, 6, dtype=np.float32),
    "orientation": np.linspace(0, 2 * np.pi, 40, endpoint=False, dtype=np.float32),
    "x": np.linspace(0, 1, 32, dtype=np.float32),
    "y": np.linspace(0, 1, 32, dtype=np.float32),
}

#: Number of values of each factor, in the same order.
COUNTS = tuple(map(len, FACTORS.values()))

#: Samples along each side of a pixel, at scale 1, in images of up to 128 pixels.
SAMPLES = 16

#: Largest number of pixels that are drawn at once; it bounds the memory.
CHUNK = 2**22

#: Distance from the middle of the heart's square to its centroid, along both sides.
SHIFT = (math.pi / 2 + 2 / 3) / (4 + math.pi)


def sprites(
    *,
    images: int | None = 50_000,
    group_by: str | Sequence[str] = "shape",
    validation: float = 5000,
    test: float = 5000,
    unseen_groups: Sequence[object] = (),
    size: int = 64,
    seed: int = 0,
) -> Splits:
    """Squares, ellipses and hearts with known scale, orientation and position, as in dSprites.

    The factors are those of L. Matthey, I. Higgins, D. Hassabis, A. Lerchner: dSprites,
    Disentanglement testing Sprites dataset, 2017: 3 shapes, 6 scales in [0.5, 1], 40 orientations
    and 32 by 32 positions in [0, 1]. Two things differ: the images are drawn here, with grey
    edges (see :func:`render`), and orientations do not include a full turn, which equals none.
    No two observations have the same factors, but a square looks the same after a quarter turn,
    and an ellipse after half a turn.

    Args:
        images: number of combinations of factors, drawn without replacement; None for all
            737,280, which take 3 GB at 64 by 64, and twice that during the split.
        group_by: the factor that a group shares; or a list of factors, whose combinations are the
            groups. The label of a shape is its name, the label of another value its number from
            0, as in heart, 5, or heart-5 for a list.
        validation: number of images drawn for validation (an integer), or fraction (a float).
        test: number or fraction of the images drawn for the test.
        unseen_groups: labels of groups to keep out of training, validation and test.
        size: height and width of an image, in pixels.
        seed: seed of the combinations and of the split.

    Returns:
        uint8 images (N, 1, size, size) with their five values as known factors.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> sprites(images=200, validation=20, test=20, size=16, group_by="scale").train
        GroupedData(160 observations of shape (1, 16, 16) in 6 groups)
    """
    check_integer("dataset.seed", seed, minimum=0)
    by = _checked(group_by)
    if images is not None:
        check_integer("dataset.images", images, minimum=1)
    levels = combinations(images, np.random.default_rng(seed), "dataset.images")
    factors = values_of(levels)
    data = GroupedData(render(factors, size=size), _labels(levels, by), factors)
    held = {"validation": validation, "test": test, "unseen_groups": unseen_groups}
    return split_by(data, "observations", **held, seed=seed)


def combinations(number: int | None, generator: np.random.Generator, option: str) -> np.ndarray:
    """Different combinations of factors, in the order of the grid.

    Args:
        number: number of combinations, N; None for all.
        generator: source of the draw.
        option: the option of ``number``, for error messages.

    Returns:
        The numbers of their values, integers (N, 5).

    Raises:
        InputError: if there are fewer combinations.
    """
    total = math.prod(COUNTS)
    if number is None:
        chosen = np.arange(total)
    elif number <= total:
        chosen = np.sort(generator.choice(total, number, replace=False, shuffle=False))
    else:
        raise InputError(
            f"{option} must be at most {total}, the number of combinations, not {number}"
        )
    return np.stack(np.unravel_index(chosen, COUNTS), 1)


def values_of(levels: np.ndarray) -> dict[str, Tensor]:
    """The factors, float32 (N,) each, from the numbers of their values, integers (N, 5)."""
    return {
        name: torch.from_numpy(values[levels[:, column]])
        for column, (name, values) in enumerate(FACTORS.items())
    }


def render(factors: Mapping[str, Tensor], *, size: int) -> Tensor:
    r"""Draw one sprite per observation.

    At scale 1 a shape touches the circle around its centroid whose radius is a quarter of the
    image's side. The centroid is at :math:`1/4 + x/2` of the side from the left and at
    :math:`1/4 + y/2` from the top, so no shape is cut off. Orientation is anticlockwise.

    The value of a pixel is the fraction of it that the shape covers. The shape is sampled once at
    F by F points and summed to an integral image. Its differences between a pixel's corners are
    that fraction, so scale and position need not be whole pixels.

    Args:
        factors: ``shape`` (0 square, 1 ellipse, 2 heart), ``scale``, ``orientation`` in radians,
            ``x`` and ``y``: numbers (N,) each, not necessarily on the grid :data:`FACTORS`.
        size: height and width of an image, in pixels; at least 8.

    Returns:
        uint8 (N, 1, size, size), black 0 and white 255.

    Raises:
        InputError: if the size is too small.

    Example:
        >>> one = {"shape": 0, "scale": 1, "orientation": torch.pi / 4, "x": 0.5, "y": 0.5}
        >>> image = render({name: torch.tensor([value]) for name, value in one.items()}, size=8)
        >>> (image[0, 0, 2:6, 2:6] / 255).round(decimals=1)
        tensor([[0.0000, 0.5000, 0.5000, 0.0000],
                [0.5000, 1.0000, 1.0000, 0.5000],
                [0.5000, 1.0000, 1.0000, 0.5000],
                [0.0000, 0.5000, 0.5000, 0.0000]])
    """
    check_integer("dataset.size", size, minimum=8)
    scale, x, y = (torch.as_tensor(factors[name]).double() for name in ("scale", "x", "y"))
    sorts, sort = torch.stack(
        [torch.as_tensor(factors[name]).double() for name in ("shape", "orientation")], 1
    ).unique(dim=0, return_inverse=True)
    images = torch.empty(len(x), 1, size, size, dtype=torch.uint8)
    order, ends = sort.argsort(stable=True), torch.bincount(sort).tolist()
    for (shape, orientation), rows in zip(sorts.tolist(), order.split(ends), strict=True):
        integral = _integral(int(shape), orientation, SAMPLES * min(size, 128) // 2)
        for chunk in rows.split(max(1, CHUNK // size**2)):
            images[chunk, 0] = _draw(integral, scale[chunk], x[chunk], y[chunk], size)
    return images


def _draw(integral: Tensor, scale: Tensor, x: Tensor, y: Tensor, size: int) -> Tensor:
    """uint8 images (n, size, size) of one shape in one orientation."""
    edges = torch.arange(size + 1)
    across, down = (
        ((edges - (0.25 + position[:, None] / 2) * size) / (scale[:, None] * size / 4)).float()
        for position in (x, y)
    )
    corners = torch.broadcast_tensors(across[:, None, :], down[:, :, None])
    # All rows of corners form one image, so that the integral is not copied for each sprite.
    # Beyond its border the integral is constant.
    sums = functional.grid_sample(
        integral,
        torch.stack(corners, 3).flatten(0, 1)[None],
        padding_mode="border",
        align_corners=True,
    ).view(len(x), size + 1, size + 1)
    samples = sums.diff(dim=1).diff(dim=2)
    per_pixel = (2 * (integral.shape[-1] - 1) / (scale * size)).square().float()
    grey = samples.mul_(255 / per_pixel[:, None, None])
    return grey.round_().clamp_(0, 255).to(torch.uint8)


def _integral(shape: int, orientation: float, fine: int) -> Tensor:
    """Number of samples in the shape above and left of each corner: (1, 1, F + 1, F + 1).

    The F by F samples fill the square around the unit circle.
    """
    ticks = (2 * torch.arange(fine, dtype=torch.float64) + 1) / fine - 1
    right, up = ticks, -ticks[:, None]
    cos, sin = math.cos(orientation), math.sin(orientation)
    inside = INSIDE[SHAPES[shape]](cos * right + sin * up, cos * up - sin * right)
    sums = inside.cumsum(0).cumsum(1).float()  # exact: below 2^24
    return functional.pad(sums, (1, 0, 1, 0))[None, None]


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) <= math.sqrt(1 / 2)


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    return u**2 + (2 * v) ** 2 <= 1


def _heart(u: Tensor, v: Tensor) -> Tensor:
    """A square of side 2 on its corner, with a disc around the middle of each upper side."""
    right, left = (SHIFT + (1 + SHIFT) * side for side in (v + u, v - u))
    square = torch.maximum(right.abs(), left.abs()) <= 1
    discs = [(right - 1) ** 2 + left**2 <= 1, right**2 + (left - 1) ** 2 <= 1]
    return square | discs[0] | discs[1]


#: Tests whether points lie in a shape. From the centroid, u is to the right and v up, in units of
#: the distance to the farthest point.
INSIDE = {"square": _square, "ellipse": _ellipse, "heart": _heart}


def _checked(group_by: str | Sequence[str]) -> list[str]:
    """The names of the factors to group by. Raise :class:`InputError` for others."""
    names = [group_by] if isinstance(group_by, str) else group_by
    if not isinstance(names, Sequence) or not names:
        raise InputError(
            f"dataset.group_by must be a factor ({', '.join(FACTORS)}) or a list of them, "
            f"not {shown(group_by)}"
        )
    for name in names:
        check_choice("dataset.group_by", name, FACTORS)
    if len(set(names)) < len(names):
        raise InputError(f"dataset.group_by must name each factor once, not {list(names)}")
    return list(names)


def _labels(levels: np.ndarray, by: list[str]) -> np.ndarray:
    """The label of each observation's group."""
    columns = [
        np.array(SHAPES)[levels[:, 0]] if name == "shape" else levels[:, list(FACTORS).index(name)]
        for name in by
    ]
    if len(columns) == 1:
        return columns[0]
    return np.array(["-".join(map(str, values)) for values in zip(*columns, strict=True)])
