"""Restarts by torchrun: a run that was begun by the same launch is resumed.

``torchrun --max-restarts=3`` ends all processes when one fails, or when a machine leaves or joins,
and starts the same command again. The folder of a run has the identity of its launch in
``launch.txt``. A training of the same launch that finds a checkpoint there resumes it.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from mlvae.data.collections.regular import read_regular
from mlvae.errors import InputError
from mlvae.training.files import replace_file

__all__ = ["begun_by_this_launch", "check_run_is_named", "launch", "mark"]

MARK = "launch.txt"

#: Largest mark that is read, in bytes.
MAX_BYTES = 10_000


def launch() -> str | None:
    """The identity of torchrun's launch, the same after each restart; None without restarts.

    It is torchrun's ``--rdzv-id``, or without one the machine and the process of torchrun.
    """
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) < 1:
        return None
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return f"{socket.gethostname()}/{os.getppid()}" if name == "none" else name


def check_run_is_named(run: object) -> None:
    """Raise :class:`InputError` if torchrun restarts and the run has no folder to be found by."""
    if run is None and launch() is not None:
        raise InputError(
            "run must name a folder, not None, with torchrun --max-restarts: a restarted training "
            "finds its checkpoint there; set run=runs/<name>"
        )


def begun_by_this_launch(run: Path) -> bool:
    """Whether the run in a folder was begun by this launch, and has a checkpoint."""
    name = launch()
    try:
        begun = name is not None and read_regular(run / MARK, MAX_BYTES).decode() == name
    except (OSError, ValueError):
        return False
    return begun and (run / "checkpoint.pt").is_file()


def mark(run: Path) -> None:
    """Write the identity of the launch to the folder of a run, if torchrun restarts."""
    if (name := launch()) is not None:
        replace_file(run / MARK, name.encode())
