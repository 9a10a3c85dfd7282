"""Images on the disk, read batch by batch: a collection may be larger than the memory.

Shapes: N observations, ... one observation.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlvae.arguments import as_path, integer_tensor
from mlvae.errors import InputError, shown
from mlvae.observations import check_shape

__all__ = ["StoredImages"]

#: Largest number of bytes that are copied to a device at once.
PIECE = 2**28


class StoredImages:
    """Rows of a file of uint8 images, with those methods of a tensor that the data use.

    Each batch reads its rows. The operating system keeps them in its page cache while it has
    room, so that a collection that fits into memory is soon read from there. The page cache does
    not count as memory of this process. The pages of a mapped file would, and reading a row of it
    would load up to megabytes around the row.

    Args:
        path: the file: rows one after the other, without a header, as ``numpy.memmap`` reads it.
        shape: shape of the whole file, rows first.
        rows: the selected rows, (N,) on the host; None for all.

    Attributes:
        device: the host.

    Raises:
        InputError: if the file is missing or has another size.
    """

    dtype = torch.uint8
    device = torch.device("cpu")

    def __init__(
        self, path: str | Path, shape: tuple[int, ...], rows: Tensor | None = None
    ) -> None:
        self.path, self.whole = as_path("path", path), check_shape(shape)
        self.rows = None if rows is None else self._checked(rows)
        self.row_bytes = math.prod(self.whole[1:])
        try:
            self.file = _File(self.path)
            size = os.fstat(self.file.number).st_size
        except (OSError, ValueError) as error:  # a name may have a null byte
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"{path} must be a file of images: {reason}") from error
        if size != self.whole[0] * self.row_bytes or size == 0:
            raise InputError(f"{path} must have the bytes of {self.whole}, not {size:,}")

    def _checked(self, rows: object) -> Tensor:
        """Rows of the file (N,), or :class:`InputError`."""
        indices = integer_tensor("rows", rows, "indices of rows, (N,)")
        outside = ((indices < 0) | (indices >= self.whole[0])).any()
        if indices.ndim != 1 or len(indices) == 0 or outside:
            raise InputError(
                f"rows must be indices (N,) in [0, {self.whole[0]}), not {shown(rows)}"
            )
        return indices.long().cpu()

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...)."""
        return (len(self), *self.whole[1:])

    def __len__(self) -> int:
        return self.whole[0] if self.rows is None else len(self.rows)

    def __repr__(self) -> str:
        return f"StoredImages({str(self.path)!r}, {len(self)} rows of {self.whole})"

    def __reduce__(self) -> tuple[object, ...]:
        return StoredImages, (self.path, self.whole, self.rows)

    def is_floating_point(self) -> bool:
        """False: the images are uint8."""
        return False

    def __array__(
        self, dtype: np.typing.DTypeLike | None = None, copy: bool | None = None
    ) -> np.ndarray:
        """All images, read into memory: uint8 (N, ...). So NumPy and a model take them."""
        return self.index_select(0, torch.arange(len(self))).numpy().astype(dtype or np.uint8)

    def __getitem__(self, indices: Tensor | slice) -> StoredImages:
        """The rows at ``indices`` (n,), or a slice of the rows, not read yet."""
        if isinstance(indices, slice):
            indices = torch.arange(len(self))[indices]
        part = StoredImages.__new__(StoredImages)
        part.__dict__ |= self.__dict__
        part.rows = self._rows(indices)
        return part

    def index_select(self, dim: int, indices: Tensor, *, pin: bool = False) -> Tensor:
        """Read the rows at ``indices`` (n,); pinned memory allows an asynchronous copy."""
        assert dim == 0
        rows = self._rows(indices)
        x = torch.empty((len(rows), *self.whole[1:]), dtype=torch.uint8, pin_memory=pin)
        places = self._announce(rows)  # all at once: the disk may reorder them
        memory = memoryview(x.view(-1).numpy())  # pyright: ignore[reportArgumentType] before 3.12
        for i, place in enumerate(places):
            row = memory[i * self.row_bytes : (i + 1) * self.row_bytes]
            if os.preadv(self.file.number, [row], place) != self.row_bytes:
                raise InputError(f"{self.path} was cut short during its use; prepare it again")
        return x

    def expect(self, indices: Tensor) -> None:
        """Let the system read the rows at ``indices`` (n,) in the background."""
        self._announce(self._rows(indices))

    def to(self, device: torch.device | str) -> StoredImages | Tensor:
        """All rows on ``device`` if they fill at most half of its free memory, else self.

        The other half is for the model and its activations. For the host, the result is self.
        """
        device = torch.device(device)
        if device.type == "cpu":
            return self
        free, _ = torch.cuda.mem_get_info(device)
        if len(self) * self.row_bytes > free // 2:
            return self
        x = torch.empty(self.shape, dtype=torch.uint8, device=device)
        for part in torch.arange(len(self)).split(max(1, PIECE // self.row_bytes)):
            x[part[0] : part[-1] + 1] = self.index_select(0, part)
        return x

    def _announce(self, rows: Tensor) -> list[int]:
        """Announce rows of the file to the system; return their offsets in the file."""
        places = (rows * self.row_bytes).tolist()
        if "posix_fadvise" in vars(os):  # not on macOS
            for place in places:
                os.posix_fadvise(self.file.number, place, self.row_bytes, os.POSIX_FADV_WILLNEED)
        return places

    def _rows(self, indices: Tensor) -> Tensor:
        """Rows of the file at ``indices`` of these images, which may be negative."""
        indices = indices.cpu()
        if len(indices) and not -len(self) <= int(indices.min()) <= int(indices.max()) < len(self):
            raise IndexError(f"indices must lie in [-{len(self)}, {len(self)})")
        indices = indices % len(self)
        return indices if self.rows is None else self.rows[indices]


class _File:
    """An open file, closed when the last object that reads from it is deleted."""

    def __init__(self, path: Path) -> None:
        # Without blocking: if a pipe has this name, its size is wrong.
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)

    def __del__(self) -> None:
        if "number" in vars(self):  # the file could be opened
            os.close(self.number)
