"""Charts as SVG and PNG, and grids of images as PNG.

Series differ in dashes, markers or letters as well as in colour, so that a greyscale print is
readable.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from mlvae.evaluation.answer import Estimate, Figure
from mlvae.grids import Grid
from mlvae.show.text import STYLE, fonts, legible

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas
    from matplotlib.markers import MarkerStyle

__all__ = ["Curve", "curves", "grid_figure", "heatmap", "scatter", "signed_heatmap", "word_bars"]

#: Points of a curve: x -> (mean, standard error), or an estimate.
Curve = Mapping[float, tuple[float, float] | Estimate]

#: Colours that colour-blind readers can distinguish (Okabe and Ito 2008), grey, and two dark ones.
COLOURS = (
    "#000000",
    "#d55e00",
    "#0072b2",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#777777",
    "#7f3b08",
    "#5e3c99",
)
MARKERS = "os^Dv*P"
#: Pairs of a colour and a marker. The numbers of both have no common divisor.
MOST_LOOKS = len(COLOURS) * len(MARKERS)
#: Looks of reference lines.
GREYS: tuple[dict[str, Any], ...] = (
    {"color": "0.5", "linewidth": 2.5, "alpha": 0.6},
    {"color": "0.5", "linewidth": 1, "linestyle": ":"},
)
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2, 2, 2)))


def curves(
    name: str,
    caption: str,
    panels: Mapping[str, Mapping[str, Curve]],
    *,
    x_label: str,
    lines: Mapping[str, Mapping[str, Mapping[float, float]]] | None = None,
) -> Figure:
    """Curves with standard errors, in panels side by side with one legend.

    The horizontal axis is logarithmic if all its values are positive.

    Args:
        name: file name without extension.
        caption: caption of the figure.
        panels: label of the vertical axis -> label of the curve -> curve.
        x_label: label of the horizontal axes.
        lines: reference lines: panel -> label of the line -> x -> height. The legend
            has them too.
    """
    with _canvas(3.4 * len(panels) + 1.6, 3.1) as canvas:
        axes = canvas.subplots(1, len(panels), squeeze=False)[0]
        handles: dict[str, Any] = {}
        greys: dict[str, int] = {}
        for ax, (title, series) in zip(axes, panels.items(), strict=True):
            ticks: set[float] = set()
            for look, (label, curve) in zip(_looks(), series.items(), strict=False):
                xs = sorted(curve)
                ticks.update(xs)
                mean, error = np.array([_bar(curve[x]) for x in xs], float).T
                drawn = ax.errorbar(
                    xs,
                    mean,
                    np.nan_to_num(error),
                    **look,
                    markersize=4,
                    linewidth=1.2,
                    capsize=2,
                )
                handles.setdefault(label, drawn)
            for label, heights in (lines or {}).get(title, {}).items():
                grey = GREYS[greys.setdefault(label, len(greys)) % len(GREYS)]
                xs, level = zip(*sorted(heights.items()), strict=True)
                if len(set(level)) == 1:
                    drawn = ax.axhline(level[0], **grey)
                else:
                    (drawn,) = ax.plot(xs, level, **grey)
                handles.setdefault(label, drawn)
            if min(ticks, default=0) > 0:
                ax.set_xscale("log")
            ax.set_xticks(sorted(ticks), [f"{x:g}" for x in sorted(ticks)])
            ax.set_xticks([], minor=True)
            ax.set(xlabel=x_label, ylabel=legible(title))
        _legend(canvas, handles)
        return _saved(name, caption, canvas)


def scatter(
    name: str, caption: str, panels: Mapping[str, np.ndarray], labels: Sequence[str]
) -> Figure:
    """Points in the plane, in panels side by side.

    A point is drawn as its label if all labels have at most two letters or digits, otherwise as a
    marker. No two labels share marker and colour: points of labels beyond the first
    :data:`MOST_LOOKS` are grey crosses, and the legend has their number.

    Args:
        name: file name without extension.
        caption: caption of the figure.
        panels: title -> points (M, 2).
        labels: M labels of the points.
    """
    names = sorted(set(labels))
    short = all(len(label) <= 2 and label.isalnum() and label.isascii() for label in names)
    numbers = np.array([names.index(label) for label in labels])
    with _canvas(4.2 * len(panels), 4.2) as canvas:
        axes = canvas.subplots(1, len(panels), squeeze=False)[0]
        handles: dict[str, Any] = {}
        for ax, (title, points) in zip(axes, panels.items(), strict=True):
            for look, (number, label) in zip(_looks(), enumerate(names), strict=False):
                if number == MOST_LOOKS and not short:
                    x, y = points[numbers >= number].T
                    other = f"{len(names) - number} other labels"
                    handles[other] = ax.scatter(x, y, s=12, marker="x", color="0.7")
                    break
                x, y = points[numbers == number].T
                del look["linestyle"]
                if short:
                    look["marker"] = _letters(label)
                handles[label] = ax.scatter(x, y, s=18, linewidths=0.2, **look)
            ax.set(title=legible(title), xticks=[], yticks=[])
        if not short:
            _legend(canvas, handles)
        return _saved(name, caption, canvas)


def heatmap(
    name: str, caption: str, cells: Mapping[str, Mapping[str, float]], *, label: str
) -> Figure:
    """A matrix of numbers from 0 to 1, as shades and as text.

    Args:
        name: file name without extension.
        caption: caption of the figure.
        cells: label of the row -> label of the column -> number. Missing cells are white. Shades
            are clipped to [0, 1]; the text shows the number itself.
        label: label of the colour bar.
    """
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    table = np.array([[row.get(column, np.nan) for column in columns] for row in cells.values()])
    with _canvas(0.8 * len(columns) + 3.2, 0.3 * len(cells) + 1.3) as canvas:
        ax = canvas.subplots()
        shades = ax.imshow(table, cmap="Greys", vmin=0, vmax=1, aspect="auto")
        for (i, j), value in np.ndenumerate(table):
            if np.isfinite(value):
                color = "white" if value > 0.5 else "black"
                ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
        ax.set_xticks(range(len(columns)), map(legible, columns), rotation=30, ha="right")
        ax.set_yticks(range(len(cells)), map(legible, cells))
        ax.tick_params(length=0)
        canvas.colorbar(shades, label=label)
        return _saved(name, caption, canvas)


def word_bars(name: str, caption: str, panels: Mapping[str, Mapping[str, float]]) -> Figure:
    """Words with a bar each, in panels of four a row.

    Args:
        name: file name without extension.
        caption: caption of the figure.
        panels: title -> word -> length of its bar. Each panel has a scale of its own.
    """
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    longest = max(len(words) for words in panels.values())
    with _canvas(2.3 * columns, (0.16 * longest + 0.45) * rows) as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, (title, words) in zip(axes.flat, panels.items(), strict=False):
            ax.set_axis_on()
            heights = range(len(words))
            ax.barh(heights, list(words.values()), height=0.75, color="0.7")
            ax.set_yticks(heights, [legible(word, 20) for word in words], fontsize=7)
            ax.set_title(legible(title), fontsize=8, loc="left")
            ax.set_xticks([])
            ax.set_ylim(longest - 0.4, -0.6)
            ax.tick_params(length=0)
            ax.spines[["bottom"]].set_visible(False)
        return _saved(name, caption, canvas)


def signed_heatmap(
    name: str,
    caption: str,
    cells: Mapping[str, Mapping[str, float]],
    *,
    label: str,
    limit: float,
) -> Figure:
    """A matrix of positive and negative numbers, as colours and as text.

    Args:
        name: file name without extension.
        caption: caption of the figure.
        cells: label of the row -> label of the column -> number. All rows have the same columns.
        label: label of the colour bar.
        limit: magnitude of the darkest colours. Orange is negative, purple positive.
    """
    columns = list(next(iter(cells.values())))
    table = np.array([[row[column] for column in columns] for row in cells.values()])
    with _canvas(0.6 * len(columns) + 2.6, 0.3 * len(cells) + 1.3) as canvas:
        ax = canvas.subplots()
        shades = ax.imshow(table, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
        for (i, j), value in np.ndenumerate(table):
            color = "white" if abs(value) > 0.7 * limit else "black"
            ax.text(
                j,
                i,
                f"{round(value, 2) + 0.0:.2f}",
                ha="center",
                va="center",
                color=color,
                fontsize=7,
            )
        ax.set_xticks(range(len(columns)), map(legible, columns), rotation=30, ha="right")
        ax.set_yticks(range(len(cells)), map(legible, cells))
        ax.tick_params(length=0)
        canvas.colorbar(shades, label=label)
        return _saved(name, caption, canvas)


def grid_figure(name: str, caption: str, grid: Grid) -> Figure:
    """A grid of observations with labels."""
    from mlvae.show.drawing import draw  # a local import: it imports matplotlib

    picture = draw(grid)
    return Figure(name, caption, picture.png(), width=float(picture.get_size_inches()[0]))


@contextmanager
def _canvas(width: float, height: float) -> Iterator[Canvas]:
    """An empty figure of this size in inches, and the style in which it is drawn and saved."""
    # Local imports: they take seconds.
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context({**STYLE, "font.sans-serif": fonts()}):
        yield Canvas(figsize=(width, height))


def _bar(point: tuple[float, float] | Estimate) -> tuple[float, float]:
    """The height and the error of a point; all errors of an estimate together."""
    return (point.mean, point.error) if isinstance(point, Estimate) else point


def _letters(label: str) -> MarkerStyle:
    """A marker with the shape of the letters and digits of ``label``."""
    import matplotlib
    from matplotlib.markers import MarkerStyle

    with matplotlib.rc_context({"text.parse_math": True}):
        return MarkerStyle(rf"$\mathrm{{{label}}}$")


def _legend(canvas: Canvas, handles: Mapping[str, Any]) -> None:
    """A legend on the right, also of labels that begin with an underscore."""
    canvas.legend(
        list(handles.values()), [legible(label) for label in handles], loc="outside right upper"
    )


def _looks() -> Iterator[dict[str, Any]]:
    """Colour, marker and dashes of one series after the other; the first 70 differ in the pair.

    The numbers of colours and of markers have no common divisor.
    """
    for colour, marker, dashes in zip(cycle(COLOURS), cycle(MARKERS), cycle(DASHES), strict=False):
        yield {"color": colour, "marker": marker, "linestyle": dashes}


def _saved(name: str, caption: str, canvas: Canvas) -> Figure:
    png, svg = io.BytesIO(), io.StringIO()
    canvas.savefig(png, format="png", dpi=200)
    canvas.savefig(svg, format="svg", metadata={"Date": None})
    return Figure(name, caption, png.getvalue(), svg.getvalue())
