"""Zip and tar archives as sources of files, read without unpacking.

No file of an archive is written to the disk; its path within the archive is only a name. A file
that cannot be used gives a :class:`~mlvae.data.members.Refusal`, and reading continues.
"""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from mlvae.data.collections import members
from mlvae.data.collections.members import (
    Member,
    Refusal,
    first_line,
    member,
    printable,
    read_exactly,
)
from mlvae.errors import InputError

__all__ = ["Tar", "Zip"]

#: An archive is a bomb if it unpacks to more than BOMB_FACTOR times its size and to more than
#: BOMB_SIZE bytes.
BOMB_FACTOR, BOMB_SIZE = 100, 2**30


class Zip:
    """The files of a ``.zip`` archive.

    Raises:
        InputError: if the archive's directory cannot be read.
    """

    streamed = True

    def __init__(self, path: Path) -> None:
        self.root = path
        try:
            with zipfile.ZipFile(path) as file:
                self.length = len(file.infolist())
        except Exception as error:  # zipfile raises many types for a damaged directory
            raise _unreadable(path, error) from error

    def __len__(self) -> int:
        return self.length

    def fingerprint(self) -> Iterator[str]:
        """One line, which changes with the archive's name, size or time of change."""
        return _fingerprint(self.root)

    def members(self) -> Iterator[Member | Refusal]:
        """Every file, in the order of the archive's directory."""
        with zipfile.ZipFile(self.root) as file:
            infos = file.infolist()
            total = sum(info.file_size for info in infos)
            if total > max(BOMB_SIZE, BOMB_FACTOR * self.root.stat().st_size):
                yield Refusal(self.root.name, f"is a bomb: it unpacks to {total:,} bytes")
                return
            for info in infos:
                if not info.is_dir():
                    yield self._member(file, info)

    def _member(self, file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member | Refusal:
        mode = info.external_attr >> 16
        name, reason = _checked_name(info.filename)
        if not reason and stat.S_ISLNK(mode):
            reason = "is a link in an archive, which is not followed"
        if not reason and info.flag_bits & 1:
            reason = "is encrypted"
        if reason:
            return Refusal(name, reason)
        return member(name, info.file_size, partial(file.read, info))


class Tar:
    """The files of a ``.tar`` archive, compressed or not, in one pass.

    Args:
        path: the archive.
        unpack: opens the compressed file, as ``gzip.open``; None if it is not compressed.

    Raises:
        InputError: if the archive does not begin as a tar.
    """

    streamed = True

    def __init__(self, path: Path, unpack: Callable[..., Any] | None) -> None:
        self.root, self.unpack = path, unpack
        try:
            with self._stream() as stream, _opened(stream):
                pass
        except Exception as error:  # tarfile and the decompressors raise many types
            raise _unreadable(path, error) from error

    def fingerprint(self) -> Iterator[str]:
        """One line, which changes with the archive's name, size or time of change."""
        return _fingerprint(self.root)

    def members(self) -> Iterator[Member | Refusal]:
        """Every file, in the order of the archive."""
        count = 0
        try:
            with self._stream() as stream, _opened(stream) as file:
                while (info := file.next()) is not None:
                    # Bounds the memory: only the last member is needed.
                    file.members.clear()  # pyright: ignore[reportAttributeAccessIssue] not in stubs
                    count += 1
                    if not info.isdir():
                        yield self._member(file, info)
                # tarfile stops at any block that is no header; a whole archive ends with zeros.
                if stream.last != bytes(tarfile.BLOCKSIZE):
                    raise EOFError("no end mark")
        except GeneratorExit:
            raise
        except Exception as error:  # truncated and damaged archives, and bombs
            yield Refusal(
                self.root.name,
                f"is damaged after {count} entries, the rest is lost ({first_line(error)})",
            )

    def _member(self, file: tarfile.TarFile, info: tarfile.TarInfo) -> Member | Refusal:
        name, reason = _checked_name(info.name)
        if not reason and (info.issym() or info.islnk()):
            reason = "is a link in an archive, which is not followed"
        if not reason and (not info.isreg() or info.issparse()):
            reason = "is not a regular file"
        if reason:
            return Refusal(name, reason)

        def read() -> bytes:
            stream = file.extractfile(info)
            assert stream is not None  # it is a regular file
            return read_exactly(stream, info.size)

        return member(name, info.size, read)

    def _stream(self) -> _Bounded:
        limit = max(BOMB_SIZE, BOMB_FACTOR * self.root.stat().st_size)
        return _Bounded((self.unpack or io.open)(self.root, "rb"), limit)


class _Bounded:
    """A stream that refuses to read beyond ``limit``, or more than ``MAX_FILE`` bytes at once.

    The second bound is for the headers of a tar, whose size field could claim the whole memory.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.stream, self.limit, self.last = stream, limit, b""
        self.tell = stream.tell

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stream.close()

    def seek(self, position: int) -> int:
        self._check(position)
        return self.stream.seek(position)

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > members.MAX_FILE:
            raise ValueError(f"a header of {size:,} bytes")
        self._check(self.stream.tell() + size)
        self.last = self.stream.read(size)
        return self.last

    def _check(self, position: int) -> None:
        if position > self.limit:
            raise ValueError(f"it is a bomb: it unpacks to more than {self.limit:,} bytes")


def _opened(stream: _Bounded) -> tarfile.TarFile:
    # tarfile calls read, seek and tell only; its annotation requires more methods.
    return tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:")


def _checked_name(name: str) -> tuple[str, str]:
    """A member's path without empty parts and dots, and the reason if it is refused, else ""."""
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or re.match("[A-Za-z]:", parts[0]):
        return printable(name), "has an absolute path"
    if ".." in parts:
        return printable(name), "has a path that leaves the archive"
    return printable("/".join(part for part in parts if part not in ("", "."))), ""


def _fingerprint(path: Path) -> Iterator[str]:
    status = path.stat()
    yield f"{path.name}\t{status.st_size}\t{status.st_mtime_ns}"


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"dataset.root={path} must be a whole archive: {first_line(error)}")
