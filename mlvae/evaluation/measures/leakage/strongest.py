"""The strongest of several probes, chosen on held-out codes, and how much it finds.

A probe is an estimate from below: a stronger one finds more. So several kinds of probes are
trained on every source of codes. The one with the lowest cross-entropy of the held-out codes is
tested. The test codes decide nothing.

Shapes: M codes, D dimensions, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import (
    NETWORKS,
    Frequencies,
    Trained,
    applies,
    fit_probes,
)
from mlvae.evaluation.measures.leakage.networks import Fit
from mlvae.evaluation.measures.leakage.scores import Rows
from mlvae.evaluation.measures.probes import ProbeScore, entropy
from mlvae.training.seeding import seeded

__all__ = ["Strongest", "strongest"]

#: Draws of every test code; fractions of the codes of the learning curve.
TEST_DRAWS, FRACTIONS = 4, (1 / 16, 1 / 8, 1 / 4, 1 / 2)

#: The curve still rises if the last doubling of the codes adds more than this, in bits.
RISE = 0.02


class Found(NamedTuple):
    """A trained probe and its test result."""

    probe: Trained
    rows: Rows


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
        curve: pairs of a number of training codes and the bits found with it.
        scores: test score of every probe, by (source, kind).
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
    generator = seeded(torch.Generator(test.labels.device), seed, "test draws")
    x, y = test.draws(TEST_DRAWS, generator)
    draws = len(y) // len(test)
    found: dict[tuple[str, str], Found] = {}
    for source, fit in fits.items():
        probes = {kind: fit_probes(kind, [fit])[0] for kind in kinds if applies(kind, fit)}
        for kind, probe in {"none": Frequencies(fit), **probes}.items():
            found[source, kind] = Found(probe, Rows.of(probe.log_probabilities(x), y, draws))
    best = min(found, key=lambda key: found[key].probe.held_out)
    accuracies = {key: _held_accuracy(found[key].probe, fits[key[0]]) for key in found}
    right = max(found, key=lambda key: (accuracies[key], key == best))
    errors = found[best].rows.errors(seed)[1], found[right].rows.errors(seed)[0]
    label_entropy = entropy(test.y)
    scores = {key: value.rows.score() for key, value in found.items()}
    bits = max(0.0, label_entropy - scores[best].conditional_entropy)
    points = []
    if curve:
        kind = best[1] if best[1] in NETWORKS else "mlp"
        points = _curve(fits[best[0]], kind, x, y, label_entropy)
        whole = scores.get((best[0], kind))
        last = bits if whole is None else max(0.0, label_entropy - whole.conditional_entropy)
        points.append((len(fits[best[0]].train), last))
    return Strongest(
        bits=bits,
        bits_error=errors[0],
        accuracy=scores[right].accuracy,
        accuracy_error=errors[1],
        entropy=label_entropy,
        chance=float(torch.bincount(test.y).max()) / len(test),
        number=len(test),
        probe=best[1],
        accuracy_probe=right[1],
        source=best[0],
        curve=tuple(points),
        scores=scores,
    )


def _held_accuracy(probe: Trained, fit: Fit) -> float:
    """Accuracy on one draw of the held-out codes."""
    generator = seeded(torch.Generator(fit.held.labels.device), fit.seed, "held-out accuracy")
    x, y = fit.held.draws(1, generator)
    return float((probe.log_probabilities(x).argmax(1) == y).double().mean())


def _curve(
    fit: Fit, kind: str, x: torch.Tensor, y: torch.Tensor, label_entropy: float
) -> list[tuple[int, float]]:
    """The bits that probes find which are trained on the first codes of a random order."""
    generator = seeded(torch.Generator(x.device), fit.seed, "learning curve")
    order = torch.randperm(len(fit.train), generator=generator, device=x.device)
    points = []
    for fraction in FRACTIONS:
        number = int(fraction * len(order))
        if number < 2:
            continue
        part = fit._replace(train=fit.train.part(order[:number]))
        probe = min(Frequencies(part), *fit_probes(kind, [part]), key=lambda each: each.held_out)
        left = Rows.of(probe.log_probabilities(x), y, 1).score().conditional_entropy
        points.append((number, max(0.0, label_entropy - left)))
    return points
