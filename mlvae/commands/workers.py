"""Several jobs of a reproduction at once, in processes that end with their parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType

import torch

from mlvae.commands.cli import Config
from mlvae.errors import InputError

__all__ = ["at_once"]


def at_once(work: Callable[[Config], None], jobs: list[Config], number: int) -> None:
    """Do ``number`` jobs at a time; the process of a job writes its output beside its run.

    Raises:
        InputError: if a job fails, or its process is killed. The other jobs save and end.
    """
    cores = max(1, (os.cpu_count() or 1) // number)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(number, context, _start_worker, (cores, stop)) as pool:
        for job in jobs:
            job["evaluation"]["workers"] = cores
        try:
            for job, _ in zip(jobs, pool.map(partial(_logged, work), jobs), strict=True):
                print(f"done: {job['train']['run']}", flush=True)
        except BaseException as error:  # SIGTERM, Ctrl-C, or a failed job: the others save and end
            stop.set()
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise InputError(
                    "a process of a run was killed, possibly because the memory is full; the same "
                    "command continues, jobs=1 needs the least memory"
                ) from error
            raise


#: Set in a worker when the parent ends: no further job begins.
_STOP: list[Event | threading.Event] = []
#: Held by a worker during a job.
_BUSY = threading.Lock()


def _start_worker(threads: int, stop: Event) -> None:
    torch.set_num_threads(threads)
    _STOP.append(stop)
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End the job, with its own workers, as Ctrl-C does. Without a job there is nothing to end."""
    if _BUSY.locked():
        signal.default_int_handler(number, frame)


def _end_with_parent() -> None:
    """Save and end this process when its parent has ended, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    ended = threading.Event()  # the parent's own event needs the parent
    ended.set()
    _STOP.append(ended)
    os.kill(os.getpid(), signal.SIGTERM)  # as the parent does if it can: the run is saved
    with _BUSY:
        os._exit(1)


def _logged(work: Callable[[Config], None], job: Config) -> None:
    """Do one job and write its output to a file."""
    with _BUSY:
        if any(stop.is_set() for stop in _STOP):
            return
        run = Path(job["train"]["run"])
        run.parent.mkdir(parents=True, exist_ok=True)
        with _log(run).open("a") as log, contextlib.redirect_stdout(log):
            try:
                work(job)
            except SystemExit as end:
                raise InputError(
                    f"{run} was stopped and saved; the same command continues it"
                ) from end


def _log(run: Path) -> Path:
    """The file of a run's output, which is not opened if it is a pipe or a device."""
    log = run.with_name(f"{run.name}.log")
    if log.exists() and not log.is_file():
        raise InputError(f"{log} must be a regular file; remove it")
    return log
