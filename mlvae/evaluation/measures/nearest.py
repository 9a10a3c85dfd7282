r"""Distances between codes, and n-shot identification of groups by the nearest code.

Identification uses codes alone, so every representation (content, style, the latent of a VAE,
principal components, pixels) is measured the same way. The groups need not occur in training. A
representation without variances has log-variances of zero: the product of its members is their
plain mean.

One seed gives the same galleries for all codes of the same groups, on every device.

Shapes: N observations, G groups, P probes, D dimensions of a code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, check_choice, check_integer, shown
from mlvae.evaluation.answer import estimate
from mlvae.evaluation.measures.codes import shuffled
from mlvae.evaluation.measures.resampling import sampling_error
from mlvae.evidence.rules import Posterior, product
from mlvae.groups import Groups
from mlvae.posteriors import DiagonalGaussian

__all__ = [
    "DISTANCES",
    "Codes",
    "Score",
    "checked_codes",
    "compact",
    "n_shot_accuracy",
    "pair_distances",
]

#: Posteriors of N observations, or their means alone: (N, D).
Codes = Posterior | Tensor | np.ndarray

#: Largest number of elements of an intermediate result: 32 MiB in float64, for any N, G and D.
MOST_NUMBERS = 2**22


class Score(NamedTuple):
    """Accuracy of n-shot identification.

    Attributes:
        mean: fraction of probes that are assigned to their own group, averaged over galleries.
        standard_error: standard error of that mean over galleries; see
            :class:`~mlvae.evaluation.Estimate`.
        chance: 1 / num_groups, the accuracy of codes without information on the group.
        num_groups: number of groups with enough members to take part.
        num_probes: number of probes of each gallery.
        sampling_error: standard error over groups, by bootstrap of the probes' groups; see
            :mod:`mlvae.evaluation.measures.resampling`. The galleries keep all groups.
    """

    mean: float
    standard_error: float
    chance: float
    num_groups: int
    num_probes: int
    sampling_error: float


@torch.no_grad()
def n_shot_accuracy(
    codes: Codes,
    groups: Groups | object,
    *,
    shots: int,
    galleries: int = 100,
    distance: str = "cosine",
    seed: int = 0,
) -> Score:
    r"""Assign observations to the nearest of G groups, each represented by ``shots`` members.

    Each gallery contains ``shots`` different, randomly drawn members of every group. Their codes
    are accumulated by the product of normals (:func:`mlvae.evidence.rules.product`). Every other
    observation is a probe and is assigned to the nearest of the G accumulated codes. This is the
    n-shot classification of Hosoya (2019, "Group-based learning of disentangled representations
    with generalizability for novel contents") with a pooled gallery; the default there is the
    nearest single member.

    The accuracy of a gallery is the mean over its probes, so large groups have more weight. If
    several groups are equally near to a probe and its own group is one of them, the probe counts
    as the reciprocal of their number, the expectation of a guess. Equal codes score chance.

    Args:
        codes: posterior of each observation by itself, or its mean, (N, D).
        groups: group of each observation, as :class:`Groups` or N labels. Groups of fewer than
            ``shots`` + 1 members are left out.
        shots: number of members of each group in a gallery.
        galleries: number of random galleries, at least 2.
        distance: "cosine", one minus the cosine of the posterior means,

            .. math:: 1 - \frac{\mu_a^\top \mu_b}{\|\mu_a\| \|\mu_b\|},

            where the cosine of a zero mean and any other mean is zero; or "mahalanobis",

            .. math:: \sum_d \frac{(\mu_{ad} - \mu_{bd})^2}{v_{ad} + v_{bd}},

            the squared Mahalanobis (1936) distance of zero under the difference of the two
            posteriors, :math:`N(\mu_a - \mu_b, \operatorname{diag}(v_a + v_b))`. It is not a
            likelihood: without the log-determinant, a code of large variance is near to all codes.
        seed: seed of the galleries.

    Raises:
        InputError: if fewer than two groups have ``shots`` + 1 members, if codes are not finite or
            not (N, D), or if an argument is out of range.

    Example:
        >>> mean = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
        >>> codes = DiagonalGaussian(mean, torch.zeros_like(mean))
        >>> score = n_shot_accuracy(codes, ["ann", "ann", "ann", "bob", "bob", "bob"], shots=1)
        >>> score.mean, score.chance, score.num_groups, score.num_probes
        (1.0, 0.5, 2, 4)
    """
    check_integer("shots", shots, minimum=1)
    q, groups, generator = checked_codes(codes, groups, galleries, distance, seed)
    rows, kept = _large_enough(groups, shots)
    gallery_groups = Groups.unchecked(
        torch.arange(kept.num_groups).repeat_interleave(shots),
        torch.full((kept.num_groups,), shots),
    ).to(q.mean.device)
    accuracy = []
    right, number = (np.zeros(kept.num_observations) for _ in range(2))
    for _ in range(galleries):
        order, rank = shuffled(kept, generator)
        gallery, probes = order[rank < shots], order[rank >= shots]
        accumulated = product(_take(q, rows[gallery]), gallery_groups)
        found = _right(q, rows[probes], accumulated, kept.index[probes], distance).cpu().numpy()
        accuracy.append(float(found.mean()))
        right[probes.numpy()] += found
        number[probes.numpy()] += 1
    error = sampling_error(right, number, score=_ratio, groups=kept.index.numpy(), seed=seed)
    mean, standard_error, _ = estimate(accuracy)
    num_probes = kept.num_observations - shots * kept.num_groups
    return Score(mean, standard_error, 1 / kept.num_groups, kept.num_groups, num_probes, error)


def _ratio(right: np.ndarray, number: np.ndarray, observations: np.ndarray) -> np.ndarray:
    """Fraction of the probes of all galleries that are assigned to their own group."""
    return right / number


def pair_distances(q: DiagonalGaussian, pairs: Tensor, distance: str) -> np.ndarray:
    """Distances (pairs,) between codes of ``q`` (N, D) with the indices ``pairs`` (2, pairs)."""
    chunk = max(1, MOST_NUMBERS // q.mean.shape[1])
    parts = [
        DISTANCES[distance](_take(q, first), _take(q, second))
        for first, second in (part.unbind() for part in pairs.split(chunk, dim=1))
    ]
    return torch.cat(parts).cpu().numpy()


def compact(codes: DiagonalGaussian) -> DiagonalGaussian:
    """Codes of at most N dimensions with the same distances, also between means of codes.

    N observations span at most N dimensions, however many pixels they have. The result holds their
    coordinates in that space, from a QR decomposition in float64. Codes of at most N dimensions
    and codes of unequal variances are returned unchanged.

    Args:
        codes: codes of N observations, (N, D).

    Example:
        >>> pixels = DiagonalGaussian(torch.tensor([[3.0, 0.0, 4.0]]), torch.zeros(1, 3))
        >>> compact(pixels).mean.abs()
        tensor([[5.]], dtype=torch.float64)
    """
    number, dim = codes.mean.shape
    if dim <= number or not _one_variance(codes):
        return codes
    # Equal codes stay exactly equal, so that rounding breaks no tie.
    different, place = codes.mean.double().unique(dim=0, return_inverse=True)
    _, upper = torch.linalg.qr(different.T, mode="r")
    mean = upper.T[place]
    return DiagonalGaussian(mean, codes.log_variance[:, :1].expand_as(mean))


def checked_codes(
    codes: Codes, groups: Groups | object, galleries: int, distance: str, seed: int
) -> tuple[DiagonalGaussian, Groups, torch.Generator]:
    """Valid codes as Gaussians, their groups, and the generator of all draws.

    The generator is on the CPU, where one seed gives the same draws for every device of the codes.
    """
    q, groups = _as_gaussian(codes), Groups.of(groups)
    check_integer("galleries", galleries, minimum=2)
    check_choice("distance", distance, DISTANCES)
    check_integer("seed", seed, minimum=0)
    shape = tuple(q.mean.shape)
    if len(shape) != 2 or shape[0] != groups.num_observations or shape[1] == 0:
        raise InputError(
            f"codes must have shape (N, D) with one row for each of the "
            f"{groups.num_observations} grouped observations, not {shape}"
        )
    finite = q.mean.isfinite().all(1) & q.log_variance.isfinite().all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise InputError(f"codes must be finite, but the code of observation {row} is not")
    return q, groups, torch.Generator().manual_seed(int(seed))


def _as_gaussian(codes: Codes) -> DiagonalGaussian:
    """The moments of posteriors; log-variances of zero for codes without variances."""
    if isinstance(codes, Tensor | np.ndarray):
        if np.ndim(codes) == 0 or np.asarray(codes[:0]).dtype.kind not in "biuf":
            raise InputError(f"codes must be real numbers (N, D), not {shown(codes)}")
        mean = torch.as_tensor(codes).double()
        return DiagonalGaussian(mean, torch.zeros_like(mean))
    try:
        return codes.moments()
    except AttributeError as error:
        raise InputError(
            "codes must be a posterior, as infer_content(x) returns, or an array of means, not a "
            f"{type(codes).__name__}"
        ) from error


def _cosine(a: DiagonalGaussian, b: DiagonalGaussian) -> Tensor:
    """Cosine distance of codes whose leading shapes broadcast; a matrix product for all pairs."""
    mean_a, mean_b = (mean / _length(mean) for mean in (a.mean, b.mean))
    return 1 - torch.einsum("...d,...d->...", mean_a, mean_b)


def _length(mean: Tensor) -> Tensor:
    """Euclidean norm (..., 1), and 1 for a zero mean."""
    length = mean.norm(dim=-1, keepdim=True)
    return length.masked_fill(length == 0, 1)


def _mahalanobis(a: DiagonalGaussian, b: DiagonalGaussian) -> Tensor:
    """Mahalanobis distance of codes whose leading shapes broadcast."""
    return ((a.mean - b.mean).square_() / (a.variance + b.variance)).sum(-1)


def _one_variance(codes: DiagonalGaussian) -> bool:
    """Whether all variances are equal, as those of pixels and principal components are."""
    return bool((codes.log_variance == codes.log_variance[:1, :1]).all())


def _euclidean(a: DiagonalGaussian, b: DiagonalGaussian) -> Tensor:
    """A distance in the order of :func:`_mahalanobis`, if a has one variance and b has one.

    It is a matrix product of a (P, 1, D) and b (1, G, D), which is fast for the D of pixels.
    """
    products = torch.einsum("pod,ogd->pg", a.mean, b.mean)
    return b.mean.square().sum(-1) - 2 * products  # |a|^2 is left out: equal for all groups


#: Distances by the name of the option ``distance``.
DISTANCES: dict[str, Callable[[DiagonalGaussian, DiagonalGaussian], Tensor]] = {
    "cosine": _cosine,
    "mahalanobis": _mahalanobis,
}


def _take(codes: DiagonalGaussian, rows: Tensor) -> DiagonalGaussian:
    """Codes of ``rows`` in float64: squares over variances of e^-80 overflow float32."""
    rows = rows.to(codes.mean.device)
    return DiagonalGaussian(codes.mean[rows].double(), codes.log_variance[rows].double())


def _large_enough(groups: Groups, shots: int) -> tuple[Tensor, Groups]:
    """Observations of the groups of more than ``shots`` members, and these groups."""
    groups = groups.to("cpu")
    kept = groups.sizes > shots
    if (number := int(kept.sum())) < 2:
        raise InputError(
            f"shots={shots} needs at least two groups of {shots + 1} or more members, not "
            f"{number} of {groups.num_groups}; the largest has {int(groups.sizes.max())}"
        )
    rows = groups.spread(kept).nonzero()[:, 0]
    return rows, Groups.unchecked((kept.cumsum(0) - 1)[groups.index[rows]], groups.sizes[kept])


def _right(
    codes: DiagonalGaussian, probes: Tensor, gallery: DiagonalGaussian, own: Tensor, distance: str
) -> Tensor:
    """Whether the nearest code of the ``gallery`` (G, D) is ``own`` (P,) for ``probes`` (P,)."""
    num_groups, dim = gallery.mean.shape
    # A matrix product has no room for variances; with them, every probe needs G x D numbers.
    one_variance = distance == "mahalanobis" and _one_variance(codes) and _one_variance(gallery)
    matrix_product = one_variance or distance == "cosine"
    chunk = max(1, MOST_NUMBERS // (num_groups + dim if matrix_product else num_groups * dim))
    distance_of = _euclidean if one_variance else DISTANCES[distance]
    parts = []
    for rows, group in zip(probes.split(chunk), own.split(chunk), strict=True):
        distances = distance_of(_take(codes, rows)[:, None], gallery[None])
        nearest = distances == distances.amin(1, keepdim=True)
        right = nearest.gather(1, group.to(distances.device)[:, None])[:, 0]
        parts.append(right.double() / nearest.sum(1))
    return torch.cat(parts)
