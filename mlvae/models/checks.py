"""Checks of a model's batch and size.

Shapes: N observations, ... the shape of one observation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from mlvae.arguments import check_type
from mlvae.batch import Batch
from mlvae.errors import InputError
from mlvae.networks import NETWORKS
from mlvae.system import memory

__all__ = ["build_checked", "check_batch", "check_codes_batch"]


def check_batch(batch: object, shape: Sequence[int]) -> None:
    """Raise :class:`InputError` unless ``batch`` has floats of ``shape``.

    Shapes and types are on the host, so the check waits for no device.
    """
    if torch.compiler.is_compiling():
        return
    check_codes_batch(batch)
    assert isinstance(batch, Batch)
    if batch.x.shape[1:] != torch.Size(shape):
        raise InputError(
            f"the model takes observations of shape (N, {', '.join(map(str, shape))}), "
            f"not {tuple(batch.x.shape)}"
        )
    if not batch.x.is_floating_point():
        raise InputError(
            f"the observations of a batch must be floats, not {batch.x.dtype}; "
            "Batch.ungrouped and GroupedData.batch convert uint8 images"
        )


def check_codes_batch(batch: object) -> None:
    """Raise :class:`InputError` unless ``batch`` is a batch."""
    check_type("batch", batch, Batch, "a Batch, as Batch(x, groups)")


def build_checked(model: nn.Module, network: object, build: Callable[[], None]) -> None:
    """Build the modules of ``model`` after a check that their parameters fit into the memory.

    The check builds them on the meta device, which allocates no memory and draws no random number.
    A network of a user's own class is built once, without the check.

    Args:
        model: the model.
        network: the record that builds its networks.
        build: sets the modules as attributes of the model.

    Raises:
        InputError: if the parameters need more than the memory of this machine.
    """
    if isinstance(network, NETWORKS):
        try:
            with torch.device("meta"):
                build()
            size = sum(parameter.nbytes for parameter in model.parameters())
        except (RuntimeError, OverflowError, TypeError) as error:  # a length beyond 64 bits
            raise InputError(
                f"a {type(model).__name__} of this size has more than 2^63 parameters; lower the "
                "shape, the widths of the network or the dimensions of the codes"
            ) from error
        if size > memory():
            raise InputError(
                f"a {type(model).__name__} of this size has {size // 4:,} parameters, which need "
                f"{size / 1e9:,.0f} GB, but this machine has {memory() / 1e9:,.0f} GB; lower the "
                "shape, the widths of the network or the dimensions of the codes"
            )
    build()
