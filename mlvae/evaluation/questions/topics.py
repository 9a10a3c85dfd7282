"""Topics of documents: how well words are predicted, and which words a topic has.

A topic is a corner of the simplex: the words that the model expects of a document that has this
topic alone.

Shapes: N documents, V words of the vocabulary, K topics, T words of a topic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.errors import check_number
from mlvae.evaluation.answer import Answer, Figure, Table, not_evaluated
from mlvae.evaluation.charts import word_bars
from mlvae.evaluation.measures.refinement import refined
from mlvae.evaluation.measures.topic_controls import (
    LDA,
    fit_lda,
    lda_bounds,
    sparse_counts,
    unigram_bounds,
)
from mlvae.evaluation.measures.topics import (
    coherence,
    diversity,
    perplexity,
    relevance,
    top_words,
)
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import SOURCES, Subject
from mlvae.models import traits
from mlvae.training.seeding import seeded

__all__ = ["Topics"]

#: Documents in one batch.
BATCH = 500

#: The controls by name, and their labels.
LABELS = {"unigram": "word frequencies", "lda": "LDA (scikit-learn)"}


@dataclass(frozen=True)
class Topics:
    """The question and its options.

    Args:
        words: T, number of the first words of a topic that are shown, and whose coherence is
            measured.
        diversity_words: number of words of a topic for the diversity.
        relevance: weights by which the words of a topic are ordered, one measurement for each
            (:func:`mlvae.evaluation.measures.topics.relevance`); 1: by probability. The first is
            that of the table of topics and of the figure.
        samples: samples of the latents of each document; the bound is their mean.
        refinement: gradient steps by which the posterior of each document is improved, for a
            second value of the perplexity
            (:func:`mlvae.evaluation.measures.refinement.refined`); LDA improves its posterior of
            each document, too. 0: none.
        shown: number of topics in the table and in the figure, the most frequent ones.
        controls: "unigram": frequencies of words; "lda": latent Dirichlet allocation of
            scikit-learn with as many topics, which is trained here.
        lda_passes: passes of LDA over the training documents.
    """

    words: int = 10
    diversity_words: int = 25
    relevance: tuple[float, ...] = (1.0,)
    samples: int = 10
    refinement: int = 0
    shown: int = 20
    controls: tuple[str, ...] = ("unigram",)
    lda_passes: int = 20

    title: ClassVar[str] = "Which topics do documents have?"

    def __post_init__(self) -> None:
        names = ("diversity_words", "samples", "shown", "lda_passes")
        minimum = {"words": 2, "refinement": 0, **dict.fromkeys(names, 1)}
        choices = {"controls": tuple(LABELS)}
        check_question(self, "controls", "relevance", minimum=minimum, choices=choices)
        for weight in self.relevance:
            check_number("evaluation.topics.relevance", weight, minimum=0, maximum=1)

    def applies(self, model: Any) -> bool:
        """Whether a model is of the kind that this question is about; see :func:`.applies`."""
        return hasattr(traits(model).likelihood, "log_coefficient")

    def ask(self, subject: Subject) -> Answer:
        """Measure the perplexity of held-out documents, and the topics."""
        model, (name, data) = subject.model, subject.tested()
        if not self.applies(model):
            reason = "the observations are no words of documents: it needs likelihood=multinomial"
            return not_evaluated(self.title, reason)
        if data is None:
            return not_evaluated(self.title, "this dataset has no test split")
        scores = _scores(model, data, self.samples)
        if scores is None:
            return not_evaluated(self.title, "the model has no bound on log p(x)")
        lengths = scores["length"]
        records = [_record("model", type(model).__name__, scores["bound"], lengths)]
        records[0]["kl_per_document"] = float(scores["kl"].mean())
        if self.refinement and traits(model).importance_weighted:
            better = _refined_bounds(model, data, self.samples, self.refinement)
            if better is not None:
                label = f"{type(model).__name__}, {self.refinement} steps for each document"
                records.append(_record("refined", label, better, lengths))
        shares = _topic_shares(model, data)
        number = _latent_dim(model, data) if shares is None else len(shares)
        train, test = sparse_counts(subject.splits.train), sparse_counts(data)
        frequencies = torch.from_numpy(np.asarray(train.sum(0), dtype=np.float64).ravel() + 1)
        frequencies /= frequencies.sum()
        present = torch.from_numpy((test > 0).toarray())
        listed: list[dict[str, Any]] = []
        if shares is not None:
            records[0] |= self._quality(shares, present, frequencies)
            order = relevance(shares, frequencies, self.relevance[0])
            listed = self._listed(subject, data, order, present, shares)
        records += self._controls(subject, train, test, present, frequencies, lengths, number)
        metrics = {"split": name, "num_topics": number, "records": records, "topics": listed}
        tables = [self._table(records), *([_topic_table(listed[: self.shown])] if listed else [])]
        figures = [self._figure(listed)] if listed else []
        words = _words(name, records, listed)
        return Answer(self.title, words, metrics, tables, figures)

    def _quality(self, shares: Tensor, present: Tensor, frequencies: Tensor) -> dict[str, Any]:
        """Coherence and diversity by the weight of the relevance, and those of the first one."""
        found: dict[str, Any] = {}
        for weight in self.relevance:
            order = relevance(shares, frequencies, weight)
            top = top_words(order, min(self.words, shares.shape[1]))
            most = top_words(order, min(self.diversity_words, shares.shape[1]))
            values = float(coherence(top, present).mean()), diversity(most)
            for name, value in zip(("coherence", "diversity"), values, strict=True):
                found.setdefault(name, value)
                found[f"{name}_at_{weight:g}"] = value
        return found

    def _listed(
        self, subject: Subject, data: GroupedData, order: Tensor, present: Tensor, shares: Tensor
    ) -> list[dict[str, Any]]:
        """The topics, the most frequent first, with the first words of ``order`` (K, V)."""
        top = top_words(order, min(self.words, shares.shape[1]))
        values = coherence(top, present)
        frequency = _topic_frequencies(subject.model, data)
        names = data.feature_names or [str(word) for word in range(shares.shape[1])]
        return [
            {
                "topic": int(topic),
                "frequency": float(frequency[topic]),
                "coherence": float(values[topic]),
                "words": [names[word] for word in top[topic].tolist()],
                "probabilities": shares[topic, top[topic]].tolist(),
            }
            for topic in frequency.argsort(descending=True)
        ]

    def _controls(
        self,
        subject: Subject,
        train: Any,
        test: Any,
        present: Tensor,
        frequencies: Tensor,
        lengths: Tensor,
        topics: int,
    ) -> list[dict[str, Any]]:
        records = []
        if "unigram" in self.controls:
            bounds = unigram_bounds(train, test)
            records.append(_record("unigram", LABELS["unigram"], bounds, lengths))
        if "lda" in self.controls:
            lda: LDA = fit_lda(train, topics, passes=self.lda_passes, seed=subject.seed)
            record = _record("lda", LABELS["lda"], lda_bounds(lda.model, test), lengths)
            record["seconds_per_pass"] = lda.seconds_per_pass
            records.append({**record, **self._quality(lda.topics, present, frequencies)})
        return records

    def _table(self, records: list[dict[str, Any]]) -> Table:
        columns = {
            "perplexity_per_document": ("perplexity per document", 1),
            "perplexity_per_word": ("per word", 1),
            "coherence": (f"coherence of {self.words} words", 3),
            "diversity": (f"diversity of {self.diversity_words} words", 3),
        }
        rows = [
            [
                record["label"],
                *[f"{record[n]:.{d}f}" if n in record else "-" for n, (_, d) in columns.items()],
            ]
            for record in records
        ]
        return Table(
            f"Upper bounds on the perplexity, from {self.samples} samples of the latents of each "
            "document, without the multinomial coefficient; mean NPMI of words in one document; "
            "share of different words in all topics. Words of a topic have the weight "
            f"{self.relevance[0]:g} of the relevance (1: the most probable words).",
            ["model", *[label for label, _ in columns.values()]],
            rows,
        )

    def _figure(self, listed: list[dict[str, Any]]) -> Figure:
        bars = {}
        for topic in listed[: self.shown]:
            label = f"{topic['topic']}: {100 * topic['frequency']:.1f} percent"
            bars[label] = dict(zip(topic["words"], topic["probabilities"], strict=True))
        return word_bars(
            "topics",
            f"The first words of each topic, with the weight {self.relevance[0]:g} of the "
            "relevance (1: the most probable words); a bar is the probability of the word in a "
            "document that has this topic alone. The number of the topic and its share of all "
            "documents stand above.",
            bars,
        )


def _record(name: str, label: str, bounds: Tensor, lengths: Tensor) -> dict[str, Any]:
    """The perplexities of a model."""
    found = perplexity(bounds.double().cpu(), lengths.double().cpu())
    return {
        "model": name,
        "label": label,
        "perplexity_per_document": found.per_document,
        "perplexity_per_word": found.per_word,
        "documents": found.documents,
        "words": found.words,
    }


@torch.no_grad()
def _scores(model: Any, data: GroupedData, samples: int) -> dict[str, Tensor] | None:
    """The bound on the words of each document, its KL and its number of words, (N,) each.

    None: the model has no bound.
    """
    likelihood, parts = traits(model).likelihood, []
    generator = seeded(torch.Generator(data.device), 0, "topics")
    for rows in torch.arange(len(data), device=data.device).split(BATCH):
        batch = data.singles(rows)
        length = batch.x.sum(1).double()
        bound, log_likelihood = torch.zeros_like(length), torch.zeros_like(length)
        for _ in range(samples):
            objective = model(batch, generator=generator)
            if objective.elbo is None:
                return None
            bound += objective.elbo.double() / samples
            log_likelihood += objective.per_observation["log_likelihood"].double() / samples
        kl = log_likelihood - bound
        if likelihood.coefficient:  # type: ignore[union-attr]
            bound -= likelihood.log_coefficient(batch.x).double()  # type: ignore[union-attr]
        parts.append({"bound": bound, "kl": kl, "length": length})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@torch.no_grad()
def _refined_bounds(model: Any, data: GroupedData, samples: int, steps: int) -> Tensor | None:
    """The bound on the words of each document with a posterior that is improved for it, (N,).

    None: the model has more than one code.
    """
    likelihood, parts = model.likelihood, []
    generator = seeded(torch.Generator(data.device), 0, "refinement")
    for rows in torch.arange(len(data), device=data.device).split(BATCH):
        x = data.singles(rows).x
        posterior, style = model.posteriors(x)
        if style(posterior.mean).mean.shape[1]:
            return None

        def log_likelihood(z: Tensor, x: Tensor = x) -> Tensor:
            return likelihood.log_prob(model.decoder(z), x)

        q = refined(posterior, log_likelihood, steps=steps, generator=generator)
        bound = -q.kl().double()
        for _ in range(samples):
            bound += log_likelihood(q.sample(generator=generator)).double() / samples
        if likelihood.coefficient:
            bound -= likelihood.log_coefficient(x).double()
        parts.append(bound)
    return torch.cat(parts)


@torch.no_grad()
def _simplex_code(model: Any, data: GroupedData) -> str | None:
    """The name of the only code whose values are shares; None if there is none."""
    codes = model.codes(data.singles([0]))
    names = [name for name, code in codes.items() if code.simplex]
    return names[0] if len(names) == 1 else None


@torch.no_grad()
def _latent_dim(model: Any, data: GroupedData) -> int:
    """The number of dimensions of all codes."""
    return sum(code.mean.shape[1] for code in model.codes(data.singles([0])).values())


@torch.no_grad()
def _topic_shares(model: Any, data: GroupedData) -> Tensor | None:
    """The share of each word in a document of one topic, (K, V); None without a simplex.

    Codes that are no shares have the mean of their prior.
    """
    name = _simplex_code(model, data)
    if name is None:
        return None
    codes = model.codes(data.singles([0]))
    mean = codes[name].mean
    values = {name: torch.eye(mean.shape[1]).to(mean)}
    for other, code in codes.items():
        if other != name:
            values[other] = code.prior_rows(mean.shape[1]).mean
    expected = model.decode(**values).double().cpu()
    return expected / expected.sum(1, keepdim=True)


@torch.no_grad()
def _topic_frequencies(model: Any, data: GroupedData) -> Tensor:
    """The mean share of each topic in documents, (K,)."""
    name = _simplex_code(model, data)
    rows = torch.arange(len(data), device=data.device).split(BATCH)
    sums = [model.codes(data.singles(part))[name].mean.double().sum(0) for part in rows]
    return torch.stack(sums).sum(0).cpu() / len(data)


def _topic_table(topics: list[dict[str, Any]]) -> Table:
    rows = [
        [
            str(topic["topic"]),
            f"{100 * topic['frequency']:.1f}",
            f"{topic['coherence']:.2f}",
            ", ".join(topic["words"]),
        ]
        for topic in topics
    ]
    return Table(
        "Topics by their share of the documents, in percent, with their coherence and their most "
        "probable words.",
        ["topic", "share", "coherence", "words"],
        rows,
    )


def _words(name: str, records: list[dict[str, Any]], topics: list[dict[str, Any]]) -> list[str]:
    own = records[0]
    text = (
        f"The perplexity of {SOURCES[name]} is at most {own['perplexity_per_document']:.0f} per "
        f"document and {own['perplexity_per_word']:.0f} per word ({own['documents']:,} documents "
        f"with words, {own['words']:,} words). The KL of a document is "
        f"{own['kl_per_document']:.1f} nats."
    )
    others = [
        f"{record['label']} {record['perplexity_per_document']:.0f} and "
        f"{record['perplexity_per_word']:.0f}"
        for record in records
        if record["model"] in LABELS
    ]
    refined = [record for record in records if record["model"] == "refined"]
    for record in refined:
        values = [record[f"perplexity_per_{unit}"] for unit in ("document", "word")]
        text += f" After steps for each document it is {values[0]:.0f} and {values[1]:.0f}."
    paragraphs = [f"{text} Controls: {', '.join(others)}."]
    if topics:
        paragraphs.append(
            "Perplexity and coherence measure different things: a model with a lower perplexity "
            "may have topics that are harder to read. A coherence of 0 is that of independent "
            "words."
        )
    else:
        paragraphs.append(
            "The latents of this model are no shares, so it has no topics. model=dirvae has them."
        )
    return paragraphs
