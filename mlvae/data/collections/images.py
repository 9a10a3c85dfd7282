"""Decode image files to uint8 arrays of one size; run as a script, do so for another process.

:class:`~mlvae.data.decoders.Decoders` runs this file as a script, without torch and the rest of
the package: the process starts fast, needs little memory, and a hostile file can damage no other.

The process reads requests on standard input and writes answers on standard output, as raw bytes.
A request is the header :data:`REQUEST` (mark, size, channels, crop, number of files), then each
file as :data:`LENGTH` and its bytes. The process answers each file in order: the header
:data:`ANSWER` (mark, dtype, channels, height, width, length), then ``length`` bytes of pixels, or
of text in UTF-8 where the dtype is :data:`TEXT`.

Shapes: C channels, S height and width of a decoded image.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import warnings
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TypedDict

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["MAX_PIXELS", "MAX_REASON", "Attempt", "Options", "attempt", "decode"]

#: An image with more pixels is refused by its header, before decoding: a decompression bomb.
MAX_PIXELS = 64_000_000

#: Longest reason, in bytes of UTF-8.
MAX_REASON = 500

#: The EXIF tag of the camera's orientation.
ORIENTATION = 0x0112

MARK = b"MLVA"
REQUEST = struct.Struct("<4sIIdI")
LENGTH = struct.Struct("<Q")
ANSWER = struct.Struct("<4s4sIIIQ")

#: The dtype of an answer: NumPy's word for uint8, padded; or no pixels, but the reason.
PIXELS, TEXT = b"|u1\0", b"text"


class Options(TypedDict):
    """Keyword arguments of :func:`decode`."""

    size: int
    channels: int
    crop: float


class Attempt(NamedTuple):
    """The result of decoding one file.

    Attributes:
        sha256: hash of the file's bytes, in hexadecimal; empty if the file was not read.
        pixels: uint8 (C, S, S), or None if the file cannot be used.
        reason: why the file cannot be used, a phrase that follows the file's name; empty if it
            can.
    """

    sha256: str
    pixels: np.ndarray | None
    reason: str


class _Unusable(ValueError):
    """The message is the reason of an :class:`Attempt`."""


def attempt(content: bytes, *, size: int, channels: int, crop: float) -> Attempt:
    """Decode one file's bytes. Any bytes give pixels or a reason, never an exception."""
    digest = hashlib.sha256(content).hexdigest()
    return Attempt(digest, *_outcome(content, size=size, channels=channels, crop=crop))


def _outcome(
    content: bytes, *, size: int, channels: int, crop: float
) -> tuple[np.ndarray | None, str]:
    """Pixels and an empty reason, or None and a reason of at most :data:`MAX_REASON` bytes."""
    try:
        return decode(content, size=size, channels=channels, crop=crop), ""
    except _Unusable as error:
        return None, str(error)
    except UnidentifiedImageError:
        return None, "is not an image"
    except Image.DecompressionBombError:
        return None, f"has more than {MAX_PIXELS:,} pixels"
    except Exception as error:  # Pillow raises any type for a damaged image
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        reason = reason.encode("utf-8", "backslashreplace")[: MAX_REASON - 50]
        return None, f"cannot be decoded ({reason.decode('utf-8', 'ignore')})"


def decode(content: bytes, *, size: int, channels: int, crop: float) -> np.ndarray:
    """The central square of an image, resized.

    Grey levels of 16 bits are rounded to 8 (the nearest of 255 steps, not clipped). CMYK becomes
    RGB. Transparent pixels become white. A photograph is rotated by its EXIF orientation. The
    filter is a triangle as wide as a new pixel, which prevents aliasing.

    Args:
        content: the file's bytes, in any format that Pillow reads.
        size: S, height and width of the result.
        channels: C, 1 for grey, 3 for colour.
        crop: side of the square as a fraction of the shorter side, in (0, 1].

    Returns:
        uint8 of shape (C, S, S).

    Raises:
        ValueError: if the file is empty, animated or too large, or its pixels have no known
            range.
        Exception: any type that Pillow raises for a damaged file.
    """
    if not content:
        raise _Unusable("is empty")
    image = Image.open(io.BytesIO(content))
    _check_header(image)
    side = crop * min(image.size)
    if (factor := int(side / (2 * size))) > 1:
        # A JPEG decoder can give 1/2, 1/4 or 1/8 of the size. Keep at least twice the new size.
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
        raise _Unusable("is EPS, a program, which is never run")
    if image.width * image.height > MAX_PIXELS:
        raise _Unusable(
            f"has {image.width} x {image.height} pixels, more than the limit of {MAX_PIXELS:,}"
        )
    # An MPO is a photograph with a preview or a second view. Its first frame is the photograph.
    if image.format != "MPO" and (frames := _num_frames(image)) > 1:
        raise _Unusable(f"is animated or has pages: {frames} frames")


def _num_frames(image: Image.Image) -> int:
    try:
        return image.n_frames  # pyright: ignore[reportAttributeAccessIssue] of some formats only
    except AttributeError:
        return 1


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = image.getexif().get(ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except (SyntaxError, ValueError, KeyError, TypeError):  # damaged EXIF, sound pixels
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Round grey levels of 16 bits to 8 bits. Pillow would clip them to white."""
    sixteen = image.mode.startswith("I;16")
    if sixteen or (image.mode == "I" and image.format in ("PNG", "PPM")):
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise _Unusable("has pixels of 32 bits without a known range")
    return image


def _flat(image: Image.Image) -> Image.Image:
    """Put transparent pixels on white: their stored colour is arbitrary."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _serve() -> None:
    """Answer the requests on standard input until it ends."""
    warnings.simplefilter("ignore")  # Pillow warns of faults in a file that it can still read
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a codec that prints must not write into the answers
    while len(header := requests.read(REQUEST.size)) == REQUEST.size:
        _, size, channels, crop, count = REQUEST.unpack(header)
        # Read the whole request first: the other side writes all of it before it reads an answer.
        for content in list(_files(requests, count)):
            pixels, reason = _outcome(content, size=size, channels=channels, crop=crop)
            if pixels is None:
                text = reason.encode()
                answers.write(ANSWER.pack(MARK, TEXT, 0, 0, 0, len(text)) + text)
            else:
                answers.write(ANSWER.pack(MARK, PIXELS, *pixels.shape, pixels.nbytes))
                answers.write(pixels.tobytes())
        answers.flush()


def _files(requests: BinaryIO, count: int) -> Iterator[bytes]:
    for _ in range(count):
        (length,) = LENGTH.unpack(requests.read(LENGTH.size))
        yield requests.read(length)


if __name__ == "__main__":
    _serve()
