"""The curves of :mod:`benchmarks.growth` as one picture."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.growth import CURVES
from benchmarks.machine import line
from benchmarks.tables import Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]


def draw(result: Mapping[str, object], path: Path) -> None:
    """Write the cost per image, times that of the first setting, as a PNG: a panel for each curve.

    Bars are the range over rounds. Where a curve has matrix products, a dashed line shows how
    their operations per image grow.
    """
    from matplotlib.figure import Figure

    curves: Mapping[str, Rows] = result["curves"]
    figure = Figure(figsize=(11, 6), layout="constrained")
    for ax, (name, rows) in zip(figure.subplots(2, 3).flat, curves.items(), strict=True):
        _panel(ax, CURVES[name].column, rows)
        ax.set_title("\n".join(textwrap.wrap(result["titles"][name], 45)), fontsize=8)
    figure.suptitle(f"Cost per image, times that of the first setting\n{line(result)}", fontsize=8)
    figure.savefig(path, format="png", dpi=150)


def _panel(ax: Axes, column: str, rows: Rows) -> None:
    values = [row[column] for row in rows]
    ratios = [row["times_the_first"] for row in rows]
    middle = [statistics.median(each) for each in ratios]
    low = [m - min(each) for m, each in zip(middle, ratios, strict=True)]
    high = [max(each) - m for m, each in zip(middle, ratios, strict=True)]
    ax.errorbar(values, middle, [low, high], color="black", marker="o", capsize=2, label="time")
    if "operations_times_the_first" in rows[0]:
        more = [row["operations_times_the_first"] for row in rows]
        ax.plot(values, more, "--", color="#d55e00", label="operations of the products")
    if min(values) > 0:
        ax.set_xscale("log")
    ax.set_ylim(bottom=0)
    ax.set_xlabel(column.replace("_", " "), fontsize=8)
    ax.legend(fontsize=7, frameon=False)
