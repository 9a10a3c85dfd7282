"""Rows of a sparse matrix, and rows of a matrix in a file, made dense batch by batch.

Shapes: N observations, n of them in a batch, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.data.rows.source import on_device
from mlvae.errors import InputError, shown
from mlvae.likelihoods.counts import is_count, not_a_count
from mlvae.observations import as_tensor

__all__ = ["BackedRows", "SparseRows", "is_sparse"]

#: Number of stored values that are checked at once.
PIECE = 2**22


def is_sparse(x: object) -> bool:
    """Whether ``x`` is a sparse matrix of SciPy or a sparse tensor of PyTorch."""
    if isinstance(x, Tensor):
        return x.layout != torch.strided
    return any(base.__module__.startswith("scipy.sparse") for base in type(x).__mro__)


class SparseRows:
    """A sparse matrix in memory as observations: a :class:`~mlvae.data.Source`.

    Each batch makes its own rows dense, so the memory is that of the sparse matrix and of one
    batch. :class:`~mlvae.GroupedData` makes such a source of a sparse ``x`` itself.

    Args:
        matrix: a SciPy matrix or array of any format, or a sparse tensor of PyTorch, (N, D), of
            integers or floats. Rows are read from the format CSR: a matrix of another format is
            copied once.

    Attributes:
        matrix: the matrix in CSR.
        shape: (N, D).
        dtype: ``torch.float32``, the type of the batches.

    Raises:
        InputError: if the matrix has another type, or a value that float32 does not have.

    Example:
        >>> import scipy.sparse
        >>> rows = SparseRows(scipy.sparse.csr_array([[0, 3, 0], [1, 0, 0]]))
        >>> rows.index_select(0, torch.tensor([1, 0]))
        tensor([[1., 0., 0.],
                [0., 3., 0.]])
    """

    dtype = torch.float32

    def __init__(self, matrix: Any) -> None:
        if not is_sparse(matrix):
            raise InputError(f"matrix must be sparse, of SciPy or PyTorch, not {shown(matrix)}")
        if len(matrix.shape) != 2 or 0 in matrix.shape:
            raise InputError(
                "a sparse x must have the shape (N, D), at least (1, 1), not "
                f"{tuple(matrix.shape)}"
            )
        self.matrix = _csr_of_tensor(matrix) if isinstance(matrix, Tensor) else _csr(matrix)
        self.shape = tuple(map(int, matrix.shape))
        _check_values(self.matrix)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        share = self.matrix.nnz / (self.shape[0] * self.shape[1])
        return f"SparseRows({self.shape}, {share:.1%} stored)"

    def index_select(self, dim: int, indices: Tensor, *, pin: bool = False) -> Tensor:
        """The rows at ``indices`` (n,) as a dense tensor, float32 (n, D)."""
        x = torch.empty((len(indices), self.shape[1]), pin_memory=pin)
        self.matrix[indices.numpy()].astype(np.float32).toarray(out=x.numpy())
        return x

    def expect(self, indices: Tensor) -> None:
        """Nothing: the rows are in memory."""

    def to(self, device: torch.device | str) -> SparseRows | Tensor:
        """All rows on ``device`` if they fit there when dense, else self."""
        return on_device(self, device)

    def check_counts(self, rows: Tensor | None = None) -> None:
        """Raise :class:`InputError` unless the rows, None for all, have counts alone.

        Only stored values are read.
        """
        if not _wrong_entries(self.matrix.data, _no_count).size:
            return
        matrix = self.matrix if rows is None else self.matrix[rows.numpy()]
        for entry in _wrong_entries(matrix.data, _no_count):
            column, value = int(matrix.indices[entry]), float(matrix.data[entry])
            raise not_a_count(_row_of(matrix, entry), (column,), value)


class BackedRows:
    """A matrix in a file as observations, read batch by batch: a :class:`~mlvae.data.Source`.

    Args:
        matrix: any object with ``shape`` (N, D) whose rows are read by ``matrix[numbers]``, with
            ascending, different numbers: a dataset of h5py, or ``adata.X`` of an AnnData in backed
            mode, dense or sparse by rows.

    Attributes:
        shape: (N, D).
        dtype: ``torch.float32``, the type of the batches.

    Raises:
        InputError: if the matrix has no such rows.
    """

    dtype = torch.float32

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape = tuple(map(int, matrix.shape))
        if len(self.shape) != 2 or 0 in self.shape:
            raise InputError(
                f"a matrix in a file must have the shape (N, D), at least (1, 1), not {self.shape}"
            )
        if getattr(matrix, "format", "csr") != "csr":
            raise InputError(
                "a sparse matrix in a file must be stored by rows (CSR), as batches are read, not "
                f"as {matrix.format}; read it into memory: adata.to_memory()"
            )

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"BackedRows({self.shape} of {type(self.matrix).__name__})"

    def index_select(self, dim: int, indices: Tensor, *, pin: bool = False) -> Tensor:
        """Read the rows at ``indices`` (n,), float32 (n, D)."""
        numbers, place = np.unique(indices.numpy(), return_inverse=True)
        found = self.matrix[numbers]
        found = as_tensor(found.toarray() if is_sparse(found) else found).float()
        return found[torch.from_numpy(place)]

    def expect(self, indices: Tensor) -> None:
        """Nothing: the file is read at once."""

    def to(self, device: torch.device | str) -> BackedRows | Tensor:
        """All rows on ``device`` if they fit there, else self."""
        return on_device(self, device)


def _csr(matrix: Any) -> Any:
    """A SciPy matrix of any format, or a part of an AnnData, as an array in CSR."""
    import scipy.sparse  # takes a second to import

    return scipy.sparse.csr_array(matrix)


def _csr_of_tensor(x: Tensor) -> Any:
    """A sparse tensor of PyTorch as a SciPy matrix in CSR."""
    import scipy.sparse

    x = x.detach().cpu()
    if x.layout == torch.sparse_csr:
        parts = x.values(), x.col_indices(), x.crow_indices()
        return scipy.sparse.csr_array(tuple(part.numpy() for part in parts), shape=tuple(x.shape))
    coo = x.to_sparse_coo().coalesce()
    places = coo.indices().numpy()
    return scipy.sparse.coo_array((coo.values().numpy(), tuple(places)), tuple(x.shape)).tocsr()


def _check_values(matrix: Any) -> None:
    """Raise :class:`InputError` unless all stored values are numbers that float32 has."""
    values = matrix.data
    if values.dtype.kind not in "uif":
        raise InputError(f"x must be integers or floats, not {values.dtype} (sparse)")
    for entry in _wrong_entries(values, lambda part: ~np.isfinite(part)):
        raise InputError(
            f"x must be finite in float32, but observation {_row_of(matrix, entry)} has NaN, an "
            "infinity or a number beyond 3.4e38"
        )
    if values.dtype.kind in "ui":
        for start in range(0, len(values), PIECE):
            as_tensor(values[start : start + PIECE])  # refuses integers that float32 lacks


def _no_count(values: np.ndarray) -> np.ndarray:
    """A mask of the values that are no counts."""
    return ~is_count(torch.from_numpy(values)).numpy()


def _wrong_entries(values: np.ndarray, wrong: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The place of the first value of which ``wrong`` of its float32 is true: (1,), or (0,)."""
    for start in range(0, len(values), PIECE):
        with np.errstate(over="ignore"):
            part = values[start : start + PIECE].astype(np.float32)
        if (found := wrong(part)).any():
            return np.array([start + int(found.argmax())])
    return np.array([], dtype=np.int64)


def _row_of(matrix: Any, entry: int) -> int:
    """The row of a stored value of a matrix in CSR."""
    return int(np.searchsorted(matrix.indptr, entry, side="right")) - 1
