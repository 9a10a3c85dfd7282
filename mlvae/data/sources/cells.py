"""Cells of an AnnData in a file: ``.h5ad`` or ``.zarr``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlvae.arguments import as_path
from mlvae.data.collections.members import first_line
from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import SPLIT_BY, Splits, split_by
from mlvae.errors import InputError, check_flag, check_text, check_texts

__all__ = ["anndata"]


def anndata(
    root: str | Path,
    *,
    group: str | Sequence[str],
    layer: str | None = None,
    obsm: str | None = None,
    factors: Sequence[str] = (),
    size: str | None = None,
    backed: bool = False,
    split: str = "observations",
    validation: Held = 0.1,
    test: Held = 0.1,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """Cells of a file that ``adata.write_h5ad(file)`` or ``adata.write_zarr(file)`` has written.

    It needs anndata: ``pip install 'mlvae[anndata]'``.

    Args:
        root: the file ``.h5ad``, or the folder ``.zarr``.
        group: column of ``obs`` with the group of each cell, or a list of columns; it and the next
            four are as in
            :meth:`mlvae.GroupedData.from_anndata`.
        layer: layer with the observations; None: ``X``.
        obsm: entry of ``obsm`` with the observations.
        factors: columns of ``obs`` that become known factors.
        size: column of ``obs`` with the size of each cell.
        backed: whether the matrix stays in the file ``.h5ad`` and each batch is read from it.
        split: what is divided, "observations", "members" or "groups", as ``by`` in
            :func:`mlvae.data.split`; or a column of ``obs`` with the words train, validation and
            test.
        validation: size of the validation part, as in :func:`mlvae.data.split`: a count, or a
            fraction of the observations (with split="groups", of the groups).
        test: size of the test, likewise.
        within: with split="groups", fraction of the observations of each training group that
            ``Splits.test`` has.
        unseen_groups: labels of groups to keep out of training, validation and test.
        seed: seed of the split.

    Raises:
        InputError: if the file is not as described.
    """
    check_text("dataset.split", split)
    if isinstance(group, str):
        check_text("dataset.group", group)
    else:
        check_texts("dataset.group", group)
    check_flag("dataset.backed", backed)
    path = as_path("dataset.root", root)
    adata: Any = _read(path, backed)
    data = GroupedData.from_anndata(
        adata, group, layer=layer, obsm=obsm, factors=factors, size=size
    )
    if split not in SPLIT_BY:
        if split not in adata.obs:
            raise InputError(
                f"dataset.split must be one of {', '.join(SPLIT_BY)}, or a column of obs in "
                f"{path}, not {split!r}"
            )
        words = f"the column {split} of obs in {path}"
        return split_by(data, adata.obs[split], unseen_groups=unseen_groups, words=words)
    return split_by(
        data,
        split,
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
    )


def _read(path: Path, backed: bool) -> object:
    """The AnnData of a file, or :class:`InputError`."""
    try:
        import anndata  # optional
    except ImportError as error:
        raise InputError("dataset=anndata needs anndata: pip install 'mlvae[anndata]'") from error
    if not path.exists():
        raise InputError(f"dataset.root={path} must be a file of an AnnData, but is not there")
    if path.suffix not in (".h5ad", ".zarr"):
        raise InputError(f"dataset.root={path} must end with .h5ad or .zarr")
    if backed and path.suffix != ".h5ad":
        raise InputError(f"dataset.backed must be false unless the file is .h5ad, not {path}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about older versions of the format
        try:
            if path.suffix == ".zarr":
                return anndata.read_zarr(path)
            return anndata.read_h5ad(path, backed="r" if backed else None)
        except Exception as error:  # anndata and h5py raise many types for a damaged file
            raise InputError(
                f"dataset.root={path} must be a file of an AnnData: {first_line(error)}"
            ) from error
