"""Zip and tar archives as sources of files, read without unpacking.

No file of an archive is written to the disk; its path within the archive is only a name. A file
that cannot be used gives a :class:`~mlvae.data.collections.members.Refusal`, and reading
continues. No size that an archive claims is trusted: every read has a bound of its own.
"""

from __future__ import annotations

import bz2
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, cast

from mlvae.data.collections.members import (
    Member,
    Refusal,
    first_line,
    member,
    printable,
    refusal,
)
from mlvae.data.collections.regular import open_regular, size_of
from mlvae.data.collections.remote import Remote
from mlvae.data.collections.unpack import Decompressor, Inflate, Unpacked, raw_lzma
from mlvae.errors import InputError

__all__ = ["Tar", "Zip", "fingerprint"]

#: An archive is a bomb if it unpacks to more than BOMB_FACTOR times its size and to more than
#: BOMB_SIZE bytes.
BOMB_FACTOR, BOMB_SIZE = 100, 2**30

#: An archive may have MAX_ENTRIES entries, and one per ENTRY_SIZE of its bytes. CelebA has
#: 202,599 files, and an image has hundreds of bytes.
MAX_ENTRIES, ENTRY_SIZE = 1_000_000, 100

#: Largest directory of a zip in bytes. An entry has about 100.
MAX_DIRECTORY = 2**28

#: Extended headers of an entry of a tar, as of a long name: number and bytes.
MAX_HEADERS, MAX_HEADER = 8, 2**20

#: Largest number of fields in an extended header. Common ones have fewer than 50.
MAX_FIELDS = 1000

#: Fields of an extended header that describe a sparse file.
SPARSE = b"GNU.sparse."


#: Kinds of files that a zip may claim, beside regular files, folders and links.
SPECIAL = (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK)


class Zip:
    """The files of a ``.zip`` archive.

    Raises:
        InputError: if the archive's directory cannot be read.
    """

    streamed = True

    def __init__(self, path: Path | Remote) -> None:
        self.root = path
        try:
            with open_regular(path) as file:
                self.length = len(_directory(file))
        except Exception as error:  # zipfile raises many types for a damaged directory
            raise _unreadable(path, error) from error

    def __len__(self) -> int:
        return self.length

    def fingerprint(self) -> Iterator[str]:
        """One line, which changes with the archive's name, size or time of change."""
        return fingerprint(self.root)

    def members(self) -> Iterator[Member | Refusal]:
        """Every file, in the order of the archive's directory."""
        with open_regular(self.root) as file:
            infos = _directory(file)
            # The members are read to these sizes at most, so that the sum is a bound.
            total = sum(info.file_size for info in infos)
            if total > max(BOMB_SIZE, BOMB_FACTOR * size_of(self.root)):
                yield refusal(self.root.name, f"is a bomb: it unpacks to {total:,} bytes")
                return
            for info in infos:
                if not info.is_dir():
                    yield _zipped(file, info)


def _directory(file: BinaryIO) -> list[zipfile.ZipInfo]:
    """The entries of a zip."""
    with zipfile.ZipFile(cast("IO[bytes]", _Directory(file))) as archive:
        return archive.infolist()


