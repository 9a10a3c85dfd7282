"""Where the files of a collection lie: a folder, or an archive read as it is.

Nothing is ever unpacked: the path of a file within an archive is a name, not a place to write to.
A file that cannot be used comes as a :class:`Refusal` with its name, and the reading goes on.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mlvae.errors import InputError

__all__ = ["Folder", "Member", "Refusal", "Tar", "Zip", "open_source", "printable"]

#: Larger files are not read: no photograph is that large.
MAX_FILE = 64 * 2**20

#: An archive that unpacks to more than so many times its size, and to more than so many bytes, is
#: a bomb.
BOMB_FACTOR, BOMB_SIZE = 100, 2**30

#: How the files that are archives begin. A plain tar has its mark further on.
COMPRESSED = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\0": lzma.open, b"BZh": bz2.open}
ZIPPED = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


class Member(NamedTuple):
    """A file of a collection.

    Attributes:
        name: its path within the source, with slashes.
        size: in bytes.
        read: gives its bytes; where the source is ``streamed``, only until the next member is
            asked for.
    """

    name: str
    size: int
    read: Callable[[], bytes]


class Refusal(NamedTuple):
    """A file that is not used, and why, as a phrase that follows its name."""

    name: str
    reason: str


class Folder:
    """The regular files below a folder.

    Links are followed, those to folders after everything else, and no folder is read twice: a
    loop of links ends. Devices and pipes are never opened.

    Args:
        root: the folder.
        without: a folder below it that is none of the collection: the cache.
    """

    streamed = False

    def __init__(self, root: Path, without: Path | None = None) -> None:
        self.root = root
        self.entries: list[tuple[str, str, int, int] | Refusal] = []
        self._walk(None if without is None else os.path.realpath(without))

    def __len__(self) -> int:
        return len(self.entries)

    def fingerprint(self) -> Iterator[str]:
        """A line for each file, which changes when the file does."""
        for entry in self.entries:
            yield "\t".join(map(str, (entry[0], *entry[2:])))

    def members(self) -> Iterator[Member | Refusal]:
        """Every file, in the order of their names."""
        for entry in self.entries:
            if isinstance(entry, Refusal):
                yield entry
            elif entry[2] > MAX_FILE:
                yield _too_large(entry[0], entry[2])
            else:
                yield Member(entry[0], entry[2], Path(entry[1]).read_bytes)

    def _walk(self, without: str | None) -> None:
        visited: set[tuple[int, int]] = set()
        folders, links = [("", str(self.root))], []
        while folders or links:
            name, path = folders.pop() if folders else links.pop(0)
            try:
                status = Path(path).stat()
                if (status.st_dev, status.st_ino) in visited:
                    self._refuse(name, "is a link to a folder that is read already")
                    continue
                visited.add((status.st_dev, status.st_ino))
                with os.scandir(path) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as error:
                self._refuse(name or str(self.root), f"cannot be read ({error.strerror})")
                continue
            deeper = []
            for entry in entries:
                below = f"{name}/{entry.name}" if name else entry.name
                if (kind := self._enter(below, entry)) == "file":
                    continue
                if without is None or os.path.realpath(entry.path) != without:
                    (links if kind == "link" else deeper).append((below, entry.path))
            folders += reversed(deeper)

    def _enter(self, name: str, entry: os.DirEntry) -> str:
        """Note a file; for a folder, say whether it is one or a link to one."""
        try:
            status = entry.stat()
        except OSError as error:
            what = "is a broken link" if entry.is_symlink() else "cannot be read"
            self._refuse(name, f"{what} ({error.strerror})")
            return "file"
        if stat.S_ISDIR(status.st_mode):
            return "link" if entry.is_symlink() else "folder"
        if stat.S_ISREG(status.st_mode):
            place = (printable(name), entry.path, status.st_size, status.st_mtime_ns)
            self.entries.append(place)
        else:
            self._refuse(name, "is not a regular file")
        return "file"

    def _refuse(self, name: str, reason: str) -> None:
        self.entries.append(Refusal(printable(name), reason))


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
        if info.file_size > MAX_FILE:
            return _too_large(name, info.file_size)
        return Member(name, info.file_size, partial(file.read, info))


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
        if info.size > MAX_FILE:
            return _too_large(name, info.size)
        return Member(name, info.size, lambda: _whole(file.extractfile(info), info.size))

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
        if size < 0 or size > MAX_FILE:
            raise ValueError(f"a header of {size:,} bytes")
        self._check(self.stream.tell() + size)
        self.last = self.stream.read(size)
        return self.last

    def _check(self, place: int) -> None:
        if place > self.limit:
            raise ValueError(f"it unpacks to more than {self.limit:,} bytes, as a bomb does")


def open_source(root: Path, without: Path | None = None) -> Folder | Zip | Tar:
    """The source at ``root``, by what it is and not by what it is called.

    Raises:
        InputError: if there is nothing, or nothing that is a folder or an archive.
    """
    try:
        if root.is_dir():
            return Folder(root, without)
        with root.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise InputError(
            f"dataset.root={root} must be a folder, an archive or a table: {error.strerror}"
        ) from error
    if start.startswith(ZIPPED):
        return Zip(root)
    for mark, unpack in COMPRESSED.items():
        if start.startswith(mark):
            return Tar(root, unpack)
    if start[257:262] == b"ustar" or root.suffix == ".tar":
        return Tar(root, None)
    raise InputError(
        f"dataset.root={root} must be a folder, a .zip, .tar, .tar.gz or .tar.xz archive, or a "
        ".csv or .txt table, and is none of these"
    )


def printable(name: str) -> str:
    """A name as it can be shown anywhere: what is no printable character is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def _safe(name: str) -> tuple[str, str]:
    """A member's name, made regular, and why it is refused if it is."""
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or re.match("[A-Za-z]:", parts[0]):
        return printable(name), "has an absolute path"
    if ".." in parts:
        return printable(name), "has a path that leaves the archive"
    return printable("/".join(part for part in parts if part not in ("", "."))), ""


def _too_large(name: str, size: int) -> Refusal:
    return Refusal(name, f"has {size:,} bytes, more than the {MAX_FILE:,} of a photo")


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
