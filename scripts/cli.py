"""What every script does with an error: one clear line for what a user can mend, else all of it."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlvae.errors import Diverged, InputError

__all__ = ["run"]

CONFIGS = Path(__file__).parent.parent / "configs"


def run(main: Callable[[], object]) -> None:
    """Call ``main``; end the process with one line on standard error if the user is to act."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        main()
    except (InputError, Diverged) as error:
        sys.exit(f"error: {error}")
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    """What Hydra says of a wrong override, without its advice to append keys nobody reads."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = lines[0].rstrip(".")
    if match := re.match(r"Could not override '([^']+)'", message):
        name = match[1]
        close = difflib.get_close_matches(name, _option_names(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"there is no option {name}; {hint}`--cfg job` lists all options"
    if match := re.match(r"Could not find '([^']+)/([^/']+)'", message):
        folder = CONFIGS / match[1]
        names = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        if names:
            return f"{match[1]} must be one of {names}, not {match[2]!r}"
    if "Missing mandatory value" in message:
        return f"{message}; give it on the command line"
    return message + "; `--cfg job` lists all options"


def _option_names() -> list[str]:
    """Dotted names of the options in the config files, for a hint."""
    names = [path.parent.name for path in CONFIGS.glob("*/*.yaml")]
    for path in CONFIGS.rglob("*.yaml"):
        package = "" if path.parent == CONFIGS else path.parent.name
        if header := re.match(r"# @package (\S+)", path.read_text()):
            package = "" if header[1] == "_global_" else header[1]
        names += _dotted(OmegaConf.to_container(OmegaConf.load(path)), package)
    return sorted(set(names))


def _dotted(config: object, prefix: str) -> list[str]:
    if not isinstance(config, dict):
        return [prefix]
    names = []
    for key, value in config.items():
        if key not in ("defaults", "hydra"):
            names += _dotted(value, f"{prefix}.{key}" if prefix else key)
    return names
