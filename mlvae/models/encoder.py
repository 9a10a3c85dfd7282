"""The encoders of a model, built by its network.

Shapes: N observations, ... the shape of one observation, D dimensions of a posterior, K known
numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from mlvae.errors import InputError, shown
from mlvae.models.part_checks import check_encoder
from mlvae.networks import ConditionalEncoder, Network
from mlvae.posteriors.family import Head

__all__ = ["build_conditional_encoder", "build_encoder"]


def build_encoder(
    network: Network,
    shape: Sequence[int],
    dims: Sequence[int],
    *,
    families: Sequence[Head] | None = None,
) -> nn.Module:
    """Build the map from observations (N, ...) to a posterior (N, D) for each of ``dims``.

    Args:
        network: the network.
        shape: shape of one observation.
        dims: dimensions D of each posterior.
        families: family of each posterior; None: those of the network, which are Gaussians.

    Raises:
        InputError: if a family is given, and ``encoder`` of a user's own network takes none.
    """
    options: dict[str, Any] = {}
    if families is not None:
        if "family" not in inspect.signature(network.encoder).parameters:
            raise InputError(
                f"encoder of {type(network).__name__} must take family, as "
                "encoder(shape, dims, family), and build its heads with it, for posteriors that "
                "are not Gaussians"
            )
        options["family"] = list(families)
    encoder = network.encoder(shape, dims, **options)
    check_encoder(encoder, network, shape, dims)
    return encoder


def build_conditional_encoder(
    network: Any, shape: Sequence[int], dim: int, context: int
) -> ConditionalEncoder:
    """Build the map from observations (N, ...) and numbers (N, K) to a posterior (N, D).

    Raises:
        InputError: if the network is no :class:`~mlvae.networks.ConditionalNetwork`.
    """
    name = type(network).__name__
    if not callable(getattr(network, "conditional_encoder", None)):
        raise InputError(
            "network must have conditional_encoder(shape, dim, context) for a ConditionalVAE or "
            f"style_given_content=True, as MLP(...) has it, but {name} has none"
        )
    encoder = network.conditional_encoder(shape, dim, context)
    if not isinstance(encoder, ConditionalEncoder):
        raise InputError(
            f"conditional_encoder of {name} must return a mlvae.networks.ConditionalEncoder, not "
            f"{shown(encoder)}"
        )
    return encoder
