"""The pixels and lines of a cache while it is prepared, kept through any interruption.

``images.u8`` has the pixels of the used images, one after the other. ``files.jsonl`` has one line
per file of the sources, in their order, with its hash and its outcome. Of the files that are not
used for one reason, the first thousand have lines, and the others are counted in lines of their
own. A line is written after its pixels, with a checksum. A complete line with its pixels is never
computed again; a damaged line and all after it are.
"""

from __future__ import annotations

import io
import json
import os
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mlvae.errors import InputError

__all__ = ["IMAGES", "LINES", "MAX_LINES", "Journal", "Line", "kind_of", "num_files"]

IMAGES, LINES = "images.u8", "files.jsonl"

#: Number of files with lines of their own among those that are not used for one reason.
MAX_LINES = 1000

#: Files that are counted before a line with their number is written.
MAX_PENDING = 10_000

#: One file of the sources: ``root``, ``file``, and ``columns``, ``sha256``, ``crc32`` and possibly
#: ``remark`` of a used one; ``skipped`` or ``left_out`` with the reason of another. Or several
#: files: ``root``, their number ``files``, and ``skipped`` or ``left_out`` with their reason.
Line = dict[str, Any]

#: The root, "skipped" or "left_out", and the common reason of files that are counted.
_Kind = tuple[int, str, str]


class Journal:
    """Pixels and lines, appended together. Use it in a ``with``.

    Args:
        folder: folder of the cache.
        header: settings and state of the sources. Files with another header are deleted.
        row_bytes: size of an image.

    Attributes:
        lines: the lines written so far, without the header.
        num_files: number of files in these lines.
        num_images: number of lines with pixels.
    """

    def __init__(self, folder: Path, header: dict[str, Any], row_bytes: int) -> None:
        self.row_bytes = row_bytes
        self.lines: list[Line] = []
        self.num_images = self.num_files = 0
        self.counts: Counter[_Kind] = Counter()
        self.pending: Counter[_Kind] = Counter()  # not yet written; they follow all lines
        images, lines = folder / IMAGES, folder / LINES
        kept = self._recover(images, lines, header)
        if not kept:
            # Delete and create anew: a process that has the old pixels open keeps them.
            images.unlink(missing_ok=True)
            lines.unlink(missing_ok=True)
        # Without buffers: on a full disk, a write fails at once and nothing is left to flush.
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

    def append(self, lines: list[Line], pixels: list[np.ndarray]) -> None:
        """Append lines and the pixels of the used ones, whose checksums are added to the lines."""
        used = [line for line in lines if "skipped" not in line and "left_out" not in line]
        rows = [row.tobytes() for row in pixels]
        for line, row in zip(used, rows, strict=True):
            line["crc32"] = zlib.crc32(row)
        counted = self._counted(lines)
        self._write(self.images, b"".join(rows))
        self._append(counted)
        self.num_images += len(pixels)

    def sync(self) -> None:
        """Return when everything is on the disk."""
        self._append(self._flushed())
        os.fsync(self.images.fileno())
        os.fsync(self.file.fileno())

    def _append(self, lines: list[Line]) -> None:
        self._write(self.file, b"".join(map(_line, lines)))
        self.lines += lines
        self.num_files += sum(map(num_files, lines))

    def _counted(self, lines: list[Line]) -> list[Line]:
        """The lines to write now: without those beyond the first thousand of one reason."""
        written: list[Line] = []
        for line in lines:
            kind = _kind(line)
            self.counts[kind] += 1
            if kind[1] and self.counts[kind] > MAX_LINES:
                self.pending[kind] += 1
                continue
            written += [*self._flushed(), line]
        if self.pending.total() >= MAX_PENDING:
            written += self._flushed()
        return written

    def _flushed(self) -> list[Line]:
        """Lines of the files that are counted; none of them remains."""
        lines = [
            {"root": root, "files": count, key: reason}
            for (root, key, reason), count in self.pending.items()
        ]
        self.pending.clear()
        return lines

    def _write(self, file: io.FileIO, content: bytes) -> None:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise InputError(
                f"{file.name} could not be written ({error.strerror}); make room, or choose "
                "another dataset.cache; what is written is kept"
            ) from error

    def _recover(self, images: Path, lines: Path, header: dict[str, Any]) -> int:
        """Read the valid lines of an interrupted preparation; their length in bytes."""
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
                self.counts[_kind(line)] += num_files(line)
                self.num_files += num_files(line)
                kept += len(content)
        return kept


def num_files(line: Line) -> int:
    """Number of files that a line stands for."""
    return line.get("files", 1)


def kind_of(reason: str) -> str:
    """The beginning of a reason, which many files may have in common."""
    general = re.sub(r"\d[\d,]*", "N", re.sub(r"'[^']*'|\(.*", "...", reason))
    words = general.split(" ")
    return " ".join(words[:4]) + (" ..." if len(words) > 4 else "")


def _kind(line: Line) -> _Kind:
    """The kind of a file that is not used; of a used one, no kind."""
    key = next((key for key in ("skipped", "left_out") if key in line), "")
    return line.get("root", 0), key, kind_of(line[key]) if key else ""


def _line(content: dict[str, Any]) -> bytes:
    """A line of the file: JSON with its own CRC-32 as the last value, ``check``."""
    body = json.dumps(content)
    return f'{body[:-1]}, "check": {zlib.crc32(body.encode())}}}\n'.encode()


def _parsed(content: bytes) -> Line | None:
    """The line, or None if it is cut off or damaged."""
    try:
        line = json.loads(content)
    except ValueError:
        return None
    if not content.endswith(b"\n") or not isinstance(line, dict):
        return None
    check = line.pop("check", None)
    return line if zlib.crc32(json.dumps(line).encode()) == check else None
