"""Decode image files to uint8 arrays of one size; run as a script, do so for another process.

:class:`~mlvae.data.collections.decoders.Decoders` runs this file as a script, without torch and
the rest of the package: the process starts fast, needs little memory, and a hostile file can
damage no other.

The process reads requests on standard input and writes answers on standard output, as raw bytes.
A request is the header :data:`REQUEST` (mark, size, channels, crop, number of files), then each
file as :data:`LENGTH` and its bytes. The process answers each file in order: the header
:data:`ANSWER` (mark, dtype, channels, height, width, length), then ``length`` bytes of pixels, or
of text in UTF-8 where the dtype is :data:`TEXT` or :data:`REMARK`. The operating system ends the
process by SIGPROF when an image needs more than :data:`SECONDS` of processor time. Windows has no
such timer: a thread ends the process after these seconds. The process also ends with its parent.

Shapes: C channels, S height and width of a decoded image.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import select
import signal
import struct
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TypedDict

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["MAX_PIXELS", "MAX_REASON", "SECONDS", "Attempt", "Options", "attempt", "decode"]

#: An image with more pixels is refused by its header, before decoding: a decompression bomb.
MAX_PIXELS = 64_000_000

#: Processor time of an image in a process of its own.
SECONDS = 10.0

#: Whether the system has a timer of processor time; and the return code of a process that it ends.
HAS_TIMER = hasattr(signal, "setitimer")
OVERRAN = -signal.SIGPROF if HAS_TIMER else 75

#: Largest number of scans of a JPEG; a progressive one has about 10. A scan of less than 100 bytes
#: costs a pass over all pixels.
MAX_SCANS = 200

#: Levels of 16 bits that all lie below this have 14 bits or fewer: the image is dark.
FEW_LEVELS = 2**14

#: Longest reason, in bytes of UTF-8.
MAX_REASON = 500

#: The EXIF tag of the camera's orientation, and tags of the depth of a TIFF.
ORIENTATION, BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 0x0112, 258, 281

#: The bytes before each scan of a JPEG.
SCAN = b"\xff\xda"

MARK = b"MLVA"
REQUEST = struct.Struct("<4sIIdI")
LENGTH = struct.Struct("<Q")
ANSWER = struct.Struct("<4s4sIIIQ")

#: The dtype of an answer: NumPy's word for uint8, padded; or no pixels, but the reason. An answer
#: with a remark comes before that with the pixels.
PIXELS, TEXT, REMARK = b"|u1\0", b"text", b"note"


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
        reason: why the file cannot be used, a phrase that follows the file's name. Of a file that
            can be used: a remark on its pixels, or empty.
    """

    sha256: str
    pixels: np.ndarray | None
    reason: str


class _Unusable(ValueError):
    """The message is the reason of an :class:`Attempt`."""


def attempt(content: bytes | Image.Image, *, size: int, channels: int, crop: float) -> Attempt:
    """Decode one file's bytes, or prepare an image in memory, which has no hash.

    Any bytes give pixels or a reason, never an exception.
    """
    if isinstance(content, Image.Image):
        return Attempt("", *_outcome(content, size=size, channels=channels, crop=crop))
    digest = hashlib.sha256(content).hexdigest()
    return Attempt(digest, *_outcome(content, size=size, channels=channels, crop=crop))


def _outcome(
    content: bytes | Image.Image, *, size: int, channels: int, crop: float
) -> tuple[np.ndarray | None, str]:
    """Pixels and a remark, or None and a reason; at most :data:`MAX_REASON` bytes of text."""
    remarks: list[str] = []
    try:
        pixels = decode(content, size=size, channels=channels, crop=crop, remarks=remarks)
        return pixels, "; ".join(remarks)
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


