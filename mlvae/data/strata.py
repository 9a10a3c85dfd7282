"""Batches within strata: all pieces of a batch are of one stratum, such as one alphabet.

Shapes: K pieces of an epoch, B batches.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["by_stratum"]


def by_stratum(
    places: Tensor, stratum: Tensor, length: int, generator: torch.Generator | None
) -> tuple[Tensor, list[int]]:
    """Places of pieces in batches that have pieces of one stratum only, in random order.

    Args:
        places: a random order of the pieces, (K,).
        stratum: the stratum of each piece, (K,).
        length: pieces of a batch; the last batch of a stratum has the rest.
        generator: source of the order of the batches.

    Returns:
        The place of each piece, (K,), and the start of each batch, B + 1 numbers.

    Example:
        >>> stratum = torch.tensor([0, 1, 0, 1, 0])
        >>> place, bounds = by_stratum(torch.arange(5), stratum, 2, torch.Generator())
        >>> bounds[-1], sorted(place.tolist())
        (5, [0, 1, 2, 3, 4])
    """
    order = places.argsort()
    order = order[stratum[order].argsort(stable=True)]
    counts = torch.bincount(stratum)
    own = stratum[order]
    rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[own]
    batches = -(-counts // length)
    batch = (batches.cumsum(0) - batches)[own] + rank // length
    number = int(batches.sum())
    batch = torch.randperm(number, generator=generator, device=order.device)[batch]
    order, sizes = order[batch.argsort(stable=True)], torch.bincount(batch, minlength=number)
    found = torch.empty_like(places)
    found[order] = torch.arange(len(order), device=order.device)
    return found, [0, *sizes.cumsum(0).tolist()]
