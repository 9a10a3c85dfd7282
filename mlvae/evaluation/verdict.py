"""The first sentences of a report: what content, style and raw observations give, and its meaning.

With several groupings, a sentence of each states what its own content, the other contents and the
style give about its groups.

The words are chosen from the measured accuracies at k = 1 and their uncertainty. Two accuracies
differ if their difference exceeds twice its standard error. Accuracies from samples of a posterior
stand beside those from its mean; the larger one decides.
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
        values: by name of the code, and by values, "samples" or "means"; with the standard error
            over repetitions and observations.
        chance: accuracy without any code.
        style_kl: KL of the style in nats per observation; None: not measured.
    """

    values: Mapping[str, Mapping[str, Estimate]]
    chance: float
    style_kl: float | None = None

    @property
    def codes(self) -> dict[str, Estimate]:
        """The larger accuracy of each code."""
        return {
            code: max(found.values(), key=lambda accuracy: accuracy.mean)
            for code, found in self.values.items()
        }

    def above(self, code: str, other: str | None = None) -> bool:
        """Whether ``code`` exceeds ``other``, None for chance, by twice the standard error."""
        codes = self.codes
        return _above(codes[code], self.chance if other is None else codes[other])

    @property
    def empty_style(self) -> bool:
        """Whether the style is known to have almost no information."""
        return self.style_kl is not None and self.style_kl < EMPTY


def _above(first: Estimate, second: Estimate | float) -> bool:
    """Whether an accuracy exceeds another, or a number, by twice the standard error."""
    if not isinstance(second, Estimate):
        second = Estimate(second, 0.0)
    return first.mean - second.mean > 2 * math.hypot(first.error, second.error)


def verdict(metrics: Mapping[str, Mapping[str, Any]], *, images: bool) -> list[str]:
    """Paragraphs of two sentences: one for the test split, and one for unseen groups.

    With several groupings there is such a paragraph for each.

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
    split = _tested_split(metrics)
    for name, found in _tested(metrics, _style_kl(bounds, split)):
        what = name or "group"
        first = f"The {what} of a single test {one} is predicted correctly in "
        if split == "unseen":
            first = (
                f"After training on other {one}s of the same groups, which were not used in the "
                f"training of the model, a probe predicts the {what} of a single {one} correctly "
                "in "
            )
        meaning = _meaning(found, raw, name)
        texts.append(f"{first}{_listed(found, raw, name)} {meaning}{_several(metrics)}")
    unseen = metrics.get("unseen", {})
    for name, found in _unseen(unseen, _style_kl(bounds, "unseen")):
        groups = f"groups of {name}" if name else "groups"
        first = (
            f"With one known {one} of each of {unseen.get(name, unseen)['num_groups']} {groups} "
            f"that were not used in training, the {name or 'group'} of another {one} is found "
            "correctly in "
        )
        texts.append(f"{first}{_listed(found, raw, name)} {_meaning(found, raw, name)}")
    return texts or [NO_VERDICT]


def _tested(
    metrics: Mapping[str, Mapping[str, Any]], style_kl: float | None
) -> list[tuple[str, Accuracies]]:
    """Accuracies of probes at k = 1, from samples and means: of each the highest over probes.

    They are of each grouping by its name, which is empty if there is one grouping.
    """
    strongest = metrics.get("leakage", {}).get("records", ())
    # The question of separation is about the test split.
    both = _tested_split(metrics) == "test"
    single = [
        record
        for record in metrics.get("separation", {}).get("records", ())
        if both and record["train_k"] == record["test_k"] == 1
    ]
    names = _with_content(strongest)
    found = []
    for name in names:
        own = _own(strongest, name)
        # The question of separation is about the first grouping.
        first = single if name == names[0] else []
        listed = [{**r, "code": _renamed(r["code"], name)} for r in first]
        if not own and not listed:
            continue
        best = _best(
            [
                *((r["code"], r["values"], r["accuracy"], r["num_test_codes"]) for r in listed),
                *((r["code"], r["values"], _strongest(r), r["num_test_codes"]) for r in own),
            ]
        )
        chance = [*listed, *own][0]["chance_accuracy"]
        shown = name if len(names) > 1 else ""
        found.append((shown, Accuracies(best, chance, style_kl)))
    return found


def _tested_split(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The split of the observations whose groups probes predict."""
    strongest = metrics.get("leakage", {}).get("records", ())
    return next((record["tested_on"] for record in strongest if "tested_on" in record), "test")


