"""Combinations of two labels that training never sees, while it sees every label.

Shapes: N observations, P combinations that occur.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, check_integer, check_number

__all__ = ["held_pairs"]


def held_pairs(
    first: Tensor, second: Tensor, share: float, *, seed: int = 0, option: str = "held_pairs"
) -> Tensor:
    """Draw a share of the combinations of two labels, and keep each label in another combination.

    Combinations are drawn in random order. One is skipped if a label would be left without a
    combination.

    Args:
        first: number of each observation's label in the first grouping, int64 (N,).
        second: the same in the second grouping.
        share: fraction of the P combinations that occur, in [0, 1).
        seed: seed of the draw.
        option: name of ``share`` in messages.

    Returns:
        A mask (N,) of the observations whose combination is drawn.

    Raises:
        InputError: if fewer combinations can be drawn than the fraction.

    Example:
        >>> first, second = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
        >>> int(held_pairs(first, second, 0.25).sum())
        1
    """
    check_number(option, share, minimum=0, maximum=1)
    check_integer("seed", seed, minimum=0)
    pairs, index = torch.stack((first, second), 1).unique(dim=0, return_inverse=True)
    number = round(share * len(pairs))
    left = [torch.bincount(pairs[:, side]).tolist() for side in (0, 1)]
    drawn = torch.zeros(len(pairs), dtype=torch.bool)
    order = np.random.default_rng([int(seed), 1]).permutation(len(pairs)).tolist()
    for place in order:
        if number == 0:
            break
        one, two = pairs[place].tolist()
        if left[0][one] > 1 and left[1][two] > 1:
            left[0][one] -= 1
            left[1][two] -= 1
            drawn[place] = True
            number -= 1
    if number:
        raise InputError(
            f"{option}={share:g} must leave each label in a combination of the training data, but "
            f"of {len(pairs)} combinations only {int(drawn.sum())} can be held out"
        )
    return drawn[index]
