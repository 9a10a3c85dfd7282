"""Images that stay on the disk: a collection may be larger than the memory.

Shapes: N observations, ... one observation.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError

__all__ = ["MappedImages"]

#: Pages of the file that may count as this process's memory before they are given back. The system
#: keeps them for as long as it has room: to have them again costs next to nothing.
RESIDENT = 2**28

#: What the system maps around a page that is asked for.
AROUND = 2**16


class MappedImages:
    """Rows of a file of uint8 images, with as much of a tensor's face as the data need.

    A batch's rows are read from the memory map when they are asked for; nothing else is.

    Args:
        path: the file: rows one after the other, no header.
        shape: shape of all that is in it, rows first.
        rows: which rows are meant, (N,) on the host; None for all.

    Attributes:
        shape: (N, ...).
        device: the host, where the rows come from.

    Raises:
        InputError: if the file is missing or has another size.
    """

    dtype = torch.uint8
    device = torch.device("cpu")

    def __init__(
        self, path: str | Path, shape: tuple[int, ...], rows: Tensor | None = None
    ) -> None:
        self.path, self.whole, self.rows = Path(path), tuple(shape), rows
        try:
            with self.path.open("rb") as file:
                # Read only: a private, writable map would be charged to the memory as a whole.
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.images = np.frombuffer(self.map, np.uint8).reshape(self.whole)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} must be a file of images {self.whole}: {error}") from error
        self.map.madvise(mmap.MADV_RANDOM)
        self.touched = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...)."""
        return (len(self), *self.whole[1:])

    def __len__(self) -> int:
        return self.whole[0] if self.rows is None else len(self.rows)

    def __repr__(self) -> str:
        return f"MappedImages({str(self.path)!r}, {len(self)} rows of {self.whole})"

    def __reduce__(self) -> tuple[object, ...]:
        return MappedImages, (self.path, self.whole, self.rows)

    def is_floating_point(self) -> bool:
        """False: bytes."""
        return False

    def __getitem__(self, indices: Tensor) -> MappedImages:
        """The rows at ``indices`` (n,), still on the disk."""
        indices = indices.cpu()
        indices = indices % len(self)  # from the end, as a tensor counts
        part = MappedImages.__new__(MappedImages)
        part.__dict__ |= self.__dict__
        part.rows = indices if self.rows is None else self.rows[indices]
        return part

    def index_select(self, dim: int, indices: Tensor, *, pin: bool = False) -> Tensor:
        """The rows at ``indices`` (n,) in memory; pinned, they travel while the host goes on."""
        assert dim == 0
        indices = indices.cpu()
        if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= len(self)):
            raise IndexError(f"indices must lie in [0, {len(self)})")
        rows = indices if self.rows is None else self.rows[indices]
        x = torch.empty((len(rows), *self.whole[1:]), dtype=torch.uint8, pin_memory=pin)
        self._ask(rows)
        np.take(self.images, rows.numpy(), axis=0, out=x.numpy(), mode="clip")
        self._give_back(len(rows))
        return x

    def to(self, device: torch.device | str) -> MappedImages | Tensor:
        """All rows on ``device`` if they fill no more than half of what it has free, else self.

        The other half is for a model and its activations. On the host the map itself is as fast
        as memory, as long as there is memory.
        """
        device = torch.device(device)
        if device.type == "cpu":
            return self
        free, _ = torch.cuda.mem_get_info(device)
        row = int(np.prod(self.whole[1:]))
        if len(self) * row > free // 2:
            return self
        x = torch.empty(self.shape, dtype=torch.uint8, device=device)
        for part in torch.arange(len(self)).split(max(1, RESIDENT // row)):
            x[part[0] : part[-1] + 1] = self.index_select(0, part)
        return x

    def _ask(self, rows: Tensor) -> None:
        """Have the system fetch all of ``rows`` at once, not one after the other."""
        row, page = int(np.prod(self.whole[1:])), mmap.PAGESIZE
        for start in (rows * row).tolist():
            first = start // page * page
            self.map.madvise(mmap.MADV_WILLNEED, first, start + row - first)

    def _give_back(self, num_rows: int) -> None:
        self.touched += num_rows * max(AROUND, int(np.prod(self.whole[1:])))
        if self.touched > RESIDENT:
            self.map.madvise(mmap.MADV_DONTNEED)
            self.touched = 0
