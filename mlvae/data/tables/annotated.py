"""Observations of an AnnData: a matrix of cells and genes with columns about the cells.

Shapes: N cells, D genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from mlvae.data.rows.sparse import BackedRows, is_sparse
from mlvae.errors import InputError, check_text, shown
from mlvae.groups.labels import is_missing

__all__ = ["Cells", "check_anndata", "is_anndata", "read_cells"]

#: Names that an error lists at most.
MOST = 8


class Cells(NamedTuple):
    """What :class:`~mlvae.GroupedData` takes of an AnnData.

    Attributes:
        x: (N, D), dense, sparse or a source.
        group: label of each cell's group, (N,); or the labels of several groupings by name.
        factors: numbers of each cell by name, (N,).
        given: the size of each cell, (N,), or nothing.
        names: name of each cell, (N,).
        feature_names: name of each gene, D different texts; None if x is of ``obsm``, or if two
            genes have one name.
    """

    x: Any
    group: np.ndarray | dict[str, np.ndarray]
    factors: dict[str, np.ndarray]
    given: dict[str, np.ndarray]
    names: np.ndarray
    feature_names: list[str] | None


def is_anndata(value: object) -> bool:
    """Whether ``value`` looks like an AnnData, without an import of anndata."""
    parts = ("X", "obs", "var", "obsm", "layers", "obs_names")
    return not isinstance(value, type) and all(hasattr(type(value), name) for name in parts)


def check_anndata(adata: object) -> None:
    """Raise :class:`InputError` unless ``adata`` is an AnnData."""
    if not is_anndata(adata):
        raise InputError(
            f"adata must be an AnnData, as anndata.read_h5ad(file), not {shown(adata)}"
        )


def read_cells(
    adata: Any,
    group: str | Sequence[str],
    *,
    layer: str | None = None,
    obsm: str | None = None,
    factors: Sequence[str] = (),
    size: str | None = None,
) -> Cells:
    """What :class:`~mlvae.GroupedData` takes of an AnnData.

    Arguments are those of :meth:`mlvae.GroupedData.from_anndata`.
    """
    check_anndata(adata)
    if isinstance(factors, str):
        factors = [factors]
    if not isinstance(factors, list | tuple):
        raise InputError(f"factors must be names of columns of adata.obs, not {shown(factors)}")
    labels = _groups(adata, group)
    return Cells(
        x=_matrix(adata, layer, obsm),
        group=labels,
        factors={name: _numbers(adata, "factors", name) for name in factors},
        given={} if size is None else {"size": _numbers(adata, "size", size, words=False)},
        names=np.asarray(adata.obs_names),
        feature_names=None if obsm is not None else _genes(adata),
    )


def _groups(adata: Any, group: str | Sequence[str]) -> np.ndarray | dict[str, np.ndarray]:
    """The labels of one grouping, or of several by name, where some may be missing."""
    if isinstance(group, list | tuple) and group:
        if twice := [name for name in group if list(group).count(name) > 1]:
            raise InputError(f"group must name each column once, not {shown(twice[0])} twice")
        return {name: column(adata, "group", name) for name in group}
    labels = column(adata, "group", group)
    if missing := sum(map(is_missing, labels)):
        raise InputError(
            f"adata.obs[{group!r}] must have the group of each cell, but {missing} of "
            f"{len(labels)} are missing; leave them out: adata[adata.obs[{group!r}].notna()]"
        )
    return labels


def column(adata: Any, option: str, name: object) -> np.ndarray:
    """A column of ``adata.obs``, (N,); ``option`` is named in an error."""
    check_text(option, name)
    if name not in adata.obs:
        raise _unknown(option, name, adata.obs.columns, "adata.obs")
    return np.asarray(adata.obs[name])


def _genes(adata: Any) -> list[str] | None:
    """The names of the genes, if they are different texts."""
    names = [str(name) for name in adata.var_names]
    return names if all(names) and len(set(names)) == len(names) else None


def _matrix(adata: Any, layer: str | None, obsm: str | None) -> Any:
    """The matrix of a layer, of ``obsm``, or X: in memory, or a source."""
    if layer is not None and obsm is not None:
        raise InputError(f"layer or obsm must be None, not {layer!r} and {obsm!r}")
    where, x = "adata.X", None
    for option, name, attribute in (("layer", layer, "layers"), ("obsm", obsm, "obsm")):
        if name is None:
            continue
        table = getattr(adata, attribute)
        check_text(option, name)
        if name not in table:
            raise _unknown(
                option, name, table.keys(), f"adata.{option}{'s' * (option == 'layer')}"
            )
        where, x = f"the {option} {name!r}", table[name]
    if layer is None and obsm is None:
        x = adata.X
    if x is None:
        layers = _few(adata.layers.keys())
        raise InputError(f"{where} must be a matrix, not None; choose a layer of {layers}")
    if isinstance(x, np.ndarray) or is_sparse(x):
        return x
    if hasattr(x, "to_numpy"):  # a DataFrame in obsm
        return x.to_numpy()
    if adata.is_view and adata.isbacked:
        raise InputError("a part of an AnnData in backed mode must be read: adata.to_memory()")
    if hasattr(x, "shape") and hasattr(x, "__getitem__"):
        return BackedRows(x)
    raise InputError(f"{where} must be a matrix of numbers, not {shown(x)}")


def _numbers(adata: Any, option: str, name: str, *, words: bool = True) -> np.ndarray:
    """A column of ``adata.obs`` as numbers (N,), NaN where unknown.

    With ``words``, words are numbered in sorted order.
    """
    values = column(adata, option, name)
    if values.dtype.kind in "biuf":
        return values
    unknown = np.array([is_missing(value) for value in values], dtype=bool)
    known, numbers = values[~unknown], np.full(len(values), np.nan)
    if values.dtype.kind == "O" and all(isinstance(value, Real | Decimal) for value in known):
        numbers[~unknown] = known.astype(np.float64)
    elif words and all(isinstance(value, str) for value in known):
        texts, numbers[~unknown] = np.unique(known.astype(str), return_inverse=True)
        numbered = ", ".join(f"{text} is {i}" for i, text in enumerate(texts[:MOST].tolist()))
        more = f", ... ({len(texts)})" if len(texts) > MOST else ""
        print(f"adata.obs: factor {name} is numbered: {numbered}{more}", flush=True)
    else:
        wrong = [value for value in known if not isinstance(value, Real | Decimal)]
        expected = "numbers alone, or words alone" if words else "numbers"
        raise InputError(
            f"{option} must name a column of {expected}, but adata.obs[{name!r}] has "
            f"{shown(wrong[0] if wrong else known)}; convert it"
        )
    return numbers


def _unknown(option: str, name: object, names: Any, where: str) -> InputError:
    return InputError(f"{option} must be one of {_few(names)} in {where}, not {shown(name)}")


def _few(names: Any) -> str:
    """The first names of a list, in words."""
    names = list(map(str, names))
    return ", ".join(names[:MOST]) + (", ..." if len(names) > MOST else "") or "none"
