"""Models of which cells of a row are observed.

Shapes: N rows, C columns, D features, L latent dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlvae.likelihoods.columns import MixedColumns
from mlvae.networks import Network

__all__ = ["MASKS", "MaskOfLatents", "MaskOfValues", "mask_log_prob"]

#: What the probability of an observed cell depends on.
MASKS = ("latents", "values", "none")


class MaskOfLatents(nn.Module):
    """Logits of observed cells by a network of the latents: p(m | z).

    Args:
        network: the network of the decoder.
        latent_dim: L.
        columns: C.
    """

    def __init__(self, network: Network, latent_dim: int, columns: int) -> None:
        super().__init__()
        self.decoder = network.decoder(latent_dim, (columns,), 1)

    def forward(self, z: Tensor, values: Tensor) -> Tensor:
        """Logits (N, C) of latents z (N, L)."""
        return self.decoder(z)[:, 0]


class MaskOfValues(nn.Module):
    r"""Logits of observed cells by the cell's own value, one logistic function for each column.

    .. math:: \mathrm{logit}\, p(m_j = 1 \mid x_j) = b_j + \sum_{f \in j} w_f x_f

    with the standardised features f of column j. A cell is then missing because of its value
    ("self masking"; N. B. Ipsen, P.-A. Mattei, J. Frellsen: not-MIWAE: Deep Generative Modelling
    with Missing not at Random Data. ICLR 2021, arXiv:2006.12871, section 4).

    Args:
        likelihood: the columns.
    """

    def __init__(self, likelihood: MixedColumns) -> None:
        super().__init__()
        columns = likelihood.columns
        self.weight = nn.Parameter(torch.zeros(likelihood.num_features))
        self.bias = nn.Parameter(torch.zeros(len(columns)))
        place = [number for number, column in enumerate(columns) for _ in range(column.levels)]
        self.register_buffer("column", torch.tensor(place), False)

    column: Tensor

    def forward(self, z: Tensor, values: Tensor) -> Tensor:
        """Logits (N, C) of standardised features ``values`` (N, D)."""
        weighted = values * self.weight
        return (self.bias + torch.zeros_like(weighted[:, : len(self.bias)])).index_add(
            1, self.column, weighted
        )


def mask_log_prob(logits: Tensor, observed: Tensor) -> Tensor:
    """Log-probability of the masks ``observed`` (N, C) in nats, (N,)."""
    signs = observed.to(logits.dtype) * 2 - 1
    return nn.functional.logsigmoid(signs * logits).sum(1)
