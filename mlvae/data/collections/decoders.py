"""Many files decoded at once, in processes that a hostile file may bring down without harm."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from mlvae.data import images
from mlvae.data.collections.images import Attempt

__all__ = ["Decoders", "read_content"]

#: A file's bytes, or what reads them, or what reading them has come to.
Content = bytes | Callable[[], bytes] | Attempt


class Decoders:
    """Processes that decode images. Use it in a ``with``.

    Each is started when it is first needed and fed by a thread of this process, which also reads
    the file: whatever is started by ``multiprocessing`` would import the caller's script again,
    and could not be started from one without ``if __name__ == "__main__"``.

    Args:
        workers: number of processes; None for one a core, 0 to decode in this process.
        options: ``size``, ``channels`` and ``crop`` of :func:`mlvae.data.collections.images.decode`.
    """

    def __init__(self, workers: int | None, options: dict[str, object]) -> None:
        self.workers = _num_cores() if workers is None else workers
        self.options = options
        self.processes: list[subprocess.Popen] = []
        self.mine = threading.local()
        self.warnings = warnings.catch_warnings()

    def __enter__(self) -> Decoders:
        if not self.workers:
            self.warnings.__enter__()
            warnings.simplefilter("ignore")  # as in the processes
        return self

    def __exit__(self, *exception: object) -> None:
        if not self.workers:
            self.warnings.__exit__(*exception)
        for process in self.processes:
            _end(process)

    def attempts(self, chunks: Iterable[list[Content]]) -> Iterator[list[Attempt]]:
        """The attempts at the files of each chunk, in the same order.

        Only a few chunks are taken ahead, so that little of a collection is in memory.
        """
        if not self.workers:
            yield from map(self._here, chunks)
            return
        with ThreadPoolExecutor(self.workers) as threads:
            ahead: deque = deque()
            try:
                for chunk in chunks:
                    ahead.append(threads.submit(self._there, chunk))
                    if len(ahead) > 2 * self.workers:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                threads.shutdown(cancel_futures=True)

    def _here(self, chunk: list[Content]) -> list[Attempt]:
        return [
            images.attempt(content, **self.options) if isinstance(content, bytes) else content
            for content in map(read_content, chunk)
        ]

    def _there(self, chunk: list[Content]) -> list[Attempt]:
        contents = [read_content(content) for content in chunk]
        sound = [content for content in contents if isinstance(content, bytes)]
        answers = iter(self._ask(sound))
        return [next(answers) if isinstance(content, bytes) else content for content in contents]

    def _ask(self, contents: list[bytes]) -> list[Attempt]:
        process = getattr(self.mine, "process", None)
        fresh = process is None
        if fresh:
            process = self.mine.process = _start()
            self.processes.append(process)
        try:
            pickle.dump((contents, self.options), process.stdin)
            process.stdin.flush()
            return [Attempt(*answer) for answer in pickle.load(process.stdout)]
        except (OSError, EOFError, pickle.UnpicklingError):
            # The process died, of one of these files: ask a new one about each by itself.
            self.mine.process = None
            _end(process)
            if len(contents) > 1 or not fresh:
                return [answer for content in contents for answer in self._ask([content])]
            return [Attempt("", None, "made its decoder crash")]


def read_content(content: Content) -> bytes | Attempt:
    """The bytes, or why there are none."""
    if not callable(content):
        return content
    try:
        return content()
    except Exception as error:  # a damaged archive fails in a dozen ways, and so do file systems
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0]
        return Attempt("", None, f"cannot be read ({reason or type(error).__name__})")


def _start() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, images.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def _end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    process.stdout.close()
    with contextlib.suppress(OSError):  # what it had not read is lost with it
        process.stdin.close()


def _num_cores() -> int:
    """The cores this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
