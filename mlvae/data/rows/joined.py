"""The rows of several sources, one source after the other.

Shapes: N observations of all sources, n of them in a batch, ... one observation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlvae.data.rows.source import Source
from mlvae.errors import InputError

__all__ = ["JoinedRows"]


class JoinedRows:
    """Sources one after the other: a :class:`~mlvae.data.Source`.

    Each batch is read from the sources that have its rows.

    Args:
        sources: sources with observations of one shape and type.

    Attributes:
        sources: the sources.
        ends: number of rows up to the end of each source.

    Raises:
        InputError: if there is no source, or shapes or types differ.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from mlvae.data import ArrayFile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("a", "b"):
        ...         np.save(f"{folder}/{name}.npy", np.full((2, 3), ord(name), np.float32))
        ...     rows = JoinedRows([ArrayFile(f"{folder}/{name}.npy") for name in ("a", "b")])
        ...     rows.index_select(0, torch.tensor([3, 0]))[:, 0].tolist()
        [98.0, 97.0]
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        if not sources:
            raise InputError("sources must have at least one source, not none")
        self.sources = list(sources)
        self.dtype = sources[0].dtype
        row = tuple(sources[0].shape[1:])
        for source in self.sources:
            if tuple(source.shape[1:]) != row or source.dtype != self.dtype:
                raise InputError(
                    f"sources must have observations of one shape and type, {row} and "
                    f"{self.dtype}, not {tuple(source.shape[1:])} and {source.dtype}"
                )
        self.ends = torch.tensor([len(source) for source in sources]).cumsum(0)
        self.shape = (int(self.ends[-1]), *row)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"JoinedRows({len(self.sources)} sources, {self.shape})"

    def index_select(self, dim: int, indices: Tensor, *, pin: bool = False) -> Tensor:
        """Read the rows at ``indices`` (n,) of the joined sources."""
        assert dim == 0
        parts = self._parts(indices)
        if len(parts) == 1:
            ((source, _, rows),) = parts
            return source.index_select(0, rows, pin=pin)
        x = torch.empty((len(indices), *self.shape[1:]), dtype=self.dtype, pin_memory=pin)
        for source, places, rows in parts:
            x[places] = source.index_select(0, rows)
        return x

    def expect(self, indices: Tensor) -> None:
        """Announce a later read of the rows at ``indices`` (n,)."""
        for source, _, rows in self._parts(indices):
            source.expect(rows)

    def to(self, device: torch.device | str) -> JoinedRows:
        """The source itself: its rows stay where they are."""
        return self

    def _parts(self, indices: Tensor) -> list[tuple[Source, Tensor, Tensor]]:
        """For each source with some of the rows: the source, places in ``indices``, its rows."""
        number = torch.searchsorted(self.ends, indices, right=True)
        found = []
        for place in number.unique().tolist():
            places = (number == place).nonzero()[:, 0]
            start = int(self.ends[place - 1]) if place else 0
            found.append((self.sources[place], places, indices[places] - start))
        if not found:  # no row
            found.append((self.sources[0], number, indices))
        return found
