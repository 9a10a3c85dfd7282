r"""The planes that commuting rotations turn, whatever axes the states have.

Matrices that commute and are normal have common eigenvectors. A common eigenvector of rotations
with the eigenvalues :math:`e^{i \theta_a}` spans, with its conjugate, a plane that action a turns
by :math:`\theta_a` (R. A. Horn, C. R. Johnson: Matrix Analysis, 2nd edition, 2013, sections 2.5
and 2.6). Training shapes a rotation in the directions of the states alone, so the eigenvectors are
those in the span of states.

Shapes: N states, n dimensions of a state, k of them used, A actions, Q planes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mlvae.errors import InputError, shown

__all__ = ["InvariantPlanes", "invariant_planes"]

#: Smallest share of the squared length of the states of a direction that is used.
LEAST_SHARE = 0.005

#: Largest distance of exp(i p theta) from 1 of a period p.
NEAR = 0.1


@dataclass(frozen=True, eq=False)
class InvariantPlanes:
    """The planes that all actions keep, and the angle of each action in each plane.

    Attributes:
        turns: angle of each action in each plane, in turns in (-1/2, 1/2], (A, Q). The sign of a
            column is that of one orientation of its plane.
        shares: share of the squared length of the states in each plane, (Q,); largest first.
        fixed: share of the squared length in directions that no action turns.
        axes: two unit vectors for each plane, (Q, 2, n), orthogonal to each other and to those of
            other planes as far as the residual is 0. A direction that actions flip, by half a
            turn, has one vector: the second is 0.
        periods: for each action, the smallest power that is near the identity in all planes; None:
            no power up to the largest one that was tried.
        residual: how far the planes are from invariant: the largest of 1 minus the modulus of
            v* g v over actions g and unit eigenvectors v. 0: all actions keep all planes, so they
            commute.
    """

    turns: Tensor
    shares: Tensor
    fixed: float
    axes: Tensor
    periods: list[int | None]
    residual: float


def invariant_planes(
    matrices: Tensor, states: Tensor, *, least_turn: float = 0.01, most: int = 60
) -> InvariantPlanes:
    r"""The planes that commuting rotations turn in the span of states.

    The common eigenvectors are those of one linear combination of the matrices with fixed positive
    weights that no simple relation connects. Directions with less than 0.5 percent of the squared
    length of the states are left out.

    Args:
        matrices: the rotation of each action, (A, n, n).
        states: states that the model uses, such as the encoded frames of a test, (N, n).
        least_turn: smallest angle in turns of a plane that is turned.
        most: largest period that is tried.

    Raises:
        InputError: if the shapes do not fit, or no direction has a share of the states.

    Example:
        >>> from mlvae.models.rotations import rotation_matrices
        >>> angles = torch.zeros(2, 6)
        >>> angles[0, 0], angles[1, 5] = 2 * torch.pi / 4, 2 * torch.pi / 9
        >>> states = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> found = invariant_planes(rotation_matrices(angles, 4), states)
        >>> found.periods, found.turns.shape
        ([4, 9], torch.Size([2, 2]))
    """
    if matrices.ndim != 3 or states.ndim != 2 or states.shape[1:] != matrices.shape[2:]:
        raise InputError(
            "matrices must be (A, n, n) and states (N, n) of equal n, not "
            f"{shown(matrices)} and {shown(states)}"
        )
    matrices, states = matrices.detach().double(), states.detach().double()
    span = _span(states)
    inside = span.T @ matrices @ span
    weights = torch.arange(2.0, 2 + len(inside), dtype=torch.float64, device=inside.device).sqrt()
    values, vectors = torch.linalg.eig(torch.einsum("a,aij->ij", weights, inside))
    own = torch.einsum("iq,aij,jq->aq", vectors.conj(), inside.to(vectors.dtype), vectors)
    turns, real = own.angle() / (2 * math.pi), values.imag == 0
    lengths = (states.to(vectors.dtype) @ (span.to(vectors.dtype) @ vectors.conj())).abs().square()
    shares = lengths.sum(0) / states.square().sum()
    turned = (turns.abs() > least_turn).any(0)
    kept = turned & (values.imag >= 0)  # one of each pair
    order = [q for q in shares.argsort(descending=True).tolist() if kept[q]]
    chosen, pairs = turns[:, order], torch.where(real, 1.0, 2.0)
    return InvariantPlanes(
        turns=chosen,
        shares=(pairs * shares)[order],
        fixed=float(shares[~turned].sum()),
        axes=_axes(vectors[:, order], real[order], span),
        periods=_periods(chosen, most),
        residual=float((1 - own.abs()).max()),
    )


def _span(states: Tensor) -> Tensor:
    """Orthonormal directions (n, k) with a share of the squared length of the states."""
    _, sizes, directions = torch.linalg.svd(states, full_matrices=False)
    shares = sizes.square() / sizes.square().sum()
    used = shares > LEAST_SHARE
    if not used.any():
        raise InputError(f"states must have numbers that are not 0, not {shown(states)}")
    return directions[used].T


def _axes(vectors: Tensor, real: Tensor, span: Tensor) -> Tensor:
    """Two unit vectors (Q, 2, n) for each of Q unit eigenvectors (k, Q).

    The real and the imaginary part of a complex eigenvector of a normal matrix are orthogonal and
    equally long. A real eigenvector is one axis.
    """
    parts = torch.stack((vectors.real, vectors.imag * ~real), 1)
    parts = parts * torch.where(real, 1.0, math.sqrt(2.0))
    return (span @ parts.permute(2, 0, 1)).mT


def _periods(turns: Tensor, most: int) -> list[int | None]:
    """For each action, the smallest power from 1 to ``most`` that is near the identity."""
    powers = torch.arange(1, most + 1, dtype=turns.dtype, device=turns.device)
    angles = 2 * math.pi * powers[:, None, None] * turns
    near = (2 * (0.5 * angles).sin().abs() < NEAR).all(2)  # |exp(i a) - 1| = 2 |sin(a / 2)|
    return [int(column.nonzero()[0]) + 1 if column.any() else None for column in near.T]
