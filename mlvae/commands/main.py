"""The command ``mlvae``: it starts one of the commands, or prints help.

    mlvae train dataset=mnist trainer.epochs=20

The options of a command are those of the file of ``scripts/`` with its name.
"""

from __future__ import annotations

import difflib
import sys
from importlib import import_module

from mlvae.commands import completion
from mlvae.commands.help import SUMMARIES, help_of, overview
from mlvae.version import __version__

__all__ = ["main", "run"]

#: Commands that read no config.
WITHOUT_HYDRA = ("benchmark",)


def main() -> None:
    """Start the command that the arguments of the process name."""
    arguments = sys.argv[1:]
    if completion.is_asked(arguments):
        completion.answer(arguments, run)
        return
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(overview())
    elif name in ("-V", "--version"):
        print(f"mlvae {__version__}")
    elif name not in SUMMARIES:
        sys.exit(f"error: {_no_command(name)}")
    elif name not in WITHOUT_HYDRA and {"-h", "--help"} & set(arguments):
        print(help_of(name))
    else:
        sys.argv = [f"mlvae {name}", *arguments[1:]]
        run(name)


def run(name: str) -> None:
    """Run a command with the arguments of the process.

    Args:
        name: name of the command, for instance "train".
    """
    try:
        module = import_module(f"mlvae.commands.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("hydra", "omegaconf"):
            raise
        sys.exit(
            f"error: {name} needs the package hydra-core, which runs on Python 3.11 to 3.13; on "
            "Python 3.14 use the library from Python, as mlvae.train(...)"
        )
    module.command()


def _no_command(name: str) -> str:
    """The error for a first argument that is no command."""
    if "=" in name:
        return f"the name of a command must come first: mlvae train {name}"
    close = difflib.get_close_matches(name, SUMMARIES, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the commands are {', '.join(SUMMARIES)}"
    return f"there is no command {name!r}; {hint}"
