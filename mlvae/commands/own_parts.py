"""Classes of a user's own in runs by command: networks and likelihoods that ``parts`` names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlvae.errors import InputError, check_texts, shown
from mlvae.parts import UnknownPart

__all__ = ["imported", "naming_parts"]


def imported(names: object) -> list[type]:
    """The classes that the option ``parts`` names, as ``my_networks.Waves``.

    Modules are found in the working directory and where Python finds them otherwise. Only names
    that the user types are imported: the configuration of a run may come from another person.

    Raises:
        InputError: if a module cannot be imported, or has no such class.
    """
    check_texts("parts", names)
    assert isinstance(names, list | tuple)
    here = str(Path.cwd())
    if names and here not in sys.path:
        sys.path.insert(0, here)
    return [_imported(name) for name in names]


def _imported(name: str) -> type:
    module, _, part = name.rpartition(".")
    if not module or not all(word.isidentifier() for word in name.split(".")):
        raise InputError(
            f"parts must name classes with their modules, as my_networks.Waves, not {shown(name)}"
        )
    try:
        found = getattr(importlib.import_module(module), part, None)
    except Exception as error:  # of a stranger's code: any type
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"parts={name}: the module {module} cannot be imported: {type(error).__name__}: "
            f"{first}"
        ) from error
    if not isinstance(found, type):
        raise InputError(f"parts={name}: the module {module} must have a class {part}")
    return found


@contextmanager
def naming_parts() -> Iterator[None]:
    """Let the message on an unknown class name the option of a command."""
    try:
        yield
    except UnknownPart as error:
        if "." not in error.name:
            raise
        raise InputError(
            f"{error.name} is a class outside of this library; if you trust it, write "
            f"parts=[{error.name}]"
        ) from error
