"""Decompress a stream forward, with bounds on its bytes and its time.

The file objects of ``gzip``, ``bz2``, ``lzma`` and ``zipfile`` have no such bounds: one read of a
few compressed bytes may unpack to gigabytes.
"""

from __future__ import annotations

import bz2
import lzma
import time
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

__all__ = ["COMPRESSIONS", "Decompressor", "Inflate", "Unpacked", "raw_lzma"]

#: Largest number of bytes that are decompressed at once, and compressed bytes that are read.
PIECE, CHUNK = 2**20, 2**16

#: Seconds that one read may take: 64 MiB at 1 MiB per second.
SECONDS = 60.0

#: Memory of an LZMA decoder in bytes. ``xz -9`` needs 65 MiB.
LZMA_MEMORY = 2**28


class Decompressor(Protocol):
    """The common methods of the decompressors of ``bz2`` and ``lzma``."""

    @property
    def eof(self) -> bool:
        """Whether the compressed stream has ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether more compressed bytes are needed for more output."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Bytes after the end of the compressed stream."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most ``max_length`` bytes."""
        ...


class Inflate:
    """A decompressor of deflated bytes, with the methods of those of ``bz2`` and ``lzma``.

    Args:
        bits: window of zlib: -15 for raw bytes, 31 for gzip.
    """

    def __init__(self, bits: int) -> None:
        self.zlib = zlib.decompressobj(bits)

    @property
    def eof(self) -> bool:
        """Whether the compressed stream has ended."""
        return self.zlib.eof

    @property
    def needs_input(self) -> bool:
        """Whether all compressed bytes are used."""
        return not self.zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        """Bytes after the end of the compressed stream."""
        return self.zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most ``max_length`` bytes; the last ones may come without more input."""
        return self.zlib.decompress(self.zlib.unconsumed_tail + data, max_length)


#: First bytes of a compressed file, and its decompressor.
COMPRESSIONS: dict[bytes, Callable[[], Decompressor]] = {
    b"\x1f\x8b": lambda: Inflate(31),
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY),
    b"BZh": bz2.BZ2Decompressor,
}


def raw_lzma(properties: bytes) -> Decompressor:
    """The decompressor of an LZMA stream with these properties (5 bytes), as in a zip.

    Raises:
        ValueError: if the properties are invalid or ask for too much memory.
    """
    if len(properties) != 5 or properties[0] >= 9 * 5 * 5:
        raise ValueError("its LZMA properties are invalid")
    rest, lc = divmod(properties[0], 9)
    pb, lp = divmod(rest, 5)
    size = int.from_bytes(properties[1:], "little")
    if size > LZMA_MEMORY:
        raise ValueError(f"it needs {size:,} bytes of memory, more than {LZMA_MEMORY:,}")
    options = {"id": lzma.FILTER_LZMA1, "dict_size": max(size, 4096), "lc": lc, "lp": lp, "pb": pb}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[options])


class Unpacked:
    """The bytes of a file, read forward and decompressed if it is compressed.

    Args:
        raw: the file, at the first byte.
        new: makes a decompressor; None if the file is not compressed. Streams that follow one
            another, as several programs write them, are one stream.
        limit: number of bytes after which the stream is a bomb.
        length: number of compressed bytes; None for all.

    Attributes:
        position: number of bytes that were read or skipped.
    """

    def __init__(
        self,
        raw: BinaryIO,
        new: Callable[[], Decompressor] | None,
        limit: int,
        length: int | None = None,
    ) -> None:
        self.raw, self.new, self.limit, self.length = raw, new, limit, length
        self.decompressor = new() if new is not None else None
        self.given = b""  # compressed bytes after the end of a stream
        self.position = 0

    def read(self, size: int) -> bytes:
        """``size`` bytes, or fewer at the end.

        Raises:
            EOFError: if the compressed bytes are cut off.
            ValueError: if it would pass the limit.
            TimeoutError: if it takes too long.
        """
        self._check(size)
        deadline = time.monotonic() + SECONDS
        content = bytearray()
        while len(content) < size and (piece := self._piece(size - len(content), deadline)):
            content += piece
        self.position += len(content)
        return bytes(content)

    def read_exactly(self, size: int) -> bytes:
        """``size`` bytes.

        Raises:
            EOFError: if the stream ends before.
            ValueError, TimeoutError: as of :meth:`read`.
        """
        content = self.read(size)
        if len(content) != size:
            raise EOFError(f"{len(content):,} of {size:,} bytes")
        return content

    def skip(self, size: int) -> None:
        """Go forward by ``size`` bytes; beyond the end, the next read finds none.

        Raises:
            EOFError, ValueError, TimeoutError: as of :meth:`read`.
        """
        self._check(size)
        if self.decompressor is None and self.length is None:
            self.raw.seek(size, 1)
            self.position += size
            return
        while size:
            piece = self.read(min(size, PIECE))
            if not piece:
                return
            size -= len(piece)

    def _check(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"a size of {size} bytes")
        if self.position + size > self.limit:
            raise ValueError(f"it is a bomb: it unpacks to more than {self.limit:,} bytes")

    def _piece(self, size: int, deadline: float) -> bytes:
        """Between 1 and ``size`` bytes; none at the end."""
        size = min(size, PIECE)
        while True:
            if self.decompressor is None:
                return self._compressed(size)
            if time.monotonic() > deadline:
                raise TimeoutError(f"it takes more than {SECONDS:g} seconds to unpack")
            if self.decompressor.eof and not self._next_stream(deadline):
                return b""
            data, wanted = b"", self.decompressor.needs_input
            if wanted:
                data, self.given = self.given or self._compressed(CHUNK), b""
            piece = self.decompressor.decompress(data, size)
            if piece:
                return piece
            if wanted and not data and not self.decompressor.eof:
                raise EOFError("the compressed bytes end too early")

    def _next_stream(self, deadline: float) -> bool:
        """Begin the stream after the one that has ended; False if there is none."""
        assert self.new is not None and self.decompressor is not None
        if self.length is not None:  # a member of a zip is one stream
            return False
        rest = self.decompressor.unused_data
        while not (rest := rest.lstrip(b"\0")):  # zeros may fill the last block
            if time.monotonic() > deadline:
                raise TimeoutError(f"it takes more than {SECONDS:g} seconds to unpack")
            if not (rest := self._compressed(CHUNK)):
                return False
        self.decompressor, self.given = self.new(), rest
        return True

    def _compressed(self, size: int) -> bytes:
        if self.length is None:
            return self.raw.read(size)
        content = self.raw.read(min(size, self.length))
        self.length -= len(content)
        return content
