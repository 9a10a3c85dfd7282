r"""Rows with missing cells in models with grouped content: encoders, and values for missing cells.

Shapes: N rows, C columns, D features, K content dimensions, S style dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.errors import InputError, check_choice, shown
from mlvae.likelihoods.columns import MixedColumns
from mlvae.models.encoder import build_encoder
from mlvae.models.vsae.cell_encoders import CellEncoders
from mlvae.networks.coders import Heads
from mlvae.posteriors import DiagonalGaussian

__all__ = [
    "CELLS",
    "CellEvidence",
    "build_row_encoder",
    "check_cells",
    "imputed",
    "row_shape",
    "with_mask",
]

#: How the content of a row is inferred from its observed cells.
CELLS = ("evidence", "mask")

#: Hidden units of the encoder of a cell.
HIDDEN = 32

#: Log-precision of a missing cell. Beside the prior's precision, 1, its exponential is 0.
NOTHING = -80.0


def check_cells(options: Any) -> None:
    """Raise :class:`InputError` unless the option ``cells`` fits the other options of a model."""
    if options.cells is None:
        return
    check_choice("cells", options.cells, CELLS)
    likelihood = options.likelihood
    if not isinstance(likelihood, MixedColumns) or not likelihood.columns:
        raise InputError(
            f"cells={options.cells} needs the columns of a table as likelihood, "
            f"MixedColumns.of(data), not {shown(likelihood)}"
        )
    if options.cells != "evidence":
        return
    if options.accumulation != "prior_product":
        raise InputError(
            "cells=evidence needs accumulation=prior_product: the evidence of a cell is a factor, "
            f"and the prior is one more; not {options.accumulation!r}"
        )
    if options.content_family != "gaussian":
        raise InputError(
            "cells=evidence needs content_family=gaussian, not "
            f"{options.content_family!r}; cells=mask takes both"
        )


def row_shape(options: Any, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape that encoders receive: (D,), or with ``cells`` (D + C,), features and mask."""
    if options.cells is None:
        return tuple(shape)
    return (shape[0] + len(options.likelihood.columns),)


def with_mask(likelihood: MixedColumns, x: Tensor, given: Mapping[str, Tensor] | None) -> Tensor:
    """What encoders receive: standardised features, 0 in missing cells, and the mask (N, D + C).

    Args:
        likelihood: the columns.
        x: features (N, D); a number in a missing cell has no effect.
        given: values of the rows; ``given["observed"]`` has booleans (N, C). Without it all cells
            are observed.
    """
    observed = (given or {}).get("observed")
    if observed is None:
        observed = torch.ones(len(x), len(likelihood.columns), dtype=torch.bool, device=x.device)
    likelihood.check_observed(observed, len(x))
    seen = likelihood.spread(observed)
    inputs = torch.where(seen, likelihood.inputs(x), torch.zeros_like(x))
    return torch.cat((inputs, observed.to(inputs.dtype)), 1)


