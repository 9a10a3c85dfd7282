"""The folder of a run during a training: held, with a config, and removed if it stays empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mlvae.data import GroupedData
from mlvae.training.advice import advice_on_steps
from mlvae.training.elastic import mark
from mlvae.training.monitor import Monitor, OnReport
from mlvae.training.run import claim, held, undone_on_failure, write_config
from mlvae.training.settings import Reports
from mlvae.training.setup import Place
from mlvae.training.state import TrainingState

__all__ = ["opened"]


@contextmanager
def opened(
    state: TrainingState,
    place: Place,
    data: GroupedData,
    reports: Reports,
    on_report: OnReport | None,
) -> Iterator[Monitor]:
    """Open the run's folder, and give the monitor that writes its reports.

    The first process writes. A new folder is removed if the training fails before its first step.

    Args:
        state: the state of the run; a folder that nobody named gets its name.
        place: where the training runs and writes.
        data: training data, of which the monitor states the size.
        reports: options of the reports.
        on_report: a function of the caller.
    """
    ranks, folder = place.ranks, place.folder
    new = ranks.first and not folder.exists()
    if not place.named:
        state.run = Path(ranks.from_first(str(claim(folder) if ranks.first else folder)))
        if "run" in state.config:
            state.config["run"] = str(state.run)
    with ExitStack() as opening:
        if ranks.first:
            opening.enter_context(held(state.run, place.resume))
            opening.enter_context(undone_on_failure(state.run, lambda: not new or state.step > 0))
            write_config(state.run, state.config)
            mark(state.run)
        monitor = opening.enter_context(Monitor(state, reports=reports, on_report=on_report))
        monitor.started(data)
        monitor.advise(advice_on_steps(state.total_steps, state.steps_per_epoch))
        if state.step == 0:
            monitor.advise(state.scale)
        yield monitor