def _names(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The groupings and factors of records, in their order."""
    return list(dict.fromkeys(record.get("grouping", "") for record in records))


def _with_content(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The groupings that have a content of their own; the first one if contents have no name."""
    names, codes = _names(records), {record["code"] for record in records}
    own = [name for name in names if f"content_{name}" in codes]
    return own or names[:1] or [""]


def _several(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence on the grouping that the verdict is about, if others have no content."""
    records = metrics.get("leakage", {}).get("records", ())
    names = _names(records)
    if len(names) < 2 or any(record["code"].startswith("content_") for record in records):
        return ""
    return f" The groups are those of {names[0]}; the leakage matrix has the others."


def _own(records: Iterable[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """The records of one grouping, whose content has the name "content"."""
    own = [record for record in records if record.get("grouping", "") == name]
    return [{**record, "code": _renamed(record["code"], name)} for record in own]


def _renamed(code: str, grouping: str) -> str:
    return "content" if code == f"content_{grouping}" else code


def _strongest(record: Mapping[str, Any]) -> Estimate:
    """The accuracy in a record of the question ``leakage``."""
    return Estimate(record["accuracy"], math.nan, record["accuracy_standard_error"])


def _unseen(unseen: Mapping[str, Any], style_kl: float | None) -> list[tuple[str, Accuracies]]:
    """Accuracies of identification from one example: of each code the highest over distances."""
    records = unseen.get("identification", ())
    contents = {r["code"] for r in records if r["code"].startswith("content_")}
    found = []
    for name in _with_content(records):
        single = [r for r in _own(records, name) if r["shots"] == 1]
        if not single:
            continue
        counts = unseen.get(name, unseen)
        number = counts["num_observations"] - counts["num_groups"]
        best = _best((r["code"], "means", r["accuracy"], number) for r in single)
        shown = name if len(contents) > 1 else ""
        found.append((shown, Accuracies(best, single[0]["chance"], style_kl)))
    return found


def _best(
    records: Iterable[tuple[str, str, Estimate, int]],
) -> dict[str, dict[str, Estimate]]:
    """The highest accuracy by code and values, with an error that includes that of observations.

    The error over observations is the measured one, or that of n independent observations if this
    is larger: the bootstrap has no error at accuracies of 0 and 1.
    """
    best: dict[str, dict[str, Estimate]] = {}
    for code, values, accuracy, number in records:
        mean = accuracy.mean
        # Wilson's variance is not zero at accuracies of 0 and 1.
        centre = (mean * number + 2) / (number + 4)
        error = math.sqrt(centre * (1 - centre) / (number + 4))
        if not math.isnan(accuracy.sampling_error):
            error = max(error, accuracy.sampling_error)
        found = best.setdefault(code, {})
        if values not in found or mean > found[values].mean:
            found[values] = Estimate(mean, Estimate(mean, accuracy.standard_error, error).error)
    return best


def _style_kl(bounds: Mapping[str, Mapping[str, float]], split: str) -> float | None:
    return bounds.get(split, {}).get("style_kl_per_observation")


def _listed(found: Accuracies, raw: str, grouping: str) -> str:
    """The accuracies of the model's codes and of the raw observations in percent."""
    names = {code: f"its {code}" for code in found.values if code not in CONTROLS}
    if grouping and "content" in names:
        names["content"] = f"its content_{grouping}"
    if "raw" in found.values:
        names["raw"] = f"its {raw}"
    parts = []
    for code, name in names.items():
        texts = {key: value.text(1, scale=100) for key, value in found.values[code].items()}
        if len(texts) == 2:
            samples, means = texts["samples"], texts["means"]
            parts.append(f"{samples} percent from a sample and {means} from the mean of {name}")
        else:
            parts.append(f"{next(iter(texts.values()))} percent from {name}")
    return f"{_joined(parts)}; chance is {100 * found.chance:.1f} percent."


def _joined(parts: Sequence[str]) -> str:
    return ", and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _meaning(found: Accuracies, raw: str, grouping: str) -> str:
    """One sentence on the content and the style, and one on other contents if there are any."""
    content, style = "content" in found.codes, "style" in found.codes
    if not content and not style:
        return "The model has no content and style to separate."
    others, apart = _of_others(found, grouping)
    if not style:
        return f"{_of_content(found, raw)[0]}.{others}"
    state, good = _of_style(found)
    if not content:
        return f"{state[0].upper()}{state[1:]}.{others}"
    text, better = _of_content(found, raw)
    if better and good and apart:
        return f"{text}, and {state}: content and style are separated.{others}"
    return f"{text}, {'but' if better != good else 'and'} {state}.{others}"


def _of_others(found: Accuracies, grouping: str) -> tuple[str, bool]:
    """A sentence on the contents of the other groupings, and whether none has the group."""
    names = [code for code in found.codes if code.startswith("content_")]
    leaks = [name for name in names if found.above(name)]
    if not names:
        return "", True
    if not leaks:
        return f" No information about the {grouping} was found in {_joined(names)}.", True
    points = [
        f"{name} is {100 * (found.codes[name].mean - found.chance):.1f} points above chance"
        for name in leaks
    ]
    return f" Another content leaks: {_joined(points)}.", False


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
        values = found.values["style"]
        if len(values) == 2 and not _above(values["samples"], found.chance):
            text = (
                f"the mean of the style leaks: it is {points:.1f} points above chance, while no "
                "information about the group was found in a sample"
            )
    return (f"{text}, although it is nearly empty ({kl})" if empty else text), False
