"""The strongest of several probes, chosen on held-out codes, and how much it finds.

A probe is an estimate from below: a stronger one finds more. So several kinds of probes are
trained on every source of codes. Of several kinds, their mixture is the strongest on the held-out
codes (:mod:`.mixture`); of one, the probe with the lowest cross-entropy. It is tested. The test
codes decide nothing.

Logistic regression and the MLP are trained on every source. The other kinds take longer; they are
trained on the source that is best for these two, on held-out codes. If that difference is small,
it is the source with the most codes.

Shapes: M codes, D dimensions, L labels.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple, TypeVar

import torch

from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import (
    FIRST,
    MOST_CODES,
    NETWORKS,
    Frequencies,
    Trained,
    applies,
    fit_probes,
)
from mlvae.evaluation.measures.leakage.mixture import Mixture, fit_mixture
from mlvae.evaluation.measures.leakage.networks import MOST_PADDED, Fit
from mlvae.evaluation.measures.leakage.scores import ProbeScore, entropy
from mlvae.evaluation.measures.leakage.testing import area, tested
from mlvae.training.seeding import seeded

__all__ = ["Codes", "Strongest", "strongest", "strongest_of_each"]

#: Trained probes by (source, kind).
_Probes = dict[tuple[str, str], Trained]
_Key = TypeVar("_Key")

#: Fractions of the codes of the learning curve.
FRACTIONS = (1 / 16, 1 / 4, 1 / 2)

#: Differences of held-out cross-entropies below this, in nats, do not decide between sources.
MARGIN = 0.01

#: The curve still rises if the last doubling of the codes adds more than this, in bits.
RISE = 0.02


@dataclass(frozen=True)
class Strongest:
    """The information about a label that the strongest probe finds.

    Attributes:
        bits: entropy of the test labels minus the cross-entropy of the probe, at least 0: a lower
            bound of the information about the label, in bits, up to the sampling error.
        bits_error: its standard error over test codes, to which both the entropy and the
            cross-entropy contribute.
        accuracy: fraction of test codes whose label is predicted correctly, by the probe of the
            highest held-out accuracy.
        accuracy_error: its standard error over test codes.
        entropy: entropy of the test labels in bits, the largest possible ``bits``.
        chance: frequency of the most frequent test label.
        number: number of test codes.
        probe: kind of the probe that ``bits`` is of; "mixture" is of several kinds.
        accuracy_probe: kind of the probe that ``accuracy`` is of.
        source: codes that the probe was trained on; of a mixture, the probe of the largest weight.
        curve: pairs of a number of training codes and the bits that the MLP finds with them. (Of
            the best network, if the MLP is not among the probes.)
        scores: test score of every probe by (source, kind), for one draw of the test codes.
        trained: number of codes that every probe was trained on, by (source, kind).
        auc: of two labels, the area under the ROC curve of the probe that ``bits`` is of, at least
            0.5; NaN of more labels.
        weights: weight of every probe of the mixture by (source, kind); empty if there is none.
    """

    bits: float
    bits_error: float
    accuracy: float
    accuracy_error: float
    entropy: float
    chance: float
    number: int
    probe: str
    accuracy_probe: str
    source: str
    curve: tuple[tuple[int, float], ...]
    scores: Mapping[tuple[str, str], ProbeScore]
    trained: Mapping[tuple[str, str], int]
    auc: float = math.nan
    weights: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @property
    def rises(self) -> bool:
        """Whether the last doubling of the codes found more: there may be more to find."""
        return len(self.curve) > 1 and self.curve[-1][1] - self.curve[-2][1] > RISE


class Codes(NamedTuple):
    """Codes whose strongest probe is asked.

    Attributes:
        fits: codes of each source. The held-out codes must be the same for all sources.
        test: codes to test on.
        curve: whether to train on parts of the codes as well.
    """

    fits: Mapping[str, Fit]
    test: Drawn
    curve: bool = True


def strongest(
    fits: Mapping[str, Fit], test: Drawn, kinds: Sequence[str], *, curve: bool = True
) -> Strongest:
    """Train all kinds of probes on all sources, choose one, and test it.

    Args:
        fits: codes of each source. The held-out codes must be the same for all sources.
        test: codes to test on.
        kinds: kinds of probes. The label frequencies are always among the probes, and if there are
            several kinds, the mixture. A kind that is too slow for the codes is left out.
        curve: whether to train on parts of the codes as well.
    """
    return strongest_of_each([Codes(fits, test, curve)], kinds)[0]


def strongest_of_each(codes: Sequence[Codes], kinds: Sequence[str]) -> list[Strongest]:
    """:func:`strongest` of each of several codes, whose networks are trained together.

    The results are those of the codes one by one, up to rounding, in less time.
    """
    probes = _probes([each.fits for each in codes], kinds)
    best = [_best(own) for own in probes]
    points = _curves(codes, probes, best)
    return [
        _chosen(each, own, key, curve)
        for each, own, key, curve in zip(codes, probes, best, points, strict=True)
    ]


def _best(probes: _Probes) -> tuple[str, str]:
    """The mixture, its only member, or without one the probe of the lowest cross-entropy."""
    for key, probe in probes.items():
        if isinstance(probe, Mixture):
            return key if len(probe.probes) > 1 else probe.largest
    return min(probes, key=lambda key: probes[key].held_out)


def _chosen(
    codes: Codes, probes: _Probes, best: tuple[str, str], curve: list[tuple[int, float]]
) -> Strongest:
    """The test of the best probe, and of that of the highest held-out accuracy."""
    fits, test = codes.fits, codes.test
    seed = fits[best[0]].seed
    accuracies = {key: _held_accuracy(probe, fits[key[0]]) for key, probe in probes.items()}
    right = max(probes, key=lambda key: (accuracies[key], key == best))
    of_bits = tested(probes[best], test, seed)
    of_accuracy = of_bits if right == best else tested(probes[right], test, seed)
    label_entropy = entropy(test.y)
    scores = {key: tested(probe, test, seed, draws=1).score() for key, probe in probes.items()}
    return Strongest(
        bits=max(0.0, label_entropy - of_bits.score().conditional_entropy),
        bits_error=of_bits.information_error(test.y, seed),
        accuracy=of_accuracy.score().accuracy,
        accuracy_error=of_accuracy.errors(seed)[0],
        entropy=label_entropy,
        chance=float(torch.bincount(test.y).max()) / len(test),
        number=len(test),
        probe=best[1],
        accuracy_probe=right[1],
        source=best[0],
        curve=tuple(curve),
        scores=scores,
        trained={
            (source, kind): min(len(fits[source].train), MOST_CODES.get(kind, sys.maxsize))
            for source, kind in probes
        },
        auc=area(probes[best], test, seed),
        weights=next(
            (probe.weights for probe in probes.values() if isinstance(probe, Mixture)), {}
        ),
    )


def _probes(codes: Sequence[Mapping[str, Fit]], kinds: Sequence[str]) -> list[_Probes]:
    """Trained probes of each of the codes by (source, kind)."""
    first = [kind for kind in kinds if kind in FIRST]
    every = {(i, source): fit for i, fits in enumerate(codes) for source, fit in fits.items()}
    probes: list[_Probes] = [{} for _ in codes]
    for (i, source), fit in every.items():
        probes[i][source, "none"] = Frequencies(fit)
    for kind in first:
        for (i, source), probe in _fitted(kind, every).items():
            probes[i][source, kind] = probe
    probes = [
        _ordered(own, fits, ("none", *first)) for own, fits in zip(probes, codes, strict=True)
    ]
    if first:
        best = [_source(own, fits) for own, fits in zip(probes, codes, strict=True)]
        every = {(i, source): codes[i][source] for i, source in enumerate(best)}
    others = [kind for kind in kinds if kind not in first]
    for kind in others:
        some = {key: fit for key, fit in every.items() if applies(kind, fit)}
        for (i, source), probe in _fitted(kind, some).items():
            probes[i][source, kind] = probe
    if len(kinds) > 1:
        for own, fits in zip(probes, codes, strict=True):
            mixture = fit_mixture(own, next(iter(fits.values())))
            own[mixture.largest[0], "mixture"] = mixture
    return probes


def _source(probes: _Probes, fits: Mapping[str, Fit]) -> str:
    """The source on which the slow kinds are trained.

    It is the largest one, unless the first kinds find more with another one. Where they find
    nothing, a slow kind may find something, but with many codes only.
    """
    least = {
        source: min(probe.held_out for (own, _), probe in probes.items() if own == source)
        for source in fits
    }
    best = min(least.values())
    able = [source for source in fits if least[source] <= best + MARGIN]
    return max(able, key=lambda source: len(fits[source].train))


def _ordered(probes: _Probes, fits: Mapping[str, Fit], kinds: Sequence[str]) -> _Probes:
    """The probes source by source."""
    return {key: probes[key] for key in product(fits, kinds)}


def _fitted(kind: str, fits: Mapping[_Key, Fit]) -> dict[_Key, Trained]:
    """A probe of one kind for each of ``fits``; those of one form are trained together."""
    forms: dict[tuple[int, ...], list[_Key]] = {}
    for key, fit in fits.items():
        width = max(fit.train.dim, MOST_PADDED)
        forms.setdefault((len(fit.train), len(fit.held), fit.labels, width), []).append(key)
    found: dict[_Key, Trained] = {}
    for keys in forms.values():
        found |= zip(keys, fit_probes(kind, [fits[key] for key in keys]), strict=True)
    return found


def _held_accuracy(probe: Trained, fit: Fit) -> float:
    """Accuracy on one draw of the held-out codes."""
    generator = seeded(torch.Generator(fit.held.labels.device), fit.seed, "held-out accuracy")
    x, y = fit.held.draws(1, generator)
    return float((probe.log_probabilities(x).argmax(1) == y).double().mean())


def _curves(
    codes: Sequence[Codes], probes: Sequence[_Probes], best: Sequence[tuple[str, str]]
) -> list[list[tuple[int, float]]]:
    """For each of the codes, the bits that a network finds with the first codes of a random order.

    The network is the MLP. Without one, it is the best probe if that is a network.
    """
    parts: dict[str, dict[tuple[int, int], Fit]] = {}
    found: list[dict[int, Trained]] = [{} for _ in codes]
    for i, (each, own, (source, chosen)) in enumerate(zip(codes, probes, best, strict=True)):
        if not each.curve:
            continue
        fit, kind = each.fits[source], "mlp"
        if (source, kind) not in own and chosen in NETWORKS:
            kind = chosen
        whole = len(fit.train)
        numbers = [n for n in (int(fraction * whole) for fraction in FRACTIONS) if n > 1]
        if (source, kind) in own:
            found[i][whole] = own[source, kind]
        else:
            numbers.append(whole)
        generator = seeded(torch.Generator(fit.train.labels.device), fit.seed, "learning curve")
        order = torch.randperm(whole, generator=generator, device=generator.device)
        for number in numbers:
            part = fit._replace(train=fit.train.part(order[:number]))
            parts.setdefault(kind, {})[i, number] = part
    for kind, some in parts.items():
        for (i, number), probe in _fitted(kind, some).items():
            found[i][number] = probe
    return [
        _points(each, each.fits[source], trained)
        for each, (source, _), trained in zip(codes, best, found, strict=True)
    ]


def _points(codes: Codes, fit: Fit, trained: Mapping[int, Trained]) -> list[tuple[int, float]]:
    """The bits by number of training codes; the label frequencies are a probe, too."""
    points = []
    for number, network in sorted(trained.items()):
        probe = min(Frequencies(fit), network, key=lambda each: each.held_out)
        left = tested(probe, codes.test, fit.seed).score().conditional_entropy
        points.append((number, max(0.0, entropy(codes.test.y) - left)))
    return points
