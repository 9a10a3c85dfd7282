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
from mlvae.networks import ConditionalEncoder
from mlvae.networks.coders import Heads

__all__ = ["build_conditional_encoder", "build_encoder"]


def build_encoder(
    network: Any, shape: Sequence[int], dims: Sequence[int], family: Heads | None = None
) -> nn.Module:
    """Build the map from observations (N, ...) to a posterior (N, D) for each of ``dims``.

    Args:
        network: the record that builds it.
        shape: shape of one observation.
        dims: dimensions of each posterior.
        family: family of the posteriors, or a list with the family of each; None: the network's
            own, which is Gaussian.

    Raises:
        InputError: if the network has no argument for the family.
    """
    if family is None:
        encoder = network.encoder(shape, dims)
    elif "family" in inspect.signature(network.encoder).parameters:
        encoder = network.encoder(shape, dims, family=family)
    else:
        raise InputError(
            f"network must have encoder(shape, dims, family) for codes that are not Gaussian, as "
            f"MLP(...) has it, but {type(network).__name__} has no argument family"
        )
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