class CellEvidence(nn.Module):
    r"""Evidence of the content in the observed cells of a row: a sum over the cells.

    Each observed cell j has the precision :math:`\lambda_j(x_j)` and the mean
    :math:`\mu_j(x_j)`, by an encoder of its column alone. Those of the row are

    .. math:: \lambda = \sum_{j: m_j = 1} \lambda_j(x_j), \qquad
        \lambda \mu = \sum_{j: m_j = 1} \lambda_j(x_j) \, \mu_j(x_j)

    so each cell is an expert of a product of experts whose prior is one more expert (M. Wu,
    N. Goodman: Multimodal Generative Models for Scalable Weakly-Supervised Learning. NeurIPS 2018,
    arXiv:1802.05335, with cells as the modalities). A missing cell is a factor less: the
    precision is never larger than with the cell, whatever the weights are. Cells of several rows
    of a group add in the same way, so the posterior of a group depends on its cells alone, and not
    on the rows that they come from.

    Args:
        likelihood: the columns.
        dims: number K of dimensions of each content.
    """

    def __init__(self, likelihood: MixedColumns, dims: Sequence[int]) -> None:
        super().__init__()
        widths = [column.levels for column in likelihood.columns]
        self.features, self.columns, self.dims = sum(widths), len(widths), list(dims)
        dim = sum(dims)
        self.cells = CellEncoders(widths, HIDDEN, dim)
        with torch.no_grad():  # a complete row begins with a precision near 1
            self.cells.second_bias[:, dim:] += math.log(self.columns)

    def forward(self, x: Tensor) -> tuple[DiagonalGaussian, ...]:
        """The evidence (N, K) of each content, of features and mask x (N, D + C), as Gaussians."""
        inputs, mask = x.split((self.features, self.columns), 1)
        cells = self.cells(inputs)
        shape = (len(x), self.columns, sum(self.dims))
        missing = (mask == 0)[:, :, None]
        log_precision = (-cells.log_variance.view(shape)).masked_fill(missing, NOTHING)
        total = log_precision.logsumexp(1)
        share = (log_precision - total[:, None]).exp()
        mean = (share * cells.mean.view(shape).masked_fill(missing, 0)).sum(1)
        parts = zip(mean.split(self.dims, 1), (-total).split(self.dims, 1), strict=True)
        return tuple(DiagonalGaussian(*part) for part in parts)


class RowEncoder(nn.Module):
    """Contents by the evidence of cells, and the style by a network of all cells and the mask.

    Args:
        content: from features and mask to each content.
        style: from the same to the style.
    """

    def __init__(self, content: CellEvidence, style: nn.Module) -> None:
        super().__init__()
        self.content, self.style = content, style

    def forward(self, x: Tensor) -> tuple[DiagonalGaussian, ...]:
        """Each content (N, K) and the style (N, S) of features and mask x (N, D + C)."""
        return (*self.content(x), *self.style(x))


def build_row_encoder(
    options: Any, shape: Sequence[int], dims: Sequence[int], family: Heads | None
) -> nn.Module:
    """The encoder of the contents, or of the contents and the style.

    Args:
        options: of the model, with ``network``, ``likelihood``, ``contents`` and ``cells``.
        shape: of :func:`row_shape`.
        dims: K of each content, and then S if the encoder has the style.
        family: families of the posteriors, as in
            :func:`~mlvae.models.encoder.build_encoder`.
    """
    if options.cells != "evidence":
        return build_encoder(options.network, shape, dims, family=family)
    number = len(options.contents)
    content = CellEvidence(options.likelihood, dims[:number])
    if len(dims) == number:
        return content
    return RowEncoder(content, build_encoder(options.network, shape, dims[number:]))


@torch.no_grad()
def imputed(
    model: Any,
    batch: Batch,
    *,
    samples: int | None,
    generator: torch.Generator | None = None,
    **contents: Any,
) -> Tensor:
    """Features (N, D) with values in the missing cells, of a model with content and style.

    The style is that of the row's own observed cells.

    Args:
        model: the model.
        batch: rows with ``given["observed"]``.
        samples: number of samples of the latents, whose expected values are averaged. None: one
            draw of the latents and of the cells.
        generator: source of the noise, on the model's device.
        contents: by the name of the code, a posterior (N, K) of the content of each row, or values
            (N, K). Without them those of the groups of the batch.
    """
    x, likelihood = batch.x, model.likelihood
    found = contents or model.codes(batch)
    _, style_given = model.posteriors(x, batch.given)
    values = torch.zeros_like(x)
    for _ in range(samples or 1):
        drawn = [
            q if isinstance(q, Tensor) else q.sample(generator=generator)
            for q in (found[name] for name in model.contents)
        ]
        c = torch.cat(drawn, 1)
        s = style_given(c).sample(generator=generator)
        parameters = model.decoder(torch.cat((c, s), 1))
        if samples is None:
            values = likelihood.sample(parameters, generator=generator)
        else:
            values += likelihood.mean(parameters) / samples
    observed = batch.given.get("observed")
    return x if observed is None else torch.where(likelihood.spread(observed), x, values)
