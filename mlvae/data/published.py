"""Places of published files below a folder of data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlvae.data.collections.members import printable
from mlvae.errors import InputError

__all__ = ["file_of"]


def file_of(root: Path, names: Sequence[str], folders: Sequence[str] = ()) -> Path:
    """The first of ``names`` in ``root`` or in one of its ``folders``; or ``root`` if a file.

    Raises:
        InputError: if there is none.
    """
    if root.is_file():
        return root
    for folder in (root, *(root / name for name in folders)):
        for name in names:
            if (folder / name).exists():
                return folder / name
    raise InputError(
        f"dataset.root={printable(str(root))} must be {' or '.join(names)}, or a folder with it; "
        "its owners publish it for download"
    )
