"""Decode many files at once, in processes that a hostile file can crash without harm.

The processes run ``mlvae/data/images.py``, which describes the format of requests and answers.
This side trusts no answer: it checks mark, dtype, shape and length before it reads the content,
and it never unpickles. A process that gives a wrong answer is ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import IO

import numpy as np

from mlvae.data.collections import images
from mlvae.data.collections.images import Attempt, Options
from mlvae.data.collections.members import first_line, printable, read_exactly

__all__ = ["Content", "Decoders", "read_content"]

#: A file's bytes; or a function that reads them; or the result, where reading has failed.
Content = bytes | Callable[[], bytes] | Attempt

#: Seconds after which a process that has not answered a request is ended. This is for a process
#: that waits; one that computes is ended after ``images.SECONDS`` for an image.
PATIENCE = 300.0


class Decoders:
    """Processes that decode images. Use it in a ``with``.

    A thread of this process starts each process at its first chunk, reads the files and sends
    their bytes. ``multiprocessing`` is not used: it imports the caller's script again, and needs
    ``if __name__ == "__main__"`` in it.

    Args:
        workers: number of processes; None for one per core, 0 to decode in this process, where
            the time of an image has no limit.
        options: ``size``, ``channels`` and ``crop`` of
            :func:`~mlvae.data.collections.images.decode`.
    """

    def __init__(self, workers: int | None, options: Options) -> None:
        self.workers = num_cores() if workers is None else workers
        self.options = options
        self.processes: list[_Process] = []
        self.ended = threading.Event()
        self.local = threading.local()
        self.warnings = warnings.catch_warnings()

    def __enter__(self) -> Decoders:
        if not self.workers:
            self.warnings.__enter__()
            warnings.simplefilter("ignore")  # as in the processes
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.workers:
            self.warnings.__exit__(kind, error, traceback)
        self._end()
        for process in self.processes:
            process.close()

    def _end(self) -> None:
        """End all processes, also those that are busy; no other one starts."""
        self.ended.set()
        for process in list(self.processes):
            process.kill()

    def attempts(self, chunks: Iterable[list[Content]]) -> Generator[list[Attempt], None, None]:
        """Decode the files of each chunk; results in the same order.

        At most ``2 * workers + 1`` chunks are read ahead, which bounds the memory.
        """
        if not self.workers:
            yield from map(self._decode_here, chunks)
            return
        with ThreadPoolExecutor(self.workers) as threads:
            ahead: deque[Future[list[Attempt]]] = deque()
            finished = False
            try:
                for chunk in chunks:
                    ahead.append(threads.submit(self._decode_there, chunk))
                    if len(ahead) > 2 * self.workers:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
                finished = True
            finally:
                if not finished:  # Ctrl-C or an error: do not wait for the rest
                    self._end()
                threads.shutdown(cancel_futures=True)

    def _decode_here(self, chunk: list[Content]) -> list[Attempt]:
        return [
            _inert(images.attempt(content, **self.options))
            if isinstance(content, bytes)
            else content
            for content in map(read_content, chunk)
        ]

    def _decode_there(self, chunk: list[Content]) -> list[Attempt]:
        contents = [read_content(content) for content in chunk]
        sound = [content for content in contents if isinstance(content, bytes)]
        results = iter(self._results(sound))
        return [next(results) if isinstance(content, bytes) else content for content in contents]

    def _results(self, contents: list[bytes]) -> list[Attempt]:
        results: list[Attempt] = []
        while len(results) < len(contents):
            rest = contents[len(results) :]
            results += [
                Attempt(hashlib.sha256(content).hexdigest(), *outcome)
                for content, outcome in zip(rest, self._outcomes(rest), strict=False)
            ]
        return results

    def _outcomes(self, contents: list[bytes]) -> list[tuple[np.ndarray | None, str]]:
        """Outcomes of the first file, or of more."""
        process: _Process | None = vars(self.local).get("process")
        fresh = process is None
        if process is None:
            process = self._started()
        outcomes: list[tuple[np.ndarray | None, str]] = []
        try:
            for outcome in process.decode(contents, self.options):
                outcomes.append(outcome)
            return outcomes
        except (OSError, EOFError, _WrongAnswer) as error:
            self._check_ended()
            self.local.process = None
            process.end(crashed=not isinstance(error, _WrongAnswer))
            self.processes.remove(process)
            if process.overran:
                # The answers before are whole, and the next file needed too much time.
                return [*outcomes, (None, process.reason(error))]
            if len(contents) == 1 and fresh:
                return [(None, process.reason(error))]
        # One of these files caused it. Send each file alone, to a new process if needed.
        return [outcome for content in contents for outcome in self._outcomes([content])]

    def _started(self) -> _Process:
        """A new process, for the files that this thread sends."""
        self._check_ended()
        process = self.local.process = _Process()
        self.processes.append(process)
        if self.ended.is_set():  # since the check
            process.kill()
        return process

    def _check_ended(self) -> None:
        if self.ended.is_set():
            raise RuntimeError("the decoders have ended")


class _WrongAnswer(ValueError):
    """A process has written bytes that are no answer. The message describes them."""


class _Process:
    """A process that runs ``images.py``."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, images.__file__, str(images.SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.requests, self.answers = self.process.stdin, self.process.stdout
        self.late = threading.Event()

    def decode(
        self, contents: list[bytes], options: Options
    ) -> Iterator[tuple[np.ndarray | None, str]]:
        """Pixels and a remark, or a reason, for each file.

        Raises:
            OSError, EOFError: if the process has ended.
            _WrongAnswer: if it writes something else than one answer per file.
        """
        size, channels = options["size"], options["channels"]
        timer = threading.Timer(PATIENCE, self._stop)
        timer.daemon = True
        timer.start()
        try:
            self.requests.write(
                images.REQUEST.pack(images.MARK, size, channels, options["crop"], len(contents))
            )
            for content in contents:
                self.requests.write(images.LENGTH.pack(len(content)))
                self.requests.write(content)
            self.requests.flush()
            for _ in contents:
                yield _outcome(self.answers, (channels, size, size))
        finally:
            timer.cancel()

    @property
    def overran(self) -> bool:
        """Whether the process has ended because an image needed too much processor time."""
        return not self.late.is_set() and self.process.returncode == -signal.SIGPROF

    def reason(self, error: Exception) -> str:
        """Why the only file of a request cannot be used, as a phrase after its name."""
        if self.overran:
            return f"needs more than {images.SECONDS:g} seconds to be decoded"
        if self.late.is_set():
            return f"kept its decoder busy for more than {PATIENCE:g} seconds"
        if isinstance(error, _WrongAnswer):
            return f"made its decoder give a wrong answer ({error})"
        return "made its decoder crash"

    def kill(self) -> None:
        """Kill the process, if it runs; a thread that waits for its answer then goes on."""
        self.process.kill()
        self.process.wait()

    def end(self, crashed: bool) -> None:
        """Kill the process and close the pipes; one that has crashed may end by itself first."""
        if crashed and not self.late.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
        self.kill()
        self.close()

    def close(self) -> None:
        """Close the pipes."""
        self.answers.close()
        with contextlib.suppress(OSError):  # the unsent rest of a request
            self.requests.close()

    def _stop(self) -> None:
        self.late.set()
        self.process.kill()  # reading and writing then fail


