"""The files of a cache that is being made: what is in them survives any end.

``images.u8`` has the pixels of the images that are used, one after the other. ``files.jsonl`` has
a line for every file met, in the order of the sources, with its hash and what became of it. A line
is written after its pixels: lines that are whole and whose pixels are there are never done again.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np

from mlvae.errors import InputError

__all__ = ["IMAGES", "LINES", "Journal"]

IMAGES, LINES = "images.u8", "files.jsonl"


class Journal:
    """Pixels and lines, appended together. Use it in a ``with``.

    Args:
        folder: of the cache.
        header: what is being made from what. What the folder has of another is deleted.
        row_bytes: size of an image.

    Attributes:
        lines: what has been written so far, without the header.
        num_images: how many of them have pixels.
    """

    def __init__(self, folder: Path, header: dict[str, object], row_bytes: int) -> None:
        self.row_bytes = row_bytes
        self.lines: list[dict[str, object]] = []
        self.num_images = 0
        images, lines = folder / IMAGES, folder / LINES
        kept = self._recover(images, lines, header)
        if not kept:
            # Deleted and made anew: whoever has the old pixels open keeps them.
            images.unlink(missing_ok=True)
            lines.unlink(missing_ok=True)
        # Without buffers: nothing is left to be written when the disk is full.
        self.images, self.file = images.open("ab", buffering=0), lines.open("ab", buffering=0)
        self.kept, self.header = kept, header

    def __enter__(self) -> Journal:
        try:
            self.images.truncate(self.num_images * self.row_bytes)
            self.file.truncate(self.kept)
            if not self.kept:
                self._write(self.file, _line(self.header))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.images.close()
        self.file.close()

    def append(self, lines: list[dict[str, object]], pixels: list[np.ndarray]) -> None:
        """Add lines, and the pixels of those that are used; their checksum goes to the line."""
        used = [line for line in lines if "skipped" not in line and "left_out" not in line]
        for line, row in zip(used, pixels, strict=True):
            line["crc32"] = zlib.crc32(row)
        self._write(self.images, b"".join(row.tobytes() for row in pixels))
        self._write(self.file, b"".join(map(_line, lines)))
        self.lines += lines
        self.num_images += len(pixels)

    def sync(self) -> None:
        """Return when all is on the disk, whatever happens to the machine."""
        os.fsync(self.images.fileno())
        os.fsync(self.file.fileno())

    def _write(self, file: object, content: bytes) -> None:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise InputError(
                f"{file.name} could not be written ({error.strerror}); make room, or choose "
                "another dataset.cache: what is there is kept"
            ) from error

    def _recover(self, images: Path, lines: Path, header: dict[str, object]) -> int:
        """Take over what an interrupted preparation left; how many bytes of its lines hold."""
        if not (images.is_file() and lines.is_file()):
            return 0
        with images.open("rb") as pixels, lines.open("rb") as file:
            first = file.readline()
            if first != _line(header):
                return 0
            kept = len(first)
            for content in file:
                line = _parsed(content)
                if line is None:
                    break
                if "crc32" in line:
                    row = pixels.read(self.row_bytes)
                    if len(row) != self.row_bytes or zlib.crc32(row) != line["crc32"]:
                        break
                    self.num_images += 1
                self.lines.append(line)
                kept += len(content)
        return kept


def _line(content: dict[str, object]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _parsed(content: bytes) -> dict[str, object] | None:
    """The line, or None if it was cut off or damaged."""
    try:
        line = json.loads(content)
    except ValueError:
        return None
    return line if content.endswith(b"\n") and isinstance(line, dict) else None
