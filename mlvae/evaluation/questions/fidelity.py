"""Does a swapped observation have the content of one observation and only the style of another?

A classifier learns the groups from real observations alone. It then classifies swaps: the content
of one test observation decoded with the style of another. It should predict the group of the
content. Where it predicts the group of the style, the style carried the group.

With several groupings, each has a classifier of its own. The content of one grouping is then that
of one observation, and the style and all other contents are those of another.
"""

from __future__ import annotations

import copy
import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.data import GroupedData
from mlvae.errors import InputError, check_text
from mlvae.evaluation.answer import Answer, Estimate, Table, estimate, not_evaluated
from mlvae.evaluation.measures.codes import common_labels
from mlvae.evaluation.measures.resampling import sampling_error
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import Subject
from mlvae.grids.factorial import content_names
from mlvae.groups.grouping import UNNAMED
from mlvae.models import Model, Standardise, traits
from mlvae.networks import MLP, Conv
from mlvae.posteriors import Point
from mlvae.training.checkpoint import read_checkpoint, write_checkpoint
from mlvae.training.run import restore

__all__ = ["Fidelity"]

#: Batch size and learning rate of the classifier; observations that are classified at once.
BATCH, LEARNING_RATE, CHUNK = 250, 2e-3, 1000

LABELS = {
    "real": "real observations: their group",
    "reconstruction": "reconstructions: their group",
    "content": "swaps of two groups: the group of the content",
    "style": "swaps of two groups: the group of the style",
}

#: What a swap takes from the second observation.
STYLE, OTHERS = "the style", "the style and the other contents"


