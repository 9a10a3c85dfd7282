"""Sources of files: a folder, an archive or a Parquet file."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mlvae.data.collections import members
from mlvae.data.collections.archives import Tar, Zip
from mlvae.data.collections.members import Member, Refusal, member, printable, refusal
from mlvae.data.collections.parquet import MARK, Parquet
from mlvae.data.collections.regular import open_regular, read_regular
from mlvae.data.collections.remote import Remote
from mlvae.data.collections.samples import Samples
from mlvae.data.collections.unpack import COMPRESSIONS
from mlvae.errors import InputError

__all__ = ["Folder", "open_source"]

#: First bytes of a zip. The mark of an uncompressed tar is at byte 257.
ZIPPED = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


class Folder:
    """The regular files below a folder.

    Links are followed. Links to folders are followed last, and no folder is read twice, so that a
    loop of links ends. Devices, pipes and sockets are never opened.

    Args:
        root: the folder.
        without: a folder below it to leave out: the cache.
    """

    streamed = False

    def __init__(self, root: Path, without: Path | None = None) -> None:
        self.root = root
        self.entries: list[tuple[str, str, int, int] | Refusal] = []
        self._walk(None if without is None else os.path.realpath(without))

    def __len__(self) -> int:
        return len(self.entries)

    def fingerprint(self) -> Iterator[str]:
        """One line per file, which changes with the file's name, size or time of change."""
        for entry in self.entries:
            yield "\t".join(map(str, (entry[0], *entry[2:])))

    def members(self) -> Iterator[Member | Refusal]:
        """Every file, ordered by name within a folder."""
        for entry in self.entries:
            if isinstance(entry, Refusal):
                yield entry
            else:
                yield member(entry[0], entry[2], partial(_read, entry[1]))

    def _walk(self, without: str | None) -> None:
        visited: set[tuple[int, int]] = set()
        folders: list[tuple[str, str]] = [("", str(self.root))]
        links: list[tuple[str, str]] = []
        while folders or links:
            name, path = folders.pop() if folders else links.pop(0)
            try:
                status = Path(path).stat()
                if (status.st_dev, status.st_ino) in visited:
                    self._refuse(name, "is a link to a folder that has been read")
                    continue
                visited.add((status.st_dev, status.st_ino))
                with os.scandir(path) as found:
                    entries = sorted(found, key=_composed)
            except OSError as error:
                self._refuse(name or str(self.root), f"cannot be read ({error.strerror})")
                continue
            deeper: list[tuple[str, str]] = []
            for entry in entries:
                below = f"{name}/{entry.name}" if name else entry.name
                if (kind := self._enter(below, entry)) == "file":
                    continue
                if without is None or os.path.realpath(entry.path) != without:
                    (links if kind == "link" else deeper).append((below, entry.path))
            folders += reversed(deeper)

    def _enter(self, name: str, entry: os.DirEntry[str]) -> str:
        """Add a file to the entries; "file", or "folder", or "link" for a link to a folder."""
        try:
            status = entry.stat()
        except OSError as error:
            reason = "is a broken link" if entry.is_symlink() else "cannot be read"
            self._refuse(name, f"{reason} ({error.strerror})")
            return "file"
        if stat.S_ISDIR(status.st_mode):
            return "link" if entry.is_symlink() else "folder"
        if stat.S_ISREG(status.st_mode):
            self.entries.append((name, entry.path, status.st_size, status.st_mtime_ns))
        else:
            self._refuse(name, "is not a regular file")
        return "file"

    def _refuse(self, name: str, reason: str) -> None:
        self.entries.append(refusal(name, reason))


def open_source(
    root: Path | Remote, without: Path | None = None, *, labels: str | None = None
) -> Folder | Zip | Tar | Parquet | Samples:
    """The source at ``root``. Its content decides its kind, not its name.

    Args:
        root: a folder, an archive or a Parquet file; or the address of one of the last two.
        without: a folder below it to leave out: the cache.
        labels: as of :class:`~mlvae.data.collections.samples.Samples`, for archives of samples;
            None: any source.

    Raises:
        InputError: if ``root`` is neither a folder nor an archive, or cannot be read, or has no
            samples where ``labels`` is given.
    """
    source = _opened(root, without)
    if labels is None:
        return source
    if not isinstance(source, Tar):
        raise InputError(
            f"dataset.labels={labels} is for tar archives of samples, which "
            f"{printable(str(root))} is not; set dataset.labels=null"
        )
    return Samples(source, labels)


def _opened(root: Path | Remote, without: Path | None) -> Folder | Zip | Tar | Parquet:
    """The source at ``root``, a tar archive as its files."""
    try:
        if isinstance(root, Path) and root.is_dir():
            return Folder(root, without)
        with open_regular(root) as file:
            start = file.read(512)
    except OSError as error:
        raise InputError(
            f"dataset.root={printable(str(root))} must be a folder, an archive or a table: "
            f"{error.strerror}"
        ) from error
    if start.startswith(ZIPPED):
        return Zip(root)
    if start.startswith(MARK):
        return Parquet(root)
    for mark, new in COMPRESSIONS.items():
        if start.startswith(mark):
            return Tar(root, new)
    if start[257:262] == b"ustar" or root.suffix == ".tar":
        return Tar(root, None)
    raise InputError(
        f"dataset.root={printable(str(root))} must be a folder, a .zip, .tar, .tar.gz or .tar.xz "
        "archive, a .parquet file, or a .csv or .txt table, and is none of these"
    )


def _composed(entry: os.DirEntry[str]) -> str:
    """The name in Unicode normal form C: the order is the same on every file system."""
    return unicodedata.normalize("NFC", entry.name)


def _read(path: str) -> bytes:
    """The content of a file, which may have changed since it was found."""
    return read_regular(path, members.MAX_FILE)
