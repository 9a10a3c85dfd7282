"""A grid as a figure of matplotlib: images or line plots in cells, with labels beside them.

Importing this file imports matplotlib, so other files import it where they draw.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from mlvae.grids import Grid
from mlvae.show.bars import BAR, draw_bars, name_bars, named
from mlvae.show.cells import GAP, Cells
from mlvae.show.heat import heat_maps
from mlvae.show.text import STYLE, fonts, legible

__all__ = ["Picture", "draw", "pixels"]

#: Lengths in pixels, at 100 pixels per inch.
TILE, SERIES = 56, (56, 84)  # smallest longer side of an image; height and width of a series
BREAK, MARGIN = 14, 10  # between blocks of cells, around the figure
FRAME, MARK = 1, 3  # width of frames
NAME = 20  # largest number of characters of a label
POINTS = 400  # most points of a line; longer series are thinned
GREY, ORANGE = (0.55, 0.55, 0.55), (0.835, 0.369, 0.0)
#: Colours of channels that colour-blind readers can distinguish (Okabe and Ito 2008).
CHANNELS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9", "#777777")


class Picture(Figure):
    """A figure that a notebook shows, whether or not pyplot is imported."""

    def png(self) -> bytes:
        """The content of a PNG file, with twice as many pixels as the grid, unless it is large."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=200 if max(self.get_size_inches()) <= 10 else 100)
        return file.getvalue()

    _repr_png_ = png


