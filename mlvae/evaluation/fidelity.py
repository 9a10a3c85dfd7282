"""Does a swapped observation have the content it was given, and only the style of the other?

A classifier learns the groups from real observations alone, and is then shown swaps: the content
of one test observation decoded with the style of another. It should read the group of the first;
where it reads that of the second, the style carried it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.data import GroupedData
from mlvae.errors import InputError, check_integer
from mlvae.evaluation.answer import Answer, Estimate, Table, estimate
from mlvae.evaluation.codes import common_labels
from mlvae.evaluation.subject import Subject
from mlvae.models import told_groups
from mlvae.networks import MLP, Conv, Encoder
from mlvae.training.checkpoint import read_checkpoint, write_checkpoint

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
        keep: folder where classifiers are kept, and found again when another model of the same
            data is asked about; None keeps none.
    """

    epochs: int = 8
    swaps: int = 10_000
    seeds: int = 3
    keep: str | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "swaps", "seeds"):
            check_integer(f"evaluation.fidelity.{name}", getattr(self, name), minimum=1)
        if self.keep is not None and not isinstance(self.keep, str):
            raise InputError(
                f"evaluation.fidelity.keep must be a folder or null, not {self.keep!r}"
            )

    def ask(self, subject: Subject) -> Answer:
        """Train the classifiers and show them swaps."""
        title = "Does a swap have the content it was given?"
        train, test = subject.splits.train, subject.splits.test
        if not hasattr(subject.model, "swap"):
            return Answer(title, ["Not asked: the model has no content and style to swap."])
        if test is None or not set(test.group_names) <= set(train.group_names):
            return Answer(title, ["Not asked: there is no test split of groups seen in training."])
        if len(test.group_names) < 2:
            return Answer(title, ["Not asked: the test split has one group only."])
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
        classifier = _classifier(train, self.epochs, seed, self.keep)
        labels = common_labels(train, test)[1]
        generator = torch.Generator(train.device).manual_seed(seed)
        a, b = (
            torch.randint(len(test), (self.swaps,), generator=generator, device=test.device)
            for _ in range(2)
        )
        look = test.singles if told_groups(model) else test.observations
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


def _classifier(train: GroupedData, epochs: int, seed: int, keep: str | None) -> Encoder:
    """A network trained on real observations; its posterior means are the logits of groups."""
    kept = None if keep is None else Path(keep).expanduser() / _name(train, epochs, seed)
    with torch.random.fork_rng([train.device] if train.device.type == "cuda" else []):
        torch.manual_seed(seed)  # of initial weights and dropout
        classifier = _untrained(train)
        if kept is not None and kept.is_file():
            classifier.load_state_dict(read_checkpoint(kept)["model"])
        else:
            _train(classifier, train, epochs, torch.Generator(train.device).manual_seed(seed))
            if kept is not None:
                _keep(classifier, kept)
    return classifier.eval()


def _name(train: GroupedData, epochs: int, seed: int) -> str:
    """A file name that stands for all that a classifier depends on."""
    where = f"{epochs} {seed} {BATCH} {LEARNING_RATE} {train.device.type} {torch.__version__}"
    digest = hashlib.blake2b(where.encode(), digest_size=16)
    for rows in torch.arange(len(train), device=train.device).split(CHUNK):
        digest.update(train.observations(rows).cpu().numpy().tobytes())
    digest.update(train.groups.index.cpu().numpy().tobytes())
    return f"{digest.hexdigest()}.pt"


def _keep(classifier: Encoder, path: Path) -> None:
    """Write it to ``path``, which another process may be doing as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_stem(f"{path.stem}-{os.getpid()}")
    write_checkpoint(own, {"model": classifier.state_dict()})
    own.replace(path)


def _untrained(train: GroupedData) -> Encoder:
    images = len(train.shape) == 3
    network = Conv((32, 64), blocks=0, dropout=0.3) if images else MLP((256, 256), "relu")
    return network.encoder(train.shape, (len(train.group_names),)).to(train.device)


def _train(
    classifier: Encoder, train: GroupedData, epochs: int, generator: torch.Generator
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
def _read(
    classifier: Encoder, pieces: Sequence[Tensor], show: Callable[[Tensor], Tensor]
) -> Tensor:
    """The groups that the classifier reads from what ``show`` makes of the rows of each piece."""
    return torch.cat([classifier(show(rows))[0].mean.argmax(1) for rows in pieces])
