"""Does a swapped observation have the content it was given, and only the style of the other?

A classifier learns the groups from real observations alone, and is then shown swaps: the content
of one test observation decoded with the style of another. It should read the group of the first;
where it reads that of the second, the style carried it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.data import GroupedData
from mlvae.errors import check_integer
from mlvae.evaluation.answer import Answer, Estimate, Table, estimate
from mlvae.evaluation.codes import common_labels
from mlvae.evaluation.subject import Subject
from mlvae.networks import MLP, Conv, Encoder

__all__ = ["Fidelity"]

#: Of the classifier's training; and observations that are looked at at once.
BATCH, LEARNING_RATE, CHUNK = 250, 2e-3, 1000

LABELS = {
    "real": "real observations: their group",
    "reconstruction": "reconstructions: their group",
    "content": "swaps of two groups: the group of the content",
    "style": "swaps of two groups: the group of the style",
}


@dataclass(frozen=True)
class Fidelity:
    """The question, and how it is asked.

    Args:
        epochs: of the classifier's training.
        swaps: pairs of test observations to swap, in a repetition.
        seeds: repetitions, each with a classifier and pairs of its own.
    """

    epochs: int = 8
    swaps: int = 10_000
    seeds: int = 3

    def __post_init__(self) -> None:
        for name in ("epochs", "swaps", "seeds"):
            check_integer(f"evaluation.fidelity.{name}", getattr(self, name), minimum=1)

    def ask(self, subject: Subject) -> Answer:
        """Train the classifiers and show them swaps."""
        title = "Does a swap have the content it was given?"
        train, test = subject.splits.train, subject.splits.test
        if not hasattr(subject.model, "swap"):
            return Answer(title, ["Not asked: the model has no content and style to swap."])
        if test is None or not set(test.group_names) <= set(train.group_names):
            return Answer(title, ["Not asked: there is no test split of groups seen in training."])
        if len(train.group_names) < 2:
            return Answer(title, ["Not asked: there is one group only."])
        device = next(subject.model.parameters()).device
        parts = train.to(device), test.to(device)
        runs = [self._repetition(subject.model, *parts, seed) for seed in range(self.seeds)]
        records = [
            {"read": name, "accuracy": estimate([run[name] for run in runs])} for name in runs[0]
        ]
        words = {record["read"]: _percent(record["accuracy"]) for record in records}
        summary = (
            f"A classifier of real observations is right about {words['real']} percent of those "
            f"of the test split. Of swaps it reads the group that gave the content in "
            f"{words['content']} percent, the group that gave the style in {words['style']} "
            "percent of those whose two groups differ. Reconstructions keep their group in "
            f"{words['reconstruction']} percent."
        )
        rows = [[LABELS[record["read"]], _percent(record["accuracy"])] for record in records]
        table = Table(
            "What a classifier of real observations reads, in percent; mean and standard error "
            f"over {self.seeds} classifiers.",
            ["shown", "percent"],
            rows,
        )
        return Answer(title, [summary], {"records": records, "swaps": self.swaps}, [table])

    def _repetition(
        self, model: nn.Module, train: GroupedData, test: GroupedData, seed: int
    ) -> dict[str, float]:
        """What one classifier reads, as fractions."""
        classifier = _classifier(train, self.epochs, seed)
        labels = common_labels(train, test)[1]
        generator = torch.Generator(train.device).manual_seed(seed)
        a, b = (
            torch.randint(len(test), (self.swaps,), generator=generator, device=test.device)
            for _ in range(2)
        )
        look = test.singles if hasattr(model, "check_groups") else test.observations
        real = _read(classifier, a.split(CHUNK), test.observations)
        again = _read(classifier, a.split(CHUNK), lambda rows: model.reconstruct(look(rows)))
        pairs = torch.stack((a, b)).split(CHUNK, 1)
        swapped = _read(classifier, pairs, lambda rows: model.swap(look(rows[0]), look(rows[1])))
        other = labels[a] != labels[b]
        return {
            "real": float((real == labels[a]).double().mean()),
            "reconstruction": float((again == labels[a]).double().mean()),
            "content": float((swapped == labels[a])[other].double().mean()),
            "style": float((swapped == labels[b])[other].double().mean()),
        }


def _percent(value: Estimate) -> str:
    return value.text(1, scale=100)


def _classifier(train: GroupedData, epochs: int, seed: int) -> Encoder:
    """A network trained on real observations; its posterior means are the logits of groups."""
    with torch.random.fork_rng([train.device] if train.device.type == "cuda" else []):
        torch.manual_seed(seed)  # of initial weights and dropout
        return _trained(train, epochs, torch.Generator(train.device).manual_seed(seed))


def _trained(train: GroupedData, epochs: int, generator: torch.Generator) -> Encoder:
    images = len(train.shape) == 3
    network = Conv((32, 64), blocks=0, dropout=0.3) if images else MLP((256, 256), "relu")
    classifier = network.encoder(train.shape, (len(train.group_names),)).to(train.device)
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
    return classifier.eval()


@torch.no_grad()
def _read(
    classifier: Encoder, pieces: Sequence[Tensor], show: Callable[[Tensor], Tensor]
) -> Tensor:
    """The groups that the classifier reads from what ``show`` makes of the rows of each piece."""
    return torch.cat([classifier(show(rows))[0].mean.argmax(1) for rows in pieces])
