"""Many probes at once: every code, k, kind of probe and seed, in parallel.

The sets of observations depend on the seed and k alone, so all codes are compared on the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.evaluation.answer import estimate
from mlvae.evaluation.codes import accumulate_sets, common_labels, cut_sets, disjoint_sets, encode
from mlvae.evaluation.probes import Probe, ProbeScore, entropy
from mlvae.evaluation.subject import Code
from mlvae.gaussian import DiagonalGaussian
from mlvae.training.seeding import seeded

__all__ = ["ProbeGrid"]


class _Task(NamedTuple):
    """One probe to train, and by k what to test it on."""

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
    """Probes of every combination.

    Each is trained and tested at the same k, for all of ``ks`` and ``train_k``; that trained at
    ``train_k`` is tested at every smaller k as well.

    Args:
        train: observations to train probes on.
        test: observations to test them on.
        ks: observations accumulated to a test code.
        train_k: observations accumulated to a training code in the paper's protocol.
        kinds: of probe.
        seeds: repetitions, each with its own sets, draws and probe.
    """

    train: GroupedData
    test: GroupedData
    ks: tuple[int, ...]
    train_k: int
    kinds: Sequence[str]
    seeds: int

    def records(
        self, codes: Sequence[Code], *, workers: int = 1, progress: bool = False
    ) -> list[dict[str, object]]:
        """Accuracy and conditional entropy of every combination, as means over seeds.

        Beside them stand H(label) and the share of the most frequent label among the test codes.

        Args:
            codes: what to read the label from.
            workers: processes that train probes.
            progress: whether to show a bar on a terminal.
        """
        # Seconds that `import mlvae` need not take.
        from joblib import Parallel, delayed, parallel_config
        from tqdm import tqdm

        # A thread each: more than there are cores wait for each other longer than they work.
        with parallel_config("loky", inner_max_num_threads=1):
            pool = Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2*n_jobs")
        results = pool(delayed(_run)(task) for task in self._tasks(codes))
        values = sum(2 if code.random else 1 for code in codes)
        total = values * len(self._trained) * len(self.kinds) * self.seeds
        scores: dict[tuple, list[ProbeScore]] = {}
        disable = None if progress else True
        for scored in tqdm(results, "probes", total=total, unit="probe", disable=disable):
            for key, score in scored:
                scores.setdefault(key, []).append(score)
        return [self._record(key, of_seeds) for key, of_seeds in scores.items()]

    @property
    def _trained(self) -> list[int]:
        return sorted({*self.ks, self.train_k})

    def _tasks(self, codes: Sequence[Code]) -> Iterator[_Task]:
        labels = common_labels(self.train, self.test)
        for code in codes:
            posteriors = [encode(code.representation, data) for data in (self.train, self.test)]
            for seed in range(self.seeds):
                learned = self._train_sets(seed)
                sets = {k: sets for k, (sets, _) in learned.items()}, self._test_sets(seed)
                for values in ("samples", "means") if code.random else ("means",):
                    train, test = (
                        {
                            k: (
                                _codes(posterior, rows, code, values, f"{part} {k}", seed),
                                label[rows[:, 0]].cpu(),
                            )
                            for k, rows in of_k.items()
                        }
                        for part, posterior, of_k, label in zip(
                            ("train", "test"), posteriors, sets, labels, strict=True
                        )
                    )
                    for k in self._trained:
                        tested = [i for i in self.ks if i == k or (i < k == self.train_k)]
                        tests = {i: test[i] for i in tested}
                        for kind in self.kinds:
                            held = learned[k][1].cpu()
                            yield _Task(code.name, values, kind, k, seed, train[k], held, tests)

    def _train_sets(self, seed: int) -> dict[int, tuple[Tensor, Tensor]]:
        """For every k sets to train on, and which of them are held out."""
        generator = torch.Generator(self.train.device)
        return {
            k: cut_sets(self.train.groups, k, generator=seeded(generator, seed, "train sets", k))
            for k in self._trained
        }

    def _test_sets(self, seed: int) -> dict[int, Tensor]:
        """For every k sets to test on."""
        generator = torch.Generator(self.test.device)
        return {
            k: disjoint_sets(
                self.test.groups, k, generator=seeded(generator, seed, "test sets", k)
            )
            for k in self.ks
        }

    def _record(self, key: tuple, scores: list[ProbeScore]) -> dict[str, object]:
        code, values, kind, train_k, test_k = key
        sets = (self.test.groups.sizes // test_k).cpu()  # of each group
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
    posterior: DiagonalGaussian, sets: Tensor, code: Code, values: str, of: str, seed: int
) -> Tensor:
    """A code of each set, (M, D) on the host.

    ``of`` says what the sets are of. Train and test must not share their draws: rows of both are
    in the order of groups, so a probe would know the label by the noise.
    """
    pooled = accumulate_sets(posterior, sets, accumulation=code.accumulation)
    if values == "means":
        return pooled.mean.cpu()
    generator = seeded(torch.Generator(sets.device), seed, f"{code.name} draws of {of}")
    return pooled.sample_groups(generator=generator).cpu()


def _run(task: _Task) -> list[tuple[tuple, ProbeScore]]:
    """Train one probe and test it."""
    probe = Probe(*task.train, kind=task.kind, seed=task.seed, held=task.held)
    what = (task.code, task.values, task.kind, task.train_k)
    return [((*what, k), probe.score(*test)) for k, test in task.tests.items()]
