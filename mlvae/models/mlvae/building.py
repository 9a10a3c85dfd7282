"""The parts of the Multi-Level VAE: its networks, the priors of nested contents, its costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from mlvae.costs import Separators
from mlvae.models.cells import build_row_encoder, row_shape
from mlvae.models.decoder import build_decoder
from mlvae.models.encoder import build_conditional_encoder
from mlvae.models.mlvae.nested import NestedPrior
from mlvae.models.standardise import Standardise
from mlvae.objectives import GroupELBO
from mlvae.posteriors import DiagonalGaussian
from mlvae.posteriors.dirichlet import EvidenceHead

__all__ = ["build_parts"]


def build_parts(model: Any) -> None:
    """Build the networks, the priors and the costs of a model by its options."""
    chosen = model.options
    network, contents = chosen.network, list(model.contents.values())
    width, inputs = sum(contents), row_shape(chosen, model.shape)
    model.standardise = Standardise(chosen.standardise, model.shape)
    heads: Any = None  # Gaussians
    if chosen.on_simplex:
        heads = [EvidenceHead(chosen.content_alpha)] * len(contents)
    if model.style_given_content:
        model.encoder = build_row_encoder(chosen, inputs, contents, heads)
        of_style: Any = network
        if not chosen.style_dropout and hasattr(network, "dropout"):
            of_style = replace(of_style, dropout=0.0)
        model.style_encoder = build_conditional_encoder(of_style, inputs, chosen.style_dim, width)
    else:
        families = None if heads is None else [*heads, DiagonalGaussian]
        dims = (*contents, chosen.style_dim)
        model.encoder = build_row_encoder(chosen, inputs, dims, families)
    latent_dim = width + chosen.style_dim
    model.decoder = build_decoder(network, latent_dim, model.shape, chosen.likelihood)
    model.objective = GroupELBO(
        content_kl_weight=chosen.content_kl_weight,
        style_kl_weight=chosen.style_kl_weight,
        content_capacity=chosen.content_capacity,
        style_capacity=chosen.style_capacity,
        batch_groups=chosen.batch_groups,
    )
    if chosen.nested:
        model.priors = nn.ModuleDict(
            {
                lower: NestedPrior(model.contents[upper], model.contents[lower])
                for lower, upper in chosen.uppers.items()
            }
        )
    if chosen.separation.active:
        dims = {model.grouping_of[name]: dim for name, dim in model.contents.items()}
        model.separators = Separators(
            chosen.separation,
            dims if len(dims) > 1 else width,
            chosen.style_dim,
            nested=chosen.nested,
        )