def read_content(content: Content) -> bytes | Attempt:
    """The bytes, or the result with the reason why they cannot be read."""
    if not callable(content):
        return content
    try:
        return content()
    except Exception as error:  # archives and file systems raise many types
        system = error.strerror if isinstance(error, OSError) else None
        reason = system or first_line(error)
        return Attempt("", None, f"cannot be read ({reason})")


def _inert(attempt: Attempt) -> Attempt:
    """With a reason that cannot write to a terminal: messages of Pillow may quote the file."""
    return attempt._replace(reason=printable(attempt.reason))


def _outcome(
    stream: IO[bytes], shape: tuple[int, int, int], remark: str = ""
) -> tuple[np.ndarray | None, str]:
    """One answer: pixels (C, S, S) and a remark or nothing, or None and a reason."""
    mark, dtype, *dims, length = images.ANSWER.unpack(read_exactly(stream, images.ANSWER.size))
    if mark != images.MARK:
        raise _WrongAnswer(f"it begins with {mark!r}, not {images.MARK!r}")
    if dtype in (images.TEXT, images.REMARK):
        if not 0 < length <= images.MAX_REASON:
            raise _WrongAnswer(f"a reason of {length:,} bytes, not of 1 to {images.MAX_REASON}")
        text = printable(read_exactly(stream, length).decode("utf-8", "replace"))
        if dtype == images.TEXT:
            return None, text
        if remark:
            raise _WrongAnswer("two remarks on one image")
        return _outcome(stream, shape, text)
    if dtype != images.PIXELS or tuple(dims) != shape:
        raise _WrongAnswer(f"dtype {dtype!r} and shape {tuple(dims)}, not uint8 {shape}")
    num_bytes = shape[0] * shape[1] * shape[2]
    if length != num_bytes:
        raise _WrongAnswer(f"{length:,} bytes of pixels, not {num_bytes:,}")
    return np.frombuffer(read_exactly(stream, length), np.uint8).reshape(shape), remark


def num_cores() -> int:
    """Number of cores that this process may use, which may be less than the machine has."""
    if "sched_getaffinity" in vars(os):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
