r"""Rotations as ordered products of plane rotations.

Shapes: n dimensions, P = n (n - 1) / 2 planes.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["entanglement", "planes", "rotation_matrices"]


def planes(dim: int) -> list[tuple[int, int]]:
    """The planes of two coordinate axes of ``dim`` dimensions, in the order of the product.

    Example:
        >>> planes(3)
        [(0, 1), (0, 2), (1, 2)]
    """
    return [(i, j) for i in range(dim) for j in range(i + 1, dim)]


def rotation_matrices(angles: Tensor, dim: int) -> Tensor:
    r"""Rotations with given angles in all planes of two axes.

    .. math:: g = \prod_{i < j} R_{ij}(\theta_{ij})

    The product is in the order of :func:`planes`, the first factor on the left (Quessard, Barrett
    and Clements 2020, Eq. 4). :math:`R_{ij}(\theta)` turns axis i towards axis j by :math:`\theta`
    and keeps all other axes. Neighbours are multiplied first, so a product of P factors takes
    about log2(P) products of matrices, for all rotations at once.

    Args:
        angles: in radians, (..., P).
        dim: n.

    Returns:
        Orthogonal matrices with determinant 1, (..., n, n).

    Example:
        >>> rotation_matrices(torch.tensor([torch.pi / 2]), 2).round().abs()
        tensor([[0., 1.],
                [1., 0.]])
    """
    flat, turn = _generators(dim, angles)
    eye = torch.eye(dim, dtype=angles.dtype, device=angles.device)
    cos, sin = angles.cos()[..., None, None], angles.sin()[..., None, None]
    factors = eye + (cos - 1) * flat + sin * turn
    while (number := factors.shape[-3]) > 1:
        left, right = factors[..., 0 : number - 1 : 2, :, :], factors[..., 1::2, :, :]
        last = factors[..., number - number % 2 :, :, :]
        factors = torch.cat((left @ right, last), -3)
    return factors[..., 0, :, :]


def _generators(dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """By plane, the projection on it, and the rotation of it by a right angle: (P, n, n) each."""
    # The pairs of planes(dim), made on the device: a copy from the host could not be captured.
    one, two = torch.triu_indices(dim, dim, 1, device=like.device).unbind()
    axes = torch.eye(dim, dtype=like.dtype, device=like.device)
    first, second = axes[one], axes[two]
    crossed = second[:, :, None] * first[:, None, :]
    flat = first[:, :, None] * first[:, None, :] + second[:, :, None] * second[:, None, :]
    return flat, crossed - crossed.mT


def entanglement(angles: Tensor) -> Tensor:
    r"""How far rotations are from rotations of one plane each.

    .. math:: \frac1A \sum_a \Bigl( \sum_{ij} (\theta^a_{ij})^2 - \max_{ij} (\theta^a_{ij})^2
        \Bigr)

    (Quessard, Barrett and Clements 2020, Eq. 6.)

    Args:
        angles: in radians, (A, P).

    Returns:
        Squared radians, shape ().

    Example:
        >>> entanglement(torch.tensor([[0.0, 2.0, 0.0], [1.0, -3.0, 0.0]]))
        tensor(0.5000)
    """
    squares = angles.square()
    return (squares.sum(-1) - squares.amax(-1)).mean()
