"""The strongest of several probes, chosen on held-out codes, and how much it finds.

A probe is an estimate from below: a stronger one finds more. So several kinds of probes are
trained on every source of codes. The one with the lowest cross-entropy of the held-out codes is
tested. The test codes decide nothing.

Logistic regression and the MLP are trained on every source. The other kinds take longer; they are
trained on the source that is best for these two, on held-out codes.

Shapes: M codes, D dimensions, L labels.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

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
from mlvae.evaluation.measures.leakage.networks import Fit
from mlvae.evaluation.measures.leakage.scores import ProbeScore, entropy
from mlvae.evaluation.measures.leakage.testing import area, tested
from mlvae.training.seeding import seeded

__all__ = ["Strongest", "strongest"]

#: Fractions of the codes of the learning curve.
FRACTIONS = (1 / 16, 1 / 4, 1 / 2)

#: The curve still rises if the last doubling of the codes adds more than this, in bits.
RISE = 0.02


@dataclass(frozen=True)
class Strongest:
    """The information about a label that the strongest probe finds.

    Attributes:
        bits: entropy of the test labels minus the cross-entropy of the probe, at least 0: a lower
            bound of the information about the label, in bits, up to the sampling error.
        bits_error: its standard error over test codes.
        accuracy: fraction of test codes whose label is predicted correctly, by the probe of the
            highest held-out accuracy.
        accuracy_error: its standard error over test codes.
        entropy: entropy of the test labels in bits, the largest possible ``bits``.
        chance: frequency of the most frequent test label.
        number: number of test codes.
        probe: kind of the probe that ``bits`` is of.
        accuracy_probe: kind of the probe that ``accuracy`` is of.
        source: codes that the probe was trained on.
        curve: pairs of a number of training codes and the bits that the MLP finds with them. (Of
            the best network, if the MLP is not among the probes.)
        scores: test score of every probe by (source, kind), for one draw of the test codes.
        trained: number of codes that every probe was trained on, by (source, kind).
        auc: of two labels, the area under the ROC curve of the probe that ``bits`` is of, at least
            0.5; NaN of more labels.
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

    @property
    def rises(self) -> bool:
        """Whether the last doubling of the codes found more: there may be more to find."""
        return len(self.curve) > 1 and self.curve[-1][1] - self.curve[-2][1] > RISE


def strongest(
    fits: Mapping[str, Fit], test: Drawn, kinds: Sequence[str], *, curve: bool = True
) -> Strongest:
    """Train all kinds of probes on all sources, choose one, and test it.

    Args:
        fits: codes of each source. The held-out codes must be the same for all sources.
        test: codes to test on.
        kinds: kinds of probes. The label frequencies are always among the probes. A kind that is
            too slow for the codes is left out.
        curve: whether to train on parts of the codes as well.
    """
    seed = next(iter(fits.values())).seed
    probes = _probes(fits, kinds)
    best = min(probes, key=lambda key: probes[key].held_out)
    accuracies = {key: _held_accuracy(probe, fits[key[0]]) for key, probe in probes.items()}
    right = max(probes, key=lambda key: (accuracies[key], key == best))
    of_bits = tested(probes[best], test, seed)
    of_accuracy = of_bits if right == best else tested(probes[right], test, seed)
    label_entropy = entropy(test.y)
    bits = max(0.0, label_entropy - of_bits.score().conditional_entropy)
    scores = {key: tested(probe, test, seed, draws=1).score() for key, probe in probes.items()}
    return Strongest(
        bits=bits,
        bits_error=of_bits.errors(seed)[1],
        accuracy=of_accuracy.score().accuracy,
        accuracy_error=of_accuracy.errors(seed)[0],
        entropy=label_entropy,
        chance=float(torch.bincount(test.y).max()) / len(test),
        number=len(test),
        probe=best[1],
        accuracy_probe=right[1],
        source=best[0],
        curve=tuple(_curve(probes, fits, best, test)) if curve else (),
        scores=scores,
        trained={
            (source, kind): min(len(fits[source].train), MOST_CODES.get(kind, sys.maxsize))
            for source, kind in probes
        },
        auc=area(probes[best], test, seed),
    )


def _probes(fits: Mapping[str, Fit], kinds: Sequence[str]) -> dict[tuple[str, str], Trained]:
    """Trained probes by (source, kind)."""
    first = [kind for kind in kinds if kind in FIRST]
    probes: dict[tuple[str, str], Trained] = {}
    for source, fit in fits.items():
        probes[source, "none"] = Frequencies(fit)
        for kind in first:
            probes[source, kind] = fit_probes(kind, [fit])[0]
    sources = list(fits)
    if first:
        sources = [min(probes, key=lambda key: probes[key].held_out)[0]]
    for source, kind in product(sources, kinds):
        if kind not in first and applies(kind, fits[source]):
            probes[source, kind] = fit_probes(kind, [fits[source]])[0]
    return probes


def _held_accuracy(probe: Trained, fit: Fit) -> float:
    """Accuracy on one draw of the held-out codes."""
    generator = seeded(torch.Generator(fit.held.labels.device), fit.seed, "held-out accuracy")
    x, y = fit.held.draws(1, generator)
    return float((probe.log_probabilities(x).argmax(1) == y).double().mean())


def _curve(
    probes: Mapping[tuple[str, str], Trained],
    fits: Mapping[str, Fit],
    best: tuple[str, str],
    test: Drawn,
) -> list[tuple[int, float]]:
    """The bits that a network finds which is trained on the first codes of a random order.

    The network is the MLP. Without one, it is the best probe if that is a network.
    """
    fit, kind = fits[best[0]], "mlp"
    if (best[0], kind) not in probes and best[1] in NETWORKS:
        kind = best[1]
    generator = seeded(torch.Generator(test.labels.device), fit.seed, "learning curve")
    order = torch.randperm(len(fit.train), generator=generator, device=generator.device)
    numbers = [int(fraction * len(order)) for fraction in FRACTIONS]
    points = []
    for number in [*[number for number in numbers if number > 1], len(order)]:
        if number == len(order) and (best[0], kind) in probes:
            probe = probes[best[0], kind]
        else:
            part = fit._replace(train=fit.train.part(order[:number]))
            probe = fit_probes(kind, [part])[0]
        probe = min(Frequencies(fit), probe, key=lambda each: each.held_out)
        left = tested(probe, test, fit.seed).score().conditional_entropy
        points.append((number, max(0.0, entropy(test.y) - left)))
    return points
