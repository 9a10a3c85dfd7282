r"""Distances between the content posteriors of groups, with their uncertainty.

Shapes: N members, G groups, D dimensions.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlvae.errors import InputError, check_choice, check_integer, check_part
from mlvae.evidence.rules import ACCUMULATIONS, accumulated
from mlvae.groups import Groups
from mlvae.posteriors import DiagonalGaussian, Dirichlet

__all__ = ["DISTANCES", "GroupDistances", "distances_between", "group_distances"]

#: Largest number of differences that are held at once.
PIECE = 2**22


class GroupDistances(NamedTuple):
    """Distances between groups.

    Attributes:
        distance: float64 (G, G), symmetric, with zeros on the diagonal.
        standard_error: standard deviation over bootstrap samples of the members, (G, G); NaN
            where the members are not known, or a group has one member alone.
    """

    distance: Tensor
    standard_error: Tensor


@torch.no_grad()
def group_distances(
    posteriors: Any,
    kind: str = "symmetric_kl",
    *,
    groups: Groups | object | None = None,
    accumulation: str | None = None,
    samples: int = 100,
    seed: int = 0,
) -> GroupDistances:
    r"""Distances between the posteriors of groups, which are normals with diagonal covariance.

    With means m, n and standard deviations s, t of two groups,

    .. math::
        \text{symmetric KL} = \tfrac12 (\mathrm{KL}(p \| q) + \mathrm{KL}(q \| p))
            = \tfrac14 \sum_d \frac{s_d^2 + (m_d - n_d)^2}{t_d^2}
            + \frac{t_d^2 + (m_d - n_d)^2}{s_d^2} - 2, \qquad
        W_2^2 = \sum_d (m_d - n_d)^2 + (s_d - t_d)^2

    The first is in nats: how well the posteriors tell the groups apart. It grows with the number
    of members, because evidence makes posteriors narrow; compare groups of equal size. The second
    is in the units of the latents, and hardly depends on the size. Both are the exact values for
    normals (D. C. Dowson, B. V. Landau: The Fréchet Distance between Multivariate Normal
    Distributions. Journal of Multivariate Analysis 12, 1982). A posterior of another family is
    replaced by the normal with its moments.

    Args:
        posteriors: of groups (G, D), as ``model.infer_content(x, groups)``; or of members (N, D),
            as ``model.infer_content(x)``, with ``groups``.
        kind: "symmetric_kl" or "wasserstein".
        groups: groups of the N members, or their labels. The members' posteriors are accumulated,
            and the members of each group are drawn anew, with replacement, for the standard
            error. None: posteriors are of groups.
        accumulation: rule that accumulates, by its name; None: the product of normals. A model
            states it: ``traits(model).pooling["content"]``.
        samples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Raises:
        InputError: if an argument has another type or shape, or an option is out of range.

    Example:
        >>> mean = torch.tensor([[0.0], [0.2], [3.0], [3.2]])
        >>> members = DiagonalGaussian(mean, torch.zeros(4, 1))
        >>> found = group_distances(members, "wasserstein", groups=["a", "a", "b", "b"])
        >>> found.distance
        tensor([[0.0000, 3.0000],
                [3.0000, 0.0000]], dtype=torch.float64)
    """
    check_choice("kind", kind, DISTANCES)
    check_part("posteriors", posteriors, (DiagonalGaussian,), ("moments",))
    check_integer("samples", samples, minimum=2)
    check_integer("seed", seed, minimum=0)
    if accumulation is not None:
        check_choice("accumulation", accumulation, ACCUMULATIONS)
    each = posteriors if isinstance(posteriors, Dirichlet) else posteriors.moments()
    each = each.to(torch.float64)
    if groups is None:
        distance = _matrix(each.moments(), kind)
        return GroupDistances(distance, torch.full_like(distance, math.nan))
    groups = Groups.of(groups).to(each.mean.device)
    if groups.num_observations != len(each):
        raise InputError(
            f"groups must name the group of each of the {len(each)} posteriors, not of "
            f"{groups.num_observations}"
        )
    distance = _matrix(accumulated(each, groups, accumulation).moments(), kind)
    generator = torch.Generator().manual_seed(int(seed))
    draws = [
        _matrix(accumulated(each[rows], groups, accumulation).moments(), kind)
        for rows in (_resampled(groups, generator) for _ in range(int(samples)))
    ]
    error = torch.stack(draws).std(0)
    alone = groups.sizes == 1  # every draw of such a group is its only member
    error[alone], error[:, alone] = math.nan, math.nan
    return GroupDistances(distance, error)


def _resampled(groups: Groups, generator: torch.Generator) -> Tensor:
    """For each of N members, a member of its group that is drawn at random: indices (N,)."""
    order = groups.index.argsort(stable=True)
    first = groups.sizes.cumsum(0) - groups.sizes
    draws = torch.rand(groups.num_observations, generator=generator, dtype=torch.float64)
    size = groups.sizes[groups.index]
    place = (draws.to(size.device) * size).long().clamp_max(size - 1)
    return order[first[groups.index] + place]


def distances_between(first: DiagonalGaussian, second: DiagonalGaussian, kind: str) -> Tensor:
    """The distances of each of ``first`` (A, D) to each of ``second`` (B, D): float64 (A, B).

    Args:
        first: normals.
        second: normals.
        kind: as in :func:`group_distances`.
    """
    check_choice("kind", kind, DISTANCES)
    parts = [(q.mean.double(), (0.5 * q.log_variance.double()).exp()) for q in (first, second)]
    (mean, std), (other, width) = parts
    rows = max(1, PIECE // max(1, other.numel()))  # some rows at once
    pieces = [
        DISTANCES[kind](m[:, None], s[:, None], other, width)
        for m, s in zip(mean.split(rows), std.split(rows), strict=True)
    ]
    return torch.cat(pieces)


def _matrix(normal: DiagonalGaussian, kind: str) -> Tensor:
    """The distances (G, G) of all pairs of posteriors (G, D)."""
    distance = distances_between(normal, normal, kind)
    distance = 0.5 * (distance + distance.T)  # rounding differs above and below the diagonal
    return distance.fill_diagonal_(0.0)


def _symmetric_kl(mean: Tensor, std: Tensor, other: Tensor, width: Tensor) -> Tensor:
    """The mean of the two divergences of normals (..., D), in nats: (...)."""
    square, ratio = (mean - other).square(), (std / width).square()
    means = square / width.square() + square / std.square()
    return 0.25 * (ratio + 1 / ratio - 2 + means).sum(-1)


def _wasserstein(mean: Tensor, std: Tensor, other: Tensor, width: Tensor) -> Tensor:
    """The 2-Wasserstein distance of normals (..., D): (...)."""
    return ((mean - other).square() + (std - width).square()).sum(-1).sqrt()


#: Distances of normals by name.
DISTANCES = {"symmetric_kl": _symmetric_kl, "wasserstein": _wasserstein}
