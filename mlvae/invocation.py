"""How the user started this process, for messages with a command to paste."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["command_line", "command_name"]


def command_line(name: str) -> str:
    """A command in the form in which the user starts commands.

    That is ``python scripts/<name>.py`` in a process that a file of ``scripts/`` started. In any
    other process, a program of the user or a notebook included, it is ``mlvae <name>``.

    Args:
        name: name of the command, for instance "train".
    """
    program = Path(sys.argv[0]) if sys.argv else Path()
    if program.suffix == ".py" and program.absolute().parent.name == "scripts":
        return f"python scripts/{name}.py"
    return f"mlvae {name}"


def command_name() -> str:
    """Name of the running command: "train" for ``mlvae train`` and for ``scripts/train.py``.

    :func:`mlvae.commands.main.main` sets the program's name to "mlvae train".
    """
    return Path(sys.argv[0]).stem.split()[-1]
