"""Distances between groups as a heat map beside a tree of clusters.

Shapes: G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlvae.arguments import check_type
from mlvae.errors import InputError, check_choice, shown
from mlvae.show.text import STYLE, fonts, legible

if TYPE_CHECKING:
    from mlvae.show.drawing import Picture

__all__ = ["LINKAGES", "group_distances"]

#: Rules for the distance of two clusters.
LINKAGES = ("average", "complete", "single")

#: Largest number of characters of a label.
NAME = 24


def group_distances(
    distances: Any,
    labels: Sequence[object] | None = None,
    *,
    linkage: str = "average",
    title: str = "distance",
) -> Picture:
    """Distances between groups as shades, in the order of a tree that joins near groups first.

    Args:
        distances: of :func:`mlvae.evaluation.group_distances`, or a symmetric matrix (G, G) with
            zeros on the diagonal.
        labels: text for each group; None: numbers from 1.
        linkage: distance of two clusters: "average", "complete" or "single" of the distances of
            their groups.
        title: label of the colour bar, with the unit.

    Returns:
        A :class:`matplotlib.figure.Figure`.

    Raises:
        InputError: if the distances are no such matrix, or labels have another length.

    Example:
        >>> matrix = [[0, 1, 5], [1, 0, 6], [5, 6, 0]]
        >>> figure = group_distances(matrix, ["ann", "bob", "eve"])
        >>> [text.get_text() for text in figure.axes[1].get_yticklabels()]
        ['bob', 'ann', 'eve']
    """
    check_choice("linkage", linkage, LINKAGES)
    matrix = _checked(distances)
    check_type("title", title, str, "text")
    if labels is None:
        labels = range(1, len(matrix) + 1)
    check_type("labels", labels, (Sequence, np.ndarray), "a list of texts")
    names = list(labels)
    if len(names) != len(matrix):
        raise InputError(
            f"labels must be a text for each of {len(matrix)} groups, not {len(names)}"
        )
    return _drawn(matrix, [legible(str(name), NAME) for name in names], linkage, title)


def _checked(distances: Any) -> np.ndarray:
    """A symmetric matrix of distances, or :class:`InputError`."""
    found = getattr(distances, "distance", distances)
    try:
        found = found.detach().cpu() if hasattr(found, "detach") else found
        if np.asarray(found).dtype.kind not in "biuf":
            raise TypeError("not real numbers")
        matrix = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"distances must be numbers (G, G), not {shown(distances)}") from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise InputError(f"distances must be (G, G) with G at least 2, not {matrix.shape}")
    if not np.isfinite(matrix).all() or (matrix < 0).any() or matrix.diagonal().any():
        raise InputError("distances must be finite, at least 0, and 0 on the diagonal")
    if not np.allclose(matrix, matrix.T):
        raise InputError("distances must be symmetric")
    return 0.5 * (matrix + matrix.T)


def _drawn(matrix: np.ndarray, names: list[str], linkage: str, title: str) -> Picture:
    # Local imports: each takes a second.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from scipy.cluster.hierarchy import dendrogram
    from scipy.cluster.hierarchy import linkage as joined
    from scipy.spatial.distance import squareform

    from mlvae.show.drawing import Picture

    number = len(matrix)
    tree = joined(squareform(matrix, checks=False), method=linkage, optimal_ordering=True)
    side = max(2.2, 0.22 * number)
    style = {"family": fonts(), "fontsize": 8}
    with matplotlib.rc_context(STYLE):
        picture = Picture(figsize=(1.1 + 1.6 + side + 1.2, side + 1.3), dpi=100, facecolor="white")
        FigureCanvasAgg(picture)
        grid = picture.add_gridspec(1, 2, width_ratios=(1.1, side + 1.2))
        branches, shades = picture.add_subplot(grid[0]), picture.add_subplot(grid[1])
        found = dendrogram(
            tree,
            orientation="left",
            no_labels=True,
            ax=branches,
            color_threshold=0,
            above_threshold_color="0.2",
        )
        branches.set_axis_off()
        order = found["leaves"][::-1]
        branches.set_ylim(0, 10 * number)
        image = shades.imshow(matrix[np.ix_(order, order)], cmap="Greys_r", aspect="auto")
        texts = [names[place] for place in order]
        shades.set_yticks(range(number), texts, **style)
        shades.set_xticks(range(number), texts, rotation=90, **style)
        shades.tick_params(length=0)
        picture.colorbar(image, ax=shades, label=title)
    return picture
