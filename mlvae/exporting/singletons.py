"""Groups of one observation whose sums are the values themselves, for graphs without a scatter.

Shapes: N observations, ... any trailing shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlvae.groups import Groups

__all__ = ["Singletons"]


class Singletons(Groups):
    """N groups of one observation each, as :meth:`mlvae.Groups.singletons`, without a segment sum.

    A graph with these groups has no scatter operator, so every row is computed by itself.

    Args:
        like: the observations (N, ...), of which the number and the device are used.

    Example:
        >>> Singletons(torch.zeros(2, 3)).sum(torch.tensor([[1.0], [2.0]]))
        tensor([[1.],
                [2.]])
    """

    def __init__(self, like: Tensor) -> None:
        self.index = torch.arange(like.shape[0], device=like.device)
        self.sizes = torch.ones(like.shape[0], dtype=torch.int64, device=like.device)
        self.origin = None

    def sum(self, values: Tensor) -> Tensor:
        """The values (N, ...)."""
        return values

    def max(self, values: Tensor) -> Tensor:
        """The values (N, ...)."""
        return values

    def logsumexp(self, values: Tensor) -> Tensor:
        """The values (N, ...)."""
        return values

    def spread(self, values: Tensor) -> Tensor:
        """The values (N, ...)."""
        return values
