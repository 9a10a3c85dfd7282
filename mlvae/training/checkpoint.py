"""Checkpoints: one file with the whole state of a run, replaced atomically.

A checkpoint holds tensors and plain values only, and is read with ``weights_only=True``. So
opening another person's checkpoint runs no code.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from mlvae.errors import InputError, shown
from mlvae.training.files import replace_file
from mlvae.training.structure import check_structure

__all__ = ["FORMAT", "read_checkpoint", "read_state", "write_checkpoint"]

#: Version of the layout. It grows when older code cannot read a new checkpoint.
FORMAT = 2

#: Versions that this code reads: 1 has one optimiser and no players.
READABLE = (1, 2)


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path``. At any moment the whole old or the whole new file is there.

    Raises:
        InputError: if it cannot be written, as on a full disk. The old file stays.
    """
    try:
        replace_file(path, lambda file: torch.save({"format": FORMAT, **state}, file))
    except (OSError, RuntimeError) as error:
        kept = (
            "the previous checkpoint is intact: make room and resume"
            if path.exists()
            else "there is no previous checkpoint: make room and start again"
        )
        raise InputError(f"{path} could not be saved ({_reason(error)}); {kept}") from error


def _reason(error: BaseException) -> str:
    """The system's message. torch's zip writer hides it behind its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in the file at ``path``, with tensors on the CPU.

    Raises:
        InputError: if the file is missing, incomplete or not a checkpoint of this library.
    """
    try:
        exists = path.is_file()
    except (OSError, ValueError):  # not a valid file name
        exists = False
    if not exists:
        is_file = os.path.isfile(path.parent)  # noqa: PTH113 - False for a name that is too long
        advice = f"; it is a file, give the folder {path.parent.parent}" if is_file else ""
        raise InputError(
            f"{path.parent} must be a run folder with a {path.name}, but that file is not there"
            f"{advice}"
        )
    state = None
    if _is_uncompressed_zip(path):
        with contextlib.suppress(Exception):  # a damaged pickle raises errors of any type
            state = torch.load(path, map_location="cpu", weights_only=True)
    if state is None:
        other = path.with_name("best.pt" if path.name == "checkpoint.pt" else "checkpoint.pt")
        hint = f"; {other.name} in the same folder may be intact" if other.is_file() else ""
        raise InputError(f"{path} is truncated or not a checkpoint of mlvae{hint}")
    if not isinstance(state, dict) or "format" not in state:
        raise InputError(f"{path} is not a checkpoint of mlvae")
    if type(state["format"]) is not int or state["format"] not in READABLE:
        raise InputError(
            f"{path} has checkpoint format {shown(state['format'])}, this version reads up to "
            f"{FORMAT}; open it with mlvae {str(state.get('version', 'of its time'))[:40]}"
        )
    return state


def read_state(path: Path) -> dict[str, Any]:
    """The state of a run in the file at ``path``, with the keys and types of a training's.

    Raises:
        InputError: as :func:`read_checkpoint`, or if a key is missing or has another type.
    """
    state = read_checkpoint(path)
    check_structure(state, path)
    return state


def _is_uncompressed_zip(path: Path) -> bool:
    """Whether a file is whole and of the kind that torch.save writes.

    The directory of a zip file is at its end. A compressed file could need far more memory than
    disk.
    """
    try:
        with zipfile.ZipFile(path) as file:
            return all(info.compress_type == zipfile.ZIP_STORED for info in file.infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False
