"""The group structure of rotations: planes, angles, periods, inverses and commutators.

Shapes: A actions, n dimensions of a state, P planes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mlvae.models.rotations.planes import entanglement, planes

__all__ = ["Structure", "structure"]

#: Smallest angle of an action that uses a plane, in turns.
LEAST_TURN = 0.01

#: Largest element of g^p - I of a period p.
NEAR = 0.1


@dataclass(frozen=True, eq=False)
class Structure:
    """What the rotations of actions do.

    Attributes:
        planes: the planes that some action turns, as pairs of axes.
        plane: for each action, the plane that it turns most.
        turns: for each action, its largest angle in turns, in (-1/2, 1/2].
        periods: for each action, the smallest power that is near the identity; None: no power up
            to ``most``.
        entanglement: of all actions.
    """

    planes: list[tuple[int, int]]
    plane: list[tuple[int, int]]
    turns: list[float]
    periods: list[int | None]
    entanglement: float


def structure(angles: Tensor, matrices: Tensor, *, most: int = 60) -> Structure:
    """The structure of the rotations of actions.

    Args:
        angles: in radians, (A, P).
        matrices: the rotations, (A, n, n).
        most: largest period that is looked for.

    Example:
        >>> from mlvae.models.rotations import rotation_matrices
        >>> angles = torch.tensor([[2 * torch.pi / 5], [-2 * torch.pi / 5]])
        >>> structure(angles, rotation_matrices(angles, 2)).periods
        [5, 5]
    """
    pairs = planes(matrices.shape[-1])
    turns = 0.5 - (0.5 - angles / (2 * math.pi)) % 1
    largest = turns.abs().argmax(1)
    used = (turns.abs() > LEAST_TURN).any(0)
    return Structure(
        planes=[pair for pair, turned in zip(pairs, used.tolist(), strict=True) if turned],
        plane=[pairs[number] for number in largest.tolist()],
        turns=turns.gather(1, largest[:, None])[:, 0].tolist(),
        periods=_periods(matrices, most),
        entanglement=float(entanglement(angles)),
    )


def _periods(matrices: Tensor, most: int) -> list[int | None]:
    """The smallest power of each matrix that is near the identity, from 1 to ``most``."""
    eye = torch.eye(matrices.shape[-1], dtype=torch.float64, device=matrices.device)
    power, base = eye.expand(len(matrices), -1, -1), matrices.double()
    periods: list[int | None] = [None] * len(matrices)
    for number in range(1, most + 1):
        power = power @ base
        near = (power - eye).abs().amax((1, 2)) < NEAR
        for action in near.nonzero()[:, 0].tolist():
            periods[action] = periods[action] or number
    return periods