def decode(
    content: bytes | Image.Image,
    *,
    size: int,
    channels: int,
    crop: float,
    remarks: list[str] | None = None,
) -> np.ndarray:
    """The central square of an image, resized.

    Levels of 10, 12 or 16 bits are scaled to 8 by the depth that the file declares: the largest
    value of a PGM or PPM, the bits of a TIFF or its tag MaxSampleValue, otherwise the 16 bits of
    a PNG or TIFF. They are rounded to the nearest of 255 steps and not clipped. CMYK becomes
    RGB. Transparent pixels become white. A photograph is rotated by its EXIF orientation. The
    filter is a triangle as wide as a new pixel, which prevents aliasing.

    Args:
        content: the file's bytes, in any format that Pillow reads; or an image of Pillow.
        size: S, height and width of the result.
        channels: C, 1 for grey, 3 for colour.
        crop: side of the square as a fraction of the shorter side, in (0, 1].
        remarks: gets a phrase if an image of 16 bits uses less than a quarter of their range,
            and therefore is dark.

    Returns:
        uint8 of shape (C, S, S).

    Raises:
        ValueError: if the file is empty, animated or too large, or its pixels have no known
            range.
        Exception: any type that Pillow raises for a damaged file.
    """
    image = content if isinstance(content, Image.Image) else _opened(content)
    deep = _is_deep(image)
    side = crop * min(image.size)
    if (factor := int(side / (2 * size))) > 1:
        # A JPEG decoder can give 1/2, 1/4 or 1/8 of the size. Keep at least twice the new size.
        image.draft(None, (image.width // factor, image.height // factor))
    image = _upright(image)
    if deep and remarks is not None and 0 < (largest := _largest(image)) < FEW_LEVELS:
        remarks.append(f"is dark: its largest level is {largest:,} of 65,535")
    image = _flat(_eight_bits(image)).convert("L" if channels == 1 else "RGB")
    side = max(1, round(crop * min(image.size)))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(size, size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _opened(content: bytes) -> Image.Image:
    """The image of a file, not decoded yet."""
    if not content:
        raise _Unusable("is empty")
    image = Image.open(io.BytesIO(content))
    _check_header(image)
    if image.format in ("JPEG", "MPO") and (scans := content.count(SCAN)) > MAX_SCANS:
        raise _Unusable(f"has {scans:,} scans, more than the limit of {MAX_SCANS}")
    return image


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


def _is_deep(image: Image.Image) -> bool:
    """Whether the levels have 16 bits and the file declares no other depth."""
    if image.format not in ("PNG", "TIFF") or _declared(image) < 65535:
        return False
    # Pillow reads colours of 16 bits as 8 bits; only the description of the bytes tells.
    modes = (image.mode, *(str(tile[3]) for tile in vars(image).get("tile", ())))
    return any("16" in mode for mode in modes) or image.mode == "I"


def _declared(image: Image.Image) -> int:
    """The largest grey level that a file declares, at most 65,535."""
    tags = vars(image).get("tag_v2")
    if tags is None:
        return 65535
    largest = tags.get(MAX_SAMPLE_VALUE, 65535)
    bits = tags.get(BITS_PER_SAMPLE, 16)
    largest, bits = (value[0] if isinstance(value, tuple) else value for value in (largest, bits))
    if not isinstance(largest, int) or not isinstance(bits, int) or largest < 256:
        return 65535  # a damaged tag
    return min(largest, 2 ** min(max(bits, 8), 16) - 1)


def _largest(image: Image.Image) -> int:
    """The largest grey level, or of a colour that Pillow has reduced to 8 bits, 257 times it."""
    levels = np.asarray(image)
    if image.mode.startswith("I"):
        return int(levels.max())
    colours = levels[..., :3] if image.mode in ("RGBA", "RGB") else levels[..., :1]
    return 257 * int(colours.max())


def _eight_bits(image: Image.Image) -> Image.Image:
    """Round grey levels of 16 bits to 8 bits. Pillow would clip them to white."""
    sixteen = image.mode.startswith("I;16")
    if sixteen or (image.mode == "I" and image.format in ("PNG", "PPM")):
        largest = _declared(image)
        levels = np.asarray(image).astype(np.int64).clip(0, largest)
        # The nearest of 255 steps; half a step is rounded down.
        return Image.fromarray(
            ((2 * 255 * levels + largest - 1) // (2 * largest)).astype(np.uint8)
        )
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
    """Answer the requests on standard input until it ends.

    An argument of the command line is the processor time per image in seconds.
    """
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    warnings.simplefilter("ignore")  # Pillow warns of faults in a file that it can still read
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a codec that prints must not write into the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    if HAS_TIMER:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _end_with_parent()
    while len(header := requests.read(REQUEST.size)) == REQUEST.size:
        _, size, channels, crop, count = REQUEST.unpack(header)
        # Read the whole request first: the other side writes all of it before it reads an answer.
        for content in list(_files(requests, count)):
            with _limited(seconds):
                pixels, text = _outcome(content, size=size, channels=channels, crop=crop)
            if text:
                words = text.encode("utf-8", "backslashreplace")
                dtype = TEXT if pixels is None else REMARK
                answers.write(ANSWER.pack(MARK, dtype, 0, 0, 0, len(words)) + words)
            if pixels is not None:
                answers.write(ANSWER.pack(MARK, PIXELS, *pixels.shape, pixels.nbytes))
                answers.write(pixels.tobytes())
            answers.flush()  # if the next file ends this process, this answer is kept


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """End this process after ``seconds`` in the context."""
    if HAS_TIMER:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        yield
        signal.setitimer(signal.ITIMER_PROF, 0)
        return
    timer = threading.Timer(seconds, os._exit, [OVERRAN])
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()


def _end_with_parent() -> None:
    """End this process when its parent ends, also in the middle of a long computation."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    # Other systems, and a parent that ended before this line: its end closes the pipe.
    # Windows has no poll: there the next read finds the closed pipe.
    if hasattr(select, "poll"):
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    poll = select.poll()
    poll.register(0, 0)  # reports the end of the pipe only
    while os.getppid() == parent:
        if any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(1000)):
            # Requests that are already in the pipe have no reader of their answers.
            break
    os._exit(1)


def _files(requests: BinaryIO, count: int) -> Iterator[bytes]:
    for _ in range(count):
        (length,) = LENGTH.unpack(requests.read(LENGTH.size))
        yield requests.read(length)


if __name__ == "__main__":
    _serve()
