"""Figures of tables: their rows as points, by two of the numbers that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tables

from mlvae.errors import check_choice
from mlvae.evaluation.answer import Estimate
from mlvae.evaluation.charts import COLOURS, MARKERS, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "not_dominated"]

#: A row by its label, and where it lies.
Points = dict[str, tuple[Estimate, Estimate]]


def draw(path: Path, figure: dict, table: dict, results: tables.Results) -> None:
    """Write one of a table's figures as a PNG: a point for each row that has both numbers.

    Bars are standard errors over seeds. A line joins the rows that no other one beats in both
    numbers.

    Args:
        path: of the PNG.
        figure: ``rows`` as in a panel; ``x`` and ``y``, each with what a cell has, a ``label``,
            and whether ``better`` is "higher" or "lower".
        table: the config of the table.
        results: metrics of its runs.

    Raises:
        InputError: if a number is wanted that is not there, or better is something else.
    """
    import matplotlib
    from matplotlib.figure import Figure

    signs = [_sign(figure[axis]) for axis in "xy"]
    points = _points(figure, table, results)
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(6, 4.2))
        ax = canvas.subplots()
        for i, row in enumerate(points):
            _point(ax, row, points, i)
        best = not_dominated([_signed(at, signs) for at in points.values()])
        places = [[of.mean for of in list(points.values())[i]] for i in best]
        ax.plot(*np.reshape(sorted(places), (-1, 2)).T, color="0.6", linewidth=1, zorder=0)
        ax.margins(0.15)
        ax.set_xlabel(figure["x"]["label"])
        ax.set_ylabel(figure["y"]["label"])
        canvas.savefig(path, format="png", dpi=150)


def not_dominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Which points no other one beats: is as high in both coordinates, and higher in one.

    Args:
        points: (M, 2), of which higher is better.

    Returns:
        Their indices in order.

    Example:
        >>> not_dominated([(1, 3), (2, 2), (1, 2), (0, 0), (2, 2)])
        [0, 1, 4]
    """
    p = np.asarray(points, float).reshape(-1, 2)
    beats = (p[:, None] >= p).all(-1) & (p[:, None] > p).any(-1)
    return np.flatnonzero(~beats.any(0)).tolist()


def _sign(axis: dict) -> int:
    check_choice("better", axis["better"], ["higher", "lower"])
    return 1 if axis["better"] == "higher" else -1


def _signed(at: tuple[Estimate, ...], signs: Sequence[int]) -> list[float]:
    """Coordinates of which higher is better."""
    return [sign * of.mean for sign, of in zip(signs, at, strict=True)]


def _points(figure: dict, table: dict, results: tables.Results) -> Points:
    """The rows that have both numbers, in the units of the axes."""
    points = {}
    for row, of_row in figure["rows"].items():
        found = []
        for axis in (figure["x"], figure["y"]):
            value = tables.measured({**axis, **of_row}, table, results)
            times = axis.get("times", 1)
            found.append(value and Estimate(times * value.mean, times * value.standard_error))
        if None not in found:
            points[row] = tuple(found)
    return points


def _point(ax: Axes, row: str, points: Points, i: int) -> None:
    """One row: its mean, its standard errors if it has some, and its label."""
    x, y = points[row]
    errors = [np.nan_to_num(of.standard_error) for of in (x, y)]
    look = {"color": COLOURS[i % 8], "marker": MARKERS[i % 8], "markersize": 5, "capsize": 2}
    ax.errorbar(x.mean, y.mean, xerr=errors[0], yerr=errors[1], **look)
    # Labels point to the middle, so that none leaves the picture.
    xs = [of.mean for of, _ in points.values()]
    left = 2 * x.mean > min(xs) + max(xs)
    place = {"xytext": (-7, 6), "ha": "right"} if left else {"xytext": (7, -11), "ha": "left"}
    ax.annotate(row, (x.mean, y.mean), textcoords="offset points", fontsize=8, **place)
