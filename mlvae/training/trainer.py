"""The call that trains any model that returns an objective for a batch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from mlvae.data import Grouped, GroupedData, GroupWarp, Shuffled
from mlvae.errors import Diverged, InputError
from mlvae.grids import pictures
from mlvae.models.protocol import traits
from mlvae.optimizers import Adam, Recipe
from mlvae.training.arguments import check_arguments
from mlvae.training.checks import check_folder
from mlvae.training.interrupt import Interrupt
from mlvae.training.loop import Loop, training_step
from mlvae.training.monitor import Monitor, OnReport, how_to_continue
from mlvae.training.opening import opened
from mlvae.training.settings import Reports, Speed, Warmup
from mlvae.training.setup import fitted, new_state, placed
from mlvae.training.speed.plans import Plans
from mlvae.training.speed.stepper import Stepper

__all__ = ["Result", "train"]


class Result(NamedTuple):
    """The result of :func:`train`.

    Attributes:
        run: folder of the run.
        metrics: the last value of every metric, as "split/name".
        finished: False if a signal requested a stop, at any time until the end.
    """

    run: Path
    metrics: dict[str, float]
    finished: bool

    def __repr__(self) -> str:
        """The folder, the end, and the last bound or loss; ``metrics`` has the others."""
        kinds = ("elbo_per_observation", "loss")  # a model without a bound has the loss alone
        names = [f"{split}/{kind}" for kind in kinds for split in ("validation", "train")]
        shown = next((f", {n}={self.metrics[n]:.2f}" for n in names if n in self.metrics), "")
        return f"Result({str(self.run)!r}, finished={self.finished}{shown})"


def train(
    model: nn.Module,
    data: GroupedData,
    *,
    validation: GroupedData | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    batching: Shuffled | Grouped = Shuffled(),
    augmentation: GroupWarp | None = None,
    optimizer: Recipe | Mapping[str, Recipe] = Adam(),
    warmup: Warmup = Warmup(),
    epochs: int = 100,
    patience: int | None = None,
    speed: Speed = Speed(),
    reports: Reports = Reports(),
    device: str = "auto",
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
    on_report: OnReport | None = None,
) -> Result:
    """Train ``model`` on ``data``, and write a run folder that can be resumed and loaded.

    The folder has ``config.yaml``, ``metrics.jsonl``, TensorBoard events, ``figures/``,
    ``checkpoint.pt`` (the last state) and ``best.pt`` (the lowest validation loss). Ctrl-C, the
    interrupt of a notebook and SIGTERM save and return: ``model`` keeps its parameters. A resumed
    run continues from its last checkpoint, however it ended. Its end is bit for bit that of an
    uninterrupted run, on a CPU with the same number of threads (with one thread if compiled). On
    CUDA, PyTorch's own conditions for determinism apply.

    With torchrun, several processes train together; the result is that of one process up to
    rounding, and rank 0 writes the run. See :mod:`mlvae.training.ranks`. Restarted by torchrun's
    ``--max-restarts``, a training resumes its run; see :mod:`mlvae.training.elastic`.

    Args:
        model: returns an objective for a batch; :class:`mlvae.models.MLVAE` for example. It gets
            the attribute ``table_columns``: the ``columns`` of the training data, or None.
        data: training data. Of :class:`~mlvae.data.PartedData` each rank opens its parts only; the
            scale, pictures and advice are those of the first part.
        validation: data on which the best state is chosen.
        run: the run's folder; None makes a new one under ``runs/`` with the time in its name.
        resume: continue the run in that folder, with the same data, model, batching, augmentation
            and seed. Other arguments may differ.
        batching: the observations of each step.
        augmentation: random change of each training batch; see :class:`mlvae.data.GroupWarp`.
            None: no change.
        optimizer: algorithm, learning rates and clipping; for a model with several players, one
            for each by its name.
        warmup: weights of the KL terms in the first steps.
        epochs: passes over the data.
        patience: validations without a new lowest loss after which training stops; None: no limit.
        speed: precision, CUDA graphs and compilation.
        reports: intervals of reports, validations, pictures and checkpoints.
        device: "cpu", "cuda", "mps", or "auto": CUDA or MPS if there is such a device, else the
            CPU.
        seed: seed of the order of observations and of the latents' noise. The initial weights are
            those of ``model``: seed them before.
        config: nested plain values that the run keeps; None keeps these arguments.
        on_report: a function of yours, called as ``on_report(step, values)`` at every step that
            has a report, after all files are written; ``values`` are numbers by "split/name", as
            "validation/elbo_per_observation". It is called in the process that writes the run.
            An exception of it ends the training: the state is saved first, and a resumed run goes
            on after that step. For W&B and MLflow see the guide on trackers.

    Returns:
        Folder, last metrics, and whether the training ended by itself.

    Raises:
        InputError: if arguments do not fit each other or the folder, before anything is written;
            or if a checkpoint cannot be saved.
        Diverged: if the loss, a term, the gradient or a validation average is not finite. The last
            good state is saved.
        RankLost: if another rank ended. The last checkpoint stays.
    """
    # Nothing is written before all arguments are checked.
    check_arguments(
        model, batching, augmentation, optimizer, warmup, speed, reports, on_report,
        validation=validation, run=run, resume=resume, epochs=epochs, patience=patience, seed=seed,
        config=config,
    )  # fmt: skip
    place = placed(run, resume, device, config, seed)
    ranks = place.ranks
    found = fitted(
        model, data, validation, batching, augmentation, speed=speed, place=place, seed=seed
    )
    warmup.check(model, traits(model).scales)
    if run is not None:
        check_folder(place.folder, place.resume)

    state, data = new_state(
        model, found, place, batching, augmentation, optimizer,
        epochs=epochs, patience=patience, warmup=warmup, speed=speed, reports=reports, seed=seed,
        config=config,
    )  # fmt: skip
    if place.resume:
        state.resume()
    scales = dict(traits(model).scales)
    stepper = Stepper(
        training_step,
        state.parts,
        data,
        seed=seed,
        total_steps=state.total_steps,
        warmup=warmup,
        scales=scales,
        augmentation=augmentation,
        room=min(state.steps_per_epoch, reports.log_every or state.steps_per_epoch),
        in_parts=found.dealt is not None,
    )
    plans = Plans(
        batching,
        data,
        seed=seed,
        ranks=ranks,
        largest_group=traits(model).largest_group,
        dealt=found.dealt,
    )

    folder = opened(state, place, data, reports, on_report)
    borrowed = torch.random.fork_rng([ranks.device] if ranks.device.type == "cuda" else [])
    interruptible = Interrupt(repeatedly=ranks.several)
    watched = ranks.watch(lambda: how_to_continue(state))
    with folder as monitor, interruptible as interrupt, borrowed, watched, torch.enable_grad():
        loop = Loop(
            state, stepper, plans, monitor, interrupt, patience, found.validation, batching
        )
        try:
            stopped = loop.run()
        except InputError:  # for example, a report could not be written
            if state.step > 0:
                with contextlib.suppress(InputError, Diverged):
                    state.save()
            raise

        state.save()
        finished = state.step == state.total_steps or not stopped
        if finished:
            _finish(monitor, found.validation or data)
        else:
            monitor.interrupted()
        ranks.wait()  # all ranks return after rank 0 has written its files
    model.eval()
    return Result(state.run, state.metrics, finished and not interrupt.requested)


def _finish(monitor: Monitor, data: GroupedData) -> None:
    """The pictures of ``data``, the advice and the reports at the end of a training."""
    state, reports = monitor.state, monitor.reports
    if state.ranks.first and reports.figures:
        monitor.pictures(pictures(state.model, data))
    if state.ranks.first and reports.advice:
        monitor.advise_at_end(state.model, data)
    monitor.finished()
