"""Probes for every combination of code, k, kind of probe and seed, networks trained in batches.

The sets of observations depend on the seed and on k only, so all codes are compared on the same
sets. The networks of all codes at one k are trained as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.evaluation.answer import estimate
from mlvae.evaluation.measures.codes import common_labels, cut_sets, disjoint_sets
from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import applies, fit_probes
from mlvae.evaluation.measures.leakage.networks import MOST_PADDED, Fit
from mlvae.evaluation.measures.leakage.scores import ProbeScore, entropy
from mlvae.evaluation.measures.leakage.testing import tested
from mlvae.evaluation.measures.probe_sets import drawn_sets
from mlvae.evaluation.subject import Code
from mlvae.posteriors import DiagonalGaussian, Dirichlet
from mlvae.training.seeding import seeded

__all__ = ["GridCode", "ProbeGrid"]


class GridCode(NamedTuple):
    """A code of single observations.

    Attributes:
        code: its names and its accumulation.
        train: posteriors of the observations to train probes on, or fixed codes, (N, D).
        test: the same of the observations to test probes on.
    """

    code: Code
    train: DiagonalGaussian | Dirichlet | Tensor
    test: DiagonalGaussian | Dirichlet | Tensor

    @property
    def dim(self) -> int:
        """D."""
        return (self.train if isinstance(self.train, Tensor) else self.train.mean).shape[1]


class _Key(NamedTuple):
    """A probe: code, samples or means, kind of probe, k, seed."""

    code: str
    values: str
    kind: str
    k: int
    seed: int


class _Task(NamedTuple):
    """Probes to train as one, with their test codes for every k."""

    keys: list[_Key]
    fits: list[Fit]
    tests: list[dict[int, Drawn]]


class _Scored(NamedTuple):
    """A test result with its standard errors over test codes."""

    score: ProbeScore
    errors: tuple[float, float]


@dataclass(frozen=True)
class ProbeGrid:
    """Probes of all combinations.

    Probes of the first kind are trained and tested at the same k, for every k of ``ks`` and for
    ``train_k``. Those of ``train_k`` are also tested at every smaller k of ``ks``. The other kinds
    are trained and tested at the smallest k.

    Args:
        train: observations to train probes on.
        test: observations to test probes on.
        ks: numbers of observations accumulated to a test code, in increasing order.
        train_k: number of observations accumulated to a training code in the paper's protocol.
        kinds: kinds of probe. A kind that is too slow for a code is left out for it.
        seeds: number of repetitions, each with separate sets, draws and probes.
    """

    train: GroupedData
    test: GroupedData
    ks: tuple[int, ...]
    train_k: int
    kinds: Sequence[str]
    seeds: int

    def records(
        self, codes: Sequence[GridCode], *, workers: int = 1, progress: bool = False
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

        # A GPU is used by one process; on a CPU, one thread a process.
        workers = 1 if self.train.device.type == "cuda" else workers
        with parallel_config("loky", inner_max_num_threads=1):
            pool = Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2*n_jobs")
        values = sum(2 if code.code.random else 1 for code in codes)
        total = values * (len(self._trained) + len(self.kinds) - 1) * self.seeds
        scores: dict[tuple, list[_Scored]] = {}
        tasks = (delayed(_run)(task) for task in self._tasks(codes))
        results = cast("Iterator[list[tuple[_Key, int, _Scored]]]", pool(tasks))
        disable = None if progress else True
        with tqdm(desc="probes", total=total, unit="probe", disable=disable) as bar:
            for scored in results:
                for key, k, score in scored:
                    name = (key.code, key.values, key.kind, key.k, k)
                    scores.setdefault(name, []).append(score)
                bar.update(len({key for key, _, _ in scored}))
        return [self._record(key, scores[key]) for key in self._ordered(scores, codes)]

    @property
    def _trained(self) -> list[int]:
        """Every k that probes are trained at."""
        return sorted({*self.ks, self.train_k})

    def _ordered(self, scores: Mapping[tuple, Any], codes: Sequence[GridCode]) -> list[tuple]:
        """Keys of the scores, in the order of the codes, k and kinds."""
        places = {code.code.name: place for place, code in enumerate(codes)}

        def place(key: tuple) -> tuple:
            code, values, kind, train_k, k = key
            return places[code], values != "samples", train_k, self.kinds.index(kind), k

        return sorted(scores, key=place)

    def _tasks(self, codes: Sequence[GridCode]) -> Iterator[_Task]:
        """The tasks. On a CPU, larger batches are not faster: each seed is a task there."""
        seeds = range(self.seeds)
        cuda = self.train.device.type == "cuda"
        for part in [list(seeds)] if cuda else [[seed] for seed in seeds]:
            for k in self._trained:
                kinds = self.kinds if k == self.ks[0] else self.kinds[:1]
                for batch in _batches(codes):
                    built = list(self._built(batch, k, part))
                    for kind in kinds:
                        if applies(kind, built[0][1]):
                            keys = [key._replace(kind=kind) for key, _, _ in built]
                            yield _Task(
                                keys, *map(list, zip(*[b[1:] for b in built], strict=True))
                            )

    def _built(
        self, codes: Sequence[GridCode], k: int, seeds: Sequence[int]
    ) -> Iterator[tuple[_Key, Fit, dict[int, Drawn]]]:
        """The codes to train and to test on, for all seeds and values of codes at one k."""
        labels, test_labels = common_labels(self.train, self.test)
        number = len(self.train.group_names)
        smaller = [i for i in self.ks if i == k or i < k == self.train_k]
        for seed in seeds:
            sets = self.train_sets(k, seed)
            test_sets = {i: self.test_sets(i, seed) for i in smaller}
            for code, train, test in codes:
                for values in ("samples", "means") if code.random else ("means",):
                    options = {"sample": values == "samples", "accumulation": code.accumulation}
                    parts = [drawn_sets(train, labels, rows, **options) for rows in sets]
                    tests = {
                        i: drawn_sets(test, test_labels, rows, **options)
                        for i, rows in test_sets.items()
                    }
                    key = _Key(code.name, values, "", k, seed)
                    yield key, Fit(parts[0], parts[1], number, seed), tests

    def train_sets(self, k: int, seed: int) -> tuple[Tensor, Tensor]:
        """Sets to train on, and held-out sets: the training sets if none can be held out."""
        generator = seeded(torch.Generator(self.train.device), seed, "train sets", k)
        own, held = cut_sets(self.train.groups, k, generator=generator)
        return own, held if len(held) else own

    def test_sets(self, k: int, seed: int) -> Tensor:
        """Sets to test on."""
        generator = seeded(torch.Generator(self.train.device), seed, "test sets", k)
        return disjoint_sets(self.test.groups, k, generator=generator)

    def without_held_out(self) -> list[int]:
        """Every k at which no set can be held out, because no group has two sets."""
        most = int(self.train.groups.sizes.max())
        return [k for k in self._trained if 2 * k > most]

    def _record(self, key: tuple, found: list[_Scored]) -> dict[str, Any]:
        code, values, kind, train_k, test_k = key
        sets = (self.test.groups.sizes // test_k).cpu()  # number of sets per group
        labels = torch.arange(len(sets)).repeat_interleave(sets)
        scores = [scored.score for scored in found]
        accuracy, bits = (
            estimate([score[place] for score in scores], fmean(s.errors[place] for s in found))
            for place in (0, 1)
        )
        return {
            "code": code,
            "values": values,
            "probe": kind,
            "train_k": train_k,
            "test_k": test_k,
            "same_k": train_k == test_k,
            "paper": train_k == self.train_k,
            "accuracy": accuracy,
            "conditional_entropy_bits": bits,
            "num_test_codes": scores[0].num_codes,
            "label_entropy_bits": entropy(labels),
            "chance_accuracy": float(sets.max()) / len(labels),
        }


def _batches(codes: Sequence[GridCode]) -> list[list[GridCode]]:
    """Codes whose networks are trained together: all of few dimensions, and equal others."""
    batches: dict[int, list[GridCode]] = {}
    for code in codes:
        batches.setdefault(max(code.dim, MOST_PADDED), []).append(code)
    return list(batches.values())


def _run(task: _Task) -> list[tuple[_Key, int, _Scored]]:
    """Train the probes of a task and test each at every k of the task."""
    probes = fit_probes(task.keys[0].kind, task.fits)
    results = []
    for key, probe, tests in zip(task.keys, probes, task.tests, strict=True):
        for k, test in tests.items():
            rows = tested(probe, test, key.seed)
            results.append((key, k, _Scored(rows.score(), rows.errors(key.seed))))
    return results
