"""Probes for every combination of code, k, kind of probe and seed, trained in parallel.

The sets of observations depend on the seed and on k only, so all codes are compared on the same
sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.evaluation.answer import estimate
from mlvae.evaluation.measures.codes import (
    accumulate_sets,
    common_labels,
    cut_sets,
    disjoint_sets,
    encode,
)
from mlvae.evaluation.measures.probes import Probe, ProbeScore, entropy
from mlvae.evaluation.subject import Code
from mlvae.posteriors import DiagonalGaussian
from mlvae.training.seeding import seeded

__all__ = ["ProbeGrid"]


class _Task(NamedTuple):
    """One probe to train, with its test codes for every k."""

    code: str
    values: str
    kind: str
    train_k: int
    seed: int
    train: tuple[Tensor, Tensor]
    held: Tensor
    tests: dict[int, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ProbeGrid:
    """Probes of all combinations.

    Probes are trained and tested at the same k, for every k of ``ks`` and for ``train_k``. Probes
    trained at ``train_k`` are also tested at every smaller k of ``ks``.

    Args:
        train: observations to train probes on.
        test: observations to test probes on.
        ks: numbers of observations accumulated to a test code.
        train_k: number of observations accumulated to a training code in the paper's protocol.
        kinds: kinds of probe.
        seeds: number of repetitions, each with separate sets, draws and probes.
    """

    train: GroupedData
    test: GroupedData
    ks: tuple[int, ...]
    train_k: int
    kinds: Sequence[str]
    seeds: int

    def records(
        self, codes: Sequence[Code], *, workers: int = 1, progress: bool = False
    ) -> list[dict[str, Any]]:
        """Accuracy and conditional entropy of every combination, mean over seeds.

        Each record also has H(label) in bits and the frequency of the most frequent label among
        the test codes.

        Args:
            codes: representations to predict the label from.
            workers: number of processes that train probes.
            progress: True to show a progress bar on a terminal.
        """
        # Local imports: they take time that `import mlvae` does not need.
        from joblib import Parallel, delayed, parallel_config
        from tqdm import tqdm

        # One thread per process: more threads than cores would mostly wait for each other.
        with parallel_config("loky", inner_max_num_threads=1):
            pool = Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2*n_jobs")
        tasks = (delayed(_run)(task) for task in self._tasks(codes))
        results = cast("Iterator[list[tuple[tuple, ProbeScore]]]", pool(tasks))
        values = sum(2 if code.random else 1 for code in codes)
        total = values * len(self._trained) * len(self.kinds) * self.seeds
        scores: dict[tuple, list[ProbeScore]] = {}
        disable = None if progress else True
        for scored in tqdm(results, "probes", total=total, unit="probe", disable=disable):
            for key, score in scored:
                scores.setdefault(key, []).append(score)
        return [self._record(key, seed_scores) for key, seed_scores in scores.items()]

    @property
    def _trained(self) -> list[int]:
        """Every k that probes are trained at."""
        return sorted({*self.ks, self.train_k})

    def _tasks(self, codes: Sequence[Code]) -> Iterator[_Task]:
        """The tasks of all codes, seeds and values, one code after the other."""
        labels = common_labels(self.train, self.test)
        for code in codes:
            posteriors = [encode(code.representation, data) for data in (self.train, self.test)]
            for seed in range(self.seeds):
                train_sets, test_sets = self._sets(seed)
                sets = {k: rows for k, (rows, _) in train_sets.items()}, test_sets
                for values in ("samples", "means") if code.random else ("means",):
                    train, test = (
                        {
                            k: (
                                _codes(posterior, rows, code, values, f"{part} {k}", seed),
                                label[rows[:, 0]].cpu(),
                            )
                            for k, rows in sets_by_k.items()
                        }
                        for part, posterior, sets_by_k, label in zip(
                            ("train", "test"), posteriors, sets, labels, strict=True
                        )
                    )
                    for k in self._trained:
                        tested = [i for i in self.ks if i == k or (i < k == self.train_k)]
                        tests = {i: test[i] for i in tested}
                        for kind in self.kinds:
                            held = train_sets[k][1].cpu()
                            yield _Task(code.name, values, kind, k, seed, train[k], held, tests)

    def _sets(self, seed: int) -> tuple[dict[int, tuple[Tensor, Tensor]], dict[int, Tensor]]:
        """By k, the training sets with the mask of held-out sets; and by k, the test sets."""

        def noise(part: str, k: int) -> torch.Generator:
            return seeded(torch.Generator(self.train.device), seed, f"{part} sets", k)

        train, test = self.train.groups, self.test.groups
        return (
            {k: cut_sets(train, k, generator=noise("train", k)) for k in self._trained},
            {k: disjoint_sets(test, k, generator=noise("test", k)) for k in self.ks},
        )

    def _record(self, key: tuple, scores: list[ProbeScore]) -> dict[str, Any]:
        code, values, kind, train_k, test_k = key
        sets = (self.test.groups.sizes // test_k).cpu()  # number of sets per group
        labels = torch.arange(len(sets)).repeat_interleave(sets)
        return {
            "code": code,
            "values": values,
            "probe": kind,
            "train_k": train_k,
            "test_k": test_k,
            "same_k": train_k == test_k,
            "paper": train_k == self.train_k,
            "accuracy": estimate([score.accuracy for score in scores]),
            "conditional_entropy_bits": estimate([score.conditional_entropy for score in scores]),
            "num_test_codes": scores[0].num_codes,
            "label_entropy_bits": entropy(labels),
            "chance_accuracy": float(sets.max()) / len(labels),
        }


def _codes(
    posterior: DiagonalGaussian, sets: Tensor, code: Code, values: str, part: str, seed: int
) -> Tensor:
    """One code for each set, (M, D) on the host.

    ``part`` names the part of the data and k; it seeds the draws. Train and test must not share
    draws: the rows of both are sorted by group, so a probe could predict the label from the noise.
    """
    pooled = accumulate_sets(posterior, sets, accumulation=code.accumulation)
    if values == "means":
        return pooled.mean.cpu()
    generator = seeded(torch.Generator(sets.device), seed, f"{code.name} draws of {part}")
    return pooled.sample_groups(generator=generator).cpu()


def _run(task: _Task) -> list[tuple[tuple, ProbeScore]]:
    """Train one probe and test it at every k of the task."""
    probe = Probe(*task.train, kind=task.kind, seed=task.seed, held=task.held)
    key = (task.code, task.values, task.kind, task.train_k)
    return [((*key, k), probe.score(*test)) for k, test in task.tests.items()]