def draw(grid: Grid) -> Picture:
    """The figure of a grid. It belongs to no window and to no state of pyplot."""
    grid = heat_maps(grid)
    scale = max(1, -(-TILE // max(grid.tiles.shape[-2:]))) if grid.images else 1
    tall, wide = (scale * n for n in grid.tiles.shape[-2:]) if grid.images else SERIES
    if named(grid):
        wide = max(wide, BAR * len(grid.features) + 6)
    cells = Cells(
        _starts(len(grid.rows), tall, grid.below),
        _starts(len(grid.columns), wide, [first for first in grid.across if first]),
        tall,
        wide,
    )
    height, width = cells.size
    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        picture = Picture(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
        FigureCanvasAgg(picture)
        ax: Any = picture.add_axes((0, 0, 1, 1))
        ax.set_axis_off()
        ax.imshow(_raster(grid, cells, scale), extent=(0, width, height, 0), aspect="auto")
        draw_cells = draw_bars if grid.features else _draw_series
        note = grid.note if grid.images else f"{grid.note} {draw_cells(ax, grid, cells)}"
        ax.set(xlim=(0, width), ylim=(height, 0))
        size = 9 * max(1, width / 900)  # a page shows a wide figure reduced
        texts = _labels(ax, grid, cells, size)
        if named(grid):
            texts += name_bars(ax, grid, cells, size)
        _enclose(picture, ax, texts, note, size)
    return picture


def pixels(picture: Picture) -> np.ndarray:
    """The figure as an image (height, width, 3) of uint8."""
    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _starts(number: int, length: int, breaks: Sequence[int]) -> list[int]:
    """The first pixel of each cell along an axis; a block begins after a wider gap."""
    wider = np.cumsum([BREAK if i in breaks else 0 for i in range(number)])
    return [GAP + i * (length + GAP) + int(extra) for i, extra in enumerate(wider)]


def _raster(grid: Grid, cells: Cells, scale: int) -> np.ndarray:
    """Frames and images on white, (height, width, 3)."""
    raster = np.ones((*cells.size, 3), np.float32)
    for i, top in enumerate(cells.tops):
        for j, left in enumerate(cells.lefts):
            if not grid.filled[i, j]:
                continue
            marked = bool(grid.marked[i, j])
            line, colour = (MARK, ORANGE) if marked else (FRAME, GREY)
            end, right = top + cells.height, left + cells.width
            raster[top - line : end + line, left - line : right + line] = colour
            inside = 1.0
            if grid.images:
                inside = grid.tiles[i, j].float().permute(1, 2, 0).numpy().clip(0, 1)
                inside = inside.repeat(scale, 0).repeat(scale, 1)
            raster[top:end, left:right] = inside
    return raster


def _draw_series(ax: Any, grid: Grid, cells: Cells) -> str:
    """Draw the lines of all cells on one scale, and return a sentence on the scale."""
    tiles = grid.tiles if grid.tiles.ndim == 4 else grid.tiles[:, :, None]
    shown = tiles[grid.filled]
    finite = shown[shown.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    span = high - low or 1.0
    lines, colours = [], []
    for i, j in grid.filled.nonzero().tolist():
        for channel, values in enumerate(tiles[i, j]):
            where, values = _thinned(values)
            x = cells.lefts[j] + 3 + where * (cells.width - 6)
            y = cells.tops[i] + 3 + (1 - (values - low) / span) * (cells.height - 6)
            lines.append(np.column_stack((x, y)))
            colours.append(CHANNELS[channel % len(CHANNELS)])
    ax.add_collection(LineCollection(lines, colors=colours, linewidths=0.9))
    channels = "" if tiles.shape[2] == 1 else " Colours: channels."
    return f"Vertical range of each cell: {low:.3g} to {high:.3g}.{channels}"


def _thinned(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Places in [0, 1] and values of a line; of a long one the extremes of equal pieces."""
    y = values.double().numpy()
    places = np.linspace(0, 1, len(y))
    if len(y) <= POINTS:
        return places, y
    pieces = np.array_split(np.arange(len(y)), POINTS // 2)
    chosen = [sorted((p[y[p].argmin()], p[y[p].argmax()])) for p in pieces]
    kept = np.array(chosen).flatten()
    return places[kept], y[kept]


def _labels(ax: Any, grid: Grid, cells: Cells, size: float) -> list[Any]:
    """The labels of rows and columns and the titles, as texts around the cells."""
    rows, columns = ([legible(x, NAME) for x in labels] for labels in (grid.rows, grid.columns))
    letter = 0.62 * size * 100 / 72  # width of a letter in pixels
    slanted = max(map(len, columns)) * letter > cells.width + GAP
    turn = {"rotation": 45, "ha": "left"} if slanted else {"ha": "center"}
    style = {"family": fonts(), "fontsize": size, "clip_on": False}
    texts = []
    for top, label in zip(cells.tops, rows, strict=True):
        at = (-4, top + cells.height / 2)
        texts.append(ax.text(*at, label, ha="right", va="center", **style))
    for left, label in zip(cells.lefts, columns, strict=True):
        at = (left + (6 if slanted else cells.width / 2), -4)
        texts.append(ax.text(*at, label, va="bottom", rotation_mode="anchor", **turn, **style))
    left, top, *_ = _extent(ax, texts)
    titles = {**style, "fontweight": "bold"}
    ends = [*list(grid.across)[1:], len(columns)]
    for (first, title), end in zip(grid.across.items(), ends, strict=False):
        room = cells.lefts[end - 1] + cells.width - cells.lefts[first]
        lines = "\n".join(wrap(title, max(10, int(room / letter / 1.1)), break_long_words=False))
        texts.append(ax.text(cells.lefts[first], top - 6, lines, va="bottom", **titles))
    if grid.down:
        first = cells.tops[grid.below[0] if grid.below else 0]
        down = {"rotation": 90, "ha": "right", "va": "top"}
        texts.append(ax.text(left - 6, first, grid.down, **down, **titles))
    return texts


def _extent(ax: Any, texts: Sequence[Any]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the cells and of all texts, in the pixels of the cells."""
    width, height = ax.figure.get_size_inches() * 100
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return (
        min([0, *[box.x0 for box in boxes]]),
        min([0, *[height - box.y1 for box in boxes]]),
        max([width, *[box.x1 for box in boxes]]),
        max([height, *[height - box.y0 for box in boxes]]),
    )


def _enclose(picture: Picture, ax: Any, texts: list[Any], note: str, size: float) -> None:
    """Write the note below the cells, and make the figure as large as all texts need."""
    width, height = picture.get_size_inches() * 100
    left, _, right, bottom = _extent(ax, texts)
    lines = "\n".join(wrap(note, max(24, int((right - left) / (0.54 * size * 100 / 72)))))
    style = {"family": fonts(), "fontsize": size, "clip_on": False, "color": "0.3"}
    texts = [*texts, ax.text(left, bottom + 4, lines, ha="left", va="top", **style)]
    left, top, right, bottom = _extent(ax, texts)
    left, top, right, bottom = left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN
    whole, tall = right - left, bottom - top
    picture.set_size_inches(whole / 100, tall / 100)
    ax.set_position((-left / whole, 1 - (height - top) / tall, width / whole, height / tall))
