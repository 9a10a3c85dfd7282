"""Files in the folder of a run, written atomically and never through a link or into a pipe.

A run's folder may come from another person. A link in it could lead a write to any file of the
user, so no write follows one. A pipe would block.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from mlvae.errors import InputError
from mlvae.system import open_flags

__all__ = ["OWN_NAMES", "append", "check_no_links", "replace_file"]

#: Names of files and folders that a training or an evaluation writes in a run's folder.
OWN_NAMES = (
    "config.yaml",
    "metrics.jsonl",
    "checkpoint.pt",
    "checkpoint.before.pt",
    "best.pt",
    "figures",
    "evaluation",
    "controls",
)


def check_no_links(folder: Path, names: Iterable[str] = OWN_NAMES) -> None:
    """Raise :class:`InputError` if one of ``names`` in ``folder`` is a link or a special file."""
    for name in names:
        path = folder / name
        if path.is_symlink():
            raise InputError(
                f"{folder} must hold its own files, but {name} is a link to "
                f"{path.readlink()}; replace it by a copy, or choose another folder"
            )
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InputError(
                f"{folder} must hold regular files, but {name} is a pipe or a device; remove it, "
                "or choose another folder"
            )


def replace_file(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file. At any moment the whole old or the whole new file is at ``path``.

    Args:
        path: the file. A link at this path is replaced, not followed.
        content: the content, or a function that writes it.

    Raises:
        OSError: if it cannot be written. The old file stays.
    """
    temporary = path.with_suffix(".tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a killed process, or a link
        flags = open_flags("O_WRONLY", "O_CREAT", "O_EXCL", "O_NOFOLLOW")
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            file.write(content) if isinstance(content, bytes) else content(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def append(path: Path, text: str) -> None:
    """Append ``text`` to a file that is not a link; a pipe without a reader is an OSError."""
    flags = open_flags("O_WRONLY", "O_CREAT", "O_APPEND", "O_NOFOLLOW", "O_NONBLOCK")
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    with os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _sync_folder(folder: Path) -> None:
    """Write the names of a folder's files to the disk, on file systems that can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)