class _Directory:
    """A file of which ``zipfile`` reads the directory, refused before it fills the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self.size = file.seek(0, 2)
        self.limit = max(MAX_ENTRIES, self.size // ENTRY_SIZE)

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY:
            raise ValueError(f"a directory of {size:,} bytes, more than {MAX_DIRECTORY:,}")
        rest = max(0, self.size - self.tell())
        content = self.file.read(min(rest, MAX_DIRECTORY if size < 0 else size))
        if (count := content.count(zipfile.stringCentralDir)) > self.limit:  # pyright: ignore[reportAttributeAccessIssue] not in stubs
            raise ValueError(f"{count:,} entries, more than {self.limit:,}")
        return content


def _zipped(file: BinaryIO, info: zipfile.ZipInfo) -> Member | Refusal:
    mode = info.external_attr >> 16
    name, reason = _checked_name(info.filename)
    if not reason and stat.S_ISLNK(mode):
        reason = "is a link in an archive, which is not followed"
    if not reason and stat.S_IFMT(mode) in SPECIAL:
        reason = "is not a regular file"
    if not reason and info.flag_bits & 1:
        reason = "is encrypted"
    if reason:
        return refusal(name, reason)
    return member(name, info.file_size, partial(_unzipped, file, info))


def _unzipped(file: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    """The content of a member, whose header and sizes may lie."""
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) != 30 or not header.startswith(b"PK\x03\x04"):
        raise ValueError("its header is missing")
    file.seek(sum(struct.unpack("<HH", header[26:])), 1)
    length = info.compress_size
    new: Callable[[], Decompressor] | None = None
    if info.compress_type == zipfile.ZIP_DEFLATED:
        new = partial(Inflate, -15)
    elif info.compress_type == zipfile.ZIP_BZIP2:
        new = bz2.BZ2Decompressor
    elif info.compress_type == zipfile.ZIP_LZMA:
        properties = file.read(9)[4:]
        length -= 9
        new = partial(raw_lzma, properties)
    elif info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"its compression method {info.compress_type} is not supported")
    stream = Unpacked(file, new, info.file_size + 1, max(0, length))
    content = stream.read_exactly(info.file_size)
    # A stream of LZMA need not mark its end.
    if info.compress_type != zipfile.ZIP_LZMA and stream.read(1):
        raise ValueError(f"it is larger than the {info.file_size:,} bytes that the archive claims")
    if zlib.crc32(content) != info.CRC:
        raise ValueError("its checksum is wrong")
    return content


class Tar:
    """The files of a ``.tar`` archive, compressed or not, in one pass.

    Args:
        path: the archive.
        new: makes a decompressor; None if it is not compressed.

    Raises:
        InputError: if the archive does not begin as a tar.
    """

    streamed = True

    def __init__(self, path: Path | Remote, new: Callable[[], Decompressor] | None) -> None:
        self.root, self.new = path, new
        try:
            with open_regular(path) as file:
                next(_entries(self._stream(file)), None)
        except Exception as error:  # tarfile and the decompressors raise many types
            raise _unreadable(path, error) from error

    def fingerprint(self) -> Iterator[str]:
        """One line, which changes with the archive's name, size or time of change."""
        return fingerprint(self.root)

    def members(self) -> Iterator[Member | Refusal]:
        """Every file, in the order of the archive."""
        count = 0
        limit = max(MAX_ENTRIES, size_of(self.root) // ENTRY_SIZE)
        try:
            with open_regular(self.root) as file:
                stream = self._stream(file)
                for info, sparse in _entries(stream):
                    count += 1
                    if count > limit:
                        raise ValueError(f"it is a bomb: it has more than {limit:,} entries")
                    if not info.isdir():
                        yield self._member(stream, info, sparse)
        except GeneratorExit:
            raise
        except Exception as error:  # truncated and damaged archives, and bombs
            yield refusal(
                self.root.name,
                f"is damaged after {count} entries, the rest is lost ({first_line(error)})",
            )

    def _member(self, stream: Unpacked, info: tarfile.TarInfo, sparse: bool) -> Member | Refusal:
        name, reason = _checked_name(info.name)
        if not reason and (info.issym() or info.islnk()):
            reason = "is a link in an archive, which is not followed"
        if not reason and (not info.isreg() or sparse):
            reason = "is not a regular file"
        if reason:
            return refusal(name, reason)
        start = stream.position

        def read() -> bytes:
            if stream.position != start:
                raise ValueError("it can be read only once, before the next member")
            return stream.read_exactly(info.size)

        return member(name, info.size, read)

    def _stream(self, file: BinaryIO) -> Unpacked:
        return Unpacked(file, self.new, max(BOMB_SIZE, BOMB_FACTOR * size_of(self.root)))


def _entries(stream: Unpacked) -> Iterator[tuple[tarfile.TarInfo, bool]]:
    """The header of each entry, and whether it is sparse; the stream is at its content.

    ``tarfile`` is not used for this: it reads names, maps of sparse files and extended headers
    without a bound, and applies global headers to every entry.

    Raises:
        EOFError: if the archive has no end mark.
        ValueError, tarfile.TarError: if it is damaged or a bomb.
    """
    name, size, sparse = None, None, False
    count = length = 0
    while (block := stream.read(tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
        if len(block) != tarfile.BLOCKSIZE:
            raise EOFError("no end mark")
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type in EXTENDED:
            count, length = count + 1, length + info.size
            if count > MAX_HEADERS or not 0 <= length <= MAX_HEADER:
                raise ValueError(f"{count} headers of {length:,} bytes for one entry")
            content = stream.read_exactly(info.size)
            stream.skip(-info.size % tarfile.BLOCKSIZE)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = content.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                fields = _fields(content)
                if b"path" in fields:
                    name = fields[b"path"].decode("utf-8", "surrogateescape")
                if b"size" in fields:
                    size = _number(fields[b"size"])
                sparse |= any(key.startswith(SPARSE) for key in fields)
            continue
        if info.type == tarfile.GNUTYPE_SPARSE:
            sparse = True
            while block[482 if length == 0 else 504]:
                length += tarfile.BLOCKSIZE
                if length > MAX_HEADER:
                    raise ValueError(f"a map of a sparse file of {length:,} bytes")
                block = stream.read_exactly(tarfile.BLOCKSIZE)
        info.name = info.name if name is None else name
        info.size = info.size if size is None else size
        if info.isdir():
            info.name = info.name.rstrip("/")
        has_content = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
        end = stream.position + (info.size if has_content else 0)
        yield info, sparse
        stream.skip(end - stream.position + -end % tarfile.BLOCKSIZE)
        name, size, sparse = None, None, False
        count = length = 0


#: Types of headers that describe the next entry, or all of them.
EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.XGLTYPE,
)


def _fields(content: bytes) -> dict[bytes, bytes]:
    """The fields of an extended header, each ``<length> <key>=<value>`` and a line feed."""
    fields: dict[bytes, bytes] = {}
    start = count = 0
    while start < len(content) and content[start]:
        space = content.find(b" ", start, start + 10)
        end = start + _number(content[start : max(space, start)])
        if not space < end <= len(content) or content[end - 1] != ord("\n"):
            raise ValueError("an extended header is damaged")
        key, _, value = content[space + 1 : end - 1].partition(b"=")
        fields[key] = value
        start, count = end, count + 1
        if count > MAX_FIELDS:
            raise ValueError(f"an extended header has more than {MAX_FIELDS:,} fields")
    return fields


def _number(digits: bytes) -> int:
    if not re.fullmatch(rb"\d{1,19}", digits):
        raise ValueError("an extended header has no number where one must be")
    return int(digits)


def _checked_name(name: str) -> tuple[str, str]:
    """A member's path without empty parts and dots, and the reason if it is refused, else ""."""
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or re.match("[A-Za-z]:", parts[0]):
        return name, "has an absolute path"
    if ".." in parts:
        return name, "has a path that leaves the archive"
    return "/".join(part for part in parts if part not in ("", ".")), ""


def fingerprint(path: Path | Remote) -> Iterator[str]:
    """One line, which changes with the file's name, size or time of change."""
    if isinstance(path, Remote):
        yield f"{path.name}\t{path.size()}\t{path.state()}"
        return
    status = path.stat()
    yield f"{path.name}\t{status.st_size}\t{status.st_mtime_ns}"


def _unreadable(path: Path | Remote, error: Exception) -> InputError:
    return InputError(
        f"dataset.root={printable(str(path))} must be a whole archive: {first_line(error)}"
    )