@dataclass(frozen=True)
class Fidelity:
    """The question and its options.

    Args:
        epochs: epochs of the classifier's training.
        swaps: pairs of test observations per repetition.
        seeds: repetitions, each with its own classifier and pairs.
        keep: folder where classifiers are kept for evaluations of other models on the same data;
            None keeps none.
    """

    epochs: int = 8
    swaps: int = 10_000
    seeds: int = 1
    keep: str | None = None

    title: ClassVar[str] = "Does a swap have the content it was given?"

    def __post_init__(self) -> None:
        check_question(self, minimum={"epochs": 1, "swaps": 1, "seeds": 1})
        if self.keep is not None:
            check_text("evaluation.fidelity.keep", self.keep)

    def ask(self, subject: Subject) -> Answer:
        """Train the classifiers and classify swaps."""
        train, test = subject.splits.train, subject.splits.test
        codes = subject.model.codes(train.singles([0]))
        contents = content_names(subject.model, list(codes))
        if not contents or "style" not in codes:
            return not_evaluated(self.title, "the model has no content and style to swap")
        if test is None:
            return not_evaluated(self.title, "there is no test split of groups seen in training")
        found: dict[str, dict[str, Estimate]] = {}
        reasons = []
        for grouping, code in contents.items():
            name = train.grouping if grouping == UNNAMED else grouping
            parts = [_of_grouping(data, name) for data in (train, test)]
            if reason := _unusable(*parts):
                what = f"grouping {name}: {reason}" if len(contents) > 1 else reason
                reasons.append(what)
                continue
            found[name] = self._estimates(subject.model, code, *parts)
        if not found:
            return not_evaluated(self.title, reasons[0])
        several = len(contents) > 1
        text = [
            f"Grouping {name}: {_summary(read, OTHERS)}" if several else _summary(read, STYLE)
            for name, read in found.items()
        ]
        text += [f"Not evaluated for {reason}." for reason in reasons]
        records = [
            {"grouping": name, "read": each, "accuracy": accuracy}
            for name, read in found.items()
            for each, accuracy in read.items()
        ]
        metrics = {"records": records, "swaps": self.swaps}
        return Answer(self.title, text, metrics, [self._table(found, several)])

    def _estimates(
        self, model: Model, code: str, train: GroupedData, test: GroupedData
    ) -> dict[str, Estimate]:
        """The fraction of predictions that are the one in question, by name."""
        device = next(model.parameters()).device
        parts = train.to(device), test.to(device)
        runs = [self._repetition(model, code, *parts, seed) for seed in range(self.seeds)]
        found = {}
        for name in runs[0]:
            some = [run[name] for run in runs]
            errors = [sampling_error(each.right, groups=each.observation) for each in some]
            # Without a pair of two groups there is no fraction of swaps.
            means = [float(each.right.mean()) if len(each.right) else math.nan for each in some]
            found[name] = estimate(means, fmean(errors))
        return found

    def _table(self, found: dict[str, dict[str, Estimate]], several: bool) -> Table:
        classifiers = f" ± over {self.seeds} classifiers" if self.seeds > 1 else ""
        swaps = (
            " A swap has the content of the grouping from one observation, and the style and all "
            "other contents from another."
            if several
            else ""
        )
        return Table(
            "Predictions of a classifier of real observations, in percent; ± standard error over "
            f"test observations{classifiers}.{swaps}",
            ["input: predicted group", *(found if several else ["percent"])],
            [
                [
                    label.replace(STYLE, OTHERS) if several else label,
                    *[_percent(read[each]) for read in found.values()],
                ]
                for each, label in LABELS.items()
            ],
        )

    def _repetition(
        self, model: Model, code: str, train: GroupedData, test: GroupedData, seed: int
    ) -> dict[str, _Read]:
        """Whether each prediction of one classifier is the one in question, by name."""
        scale = traits(model).standardise
        classifier = _classifier(train, self.epochs, seed, self.keep, scale)
        labels = common_labels(train, test)[1]
        generator = torch.Generator(train.device).manual_seed(seed)
        a, b = (
            torch.randint(len(test), (self.swaps,), generator=generator, device=test.device)
            for _ in range(2)
        )
        pairs = torch.stack((a, b)).split(CHUNK, 1)
        real = _predict(classifier, pairs, lambda pair: test.observations(pair[0]))
        again = _predict(classifier, pairs, lambda pair: _swap(model, code, test, pair[[0, 0]]))
        swapped = _predict(classifier, pairs, lambda pair: _swap(model, code, test, pair))
        other = labels[a] != labels[b]
        found = {
            "real": (real == labels[a], a),
            "reconstruction": (again == labels[a], a),
            "content": ((swapped == labels[a])[other], a[other]),
            "style": ((swapped == labels[b])[other], b[other]),
        }
        return {
            name: _Read(right.double().cpu().numpy(), rows.cpu().numpy())
            for name, (right, rows) in found.items()
        }


class _Read(NamedTuple):
    """The predictions of pairs, of which an observation may be in several.

    Attributes:
        right: 1 where the prediction is the one in question, else 0, (pairs,).
        observation: the test observation whose group is in question, (pairs,).
    """

    right: np.ndarray
    observation: np.ndarray


def _of_grouping(data: GroupedData, name: str) -> GroupedData:
    """The observations with a label in a grouping, which is the first one."""
    chosen = data if name == data.grouping or name not in data.groupings else data.regrouped(name)
    if None not in chosen.group_names:
        return chosen
    return chosen.subset(chosen.groupings[name].labelled.nonzero()[:, 0])


def _unusable(train: GroupedData, test: GroupedData) -> str:
    """Why no classifier of the groups of ``train`` can be tested; empty if one can."""
    if not set(test.group_names) <= set(train.group_names):
        return "there is no test split of groups seen in training"
    if len(test.group_names) < 2:
        return "the test split has one group only"
    return ""


def _swap(model: Model, code: str, data: GroupedData, pair: Tensor) -> Tensor:
    """The content ``code`` of observations ``pair[0]`` with all other codes of ``pair[1]``."""
    codes, others = (model.codes(data.singles(rows)) for rows in pair)
    chosen = {**others, code: codes[code]}
    return model.decode(**{name: chosen[name].mean for name in codes})


