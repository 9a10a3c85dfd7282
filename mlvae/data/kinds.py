"""Kinds of observations: images in [0, 1] or of bytes, and arrays of any finite values.

Shapes: N observations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlvae.data.rows.source import Source, SourceRows
from mlvae.errors import InputError
from mlvae.observations import check_image_bytes

__all__ = ["KINDS", "checked", "source_rows"]

KINDS = ("auto", "image", "array")


def source_rows(x: Source, kind: str) -> SourceRows:
    """The rows of a source that meets the protocol, or :class:`InputError`."""
    rows = x if isinstance(x, SourceRows) else SourceRows(x)
    if kind == "image" and len(rows.shape) != 4:
        raise InputError(
            f"images of a source must be (N, channels, height, width), not {rows.shape}"
        )
    return rows


def checked(x: Tensor, kind: str, names: list[str] | None = None) -> Tensor:
    """The observations as uint8 or float32, images with a channel, or :class:`InputError`."""
    if x.ndim < 2 or x.numel() == 0:
        raise InputError(f"x must have shape (N, ...) with N at least 1, not {tuple(x.shape)}")
    if kind == "image" and x.ndim not in (3, 4):
        raise InputError(
            "images must be (N, height, width) or (N, channels, height, width), not "
            f"{tuple(x.shape)}"
        )
    images = x.ndim == 4 or (x.ndim == 5 and x.dtype == torch.uint8)
    if kind != "array" and images and x.shape[-3] > 4 and x.shape[-1] in (1, 3, 4):
        form = "(N, channels, height, width)" if x.ndim == 4 else "(..., channels, height, width)"
        raise InputError(
            f"x has shape {tuple(x.shape)}: images must be {form}; use "
            "numpy.moveaxis(x, -1, -3), or kind='array' if these are no images"
        )
    if x.dtype == torch.uint8 and kind != "array":
        check_image_bytes(x)
        return x.unsqueeze(1) if x.ndim == 3 else x
    x = x.float()
    if (wrong := ~x.isfinite()).any():
        row = int(wrong.flatten(1).any(1).nonzero()[0])
        where = "" if names is None else f" in {names[int(wrong[row].nonzero()[0])]}"
        raise InputError(
            f"x must be finite in float32, but observation {row} has NaN, an infinity or a number "
            f"beyond 3.4e38{where}"
        )
    if kind == "array" or (kind == "auto" and not (x.ndim == 4 and x.shape[1] in (1, 3))):
        return x
    low, high = (float(end) for end in x.aminmax())
    if low < 0 or high > 1:
        raise InputError(
            f"float images must lie in [0, 1], not in [{low:g}, {high:g}]; give 0 to 255 as "
            "uint8, rescale, or set kind='array' if these are no images"
        )
    return x.unsqueeze(1) if x.ndim == 3 else x
