"""The curves of :mod:`benchmarks.growth` in one figure."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlvae.commands.benchmarks.growth import CURVES
from mlvae.commands.benchmarks.machine import line
from mlvae.commands.benchmarks.tables import Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Write the cost per image as a PNG, relative to the first setting, one panel per curve.

    Bars are the range over rounds. If a curve has matrix products, a dashed line shows their
    operations per image, relative to the first setting.
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
    """Draw one curve."""
    values = [row[column] for row in rows]
    ratios = [row["times_the_first"] for row in rows]
    middle = [statistics.median(rounds) for rounds in ratios]
    low = [m - min(rounds) for m, rounds in zip(middle, ratios, strict=True)]
    high = [max(rounds) - m for m, rounds in zip(middle, ratios, strict=True)]
    ax.errorbar(values, middle, [low, high], color="black", marker="o", capsize=2, label="time")
    if "operations_times_the_first" in rows[0]:
        operations = [row["operations_times_the_first"] for row in rows]
        ax.plot(values, operations, "--", color="#d55e00", label="operations of the products")
    if min(values) > 0:
        ax.set_xscale("log")
    ax.set_ylim(bottom=0)
    ax.set_xlabel(column.replace("_", " "), fontsize=8)
    ax.legend(fontsize=7, frameon=False)