def _summary(read: dict[str, Estimate], others: str) -> str:
    words = {name: _percent(accuracy) for name, accuracy in read.items()}
    return (
        f"A classifier of real observations has an accuracy of {words['real']} percent on the "
        f"test split. For swaps of two different groups it predicts the group of the content in "
        f"{words['content']} percent, and the group of {others} in {words['style']} percent. For "
        f"reconstructions it predicts their group in {words['reconstruction']} percent."
    )


def _percent(value: Estimate) -> str:
    return value.text(1, scale=100)


def _classifier(
    train: GroupedData,
    epochs: int,
    seed: int,
    keep: str | None,
    scale: Standardise | None = None,
) -> nn.Module:
    """A network trained on real observations; its outputs are the logits of groups.

    It sees the observations on the ``scale`` of the model.
    """
    if scale is not None and scale.kind is None:
        scale = None
    kept = None if keep is None else Path(keep).expanduser() / _name(train, epochs, seed, scale)
    with torch.random.fork_rng([train.device] if train.device.type == "cuda" else []):
        torch.manual_seed(seed)  # of initial weights and dropout
        classifier = _untrained(train)
        if scale is not None:
            classifier = nn.Sequential(copy.deepcopy(scale), classifier)
        if kept is not None and kept.is_file():
            weights = read_checkpoint(kept).get("model")
            if not isinstance(weights, dict):
                raise InputError(f"{kept} must have the weights of a classifier; delete it")
            restore(classifier, weights, kept)
        else:
            _train(classifier, train, epochs, torch.Generator(train.device).manual_seed(seed))
            if kept is not None:
                _keep(classifier, kept)
    return classifier.eval()


def _name(train: GroupedData, epochs: int, seed: int, scale: Standardise | None) -> str:
    """A file name by a hash of everything that a classifier depends on."""
    what = f"logits {epochs} {seed} {BATCH} {LEARNING_RATE}"
    where = f"{what} {train.device.type} {torch.__version__}"
    digest = hashlib.blake2b(where.encode(), digest_size=16)
    if scale is not None:
        digest.update(str(scale.kind).encode())
        digest.update(torch.stack((scale.mean, scale.deviation)).cpu().numpy().tobytes())
    for rows in torch.arange(len(train), device=train.device).split(CHUNK):
        digest.update(train.observations(rows).cpu().numpy().tobytes())
    digest.update(train.groups.index.cpu().numpy().tobytes())
    return f"{digest.hexdigest()}.pt"


def _keep(classifier: nn.Module, path: Path) -> None:
    """Write a classifier to ``path``, which another process may write too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_stem(f"{path.stem}-{os.getpid()}")
    write_checkpoint(own, {"model": classifier.state_dict()})
    own.replace(path)


def _untrained(train: GroupedData) -> nn.Module:
    images = len(train.shape) == 3
    network = Conv((32, 64), blocks=0, dropout=0.3) if images else MLP((256, 256), "relu")
    return network.encoder(train.shape, (len(train.group_names),), Point).to(train.device)


def _train(
    classifier: nn.Module, train: GroupedData, epochs: int, generator: torch.Generator
) -> None:
    adam = torch.optim.Adam(classifier.parameters(), lr=LEARNING_RATE, fused=True)
    steps = epochs * -(-len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(epochs):
        order = torch.randperm(len(train), generator=generator, device=train.device)
        for rows in order.split(BATCH):
            (logits,) = classifier(train.observations(rows))
            loss = functional.cross_entropy(logits.mean, train.groups.index[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()


@torch.no_grad()
def _predict(
    classifier: nn.Module, pieces: Sequence[Tensor], observe: Callable[[Tensor], Tensor]
) -> Tensor:
    """The classifier's predictions for the observations that ``observe`` makes of each piece."""
    return torch.cat([classifier(observe(rows))[0].mean.argmax(1) for rows in pieces])
