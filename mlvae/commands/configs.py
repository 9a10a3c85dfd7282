"""The folder of the configs: within an installed package, or beside it in a clone."""

from __future__ import annotations

from pathlib import Path

import mlvae

__all__ = ["CONFIGS", "choices"]

PACKAGE = Path(mlvae.__file__).parent

#: A wheel has the configs in the package; a clone has them at its top.
CONFIGS = (PACKAGE if (PACKAGE / "configs").is_dir() else PACKAGE.parent) / "configs"


def choices(group: str) -> list[str]:
    """Names of the files of a group, for instance of "dataset".

    Example:
        >>> choices("optimizer")
        ['adam', 'torch']
    """
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
