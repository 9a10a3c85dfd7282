"""Open regular files only: a pipe blocks, and a device may react to being opened.

Files at addresses are opened by fsspec, which has no others.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from mlvae.data.collections.remote import Remote
from mlvae.system import open_flags

__all__ = ["open_regular", "read_regular", "size_of"]

#: Flags that let no special file block, if one replaces the regular file before it is opened.
FLAGS = open_flags("O_RDONLY", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY")


def open_regular(path: str | Path | Remote) -> BinaryIO:
    """Open a regular file, or one at an address, for reading; links are followed.

    Raises:
        OSError: if it is no regular file, or cannot be opened.
    """
    if isinstance(path, Remote):
        return path.open()
    _check(Path(path).stat(), path)
    number = os.open(path, FLAGS)
    try:
        _check(os.fstat(number), path)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def size_of(path: Path | Remote) -> int:
    """Number of bytes of a file."""
    return path.size() if isinstance(path, Remote) else path.stat().st_size


def read_regular(path: str | Path, limit: int) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: as of :func:`open_regular`, or if the file has more than ``limit`` bytes.
    """
    with open_regular(path) as file:
        # Not `limit` at once, for which Python would allocate memory.
        content = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
        while len(content) <= limit and (more := file.read(2**20)):
            content += more  # the file grows, or has no size, as those of /proc
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"has more than the limit of {limit:,} bytes", str(path))
    return content


def _check(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
        raise OSError(errno.EINVAL, kind, str(path))
