"""Data from tables: the constructors of GroupedData from a frame and from an AnnData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlvae.data.tables.annotated import read_cells
from mlvae.data.tables.columns import Columns

if TYPE_CHECKING:
    from mlvae.data.grouped import GroupedData

__all__ = ["from_anndata", "from_frame"]


def from_frame(  # noqa: D417
    cls: type[GroupedData],
    frame: Any,
    group: Any = None,
    *,
    features: Sequence[str] | None = None,
    categories: Sequence[str] = (),
    factors: Sequence[str] = (),
    split: str | None = None,
    kinds: Mapping[str, Any] | str | Path | None = None,
    missing: str = "refuse",
    like: GroupedData | Columns | str | Path | None = None,
) -> Any:
    """Observations from the rows of a table: pandas, polars or pyarrow.

    - Integers, floats, decimals and nullable types are one feature, the number in float32.
    - Booleans are one feature, 1 or 0.
    - Categories are one feature for each value that occurs, 1 or 0, such as ``colour=red``.
    - Text, dates and other types are refused, with the name of the column.

    A line lists the columns that do not stay as they are. Missing cells are refused, with the
    name of the column and their number, or kept: their features are 0, and
    ``given["observed"]``, booleans (N, C) for C columns, states which cells are there.
    ``data.columns`` is the record of the columns, and
    ``like`` encodes a new table in the same way.

    Args:
        frame: a DataFrame of pandas or polars, or a Table of pyarrow.
        group: name of the column with the labels of the groups; a list of such names, for
            several groupings; or a label for each row. With ``like``, None is the columns of
            the record; each row is a group of its own if the frame has no such column.
        features: names of the columns that become features; None: all columns that are no
            group, factor or split.
        categories: names of columns of text or integers whose values are categories.
        factors: names of the columns of known factors. Words are numbered in sorted order.
        split: name of a column with the words train, validation and test (or 0, 1, 2).
        kinds: kind of each column by its name, for models and likelihoods of tables: "real",
            "positive", "count", "binary", "ordinal" or "categorical", or the values of an
            ordinal column in order. "inferred" for one or for all columns: booleans and
            numbers of 0 and 1 alone are binary, whole numbers of at least 0 are counts, other
            numbers are real, text is categorical. The path of a file in the form of HI-VAE's
            ``data_types.csv``: a line ``type,dim,nclass`` for each feature column, in order.
            None, and columns that are not named: by type, as above.
        missing: "refuse" or "keep" missing cells: NaN, None, pandas.NA.
        like: data of another table, their ``columns``, or the folder of a run that was trained
            on them. The features are then those of that table.

    Returns:
        The data, with the index of a DataFrame of pandas, or the number of each row, as
        ``names``. With ``split``, :class:`~mlvae.data.Splits`.

    Raises:
        InputError: if a column is missing or cannot be converted, or a category is unknown.

    Example:
        >>> import pandas
        >>> from mlvae import GroupedData
        >>> frame = pandas.DataFrame({"donor": ["ann", "ann", "bob"], "age": [4, 5, 7]})
        >>> data = GroupedData.from_frame(frame, group="donor")
        >>> data, data.feature_names
        (GroupedData(3 observations of shape (1,) in 2 groups), ['age'])
    """
    from mlvae.data.tables.frames import read_data  # which makes these records

    return read_data(
        frame,
        group,
        features=features,
        categories=categories,
        factors=factors,
        split=split,
        kinds=kinds,
        missing=missing,
        like=like,
    )


def from_anndata(  # noqa: D417
    cls: type[GroupedData],
    adata: Any,
    group: str | Sequence[str],
    *,
    layer: str | None = None,
    obsm: str | None = None,
    factors: Sequence[str] = (),
    size: str | None = None,
) -> GroupedData:
    """The cells of an AnnData, grouped by a column of ``adata.obs``.

    Sparse matrices stay sparse, and an AnnData in backed mode stays in its file: each batch
    makes its own rows dense. ``mlvae.data.split(data, by=adata.obs["split"])`` splits by a
    column of words.

    Args:
        adata: the AnnData.
        group: name of the column of ``adata.obs`` with the group of each cell, such as its
            donor; or a list of names, of several groupings.
        layer: name of the layer with the observations, such as "counts"; None: ``adata.X``.
        obsm: name of the entry of ``adata.obsm`` with the observations, such as "X_pca".
        factors: names of columns of ``adata.obs`` that are known factors. Words become their
            numbers in sorted order.
        size: name of the column of ``adata.obs`` with the size of each cell, for a likelihood
            of counts with ``link="exp"``; None: the total of the observation.

    Raises:
        InputError: if a name is unknown, or the matrix does not have integers or floats.

    Example::

        adata = anndata.read_h5ad("cells.h5ad")
        data = mlvae.GroupedData.from_anndata(adata, group="donor", layer="counts")
    """
    cells = read_cells(adata, group, layer=layer, obsm=obsm, factors=factors, size=size)
    several = isinstance(cells.group, dict)
    return cls(
        cells.x,
        None if several else cells.group,
        cells.factors,
        groups=cells.group if several else None,
        given=cells.given,
        names=cells.names,
        feature_names=cells.feature_names,
        kind="array",
    )
