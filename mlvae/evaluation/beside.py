"""Slow questions asked in the processes that train probes, while probes are trained.

Probes keep all cores busy; other questions do not, one after another. So the slowest of these are
tasks of the same processes, and no core waits. A process with more than 300 MB beyond its first
task is ended by joblib with a warning, so the questions that need most memory come first.
"""

from __future__ import annotations

import pickle
import time
import warnings
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from torch import Tensor

from mlvae.evaluation.answer import Answer
from mlvae.evaluation.questions.fidelity import Fidelity
from mlvae.evaluation.questions.leakage import Leakage
from mlvae.evaluation.questions.likelihood import Likelihood
from mlvae.evaluation.questions.separation import Separation
from mlvae.evaluation.subject import Subject

__all__ = ["Beside"]

#: Questions that are asked in other processes, the slowest first, and questions that train probes.
SLOW, PROBING = (Fidelity, Likelihood), (Separation, Leakage)

#: Largest number of bytes of observations that are copied to another process.
MOST = 2**30

#: Seconds in which a process begins with a question, unless it has ended.
BEGIN = 30


class Beside:
    """The slow ones of some questions, asked in other processes from now on.

    There are none on a GPU, with one process, without a question that trains probes, and where
    the model or the data cannot be copied.

    Args:
        questions: all questions.
        subject: what they are asked of.
    """

    def __init__(self, questions: Sequence[Any], subject: Subject) -> None:
        self.names: list[str] = []
        self.answers: Generator[Answer] | None = None
        own = [part for kind in SLOW for part in questions if isinstance(part, kind)]
        probing = any(isinstance(part, PROBING) for part in questions)
        if not own or not probing or subject.workers == 1 or not _copied(subject):
            return
        from joblib import Parallel, delayed, parallel_config  # takes time to import

        with parallel_config("loky", inner_max_num_threads=1):
            pool = Parallel(n_jobs=subject.workers, return_as="generator")
        self.names = [type(part).__name__ for part in own]
        quiet = replace(subject, workers=1, progress=False)
        self.folder = TemporaryDirectory(prefix="mlvae-", ignore_cleanup_errors=True)
        self.begun = [Path(self.folder.name, name) for name in self.names]
        tasks = zip(own, self.begun, strict=True)
        found = pool(delayed(_ask)(part, quiet, path) for part, path in tasks)
        self.answers = cast("Generator[Answer]", found)
        self.known: dict[str, Answer] = {}

    def answer(self, question: Any) -> Answer | None:
        """The answer to a question, or None if it is not asked in another process."""
        name = type(question).__name__
        if name not in self.names or self.answers is None:
            return None
        while name not in self.known:
            self.known[self.names[len(self.known)]] = next(self.answers)
        return self.known[name]

    def close(self) -> None:
        """Cancel the questions whose answers were not taken, as after an error.

        A thread of joblib fails where a task is cancelled that no process has begun, so each is
        cancelled after its beginning.
        """
        if self.answers is None:
            return
        end = time.monotonic() + BEGIN
        while not all(path.exists() for path in self.begun) and time.monotonic() < end:
            time.sleep(0.02)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # joblib's, on cancelled tasks
            self.answers.close()
        self.folder.cleanup()


def _ask(question: Any, subject: Subject, begun: Path) -> Answer:
    begun.touch()
    return question.ask(subject)


def _copied(subject: Subject) -> bool:
    """Whether the model and the observations can be copied to another process."""
    if next(subject.model.parameters()).device.type != "cpu":
        return False
    size = 0
    for _, data in subject.splits:
        if not isinstance(x := getattr(data, "x", None), Tensor):  # rows in files, or parts
            return False
        size += x.numel() * x.element_size()
    try:
        pickle.dumps((subject.model, subject.vae))
    except Exception:  # a class of the user's may raise any
        return False
    return size <= MOST
