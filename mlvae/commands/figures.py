"""Figures of tables: every row is a point, with two measured values as coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlvae.commands import tables
from mlvae.commands.cli import Config
from mlvae.commands.provenance import Results
from mlvae.errors import check_choice
from mlvae.evaluation.answer import Estimate
from mlvae.evaluation.charts import COLOURS, MARKERS, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "not_dominated"]

#: The coordinates of every row, by its label.
Points = dict[str, tuple[Estimate, Estimate]]


def draw(path: Path, figure: Config, table: Config, results: Results) -> None:
    """Write a figure of a table as a PNG: a point for every row that has both values.

    Bars are standard errors over seeds. A line joins the rows that no other row dominates.

    Args:
        path: path of the PNG.
        figure: ``rows`` as in a panel; ``x`` and ``y``, each with the keys of a cell, a ``label``
            and ``better``, which is "higher" or "lower".
        table: config of the table.
        results: metrics of the runs.

    Raises:
        InputError: if a metric does not exist, or if ``better`` has another value.
    """
    import matplotlib
    from matplotlib.figure import Figure

    signs = [_sign(figure[axis]) for axis in "xy"]
    points = _points(figure, table, results)
    with matplotlib.rc_context(dict(STYLE)):  # pyright: ignore[reportArgumentType] (keys are Literal)
        canvas = Figure(figsize=(6, 4.2))
        ax = canvas.subplots()
        for i, row in enumerate(points):
            _point(ax, row, points, i)
        best = not_dominated([_signed(point, signs) for point in points.values()])
        places = [[value.mean for value in list(points.values())[i]] for i in best]
        ax.plot(*np.reshape(sorted(places), (-1, 2)).T, color="0.6", linewidth=1, zorder=0)
        ax.margins(0.15)
        ax.set_xlabel(figure["x"]["label"])
        ax.set_ylabel(figure["y"]["label"])
        canvas.savefig(path, format="png", dpi=150)


def not_dominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that no other point dominates.

    Point a dominates b if it is at least as high in both coordinates and higher in one of them.

    Args:
        points: coordinates (M, 2); higher is better.

    Returns:
        Indices in ascending order.

    Example:
        >>> not_dominated([(1, 3), (2, 2), (1, 2), (0, 0), (2, 2)])
        [0, 1, 4]
    """
    p = np.asarray(points, float).reshape(-1, 2)
    dominates = (p[:, None] >= p).all(-1) & (p[:, None] > p).any(-1)
    return np.flatnonzero(~dominates.any(0)).tolist()


def _sign(axis: Config) -> int:
    """1 if higher is better, else -1."""
    check_choice("better", axis["better"], ["higher", "lower"])
    return 1 if axis["better"] == "higher" else -1


def _signed(point: tuple[Estimate, ...], signs: Sequence[int]) -> list[float]:
    """The coordinates, negated where lower is better."""
    return [sign * value.mean for sign, value in zip(signs, point, strict=True)]


def _points(figure: Config, table: Config, results: Results) -> Points:
    """The rows that have both values, in the units of the axes."""
    points: Points = {}
    for row, row_keys in figure["rows"].items():
        x, y = (_scaled(figure[axis], row_keys, table, results) for axis in "xy")
        if x is not None and y is not None:
            points[row] = x, y
    return points


def _scaled(axis: Config, row_keys: Config, table: Config, results: Results) -> Estimate | None:
    """The value of a row in the unit of an axis; None if there is none."""
    value = tables.measured({**axis, **row_keys}, table, results)
    times = axis.get("times", 1)
    return value and Estimate(times * value.mean, times * value.standard_error)


def _point(ax: Axes, row: str, points: Points, i: int) -> None:
    """Draw a row: mean, standard errors if there are several seeds, and label."""
    x, y = points[row]
    errors = [np.nan_to_num(value.standard_error) for value in (x, y)]
    colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
    ax.errorbar(
        x.mean, y.mean, xerr=errors[0], yerr=errors[1],
        color=colour, marker=marker, markersize=5, capsize=2,
    )  # fmt: skip
    # Labels extend towards the middle, so that none leaves the picture.
    xs = [value.mean for value, _ in points.values()]
    left = 2 * x.mean > min(xs) + max(xs)
    offset, side = ((-7, 6), "right") if left else ((7, -11), "left")
    ax.annotate(
        row, (x.mean, y.mean), xytext=offset, textcoords="offset points", fontsize=8, ha=side
    )
