"""Measurements as a table of text.

A measurement returns rows: dictionaries with the same keys, which are the columns. A list holds
one value per round; the table shows its median and range.
"""

from __future__ import annotations

import statistics
from typing import Any

__all__ = ["Rows", "table"]

Rows = list[dict[str, Any]]


def table(rows: Rows) -> str:
    """Rows below the names of their columns; words are aligned left, numbers right."""
    cells = [[key.replace("_", " ") for key in rows[0]]]
    cells += [[_shown(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [isinstance(value, str) for value in rows[0].values()]
    return "\n".join(
        "  ".join(
            f"{cell:{'<' if words else '>'}{width}}"
            for cell, width, words in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in cells
    )


def _shown(value: object) -> str:
    """A cell as text."""
    if isinstance(value, list):
        middle, low, high = (_shown(f(value)) for f in (statistics.median, min, max))
        return middle if len(value) == 1 else f"{middle} ({low} to {high})"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
