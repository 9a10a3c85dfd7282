"""Plans: sequences of commuting actions from one state to another.

Shapes: N pairs of states, n dimensions of a state, A actions, M multisets of actions.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb
from typing import NamedTuple

import torch
from torch import Tensor

from mlvae.errors import InputError, check_integer, check_number

__all__ = ["Plan", "plan"]

#: Largest number of multisets of actions that are compared.
MOST = 200_000

#: Largest element of a commutator g h - h g of two actions that commute.
COMMUTE = 0.05


class Plan(NamedTuple):
    """Sequences of actions.

    Attributes:
        actions: a list of actions for each pair of states, equal ones after each other.
        distances: distance of the last state from the goal, (N,).
    """

    actions: list[list[int]]
    distances: Tensor


def plan(
    matrices: Tensor, start: Tensor, goal: Tensor, *, most_steps: int, tolerance: float
) -> Plan:
    """The shortest sequences of commuting actions from states to other states.

    Commuting actions may come in any order, so a sequence is a multiset: the number of times of
    each action. All multisets of up to ``most_steps`` actions are compared. The result is exact:
    the shortest one whose last state is within ``tolerance`` of the goal, or, if there is none,
    the one that comes closest.

    Args:
        matrices: the matrix of each action, (A, n, n).
        start: first states, (N, n).
        goal: states to reach, (N, n).
        most_steps: largest number of actions.
        tolerance: the distance that is enough.

    Raises:
        InputError: if two actions do not commute, or there are too many multisets.

    Example:
        >>> from mlvae.models.rotations import rotation_matrices
        >>> turns = rotation_matrices(torch.tensor([[torch.pi / 2], [-torch.pi / 2]]), 2)
        >>> start, goal = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, -1.0]])
        >>> plan(turns, start, goal, most_steps=4, tolerance=0.1).actions
        [[1]]
    """
    check_integer("most_steps", most_steps, minimum=0)
    check_number("tolerance", tolerance, minimum=0)
    _check_commuting(matrices)
    number = len(matrices)
    if (total := comb(number + most_steps, number)) > MOST:
        raise InputError(
            f"most_steps={most_steps} with {number} actions has {total:,} multisets of actions, "
            f"but at most {MOST:,} are compared; lower most_steps"
        )
    multisets, products = _multisets(matrices, most_steps)
    actions, distances = [], []
    for first, last in zip(start, goal, strict=True):
        reached = (products @ first - last).norm(dim=-1)
        near = (reached <= tolerance).nonzero()[:, 0]
        best = int(near[0]) if len(near) else int(reached.argmin())
        actions.append(list(multisets[best]))
        distances.append(reached[best])
    return Plan(actions, torch.stack(distances) if distances else start.new_zeros(0))


def _check_commuting(matrices: Tensor) -> None:
    """Raise :class:`InputError` unless all matrices commute."""
    products = matrices[:, None] @ matrices[None]
    gap = (products - products.transpose(0, 1)).abs().amax((2, 3))
    if float(gap.max()) > COMMUTE:
        one, other = divmod(int(gap.argmax()), len(matrices))
        raise InputError(
            f"a plan needs actions that commute, but g{one} g{other} - g{other} g{one} has an "
            f"element of {float(gap.max()):.2f}"
        )


def _multisets(matrices: Tensor, most_steps: int) -> tuple[list[tuple[int, ...]], Tensor]:
    """Multisets of up to ``most_steps`` actions, shortest first, and their products (M, n, n).

    The product of a multiset is that of the same multiset without its last action, times the
    matrix of this action.
    """
    multisets: list[tuple[int, ...]] = [()]
    products = [torch.eye(matrices.shape[1], dtype=matrices.dtype, device=matrices.device)[None]]
    place: dict[tuple[int, ...], int] = {(): 0}
    for steps in range(1, most_steps + 1):
        new = list(combinations_with_replacement(range(len(matrices)), steps))
        before = torch.tensor([place[multiset[:-1]] for multiset in new])
        last = torch.tensor([multiset[-1] for multiset in new])
        products.append(matrices[last] @ products[-1][before])
        place = {multiset: number for number, multiset in enumerate(new)}
        multisets += new
    return multisets, torch.cat(products)
