"""Pictures of a trained model, each by one call that returns a figure of matplotlib.

A notebook shows the figure of a cell's last line. ``figure.savefig("swaps.png")`` writes it to a
file. Observations are images of 1 or 3 channels, or series (length,) or (channels, length), which
are drawn as lines.

Example:
    >>> import mlvae
    >>> digits = mlvae.data.digits()
    >>> model = mlvae.models.MLVAE(digits.train.shape)
    >>> figure = mlvae.show.swaps(model, digits.test)
    >>> type(figure).__mro__[1]
    <class 'matplotlib.figure.Figure'>
"""

from mlvae.show.clusters import group_distances
from mlvae.show.views import (
    evidence,
    factorial,
    interpolations,
    reconstructions,
    samples,
    swaps,
    traversals,
)

__all__ = [
    "evidence",
    "factorial",
    "group_distances",
    "interpolations",
    "reconstructions",
    "samples",
    "swaps",
    "traversals",
]
