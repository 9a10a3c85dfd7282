"""The time of an epoch of the topic model DirVAE beside a pass of scikit-learn's LDA."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import mlvae
from mlvae.commands.benchmarks.machine import facts, line
from mlvae.commands.benchmarks.recipes import Recipe
from mlvae.commands.benchmarks.training import library_steps, rate
from mlvae.data import GroupedData
from mlvae.evaluation.measures.topic_controls import sparse_counts
from mlvae.likelihoods import Multinomial
from mlvae.networks import TopicMLP

__all__ = ["drawn_documents", "measure", "report"]

LDA = "LDA of scikit-learn, one online pass"
DIRVAE = "DirVAE, one epoch"


@dataclass(frozen=True)
class Topics(Recipe):
    """The topic model of experiment=20news_dirvae.

    Args:
        topics: number of topics.
        words: of the vocabulary.
    """

    name: str = "experiment=20news_dirvae"
    batch_size: int = 200
    images: int = 11_258
    topics: int = 50
    words: int = 1994

    def model(self) -> Any:
        """A new model, on the CPU."""
        return mlvae.models.DirVAE(
            (self.words,),
            latent_dim=self.topics,
            prior_alpha=0.1,
            sampler="implicit",
            kl="dirichlet",
            network=TopicMLP(hidden=(500, 500), activation="relu"),
            likelihood=Multinomial(),
        )


def drawn_documents(recipe: Topics, *, length: int = 60) -> GroupedData:
    """Documents of LDA's generative process, as a sparse matrix, each a group of its own.

    D. M. Blei, A. Y. Ng, M. I. Jordan: Latent Dirichlet Allocation. JMLR 3, 2003.

    Args:
        recipe: number of documents, topics and words.
        length: words of a document.
    """
    import scipy.sparse  # takes a second to import

    generator = np.random.default_rng(0)
    topics = torch.from_numpy(generator.dirichlet([0.05] * recipe.words, recipe.topics))
    shares = torch.from_numpy(generator.dirichlet([0.1] * recipe.topics, recipe.images))
    drawn = torch.Generator().manual_seed(0)
    words = torch.multinomial(shares @ topics, length, replacement=True, generator=drawn)
    rows = torch.arange(recipe.images).repeat_interleave(length)
    counts: Any = scipy.sparse.coo_matrix(
        (np.ones(words.numel(), np.float32), (rows.numpy(), words.flatten().numpy())),
        shape=(recipe.images, recipe.words),
    ).tocsr()
    return GroupedData(counts, range(recipe.images))


def lda_steps(data: GroupedData, recipe: Topics) -> Iterator[int]:
    """Train LDA by online variational Bayes; yield the documents of each step.

    M. Hoffman, D. Blei, F. Bach: Online Learning for Latent Dirichlet Allocation. NeurIPS 2010.
    """
    from sklearn.decomposition import LatentDirichletAllocation

    counts = sparse_counts(data)
    model = LatentDirichletAllocation(
        recipe.topics,
        learning_method="online",
        batch_size=recipe.batch_size,
        total_samples=len(data),
        random_state=0,
        n_jobs=1,
    )
    generator = torch.Generator().manual_seed(0)
    while True:
        for rows in torch.randperm(len(data), generator=generator).split(recipe.batch_size):
            model.partial_fit(counts[rows.numpy()])
            yield len(rows)


def measure(*, root: str | None, rounds: int, seconds: float, quick: bool) -> dict[str, Any]:
    """Measure both in turn, on the CPU.

    Args:
        root: folder of 20 Newsgroups; None: drawn documents of the same size.
        rounds: number of measurements of each.
        seconds: least time of a measurement.
        quick: a small model and few documents; the figures have no meaning.
    """
    recipe = Topics()
    if quick:
        recipe = replace(recipe, batch_size=8, images=40, topics=3, words=30)
    if root is None or quick:
        data, name = drawn_documents(recipe), f"{recipe.images:,} drawn documents of 60 words"
    else:
        data, name = mlvae.data.newsgroups(root).train, "20 Newsgroups, 11,258 documents"
    torch.manual_seed(0)
    ways = {LDA: lda_steps(data, recipe), DIRVAE: library_steps(recipe, data, "float32")}
    for steps in ways.values():
        rate(steps, min(1.0, seconds), data.device)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, steps in ways.items():
            rates[way].append(rate(steps, seconds, data.device))
    return {
        "recipe": recipe.name,
        "data": name,
        "documents": len(data),
        **facts(data.device),
        "documents_per_second": rates,
        "ratio_to_lda": [a / b for a, b in zip(rates[DIRVAE], rates[LDA], strict=True)],
    }


def report(result: dict[str, Any]) -> str:
    """The result as a table of medians, with the range of the ratio over rounds."""
    lines = [
        f"{result['recipe']}, 50 topics; {result['data']}",
        line(result),
        "",
        f"{'':40}{'documents/s':>13}{'s per epoch':>13}",
    ]
    for way, rates in result["documents_per_second"].items():
        median = statistics.median(rates)
        lines.append(f"{way:40}{median:13,.0f}{result['documents'] / median:13.2f}")
    ratios = result["ratio_to_lda"]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return "\n".join([*lines, "", f"DirVAE has {spread} times the documents per second of LDA."])
