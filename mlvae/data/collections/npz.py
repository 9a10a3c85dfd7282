"""Arrays of a file that ``numpy.savez`` has written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlvae.data.collections.members import first_line
from mlvae.data.collections.regular import open_regular
from mlvae.errors import InputError

__all__ = ["read_npz"]


def read_npz(
    path: Path, wanted: Callable[[str], bool], *, form: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of a ``.npz`` file whose name is ``wanted``, and the names of all its arrays.

    Args:
        path: the value of the option ``dataset.root``.
        wanted: whether an array of this name is read.
        form: what the file must be, for the message.

    Raises:
        InputError: if the file is damaged or of another form, or a wanted member is no array.
    """
    try:
        with open_regular(path) as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it has one array without a name")
            with file:
                names = list(file.files)
                content = {name: file[name] for name in names if wanted(name)}
    except Exception as error:  # numpy and zipfile raise many types for a damaged file
        raise InputError(f"dataset.root={path} must be {form}: {first_line(error)}") from error
    for name, value in content.items():
        if not isinstance(value, np.ndarray):
            raise InputError(f"{name} in {path} must be an array, not a file of another kind")
    return content, names
