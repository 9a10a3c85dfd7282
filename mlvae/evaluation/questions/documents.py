"""Is the class of a document known from k documents? Content beside LDA and TF-IDF.

Shapes: N documents, V words, C dimensions of the content.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.evaluation.answer import Answer, Table, not_evaluated
from mlvae.evaluation.measures.document_shots import Features, document_shots
from mlvae.evaluation.measures.topic_controls import fit_lda, sparse_counts
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import SOURCES, Subject
from mlvae.models import traits
from mlvae.posteriors import Dirichlet

__all__ = ["Documents"]

#: Documents in one batch.
BATCH = 500


@dataclass(frozen=True)
class Documents:
    """The question and its options.

    Args:
        shots: numbers k of known documents of each class.
        galleries: random choices of the known documents, the same for all rows.
        lda_passes: passes of scikit-learn's LDA over the training documents. It has as many topics
            as the content has dimensions.
    """

    shots: tuple[int, ...] = (1, 5, 20)
    galleries: int = 50
    lda_passes: int = 20

    title: ClassVar[str] = "Is the class of a document known from k documents?"

    def __post_init__(self) -> None:
        minimum = {"shots": 1, "galleries": 2, "lda_passes": 1}
        check_question(self, "shots", minimum=minimum)

    def applies(self, model: Any) -> bool:
        """Whether a model is of the kind that this question is about; see :func:`.applies`."""
        return hasattr(traits(model).likelihood, "log_coefficient")

    def ask(self, subject: Subject) -> Answer:
        """Classify the documents of the test split, and those of unseen classes."""
        model = subject.model
        if not self.applies(model):
            reason = "the observations are no words of documents: it needs likelihood=multinomial"
            return not_evaluated(self.title, reason)
        splits = {
            name: data
            for name, data in (("test", subject.splits.test), ("unseen", subject.splits.unseen))
            if data is not None and self._shots(data)
        }
        if not splits:
            return not_evaluated(self.title, "no held-out split has two classes of documents")
        name = _content(model, subject.splits.train)
        if name is None:
            return not_evaluated(self.title, "the model has no Dirichlet content")
        dim = model.codes(subject.splits.train.singles([0]))[name].mean.shape[1]
        train = sparse_counts(subject.splits.train)
        lda = fit_lda(train, dim, passes=self.lda_passes, seed=subject.seed).model
        records = []
        for split, data in splits.items():
            found = {
                f"{type(model).__name__} {name}": _of_content(model, name, data),
                f"LDA, {dim} topics, mean mixture": _of_lda(lda, data),
                "TF-IDF centroid": _of_tf_idf(train, data),
            }
            codes = ("content", "lda", "tf_idf")
            for (label, features), code in zip(found.items(), codes, strict=True):
                for shots in self._shots(data):
                    score = document_shots(
                        features, data.groups, shots=shots, galleries=self.galleries
                    )
                    records.append(
                        {
                            "split": split,
                            "code": code,
                            "label": label,
                            "shots": shots,
                            "accuracy": score,
                            "classes": data.groups.num_groups,
                        }
                    )
        tables = [self._table(split, records) for split in splits]
        return Answer(self.title, [_words(records)], {"records": records}, tables)

    def _shots(self, data: GroupedData) -> list[int]:
        """The numbers of documents that all classes of ``data`` have, and one more."""
        if data.groups.num_groups < 2:
            return []
        return [shots for shots in self.shots if int(data.groups.sizes.min()) > shots]

    def _table(self, split: str, records: list[dict[str, Any]]) -> Table:
        mine = [record for record in records if record["split"] == split]
        rows: dict[str, list[str]] = {}
        for record in mine:
            cells = rows.setdefault(record["label"], [])
            cells.append(record["accuracy"].text(1, scale=100))
        shots = dict.fromkeys(record["shots"] for record in mine)
        return Table(
            f"{SOURCES[split].capitalize()}: accuracy in percent among {mine[0]['classes']} "
            f"classes (chance {100 / mine[0]['classes']:.1f}) from k documents of each; ± "
            f"standard error over {self.galleries} choices of these documents.",
            ["features", *[f"k = {number}" for number in shots]],
            [[label, *cells] for label, cells in rows.items()],
        )


@torch.no_grad()
def _content(model: Any, data: GroupedData) -> str | None:
    """The name of the group's code if it is a Dirichlet."""
    codes = model.codes(data.singles([0]))
    names = [name for name, code in codes.items() if isinstance(code, Dirichlet)]
    return names[0] if len(names) == 1 else None


@torch.no_grad()
def _of_content(model: Any, name: str, data: GroupedData) -> Features:
    """The evidence of each document, in pseudo-counts above the prior."""
    parts = []
    for rows in torch.arange(len(data), device=data.device).split(BATCH):
        q = model.codes(data.singles(rows))[name]
        parts.append((q.concentration - q.prior_concentration).clamp_min(0).cpu())
    return Features(torch.cat(parts), q.prior_concentration.cpu(), shares=True)


def _of_lda(lda: Any, data: GroupedData) -> Features:
    """The topic mixture of each document."""
    mixtures = torch.from_numpy(lda.transform(sparse_counts(data)))
    return Features(mixtures, torch.zeros(mixtures.shape[1]), shares=True)


def _of_tf_idf(train: Any, data: GroupedData) -> Features:
    """TF-IDF vectors of the length 1, with the document frequencies of the training split."""
    from sklearn.feature_extraction.text import TfidfTransformer  # takes a second to import

    transformer = TfidfTransformer(sublinear_tf=True).fit(train)
    weighted: Any = transformer.transform(sparse_counts(data))
    values: Tensor = torch.from_numpy(weighted.toarray())
    return Features(values, torch.zeros(values.shape[1]), shares=False)


def _words(records: list[dict[str, Any]]) -> str:
    first = min(record["shots"] for record in records)
    found = [
        f"{record['label']} {record['accuracy'].text(1, scale=100)} ({record['split']})"
        for record in records
        if record["shots"] == first
    ]
    return (
        f"With {first} known document of each class, the others are assigned to their class in "
        f"percent: {', '.join(found)}. The evidence of documents about the content adds up; topic "
        "mixtures and TF-IDF vectors are averaged."
    )
