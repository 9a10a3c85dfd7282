"""Images on the disk, read batch by batch: a collection may be larger than the memory.

Shapes: N observations, n of them in a batch, ... one observation.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from torch import Tensor

from mlvae.arguments import as_path
from mlvae.data.collections.regular import FLAGS
from mlvae.data.rows.source import on_device
from mlvae.errors import InputError
from mlvae.observations import check_shape
from mlvae.system import read_at

__all__ = ["StoredImages"]


class StoredImages:
    """A file of uint8 images, one after the other: a :class:`~mlvae.data.Source`.

    Each batch reads its rows. The operating system keeps them in its page cache while it has
    room, so that a collection that fits into memory is soon read from there. The page cache does
    not count as memory of this process. The pages of a mapped file would, and reading a row of it
    would load up to megabytes around the row.

    Args:
        path: the file: rows one after the other, without a header, as ``numpy.memmap`` reads it.
        shape: (N, ...).

    Raises:
        InputError: if the file is missing or has another size.
    """

    dtype = torch.uint8

    def __init__(self, path: str | Path, shape: tuple[int, ...]) -> None:
        self.path, self.shape = as_path("path", path), check_shape(shape)
        self.row_bytes = math.prod(self.shape[1:])
        try:
            self.file = _File(self.path)
            size = os.fstat(self.file.number).st_size
        except (OSError, ValueError) as error:  # a name may have a null byte
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"{path} must be a file of images: {reason}") from error
        if size != self.shape[0] * self.row_bytes or size == 0:
            raise InputError(f"{path} must have the bytes of {self.shape}, not {size:,}")

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"StoredImages({str(self.path)!r}, {self.shape})"

    def __reduce__(self) -> tuple[object, ...]:
        return StoredImages, (self.path, self.shape)

    def index_select(self, dim: int, indices: Tensor, *, pin: bool = False) -> Tensor:
        """Read the rows at ``indices`` (n,); pinned memory allows an asynchronous copy."""
        assert dim == 0
        x = torch.empty((len(indices), *self.shape[1:]), dtype=torch.uint8, pin_memory=pin)
        places = self._announce(indices)  # all at once: the disk may reorder them
        memory = memoryview(x.view(-1).numpy())  # pyright: ignore[reportArgumentType] before 3.12
        for i, place in enumerate(places):
            row = memory[i * self.row_bytes : (i + 1) * self.row_bytes]
            if read_at(self.file.number, row, place) != self.row_bytes:
                raise InputError(f"{self.path} was cut short during its use; prepare it again")
        return x

    def expect(self, indices: Tensor) -> None:
        """Let the system read the rows at ``indices`` (n,) in the background."""
        self._announce(indices)

    def to(self, device: torch.device | str) -> StoredImages | Tensor:
        """All images on ``device`` if they fit; see :func:`~mlvae.data.rows.source.on_device`."""
        return on_device(self, device)

    def _announce(self, rows: Tensor) -> list[int]:
        """Announce rows of the file to the system; return their offsets in the file."""
        places = (rows * self.row_bytes).tolist()
        if "posix_fadvise" in vars(os):  # not on macOS
            for place in places:
                os.posix_fadvise(self.file.number, place, self.row_bytes, os.POSIX_FADV_WILLNEED)
        return places


class _File:
    """An open file, closed when the last object that reads from it is deleted."""

    def __init__(self, path: Path) -> None:
        # Without blocking: if a pipe has this name, its size is wrong.
        self.number = os.open(path, FLAGS)

    def __del__(self) -> None:
        if "number" in vars(self):  # the file could be opened
            os.close(self.number)
