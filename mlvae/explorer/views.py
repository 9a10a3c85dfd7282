"""How a page shows an observation: an image, lines of a signal, or bars of a table.

Shapes: M observations of the page, D features, C channels.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mlvae.data import GroupedData
from mlvae.errors import InputError
from mlvae.explorer.arrays import Arrays
from mlvae.explorer.selection import Selection

__all__ = ["view_of"]

#: Largest height and width of a thumbnail, and thumbnails in a row of their image.
SIDE, ACROSS = 40, 32

#: Most features of a table that the page shows, and most channels that are lines.
FEATURES, LINES = 60, 8


def view_of(selection: Selection, arrays: Arrays) -> dict[str, Any]:
    """The kind of the observations, their ranges, and the observations themselves.

    Raises:
        InputError: if observations have a shape that the page cannot draw.
    """
    data = selection.parts[0][0]
    x = torch.cat([part.observations(rows).cpu() for part, rows in selection.parts])
    if len(data.shape) == 3 and data.shape[0] in (1, 3):
        return _images(x)
    if len(data.shape) == 2 and data.shape[1] >= 2:
        return _signals(x, arrays)
    if len(data.shape) == 1 and data.feature_names is not None:
        return _table(x, data, arrays)
    if len(data.shape) == 1:
        return _signals(x.unsqueeze(1), arrays)
    raise InputError(
        "the explorer draws images of 1 or 3 channels, signals (channels, length) and tables, not "
        f"observations of shape {data.shape}"
    )


def _images(x: Tensor) -> dict[str, Any]:
    """Images, and one picture with all thumbnails in rows of 32."""
    low, high = _range(x)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    side = max(x.shape[-2:])
    if side > SIDE:
        size = [max(1, round(n * SIDE / side)) for n in x.shape[-2:]]
        x = functional.interpolate(x, size, mode="area")
    levels = ((x - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return {
        "kind": "image",
        "low": low,
        "high": high,
        "thumbnail": list(x.shape[-2:]),
        "across": ACROSS,
        "thumbnails": _picture(levels),
    }


def _picture(levels: np.ndarray) -> str:
    """Thumbnails (M, C, height, width) beside each other, as a data URL of a PNG."""
    from PIL import Image  # a local import, which `import mlvae` does not need

    number, channels, height, width = levels.shape
    down = math.ceil(number / ACROSS)
    sheet = np.zeros((down * height, ACROSS * width, channels), dtype=np.uint8)
    for place, image in enumerate(levels):
        top, left = place // ACROSS * height, place % ACROSS * width
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(sheet[..., 0] if channels == 1 else sheet).save(
        file, format="PNG", optimize=True
    )
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _signals(x: Tensor, arrays: Arrays) -> dict[str, Any]:
    """Signals (M, C, length), as lines or, with many channels, as a map of heat."""
    low, high = _range(x)
    share = (x - low) / (high - low)
    return {
        "kind": "signal" if x.shape[1] <= LINES else "heat",
        "low": low,
        "high": high,
        "channels": x.shape[1],
        "length": x.shape[2],
        "shares": arrays.add(share.flatten(1).numpy(), "float16"),
    }


def _table(x: Tensor, data: GroupedData, arrays: Arrays) -> dict[str, Any]:
    """Rows of a table; of many features those that differ most between rows."""
    names: Sequence[str] = list(data.feature_names or ())
    values = x.double()
    low, high = values.amin(0), values.amax(0)
    kept = torch.arange(len(names))
    if len(names) > FEATURES:
        spread = values.std(0, correction=0) / (values.abs().mean(0) + 1e-12).sqrt()
        kept = spread.argsort(descending=True)[:FEATURES].sort()[0]
    return {
        "kind": "table",
        "features": [names[place] for place in kept.tolist()],
        "places": kept.tolist(),
        "total": len(names),
        "low": low[kept].tolist(),
        "high": high[kept].tolist(),
        "values": arrays.add(x[:, kept].numpy()),
    }


def _range(x: Tensor) -> tuple[float, float]:
    """The smallest and the largest value; their distance is not zero."""
    low, high = (float(end) for end in x.aminmax())
    return (low, high) if high > low else (low, low + 1.0)
