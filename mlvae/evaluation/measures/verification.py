"""Verification: do two observations belong to the same group, judged by the distance of codes?

One seed gives the same pairs for all codes of the same groups, on every device.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, check_integer
from mlvae.evaluation.answer import Estimate, estimate
from mlvae.evaluation.measures.nearest import Codes, checked_codes, pair_distances
from mlvae.evaluation.measures.resampling import group_error
from mlvae.groups import Groups

__all__ = ["Verification", "verification"]


class Verification(NamedTuple):
    """Separation of same-group pairs from different-group pairs by a distance.

    Estimates have a standard error over repetitions, and a sampling error over groups by bootstrap
    (:mod:`mlvae.evaluation.measures.resampling`), in which a group that is drawn w times gives
    weight w to its same-group pairs, and weight w v to the pairs with a group that is drawn v
    times.

    Attributes:
        auc: area under the ROC curve, the probability that a same-group pair is nearer than a
            different-group pair; 1 is perfect, 0.5 is chance.
        eer: equal error rate, at the threshold where the fraction of accepted different-group
            pairs equals the fraction of rejected same-group pairs; 0 is perfect, 0.5 is chance.
    """

    auc: Estimate
    eer: Estimate


@torch.no_grad()
def verification(
    codes: Codes,
    groups: Groups | object,
    *,
    pairs: int = 10_000,
    galleries: int = 10,
    distance: str = "cosine",
    seed: int = 0,
) -> Verification:
    """Separate same-group pairs of observations from different-group pairs by their distance.

    Pairs are drawn with replacement, uniformly from all pairs of two different observations of one
    group, and uniformly from all pairs of observations of two groups. Large groups have more
    weight. Groups of one member occur in different-group pairs only.

    Args:
        codes: see :func:`~mlvae.evaluation.measures.nearest.n_shot_accuracy`.
        groups: see :func:`~mlvae.evaluation.measures.nearest.n_shot_accuracy`.
        pairs: number of same-group pairs, and of different-group pairs, in each repetition.
        galleries: number of repetitions, at least 2.
        distance: "cosine" or "mahalanobis", see
            :func:`~mlvae.evaluation.measures.nearest.n_shot_accuracy`.
        seed: seed of the pairs.

    Raises:
        InputError: if there is only one group, if no group has two members, if codes are not
            finite or not (N, D), or if an argument is out of range.

    Example:
        >>> mean = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
        >>> verification(mean, ["ann", "ann", "ann", "bob", "bob", "bob"]).auc.mean
        1.0
    """
    check_integer("pairs", pairs, minimum=1)
    q, groups, generator = checked_codes(codes, groups, galleries, distance, seed)
    groups = groups.to("cpu")
    if groups.num_groups < 2 or int(groups.sizes.max()) < 2:
        raise InputError(
            "verification needs at least two groups, and two members of at least one, "
            f"not {groups.num_groups} groups of at most {int(groups.sizes.max())} members"
        )
    curves = []
    for _ in range(galleries):
        same, different = _pairs(groups, pairs, generator)
        near, far = (-pair_distances(q, pair, distance) for pair in (same, different))
        ends = groups.index[same[0]].numpy(), groups.index[different].numpy()
        curves.append(_Curve.of(near, far, ends[0], ends[1]))
    # The groups are the same in all repetitions, so one has their sampling error.
    auc, eer = (
        estimate(
            [score(curve) for curve in curves],
            group_error(partial(score, curves[0]), groups.num_groups, seed=seed),
        )
        for score in (_auc, _eer)
    )
    return Verification(auc, eer)


def _pairs(groups: Groups, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Same-group and different-group pairs of observations, drawn uniformly: (2, ``pairs``)."""
    order = groups.index.argsort(stable=True)
    first = groups.sizes.cumsum(0) - groups.sizes
    total = groups.num_observations

    def draw(partners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Groups, a member of each, and one of that member's ``partners`` (G,): (pairs,) each."""
        weight = (groups.sizes * partners).double()
        group = torch.multinomial(weight, pairs, replacement=True, generator=generator)
        # The range is so large that the bias of the remainder is negligible.
        member, partner = torch.randint(2**62, (2, pairs), generator=generator)
        return group, member % groups.sizes[group], partner % partners[group]

    # On a circle, a step of at least one and less than a full turn never returns to its start:
    # same-group pairs step around the group, different-group pairs around all other observations.
    group, member, step = draw(groups.sizes - 1)
    same = torch.stack((member, (member + 1 + step) % groups.sizes[group])) + first[group]
    group, member, step = draw(total - groups.sizes)
    behind = first[group] + groups.sizes[group]
    different = torch.stack((first[group] + member, (behind + step) % total))
    return order[same], order[different]


class _Curve(NamedTuple):
    """Pairs in the order of their nearness, for the ROC curve of the rule that accepts near pairs.

    Attributes:
        place: place of each pair among the different values of the nearness, (2 pairs,); 0 is the
            nearest. Same-group pairs come first.
        same: the group of each same-group pair, (pairs,).
        different: the groups of each different-group pair, (2, pairs).
    """

    place: np.ndarray
    same: np.ndarray
    different: np.ndarray

    @classmethod
    def of(
        cls, near: np.ndarray, far: np.ndarray, same: np.ndarray, different: np.ndarray
    ) -> _Curve:
        """The curve of the nearness of same-group and of different-group pairs."""
        place = np.unique(-np.concatenate((near, far)), return_inverse=True)[1]
        return cls(place, same, different)

    def rates(self, drawn: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Fractions of accepted different-group and same-group pairs, as the threshold grows.

        Args:
            drawn: the number of times that each group is drawn, (G,); None: once.
        """
        number = len(self.same)
        weights = np.ones(2 * number)
        if drawn is not None:
            weights[:number] = drawn[self.same]
            weights[number:] = drawn[self.different].prod(0)
        rates = []
        for part in (slice(number, None), slice(number)):
            total = np.bincount(self.place[part], weights[part], self.place.max() + 1).cumsum()
            # Without a pair there is no rate.
            rates.append(np.append(0, total) / total[-1] if total[-1] else np.full(1, np.nan))
        return rates[0], rates[1]


def _auc(curve: _Curve, drawn: np.ndarray | None = None) -> float:
    """Area under the ROC curve; ties are straight lines."""
    accepted, right = curve.rates(drawn)
    if np.isnan(accepted[0] + right[0]):
        return math.nan
    return float(np.diff(accepted) @ (right[1:] + right[:-1])) / 2


def _eer(curve: _Curve, drawn: np.ndarray | None = None) -> float:
    """Equal error rate, interpolated between thresholds."""
    accepted, right = curve.rates(drawn)
    if np.isnan(accepted[0] + right[0]):
        return math.nan
    # Increases along the curve from -1 to 1; at zero both error rates are equal.
    return float(np.interp(0.0, accepted - (1 - right), accepted))
