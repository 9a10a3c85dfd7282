"""Archives, read as they are.

Nothing is ever unpacked: the path of a file within an archive is a name, not a place to write to.
A file that cannot be used comes as a :class:`~mlvae.data.collections.members.Refusal` with its name, and the
reading goes on.
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

from mlvae.data import members
from mlvae.data.collections.members import Member, Refusal, member, printable
from mlvae.errors import InputError

__all__ = ["Tar", "Zip"]

#: An archive that unpacks to more than so many times its size, and to more than so many bytes, is
#: a bomb.
BOMB_FACTOR, BOMB_SIZE = 100, 2**30


class Zip:
    """The files in a ``.zip``."""

    streamed = True

    def __init__(self, path: Path) -> None:
        self.root = path
        try:
            with zipfile.ZipFile(path) as file:
                self.length = len(file.infolist())
        except Exception as error:  # a damaged directory fails in a dozen ways
            raise _unreadable(path, error) from error

    def __len__(self) -> int:
        return self.length

    def fingerprint(self) -> Iterator[str]:
        """One line, which changes when the archive does."""
        return _stamp(self.root)

    def members(self) -> Iterator[Member | Refusal]:
        """Every file, in the order of the archive's directory."""
        with zipfile.ZipFile(self.root) as file:
            infos = file.infolist()
            whole = sum(info.file_size for info in infos)
            if whole > max(BOMB_SIZE, BOMB_FACTOR * self.root.stat().st_size):
                yield Refusal(self.root.name, f"unpacks to {whole:,} bytes, as a bomb does")
                return
            for info in infos:
                if not info.is_dir():
                    yield self._member(file, info)

    def _member(self, file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member | Refusal:
        mode = info.external_attr >> 16
        name, reason = _safe(info.filename)
        if not reason and stat.S_ISLNK(mode):
            reason = "is a link, which are not followed in an archive"
        if not reason and info.flag_bits & 1:
            reason = "is encrypted"
        if reason:
            return Refusal(name, reason)
        return member(name, info.file_size, partial(file.read, info))


class Tar:
    """The files in a ``.tar``, compressed or not, in one pass from beginning to end."""

    streamed = True

    def __init__(self, path: Path, unpack: Callable | None) -> None:
        self.root, self.unpack = path, unpack
        try:
            with self._stream() as stream, tarfile.open(fileobj=stream, mode="r:"):
                pass
        except Exception as error:  # as for a zip
            raise _unreadable(path, error) from error

    def fingerprint(self) -> Iterator[str]:
        """One line, which changes when the archive does."""
        return _stamp(self.root)

    def members(self) -> Iterator[Member | Refusal]:
        """Every file, in the order of the archive."""
        count = 0
        try:
            with self._stream() as stream, tarfile.open(fileobj=stream, mode="r:") as file:
                while (info := file.next()) is not None:
                    file.members.clear()  # of a million files, only the last is needed
                    count += 1
                    if not info.isdir():
                        yield self._member(file, info)
                if stream.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes any rubbish for an end
                    raise EOFError("no end mark")
        except GeneratorExit:
            raise
        except Exception as error:  # truncated and damaged archives, and bombs
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            yield Refusal(
                self.root.name, f"is damaged after {count} entries, the rest is lost ({reason})"
            )

    def _member(self, file: tarfile.TarFile, info: tarfile.TarInfo) -> Member | Refusal:
        name, reason = _safe(info.name)
        if not reason and (info.issym() or info.islnk()):
            reason = "is a link, which are not followed in an archive"
        if not reason and (not info.isreg() or info.issparse()):
            reason = "is not a regular file"
        if reason:
            return Refusal(name, reason)
        return member(name, info.size, lambda: _whole(file.extractfile(info), info.size))

    def _stream(self) -> _Bounded:
        limit = max(BOMB_SIZE, BOMB_FACTOR * self.root.stat().st_size)
        return _Bounded((self.unpack or io.open)(self.root, "rb"), limit)


class _Bounded:
    """A stream that refuses to give more than ``limit`` bytes in all, or very many at once.

    Even the headers of a tar may claim a size that would fill the memory.
    """

    def __init__(self, stream: io.BufferedIOBase, limit: int) -> None:
        self.stream, self.limit, self.last = stream, limit, b""
        self.tell = stream.tell

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stream.close()

    def seek(self, place: int) -> int:
        self._check(place)
        return self.stream.seek(place)

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > members.MAX_FILE:
            raise ValueError(f"a header of {size:,} bytes")
        self._check(self.stream.tell() + size)
        self.last = self.stream.read(size)
        return self.last

    def _check(self, place: int) -> None:
        if place > self.limit:
            raise ValueError(f"it unpacks to more than {self.limit:,} bytes, as a bomb does")


def _safe(name: str) -> tuple[str, str]:
    """A member's name, made regular, and why it is refused if it is."""
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or re.match("[A-Za-z]:", parts[0]):
        return printable(name), "has an absolute path"
    if ".." in parts:
        return printable(name), "has a path that leaves the archive"
    return printable("/".join(part for part in parts if part not in ("", "."))), ""


def _whole(stream: io.BufferedIOBase, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError(f"{len(content)} of {size} bytes")
    return content


def _stamp(path: Path) -> Iterator[str]:
    status = path.stat()
    yield f"{path.name}\t{status.st_size}\t{status.st_mtime_ns}"


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"dataset.root={path} must be a whole archive: {reason}")
