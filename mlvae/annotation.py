"""The codes of a trained model as annotations of an AnnData.

Shapes: N cells in G groups, D dimensions of a code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlvae.data import GroupedData
from mlvae.data.tables.annotated import check_anndata
from mlvae.encoding import Encoded, encode
from mlvae.models.protocol import traits

__all__ = ["annotate"]


def annotate(
    adata: Any,
    model: Any,
    group: str | Sequence[str],
    *,
    layer: str | None = None,
    obsm: str | None = None,
    size: str | None = None,
    batch_size: int = 4096,
    progress: bool = True,
) -> Encoded:
    """Write the codes of all cells, and of their groups, into an AnnData.

    ======================== ======================================================================
    entry                    content
    ======================== ======================================================================
    obsm["X_content"]        mean of the content of the cell's group, (N, C)
    obsm["X_content_single"] mean of the content that is inferred from the cell alone, (N, C)
    obsm["X_style"]          mean of the style of the cell, (N, S)
    uns["mlvae"]             ``group``, the name of the column; ``groups``, the labels, (G,);
                             ``content`` and ``content_variance`` of each group, (G, C)
    ======================== ======================================================================

    A model with other codes writes them under their names: ``obsm["X_latent"]`` for a
    :class:`~mlvae.models.VAE`. Entries of these names are replaced. All can be written to a file.

    Args:
        adata: the AnnData, which is changed.
        model: a trained model.
        group: column of ``adata.obs`` with the group of each cell, or a list of columns of several
            groupings. Their labels are then in ``uns["mlvae"]["groups_donor"]`` and so on.
        layer: layer with the observations, as in :meth:`mlvae.GroupedData.from_anndata`.
        obsm: entry of ``adata.obsm`` with the observations, likewise.
        size: column of ``adata.obs`` with the size of each cell, likewise.
        batch_size: number of cells that are encoded at once.
        progress: whether a bar shows the progress of long work.

    Returns:
        The codes, as :func:`mlvae.encode` returns them, with variances.

    Raises:
        InputError: if a name is unknown, or the model does not take the observations.

    Example::

        model = mlvae.load("runs/cells")
        mlvae.annotate(adata, model, group="donor", layer="counts")
        scanpy.pp.neighbors(adata, use_rep="X_style")
    """
    check_anndata(adata)
    data = GroupedData.from_anndata(adata, group, layer=layer, obsm=obsm, size=size)
    options = {"batch_size": batch_size, "variances": True, "progress": progress, "frame": False}
    encoded = encode(model, data, **options)
    assert encoded.variances is not None
    shared = [name for name in encoded.means if name in traits(model).group_codes]
    if isinstance(group, str):
        found = {"group": group, "groups": np.array(encoded.group_names).astype(str)}
    else:
        found = {"group": list(group)}
        found |= {
            f"groups_{name}": np.array([str(label) for label in each.names])
            for name, each in encoded.groupings.items()
        }
    for name, means in encoded.means.items():
        if name not in shared:
            adata.obsm[f"X_{name}"] = means
            continue
        grouping = traits(model).grouping_of.get(name, data.grouping)
        own = encoded.groupings.get(grouping)
        adata.obsm[f"X_{name}"] = means[encoded.index if own is None else own.index]
        found |= {name: means, f"{name}_variance": encoded.variances[name]}
    if shared and not traits(model).given_codes:
        rows = np.arange(len(data))
        alone = data.regrouped(dict.fromkeys(data.groupings, rows))
        single = encode(model, alone, **options)
        for name in shared:
            adata.obsm[f"X_{name}_single"] = single.means[name]
    adata.uns["mlvae"] = found
    return encoded
