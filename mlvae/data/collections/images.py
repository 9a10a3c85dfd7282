"""The bytes of one image file to pixels of one size; and the process that does it for many files.

A decoder runs this file alone, without torch and the rest of the package: it starts in a moment,
holds little memory, and is all that a hostile file can bring down.

Shapes: C channels, S the size of an image.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["MAX_PIXELS", "Attempt", "attempt", "decode"]

#: Larger images are refused by their header, before any pixel is decoded: a decompression bomb.
MAX_PIXELS = 64_000_000

#: The EXIF tag that says how a camera was held.
ORIENTATION = 0x0112


class Attempt(NamedTuple):
    """What became of one file.

    Attributes:
        sha256: of its bytes, in hexadecimal.
        pixels: uint8 (C, S, S), or None if there are none to use.
        reason: why not, a phrase that follows the file's name; empty if there are.
    """

    sha256: str
    pixels: np.ndarray | None
    reason: str


class _Unusable(ValueError):
    """The message is an :class:`Attempt`'s reason."""


def attempt(content: bytes, *, size: int, channels: int, crop: float) -> Attempt:
    """Decode one file's bytes; whatever they are, what comes back is pixels or a reason."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        pixels = decode(content, size=size, channels=channels, crop=crop)
    except _Unusable as error:
        return Attempt(digest, None, str(error))
    except UnidentifiedImageError:
        return Attempt(digest, None, "is not an image")
    except Image.DecompressionBombError:
        return Attempt(digest, None, f"has more than {MAX_PIXELS:,} pixels")
    except Exception as error:  # damaged images fail in a hundred ways, none of them ours
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Attempt(digest, None, f"cannot be decoded ({reason})")
    return Attempt(digest, pixels, "")


def decode(content: bytes, *, size: int, channels: int, crop: float) -> np.ndarray:
    """The central square of an image, resized.

    Grey levels of 16 bits are rounded to 8 (the nearest of 255 steps, not clipped), CMYK becomes
    RGB, transparent pixels become white, and a photograph is turned as its camera says. The
    filter is a triangle as wide as a new pixel, so that nothing is aliased.

    Args:
        content: bytes of the file, in any format that Pillow reads.
        size: S, height and width of the result.
        channels: C, 1 for grey, 3 for colour.
        crop: side of the square as a fraction of the shorter side, in (0, 1].

    Returns:
        uint8 of shape (C, S, S).

    Raises:
        ValueError: if the file is empty, animated, too large, or of pixels without a known range.
        Exception: whatever Pillow makes of a damaged file.
    """
    if not content:
        raise _Unusable("is empty")
    image = Image.open(io.BytesIO(content))
    _check_header(image)
    side = crop * min(image.size)
    if (factor := int(side / (2 * size))) > 1:
        # A JPEG can be decoded at a half, a quarter or an eighth; at least twice the size is left.
        image.draft(None, (image.width // factor, image.height // factor))
    image = _flat(_eight_bits(_upright(image))).convert("L" if channels == 1 else "RGB")
    side = max(1, round(crop * min(image.size)))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(size, size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _check_header(image: Image.Image) -> None:
    if image.format == "EPS":
        raise _Unusable("is EPS, a program that is never run")
    if image.width * image.height > MAX_PIXELS:
        raise _Unusable(
            f"has {image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} of a photo"
        )
    # An MPO is a photograph with a preview or a second view beside it: the first frame is meant.
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        raise _Unusable(f"is animated or has pages: {frames} frames")


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = image.getexif().get(ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except (SyntaxError, ValueError, KeyError, TypeError):  # damaged EXIF around sound pixels
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey levels of more than 8 bits as 8 bits: Pillow itself would clip them to white."""
    sixteen = image.mode.startswith("I;16")
    if sixteen or (image.mode == "I" and image.format in ("PNG", "PPM")):
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise _Unusable("has pixels of 32 bits, whose range is not known")
    return image


def _flat(image: Image.Image) -> Image.Image:
    """Transparent pixels on white: their own colour is arbitrary."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _serve() -> None:
    """Answer each (files, options) on standard input with the attempts on standard output."""
    warnings.simplefilter("ignore")  # Pillow warns of what is wrong with a file it can still read
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec prints must not fall among the answers
    while True:
        try:
            contents, options = pickle.load(sys.stdin.buffer)
        except EOFError:  # whoever asked is done, or was killed
            return
        # Plain tuples: this class has another module's name where they are read.
        pickle.dump([tuple(attempt(content, **options)) for content in contents], answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
