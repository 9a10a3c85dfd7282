"""Predicted trajectories beside true ones, as a moving picture.

Shapes: R rows of a film, L frames, (channels, height, width) of a frame.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.arguments import as_path
from mlvae.errors import InputError, shown
from mlvae.evaluation.answer import Figure

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["film", "film_figure", "save_film"]

#: Smallest side of a frame of a film, in pixels; smaller frames are enlarged.
LEAST_SIDE = 96

#: Pixels between two frames side by side.
GAP = 4

#: Milliseconds of a frame.
DURATION = 200


def film(rows: Tensor) -> list[Image]:
    """The frames of a film: R trajectories side by side.

    Args:
        rows: images in [0, 1], (R, L, channels, height, width) with 1 or 3 channels.

    Raises:
        InputError: if the rows have another shape.
    """
    if not isinstance(rows, Tensor) or rows.ndim != 5 or rows.shape[2] not in (1, 3):
        raise InputError(
            "a film needs images (R, L, channels, height, width) of 1 or 3 channels, not "
            f"{shown(rows)}"
        )
    scale = max(1, -(-LEAST_SIDE // rows.shape[3]))
    large = rows.clamp(0, 1).repeat_interleave(scale, 3).repeat_interleave(scale, 4)
    wide = functional.pad(large, (0, GAP), value=0.5)
    sheets = wide.expand(-1, -1, 3, -1, -1).permute(1, 3, 0, 4, 2).flatten(2, 3)
    pixels = (255 * sheets[:, :, :-GAP]).round().to(torch.uint8).cpu().numpy()
    from PIL import Image  # not loaded by `import mlvae`

    return [Image.fromarray(pixels_of_frame) for pixels_of_frame in pixels]


def film_figure(name: str, caption: str, rows: Tensor) -> Figure:
    """A film as an animated PNG, which browsers play in the report."""
    frames, content = film(rows), io.BytesIO()
    options = {"save_all": True, "append_images": frames[1:], "duration": DURATION, "loop": 0}
    frames[0].save(content, format="PNG", **options)
    return Figure(name, caption, content.getvalue(), width=frames[0].width / 96)


def save_film(path: str | Path, rows: Tensor) -> None:
    """Write a film to ``path``: GIF, or animated PNG, by the end of its name.

    Args:
        path: a file that ends in .gif, .png or .apng.
        rows: as of :func:`film`.

    Raises:
        InputError: if the name has another end, or the rows another shape.
    """
    path = as_path("path", path)
    if path.suffix.lower() not in (".gif", ".png", ".apng"):
        raise InputError(f"path must end in .gif, .png or .apng, not {path.name!r}")
    frames = film(rows)
    kind = "GIF" if path.suffix.lower() == ".gif" else "PNG"
    options = {"save_all": True, "append_images": frames[1:], "duration": DURATION, "loop": 0}
    frames[0].save(path, format=kind, **options)
