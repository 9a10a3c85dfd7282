"""Files at addresses such as ``s3://bucket/shard.tar``, opened by fsspec."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from mlvae.data.collections.members import first_line, printable
from mlvae.errors import InputError

__all__ = ["Remote", "remote_shards"]


@dataclass(frozen=True)
class Remote:
    """A file at an address. It has the members of a path that sources use.

    Args:
        address: protocol and path, as fsspec takes them.

    Example:
        >>> Remote("s3://bucket/shards/shard-0.tar").name
        'shard-0.tar'
    """

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.address.rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The ending of the name with its dot, or nothing."""
        return PurePosixPath(self.name).suffix

    def absolute(self) -> Remote:
        """The address itself."""
        return self

    def open(self) -> BinaryIO:
        """The file, opened for reading.

        Raises:
            OSError: if it is a folder, or cannot be opened.
        """
        with _os_errors(self.address):
            files, path = _file_system(self.address)
            if files.isdir(path):
                raise OSError(errno.EISDIR, "is a folder; name its archives or Parquet files")
            return files.open(path, "rb")

    def size(self) -> int:
        """Number of bytes.

        Raises:
            OSError: if the file system does not state it.
        """
        with _os_errors(self.address):
            files, path = _file_system(self.address)
            size = files.info(path).get("size")
            if size is None:
                raise OSError(errno.EINVAL, "has no known size")
            return int(size)

    def state(self) -> str:
        """The key of fsspec for the state of the file, such as its hash or time of change."""
        with _os_errors(self.address):
            files, path = _file_system(self.address)
            return str(files.ukey(path))


def remote_shards(address: str) -> list[Remote]:
    """The files that an address with ``*`` in its name stands for, sorted; another is itself.

    Raises:
        InputError: if fsspec or the package of the protocol is missing, or there is no such file.
    """
    files, path = _file_system(address)
    folder, slash, name = address.rpartition("/")
    if "*" not in name:
        return [Remote(address)]
    try:
        names = sorted(str(found).rpartition("/")[2] for found in files.glob(path))
    except Exception as error:  # every protocol has errors of its own
        raise _unusable(address, first_line(error)) from error
    if not names:
        raise _unusable(address, "it is the name of no file")
    return [Remote(folder + slash + found) for found in names]


def _file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise InputError(
            f"dataset.root={printable(address)} needs fsspec, which is not installed; run "
            "`pip install 'mlvae[remote]'`"
        ) from error
    try:
        return url_to_fs(address)
    except Exception as error:  # a missing package, an unknown protocol, wrong credentials
        raise _unusable(address, first_line(error)) from error


@contextmanager
def _os_errors(address: str) -> Iterator[None]:
    """Errors of all protocols as :class:`OSError`, with a reason."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "there is no such file", address) from error
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise OSError(error.errno or errno.EIO, reason, address) from error
    except Exception as error:
        raise OSError(errno.EIO, first_line(error), address) from error


def _unusable(address: str, reason: str) -> InputError:
    return InputError(
        f"dataset.root={printable(address)} must be an address that fsspec opens: {reason}"
    )
