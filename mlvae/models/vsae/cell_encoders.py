"""An encoder for each column of a table, all computed at once.

Shapes: N rows, C columns, D features, B dimensions of a column's latent, W features of the widest
column, H hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.posteriors import DiagonalGaussian

__all__ = ["CellEncoders"]


class CellEncoders(nn.Module):
    """The posterior of a column's latent from the cell of that column alone, for all columns.

    Each column has two layers of its own. Columns are padded to the widest, so that one matrix
    product serves all of them.

    Args:
        widths: number of features of each column, length C.
        hidden: number H of hidden units of each column.
        block_dim: number B of latent dimensions of each column.
    """

    def __init__(self, widths: Sequence[int], hidden: int, block_dim: int) -> None:
        super().__init__()
        count, widest = len(widths), max(widths)
        self.block_dim = block_dim
        self.first = nn.Parameter(torch.empty(count, widest, hidden))
        self.first_bias = nn.Parameter(torch.zeros(count, hidden))
        self.second = nn.Parameter(torch.empty(count, hidden, 2 * block_dim))
        self.second_bias = nn.Parameter(torch.zeros(count, 2 * block_dim))
        for weight, inputs in ((self.first, torch.tensor(widths)), (self.second, hidden)):
            bound = 1 / torch.as_tensor(inputs, dtype=weight.dtype).sqrt()
            with torch.no_grad():
                weight.uniform_(-1, 1).mul_(bound.expand(count)[:, None, None])
        start = torch.tensor(widths).cumsum(0) - torch.tensor(widths)
        level = torch.arange(widest)
        real = level < torch.tensor(widths)[:, None]
        self.register_buffer("place", start[:, None] + torch.where(real, level, 0), False)
        self.register_buffer("real", real, False)

    place: Tensor
    real: Tensor

    def forward(self, x: Tensor) -> DiagonalGaussian:
        """The posteriors (N, C * B) of features x (N, D), the blocks of columns side by side."""
        cells = x[:, self.place] * self.real  # (N, C, W)
        hidden = torch.einsum("ncw,cwh->nch", cells, self.first) + self.first_bias
        outputs = torch.einsum("nch,chp->ncp", functional.relu(hidden), self.second)
        mean, log_variance = (outputs + self.second_bias).chunk(2, -1)
        return DiagonalGaussian(mean.flatten(1), log_variance.flatten(1))

    def extra_repr(self) -> str:
        """Numbers of columns, hidden units and latent dimensions."""
        count, _, hidden = self.first.shape
        return (
            f"{count} columns, {hidden} hidden units, {math.prod((count, self.block_dim))} latent"
        )
