"""Draw digits whose lower half and label are completed from the upper half, of a trained run.

mlvae train experiment=digit_parts run=runs/digit_parts
python docs/images/digit_parts.py runs/digit_parts
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot

import mlvae

TARGET = Path(__file__).with_suffix(".png")

#: Columns of the figure, draws of a missing half, and pixels of a half.
DIGITS, DRAWS, HALF = 10, 3, 32


def completed(model: Any, observed: str) -> tuple[mlvae.GroupedData, list[torch.Tensor]]:
    """Test digits of which one half is there, and features with draws of the other cells."""
    data = mlvae.data.digit_parts(missing=0.0).test
    assert data is not None
    digit = data.factors["digit"]
    data = data.subset(torch.stack([(digit == label).nonzero()[0, 0] for label in range(DIGITS)]))
    seen = torch.zeros_like(data.given["observed"])
    seen[:, slice(0, HALF) if observed == "upper" else slice(HALF, 2 * HALF)] = True
    data.given["observed"] = seen
    return data, mlvae.impute(model, data, draws=DRAWS)


def rows_of_images(model: Any, observed: str) -> list[tuple[str, np.ndarray, list[int]]]:
    """The name, the images (DIGITS, 8, 8) and the labels of each row of the figure."""
    data, draws = completed(model, observed)
    mean = mlvae.impute(model, data)
    digit = data.factors["digit"].int().tolist()
    found = [("test digit", data.x, digit), ("expected value", mean, labels(mean))]
    found += [(f"draw {number}", draw, labels(draw)) for number, draw in enumerate(draws, 1)]
    return [(name, x[:, : 2 * HALF].reshape(-1, 8, 8).numpy(), label) for name, x, label in found]


def labels(x: torch.Tensor) -> list[int]:
    """The most probable label of each row."""
    return x[:, 2 * HALF :].argmax(1).tolist()


def main() -> None:
    """Write the figure beside this file."""
    model = mlvae.load(sys.argv[1])
    parts = {part: rows_of_images(model, part) for part in ("upper", "lower")}
    height = sum(len(rows) for rows in parts.values())
    figure, axes = pyplot.subplots(height, DIGITS, figsize=(7, 0.82 * height))
    rows = [(part, *row) for part, some in parts.items() for row in some]
    for place, (part, name, images, label) in enumerate(rows):
        for column, image in enumerate(images):
            axis = axes[place, column]
            axis.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            axis.axhline(3.5, color="tab:blue", linewidth=0.8)
            axis.set_title(str(label[column]), fontsize=7, pad=1)
            axis.set_xticks([])
            axis.set_yticks([])
        text = f"{name}\n({part} half observed)" if name == "test digit" else name
        axes[place, 0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=7)
    figure.tight_layout(pad=0.4)
    figure.savefig(TARGET, dpi=110, bbox_inches="tight", metadata={"Software": None})


if __name__ == "__main__":
    main()
