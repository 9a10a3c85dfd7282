"""Checkpoints: one file with everything a run needs to go on, replaced in one instant.

A checkpoint holds tensors and plain values only, and is read with ``weights_only=True``: opening
somebody else's runs no code.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from pathlib import Path

import torch

from mlvae.errors import InputError

__all__ = ["FORMAT", "read_checkpoint", "write_checkpoint"]

#: Raised when a checkpoint's layout changes so that older code cannot read it.
FORMAT = 1


def write_checkpoint(path: Path, state: dict[str, object]) -> None:
    """Write ``state`` to ``path``: the file there is the old or the new one, whole, at any moment.

    Raises:
        InputError: if it cannot be written, as on a full disk; what was there is untouched.
    """
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        kept = (
            "the one before is intact: make room and resume"
            if path.exists()
            else "there is none before it: make room and start again"
        )
        raise InputError(f"{path} could not be saved ({_reason(error)}); {kept}") from error


def _reason(error: BaseException) -> str:
    """What the system said: torch's zip writer hides it behind a message of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


def read_checkpoint(path: Path) -> dict[str, object]:
    """The state in the file at ``path``, its tensors on the CPU.

    Raises:
        InputError: if there is no such file, or it is not a whole checkpoint of this library.
    """
    try:
        there = path.is_file()
    except (OSError, ValueError):  # no name of a file
        there = False
    if not there:
        raise InputError(
            f"{path.parent} must be a run folder with a {path.name}, but that file is not there"
        )
    state = None
    if zipfile.is_zipfile(path):  # what torch.save writes; its directory stands at the end
        with contextlib.suppress(OSError, RuntimeError, pickle.UnpicklingError, LookupError):
            state = torch.load(path, map_location="cpu", weights_only=True)
    if state is None:
        other = path.with_name("best.pt" if path.name == "checkpoint.pt" else "checkpoint.pt")
        hint = f"; {other.name} beside it may serve" if other.is_file() else ""
        raise InputError(f"{path} is truncated or not a checkpoint of mlvae{hint}")
    if not isinstance(state, dict) or "format" not in state:
        raise InputError(f"{path} is not a checkpoint of mlvae")
    if state["format"] != FORMAT:
        raise InputError(
            f"{path} has checkpoint format {state['format']}, this version reads {FORMAT}; "
            f"open it with mlvae {state.get('version', 'of its time')}"
        )
    return state
