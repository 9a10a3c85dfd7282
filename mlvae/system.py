"""Calls that differ between operating systems: open flags, file locks, reads at an offset.

Linux and macOS have all of POSIX's calls. Windows lacks some, and has others instead.
"""

from __future__ import annotations

import errno
import math
import os
import threading
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # Linux, macOS
    msvcrt = None

__all__ = ["lock", "memory", "open_flags", "opened_for_lock", "read_at"]

#: Seconds between two attempts to lock a file, where the system cannot wait for the lock.
PAUSE = 0.1

_seeking = threading.Lock()


def open_flags(*names: str) -> int:
    """Flags for :func:`os.open` by name; those that this system lacks are left out.

    Windows alone has ``O_BINARY``, which is always included: without it, reads change line ends.

    Example:
        >>> open_flags("O_RDONLY", "O_OF_ANOTHER_SYSTEM") == open_flags("O_RDONLY")
        True
    """
    flags = getattr(os, "O_BINARY", 0)
    for name in names:
        flags |= getattr(os, name, 0)
    return flags


def opened_for_lock(folder: str | os.PathLike[str]) -> int:
    """An open file descriptor to lock a folder: the folder's, or on Windows of a file in it."""
    if fcntl is not None:
        return os.open(folder, os.O_RDONLY)
    return os.open(Path(folder, "lock"), open_flags("O_RDWR", "O_CREAT"), 0o666)


def lock(number: int, *, wait: bool = False) -> None:
    """Lock an open file until it is closed or the process ends.

    Args:
        number: file descriptor.
        wait: whether to wait while another process has the lock.

    Raises:
        BlockingIOError: if another process has the lock, without ``wait``.
        OSError: if the file system, or the system, has no locks.
    """
    if fcntl is not None:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return
    if msvcrt is None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    while True:
        try:
            os.lseek(number, 0, os.SEEK_SET)  # the lock is of the byte at the current offset
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            if not wait:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        time.sleep(PAUSE)


def read_at(number: int, into: memoryview, place: int) -> int:
    """Read bytes of an open file at the offset ``place``; several threads may do so.

    Args:
        number: file descriptor.
        into: memory for the bytes.
        place: offset in the file, in bytes.

    Returns:
        Number of bytes read; less than asked for only at the end of the file.
    """
    if hasattr(os, "preadv"):
        return os.preadv(number, [into], place)
    done = 0
    with _seeking:
        os.lseek(number, place, os.SEEK_SET)
        while done < len(into) and (part := os.read(number, len(into) - done)):
            into[done : done + len(part)] = part
            done += len(part)
    return done


def memory() -> float:
    """Bytes of memory of this machine; infinity where Python cannot ask the system."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return math.inf
