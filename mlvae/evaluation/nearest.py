r"""How well codes tell apart groups that were never seen in training.

Two questions: to which of G groups, each known by a few members, does an observation belong; and
are two observations of one group? Both are asked of codes alone, so that any representation
(content, style, a VAE's latent, principal components, pixels) is measured the same way. A
representation without variances has log-variances of zero: the product of its members is then
their plain mean.

With one seed, the galleries and pairs are the same for all codes of the same groups, on any
device: two representations are compared on the same draws.

Shapes: N observations, G groups, P probes, D dimensions of a code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlvae.accumulation import product
from mlvae.errors import InputError, check_choice, check_integer
from mlvae.evaluation.answer import Estimate, estimate
from mlvae.gaussian import DiagonalGaussian
from mlvae.groups import Groups
from mlvae.mixture import GroupMixture

__all__ = ["DISTANCES", "Score", "Verification", "compact", "n_shot_accuracy", "verification"]

#: Most numbers that a distance computes at once: 32 MiB of float64, whatever N, G and D.
MOST_NUMBERS = 2**22


class Score(NamedTuple):
    """How often probes find their group.

    Attributes:
        mean: fraction of probes that are assigned to their own group, averaged over galleries.
        standard_error: of that mean, over galleries; see :class:`Estimate`.
        chance: 1 / num_groups, what codes that know nothing of the group score.
        num_groups: groups with enough members to take part.
        num_probes: probes of each gallery.
    """

    mean: float
    standard_error: float
    chance: float
    num_groups: int
    num_probes: int


class Verification(NamedTuple):
    """How well a distance tells pairs of one group from pairs of two.

    Attributes:
        auc: area under the ROC curve, the probability that a same-group pair is nearer than a
            different-group pair; 1 is perfect, 0.5 is chance.
        eer: equal error rate, where as many different-group pairs are accepted as same-group
            pairs are rejected; 0 is perfect, 0.5 is chance.
    """

    auc: Estimate
    eer: Estimate


@torch.no_grad()
def n_shot_accuracy(
    codes: DiagonalGaussian | Tensor | np.ndarray,
    groups: Groups | object,
    *,
    shots: int,
    galleries: int = 100,
    distance: str = "cosine",
    seed: int = 0,
) -> Score:
    r"""Assign observations to the nearest of G groups, each known by ``shots`` of its members.

    For each gallery, ``shots`` distinct members of every group are drawn and their codes are
    accumulated by the product of normals (:func:`mlvae.accumulation.product`). Every other
    observation is a probe, assigned to the nearest of the G accumulated codes. The protocol is
    that of Hosoya (2019, "Group-based learning of disentangled representations with
    generalizability for novel contents", n-shot classification) with the gallery pooled; his
    default is the nearest single member.

    The accuracy of a gallery is the mean over its probes, so large groups weigh more. A probe that
    is equally near to several groups, its own among them, counts as the reciprocal of their
    number, as guessing would: codes that are all equal score chance, not the share of one group.

    Args:
        codes: posterior of each observation by itself, (N, D), or codes of any kind, which count
            as its means.
        groups: group of each observation, as :class:`Groups` or N labels; groups of fewer than
            ``shots`` + 1 members are left out.
        shots: members of each group in a gallery.
        galleries: number of random galleries, at least 2 for a standard error.
        distance: "cosine", one minus the cosine of the posterior means,

            .. math:: 1 - \frac{\mu_a^\top \mu_b}{\|\mu_a\| \|\mu_b\|},

            where a mean of zero has the cosine zero with any other; or "mahalanobis",

            .. math:: \sum_d \frac{(\mu_{ad} - \mu_{bd})^2}{v_{ad} + v_{bd}},

            the squared Mahalanobis (1936) distance of zero under the difference of the two
            posteriors, :math:`N(\mu_a - \mu_b, \operatorname{diag}(v_a + v_b))`. It is no
            likelihood: without its log-determinant, an uncertain code is near to everything.
        seed: of the galleries.

    Raises:
        InputError: if fewer than two groups have ``shots`` + 1 members, codes are not finite or
            not (N, D), or an argument is out of range.

    Example:
        >>> mean = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
        >>> codes = DiagonalGaussian(mean, torch.zeros_like(mean))
        >>> n_shot_accuracy(codes, ["ann", "ann", "ann", "bob", "bob", "bob"], shots=1)
        Score(mean=1.0, standard_error=0.0, chance=0.5, num_groups=2, num_probes=4)
    """
    check_integer("shots", shots, minimum=1)
    codes, groups = _as_posteriors(codes), Groups.of(groups)
    generator = _checked(codes, groups, galleries, distance, seed)
    rows, kept = _large_enough(groups, shots)
    shots_of = Groups.unchecked(
        torch.arange(kept.num_groups).repeat_interleave(shots),
        torch.full((kept.num_groups,), shots),
    ).to(codes.mean.device)
    accuracy = []
    for _ in range(galleries):
        gallery, probes = _gallery(kept, shots, generator)
        accumulated = product(_take(codes, rows[gallery]), shots_of)
        accuracy.append(_found(codes, rows[probes], accumulated, kept.index[probes], distance))
    mean, standard_error = estimate(accuracy)
    return Score(mean, standard_error, 1 / kept.num_groups, kept.num_groups, len(probes))


@torch.no_grad()
def verification(
    codes: DiagonalGaussian | Tensor | np.ndarray,
    groups: Groups | object,
    *,
    pairs: int = 10_000,
    galleries: int = 10,
    distance: str = "cosine",
    seed: int = 0,
) -> Verification:
    """Tell pairs of observations of one group from pairs of two groups by their distance.

    Pairs are drawn with replacement, uniformly from all pairs of two different observations of one
    group, and from all pairs of observations of two groups. So large groups weigh more, and groups
    of one take part only in the latter.

    Args:
        codes: as for :func:`n_shot_accuracy`.
        groups: likewise.
        pairs: number of pairs of one group, and of pairs of two groups, in each repetition.
        galleries: number of repetitions, at least 2 for a standard error.
        distance: "cosine" or "mahalanobis", as for :func:`n_shot_accuracy`.
        seed: of the pairs.

    Raises:
        InputError: if there is one group only, or no group of two, codes are not finite or not
            (N, D), or an argument is out of range.

    Example:
        >>> mean = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
        >>> codes = DiagonalGaussian(mean, torch.zeros_like(mean))
        >>> verification(codes, Groups(torch.tensor([0, 0, 0, 1, 1, 1]))).auc
        Estimate(mean=1.0, standard_error=0.0)
    """
    check_integer("pairs", pairs, minimum=1)
    codes, groups = _as_posteriors(codes), Groups.of(groups)
    generator = _checked(codes, groups, galleries, distance, seed)
    groups = groups.to("cpu")
    if groups.num_groups < 2 or int(groups.sizes.max()) < 2:
        raise InputError(
            "verification needs at least two groups, and two members of at least one, "
            f"not {groups.num_groups} groups of at most {int(groups.sizes.max())} members"
        )
    errors = []
    for _ in range(galleries):
        same, different = _pairs(groups, pairs, generator)
        errors.append(
            _roc(*(_pair_distances(codes, ends, distance) for ends in (same, different)))
        )
    auc, eer = zip(*errors, strict=True)
    return Verification(estimate(auc), estimate(eer))


def compact(codes: DiagonalGaussian) -> DiagonalGaussian:
    """Codes of at most N dimensions that are as far from each other, and so are their means.

    N observations lie in a space of N dimensions, however many pixels they have: these are their
    coordinates there, by a QR decomposition in float64. Codes of fewer dimensions, or of variances
    that differ, are given back as they are.

    Args:
        codes: of N observations, (N, D).

    Example:
        >>> pixels = DiagonalGaussian(torch.tensor([[3.0, 0.0, 4.0]]), torch.zeros(1, 3))
        >>> compact(pixels).mean.abs()
        tensor([[5.]], dtype=torch.float64)
    """
    number, dim = codes.mean.shape
    if dim <= number or not _one_variance(codes):
        return codes
    # What is equal stays equal: a tie must not be broken by rounding.
    different, place = codes.mean.double().unique(dim=0, return_inverse=True)
    mean = torch.linalg.qr(different.T, mode="r").R.T[place]
    return DiagonalGaussian(mean, codes.log_variance[:, :1].expand_as(mean))


def _cosine(a: DiagonalGaussian, b: DiagonalGaussian) -> Tensor:
    """Distance of codes whose leading shapes broadcast; that of all pairs is a matrix product."""
    a, b = (mean / _length(mean) for mean in (a.mean, b.mean))
    return 1 - torch.einsum("...d,...d->...", a, b)


def _length(mean: Tensor) -> Tensor:
    length = mean.norm(dim=-1, keepdim=True)
    return length.masked_fill(length == 0, 1)


def _mahalanobis(a: DiagonalGaussian, b: DiagonalGaussian) -> Tensor:
    """Distance of codes whose leading shapes broadcast."""
    return ((a.mean - b.mean).square_() / (a.variance + b.variance)).sum(-1)


def _one_variance(codes: DiagonalGaussian) -> bool:
    """Whether all variances are the same, as those of pixels and principal components are."""
    return bool((codes.log_variance == codes.log_variance[:1, :1]).all())


def _euclidean(a: DiagonalGaussian, b: DiagonalGaussian) -> Tensor:
    """What :func:`_mahalanobis` orders alike, if all variances of a, and of b, are the same.

    Of a (P, 1, D) and b (1, G, D), as a matrix product: pixels are many.
    """
    products = torch.einsum("pod,ogd->pg", a.mean, b.mean)
    return b.mean.square().sum(-1) - 2 * products  # less |a|^2, the same for all groups


#: Distances by the name that ``distance`` gives.
DISTANCES: dict[str, Callable[[DiagonalGaussian, DiagonalGaussian], Tensor]] = {
    "cosine": _cosine,
    "mahalanobis": _mahalanobis,
}


def _as_posteriors(codes: DiagonalGaussian | Tensor | np.ndarray) -> DiagonalGaussian:
    """Codes without variances have log-variances of zero."""
    if isinstance(codes, GroupMixture):
        codes = codes.moments()
    if isinstance(codes, DiagonalGaussian):
        return codes
    if not isinstance(codes, Tensor | np.ndarray):
        raise InputError(
            "codes must be a posterior, as infer_content(x) gives, or an array of means, not a "
            f"{type(codes).__name__}"
        )
    mean = torch.as_tensor(np.asarray(codes) if isinstance(codes, np.ndarray) else codes).double()
    return DiagonalGaussian(mean, torch.zeros_like(mean))


def _checked(
    codes: DiagonalGaussian, groups: Groups, galleries: int, distance: str, seed: int
) -> torch.Generator:
    """The generator of all draws, after a look at what both questions are given."""
    check_integer("galleries", galleries, minimum=2)
    check_choice("distance", distance, DISTANCES)
    check_integer("seed", seed, minimum=0)
    shape = tuple(codes.mean.shape)
    if len(shape) != 2 or shape[0] != groups.num_observations:
        raise InputError(
            f"codes must have shape (N, D) with one row for each of the "
            f"{groups.num_observations} grouped observations, not {shape}"
        )
    finite = codes.mean.isfinite().all(1) & codes.log_variance.isfinite().all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise InputError(f"codes must be finite, but that of observation {row} is not")
    # On the host, whose numbers are the same for every device.
    return torch.Generator().manual_seed(seed)


def _take(codes: DiagonalGaussian, rows: Tensor) -> DiagonalGaussian:
    """Codes of ``rows`` in float64: squares over variances of e^-80 leave float32."""
    rows = rows.to(codes.mean.device)
    return DiagonalGaussian(codes.mean[rows].double(), codes.log_variance[rows].double())


def _large_enough(groups: Groups, shots: int) -> tuple[Tensor, Groups]:
    """Observations of the groups that have a probe besides their shots, and these groups."""
    groups = groups.to("cpu")
    kept = groups.sizes > shots
    if (number := int(kept.sum())) < 2:
        raise InputError(
            f"shots={shots} needs at least two groups of {shots + 1} or more members, not "
            f"{number} of {groups.num_groups}; the largest has {int(groups.sizes.max())}"
        )
    rows = groups.spread(kept).nonzero()[:, 0]
    return rows, Groups.unchecked((kept.cumsum(0) - 1)[groups.index[rows]], groups.sizes[kept])


def _gallery(groups: Groups, shots: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random members, ``shots`` of each group in the order of groups, and all the others."""
    order = torch.randperm(groups.num_observations, generator=generator)
    order = order[groups.index[order].argsort(stable=True)]
    first = groups.sizes.cumsum(0) - groups.sizes
    rank = torch.arange(len(order)) - first[groups.index[order]]
    return order[rank < shots], order[rank >= shots]


def _found(
    codes: DiagonalGaussian, probes: Tensor, gallery: DiagonalGaussian, own: Tensor, distance: str
) -> float:
    """Fraction of ``probes`` (P,) whose nearest of the ``gallery`` (G, D) is ``own`` (P,)."""
    num_groups, dim = gallery.mean.shape
    # With variances a matrix product cannot have them: that holds D numbers for each group.
    plain = distance == "mahalanobis" and _one_variance(codes) and _one_variance(gallery)
    product_of = plain or distance == "cosine"
    chunk = max(1, MOST_NUMBERS // (num_groups + dim if product_of else num_groups * dim))
    apart_of = _euclidean if plain else DISTANCES[distance]
    total = torch.zeros((), dtype=torch.float64, device=gallery.mean.device)
    for rows, group in zip(probes.split(chunk), own.split(chunk), strict=True):
        apart = apart_of(_take(codes, rows)[:, None], gallery[None])
        nearest = apart == apart.amin(1, keepdim=True)
        right = nearest.gather(1, group.to(apart.device)[:, None])[:, 0]
        total += (right / nearest.sum(1)).sum(dtype=torch.float64)
    return float(total) / len(probes)


def _pairs(groups: Groups, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Observations of pairs of one group, and of two groups: (2, ``pairs``) each, uniformly."""
    order = groups.index.argsort(stable=True)
    first = groups.sizes.cumsum(0) - groups.sizes
    everyone = groups.num_observations

    def draw(partners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Groups that have ``partners`` (G,) for each member, one of the members, a partner."""
        weight = (groups.sizes * partners).double()
        group = torch.multinomial(weight, pairs, replacement=True, generator=generator)
        # So many values that the remainder favours none of them noticeably.
        member, partner = torch.randint(2**62, (2, pairs), generator=generator)
        return group, member % groups.sizes[group], partner % partners[group]

    # A step of one or more, and of less than a whole turn, never comes back to where it starts:
    # within the group for the first kind of pairs, around all others for the second.
    group, member, step = draw(groups.sizes - 1)
    same = torch.stack((member, (member + 1 + step) % groups.sizes[group])) + first[group]
    group, member, step = draw(everyone - groups.sizes)
    behind = first[group] + groups.sizes[group]
    different = torch.stack((first[group] + member, (behind + step) % everyone))
    return order[same], order[different]


def _pair_distances(codes: DiagonalGaussian, ends: Tensor, distance: str) -> np.ndarray:
    """Distance of each pair of ``ends`` (2, pairs): (pairs,)."""
    chunk = max(1, MOST_NUMBERS // codes.mean.shape[1])
    parts = [
        DISTANCES[distance](_take(codes, a), _take(codes, b))
        for a, b in (part.unbind() for part in ends.split(chunk, dim=1))
    ]
    return torch.cat(parts).cpu().numpy()


def _roc(same: np.ndarray, different: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve and equal error rate, of accepting pairs that are near."""
    # Importing the library should not take seconds.
    from sklearn.metrics import roc_auc_score, roc_curve

    label = np.repeat([1, 0], [len(same), len(different)])
    nearness = -np.concatenate((same, different))
    accepted_wrongly, accepted_rightly, _ = roc_curve(label, nearness)
    # From -1 to 1, and larger at every point of the curve: zero is where both errors are equal.
    excess = accepted_wrongly - (1 - accepted_rightly)
    eer = np.interp(0.0, excess, accepted_wrongly)
    return float(roc_auc_score(label, nearness)), float(eer)
