"""The first sentences of a report: what content, style and raw observations give, and its meaning.

The words are chosen from the measured accuracies at k = 1 and their uncertainty. Two accuracies
differ if their difference exceeds twice its standard error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlvae.evaluation.answer import Estimate
from mlvae.evaluation.subject import CONTROLS

__all__ = ["EMPTY", "NO_VERDICT", "Accuracies", "verdict"]

#: A style with a smaller KL, in nats per observation, is called empty: e^1 is fewer than three
#: styles that can be distinguished.
EMPTY = 1.0

NO_VERDICT = "No verdict: the accuracy from content and style at k = 1 was not evaluated."


@dataclass(frozen=True)
class Accuracies:
    """Accuracy of predictions of the group from single observations.

    Attributes:
        codes: by name of the code, with the standard error over repetitions and observations.
        chance: accuracy without any code.
        style_kl: KL of the style in nats per observation; None: not measured.
    """

    codes: Mapping[str, Estimate]
    chance: float
    style_kl: float | None = None

    def above(self, code: str, other: str | None = None) -> bool:
        """Whether ``code`` exceeds ``other``, None for chance, by twice the standard error."""
        first = self.codes[code]
        second = Estimate(self.chance, 0.0) if other is None else self.codes[other]
        error = math.hypot(first.standard_error, second.standard_error)
        return first.mean - second.mean > 2 * error

    @property
    def empty_style(self) -> bool:
        """Whether the style is known to have almost no information."""
        return self.style_kl is not None and self.style_kl < EMPTY


def verdict(metrics: Mapping[str, Mapping[str, Any]], *, images: bool) -> list[str]:
    """Paragraphs of two sentences: one for the test split, and one for unseen groups.

    Args:
        metrics: metrics of the answers by name of the question.
        images: whether the observations are images.

    Example:
        >>> verdict({}, images=True)
        ['No verdict: the accuracy from content and style at k = 1 was not evaluated.']
    """
    raw = "raw pixels" if images else "raw observation"
    one = "image" if images else "observation"
    bounds = metrics.get("likelihood", {}).get("bound", {})
    texts = []
    leakage = metrics.get("leakage", {})
    if found := _tested(metrics.get("separation", {}), leakage, _style_kl(bounds, "test")):
        first = f"The group of a single test {one} is predicted correctly in "
        texts.append(f"{first}{_listed(found, raw)} {_meaning(found, raw)}")
    unseen = metrics.get("unseen", {})
    if found := _unseen(unseen, _style_kl(bounds, "unseen")):
        first = (
            f"With one known {one} of each of {unseen['num_groups']} groups that were not used in "
            f"training, the group of another {one} is found correctly in "
        )
        texts.append(f"{first}{_listed(found, raw)} {_meaning(found, raw)}")
    return texts or [NO_VERDICT]


def _tested(
    separation: Mapping[str, Any], leakage: Mapping[str, Any], style_kl: float | None
) -> Accuracies | None:
    """Accuracies of probes at k = 1: of each code the highest over probes, samples and means."""
    single = [r for r in separation.get("records", ()) if r["train_k"] == r["test_k"] == 1]
    strongest = list(leakage.get("records", ()))
    if not single and not strongest:
        return None
    best = _best(
        [
            *((r["code"], r["accuracy"], r["num_test_codes"]) for r in single),
            *(
                (r["code"], Estimate(r["accuracy"], math.nan), r["num_test_codes"])
                for r in strongest
            ),
        ]
    )
    return Accuracies(best, [*single, *strongest][0]["chance_accuracy"], style_kl)


def _unseen(unseen: Mapping[str, Any], style_kl: float | None) -> Accuracies | None:
    """Accuracies of identification from one example: of each code the highest over distances."""
    single = [r for r in unseen.get("identification", ()) if r["shots"] == 1]
    if not single:
        return None
    number = unseen["num_observations"] - unseen["num_groups"]
    best = _best((r["code"], r["accuracy"], number) for r in single)
    return Accuracies(best, single[0]["chance"], style_kl)


def _best(records: Iterable[tuple[str, Estimate, int]]) -> dict[str, Estimate]:
    """The highest accuracy of each code; its error includes that of n independent observations."""
    best: dict[str, Estimate] = {}
    for code, accuracy, number in records:
        mean = accuracy.mean
        repetitions = 0.0 if math.isnan(accuracy.standard_error) else accuracy.standard_error
        # Wilson's variance is not zero at accuracies of 0 and 1.
        centre = (mean * number + 2) / (number + 4)
        error = math.hypot(repetitions, math.sqrt(centre * (1 - centre) / (number + 4)))
        if code not in best or mean > best[code].mean:
            best[code] = Estimate(mean, error)
    return best


def _style_kl(bounds: Mapping[str, Mapping[str, float]], split: str) -> float | None:
    return bounds.get(split, {}).get("style_kl_per_observation")


def _listed(found: Accuracies, raw: str) -> str:
    """The accuracies of the model's codes and of the raw observations in percent."""
    names = {code: f"its {code}" for code in found.codes if code not in CONTROLS}
    if "raw" in found.codes:
        names["raw"] = f"its {raw}"
    parts = [
        f"{found.codes[code].text(1, scale=100)} percent from {name}"
        for code, name in names.items()
    ]
    return f"{_joined(parts)}; chance is {100 * found.chance:.1f} percent."


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _meaning(found: Accuracies, raw: str) -> str:
    """One sentence on the content and the style."""
    content, style = "content" in found.codes, "style" in found.codes
    if not content and not style:
        return "The model has no content and style to separate."
    if not style:
        return f"{_of_content(found, raw)[0]}."
    state, good = _of_style(found)
    if not content:
        return f"{state[0].upper()}{state[1:]}."
    text, better = _of_content(found, raw)
    if better and good:
        return f"{text}, and {state}: content and style are separated."
    return f"{text}, {'but' if better or good else 'and'} {state}."


def _of_content(found: Accuracies, raw: str) -> tuple[str, bool]:
    """A clause on the content, and whether it is what a user hopes for."""
    if not found.above("content"):
        return "The content has no measurable information about the group", False
    good = True
    if "raw" not in found.codes:
        text = "The content has information about the group"
    elif found.above("content", "raw"):
        text = f"The content is better than the {raw}"
    elif found.above("raw", "content"):
        text = f"The content is worse than the {raw}: it has lost information about the group"
        good = False
    else:
        text = f"The content is as good as the {raw} within the uncertainty"
    if "untrained" in found.codes and not found.above("content", "untrained"):
        text += ", and it is not better than that of an untrained encoder"
        good = False
    return text, good


def _of_style(found: Accuracies) -> tuple[str, bool]:
    """A clause on the style, and whether it is what a user hopes for."""
    empty = found.empty_style
    kl = f"KL {found.style_kl:.2f} nats per observation" if empty else ""
    if not found.above("style"):
        if empty:
            return f"the style is nearly empty ({kl}), so there is no style to separate", False
        return "no information about the group was found in the style", True
    points = 100 * (found.codes["style"].mean - found.chance)
    if "content" in found.codes and not found.above("content", "style"):
        text = "the style has as much information about the group as the content"
    else:
        text = f"the style leaks: it is {points:.1f} points above chance"
    return (f"{text}, although it is nearly empty ({kl})" if empty else text), False
