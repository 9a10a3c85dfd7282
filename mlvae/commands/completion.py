"""Completion of ``mlvae`` in a shell. Hydra installs it and completes the options of a command.

Hydra's shell function runs ``mlvae -sc query=bash`` with the line so far in ``COMP_LINE``. Hydra
completes a program with one config, so the name of the command is taken out of the line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from mlvae.commands.help import SUMMARIES

__all__ = ["answer", "is_asked"]

#: Hydra's option of completion, ``-sc install=bash`` or ``-sc query=bash``.
OPTIONS = ("-sc", "--shell-completion", "--shell_completion")


def is_asked(arguments: Sequence[str]) -> bool:
    """Whether the arguments are those of a completion."""
    return any(option in arguments[:2] for option in OPTIONS)


def answer(arguments: Sequence[str], run: Callable[[str], None]) -> None:
    """Print the shell code, or the candidates for the last word of the line.

    Args:
        arguments: arguments of the process.
        run: function that runs a command by its name.
    """
    options = [argument for argument in arguments if argument not in SUMMARIES]
    name = "train"  # every command with a config prints the same shell code
    if any(option.startswith("query=") for option in options):
        program, name, rest = _parted(os.environ.get("COMP_LINE", ""))
        if rest is None:
            print("\n".join(known for known in SUMMARIES if known.startswith(name)))
            return
        if name not in SUMMARIES or name == "benchmark":
            return  # the shell completes names of files
        os.environ["COMP_LINE"] = f"{program} {rest}"
    sys.argv = ["mlvae", *options]
    run(name)


def _parted(line: str) -> tuple[str, str, str | None]:
    """Program, command and the rest of a line; the rest is None while the command is typed."""
    program, _, words = line.lstrip().partition(" ")
    name, space, rest = words.lstrip().partition(" ")
    return program, name, rest if space else None
