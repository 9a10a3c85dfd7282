"""Draw the front of docs/guide/separation.md from the table in that page.

python docs/images/separation_front.py
"""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib import pyplot

PAGE = Path(__file__).parents[1] / "guide" / "separation.md"
TARGET = Path(__file__).with_suffix(".svg")


def points() -> dict[str, tuple[float, float]]:
    """Bound in nats and bits of the digit in the style, by the name of the model."""
    part = PAGE.read_text().split("## The front\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in part.splitlines()
        if line.startswith("|")
    ][2:]
    return {row[0]: (float(row[2]), float(re.split(r"[ ±]", row[1])[0])) for row in rows}


def main() -> None:
    """Write the figure beside this file."""
    pyplot.rcParams["svg.hashsalt"] = "separation"  # the same file at every call
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, (bound, bits) in points().items():
        axes.plot(bound, bits, "o", label=name.replace("`", ""))
    axes.axhline(0.07, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel("bound in nats per test image (better to the right)")
    axes.set_ylabel("bits of the digit in a style sample")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.tight_layout()
    figure.savefig(TARGET, metadata={"Date": None})


if __name__ == "__main__":
    main()
