"""The model's probability of observations, alone and in groups.

The bound over every split; and for groups of several sizes the importance-weighted bound on
log p(x_G), which is tighter, and approaches log p(x_G) with more samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch

from mlvae.data import GroupedData
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, estimate
from mlvae.evaluation.charts import curves
from mlvae.evaluation.measures.codes import disjoint_sets
from mlvae.evaluation.measures.importance import importance_weighted_bound
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import Subject
from mlvae.models import traits
from mlvae.training import evaluate_bound
from mlvae.training.seeding import seeded

__all__ = ["Likelihood"]


@dataclass(frozen=True)
class Likelihood:
    """The question and its options.

    Args:
        sizes: sizes of groups for the importance-weighted bound. Sizes above the largest group of
            the test split are not used.
        groups: number of groups of each size, drawn from the test split.
        num_content: numbers K of content samples, one bound for each.
        num_style: samples of each style for every sample of the content.
    """

    sizes: tuple[int, ...] = (1, 5, 20)
    groups: int = 50
    num_content: tuple[int, ...] = (1, 8, 64)
    num_style: int = 8

    title: ClassVar[str] = "How probable are the observations under the model?"

    def __post_init__(self) -> None:
        minimum = {"sizes": 1, "groups": 2, "num_content": 1, "num_style": 1}
        check_question(self, "sizes", "num_content", minimum=minimum)

    def ask(self, subject: Subject) -> Answer:
        """Evaluate the bounds."""
        bounds = {
            name: evaluate_bound(subject.model, data, subject.batching, seed=subject.seed)
            for name, data in subject.splits
        }
        metrics: dict[str, object] = {"bound": bounds}
        tables, figures, words = _bound_tables(bounds), [], [_bound_words(bounds)]
        if subject.splits.test is not None and traits(subject.model).importance_weighted:
            records = self._importance_weighted(subject, subject.splits.test)
            metrics["importance_weighted"] = records
            tables.append(self._table(records))
            if len(self.num_content) > 1:
                figures.append(_figure(records))
            words.append(
                "The importance-weighted bound is on log p(x_G) of whole groups, divided by their "
                "size. Rows with the same size use the same groups; the standard error is over "
                "groups. The difference between sizes is the gain of an observation from its "
                "group. The plain VAE does not use groups."
            )
        return Answer(self.title, words, metrics, tables, figures)

    def _importance_weighted(self, subject: Subject, test: GroupedData) -> list[dict]:
        models = {type(subject.model).__name__: subject.model}
        if subject.vae is not None:
            models["plain VAE"] = subject.vae
        records = []
        most = int(test.groups.sizes.max())
        for size in [size for size in self.sizes if size <= most] or [1]:
            generator = seeded(torch.Generator(test.device), 0, "likelihood sets", size)
            cut = disjoint_sets(test.groups, size, generator=generator)
            order = torch.randperm(len(cut), generator=generator, device=test.device)
            sets = cut[order[: self.groups]]
            index = torch.arange(len(sets), device=sets.device).repeat_interleave(size)
            data = test.subset(sets.flatten()).regrouped(index)
            for (name, model), number in product(models.items(), self.num_content):
                samples = {"num_content": number, "num_style": self.num_style}
                values = importance_weighted_bound(model, data, **samples)
                if len(values) != data.groups.num_groups:  # a model without groups
                    values = data.groups.sum(values)
                bound = estimate((values / size).tolist())
                record = {"model": name, "group_size": size, "num_groups": len(values)}
                records.append({**record, **samples, "bound_per_observation": bound})
        return records

    def _table(self, records: list[dict]) -> Table:
        cells: dict[tuple, dict[int, str]] = {}
        for record in records:
            row = cells.setdefault((record["model"], record["group_size"]), {})
            row[record["num_content"]] = record["bound_per_observation"].text(2)
        return Table(
            "Importance-weighted bound in nats per observation of the test split, from K samples "
            f"of the content (a VAE: of its latent) with {self.num_style} of each style; "
            "± standard error over groups.",
            ["model", "group size", *[f"K = {number}" for number in self.num_content]],
            [[name, str(size), *row.values()] for (name, size), row in cells.items()],
        )


def _bound_tables(bounds: dict[str, dict[str, float]]) -> list[Table]:
    """The bound, or the loss of a model without a bound, and the terms, each in its unit."""
    terms, first = {}, next(iter(bounds.values()))
    bounded = "elbo_per_observation" in first
    if not bounded:
        terms["loss"] = "loss"
    for name in first:
        term, _, unit = name.rpartition("_per_")
        if unit in ("observation", "group") and name != "elbo_per_group":
            terms[name] = f"{term.replace('_', ' ')} per {unit}"
    form = ".2f" if bounded else ".4g"  # terms that are no sums over elements may be small
    rows = [
        [split, *[f"{values[name]:{form}}" for name in terms]] for split, values in bounds.items()
    ]
    caption = "The bound and its terms in nats, from one sample of every latent, over batches"
    if not bounded:
        caption = "The loss and its terms, which are no bound on log p(x), over batches"
    return [Table(f"{caption} as in training.", ["split", *terms.values()], rows)]


def _bound_words(bounds: dict[str, dict[str, float]]) -> str:
    split = "test" if "test" in bounds else next(iter(bounds))
    if "elbo_per_observation" not in bounds[split]:
        return (
            "The model has no bound on log p(x), so it gives no probability of observations. Its "
            f"loss on the {split} split is {bounds[split]['loss']:.4g}; the terms are in the "
            "units of the model."
        )
    approximate = bounds[split].get("approximate_objective_per_observation")
    samples = note = ""
    if approximate is not None:
        samples = ", from exact samples,"
        note = (
            f"The training maximised another number, {approximate:.2f}, which has samples of the "
            "approximate sampler with the KL of the exact posterior: it is no bound, and does not "
            "compare with bounds. "
        )
    return (
        f"On the {split} split the bound{samples} is "
        f"{bounds[split]['elbo_per_observation']:.2f} nats per observation. {note}"
        "Log-probabilities and divergences are sums over elements and dimensions. "
        "The bound depends on the sizes of groups, so compare only runs with equal batches."
    )


def _figure(records: list[dict]) -> Figure:
    lines: dict[str, dict[float, Estimate]] = {}
    for record in records:
        label = f"{record['model']}, groups of {record['group_size']}"
        lines.setdefault(label, {})[record["num_content"]] = record["bound_per_observation"]
    return curves(
        "likelihood",
        "The importance-weighted bound against the number of content samples: more samples give a "
        "tighter bound. Bars: standard error over groups.",
        {"bound, nats per observation": lines},
        x_label="K, content samples",
    )
