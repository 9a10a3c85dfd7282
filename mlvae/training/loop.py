"""The training loop: it trains any model that returns an objective for a batch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from mlvae.arguments import check_type
from mlvae.batch import Batch
from mlvae.data import (
    AUGMENTATIONS,
    BATCHINGS,
    Grouped,
    GroupedData,
    GroupWarp,
    Shuffled,
)
from mlvae.data.collections.preparation import prepared_as
from mlvae.data.parted import PartedData
from mlvae.errors import Diverged, InputError, check_flag, check_part, shown
from mlvae.grids import pictures
from mlvae.models.protocol import traits
from mlvae.optimizers import OPTIMIZERS, Adam, Recipe
from mlvae.parts import plain, to_config
from mlvae.training.advice import advice_on_columns, advice_on_scale, advice_on_steps
from mlvae.training.checks import (
    check_fit,
    check_folder,
    check_named,
    check_options,
    check_precision,
    resolve_device,
)
from mlvae.training.dealt import Dealt, check_unlabelled, hands_of
from mlvae.training.elastic import begun_by_this_launch, check_run_is_named, mark
from mlvae.training.interrupt import Interrupt
from mlvae.training.monitor import Monitor, OnReport, how_to_continue
from mlvae.training.ranks import check_shared, join
from mlvae.training.run import claim, held, new_name, undone_on_failure, write_config
from mlvae.training.scale import measure_scale, scale_is_known
from mlvae.training.settings import Reports, Speed, Warmup
from mlvae.training.speed.compiling import check_compile
from mlvae.training.speed.plans import Plans
from mlvae.training.speed.stepper import Stepper
from mlvae.training.state import TrainingState
from mlvae.training.step import StepParts
from mlvae.training.validation import evaluate_bound

__all__ = ["Result", "train", "training_step"]


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
    # Check all arguments before anything is written.
    check_type("model", model, nn.Module, "a model, as MLVAE(shape)")
    if config is not None:
        check_type("config", config, Mapping, "plain values by name")
    _check_records(warmup, speed, reports)
    check_options(
        epochs=epochs,
        seed=seed,
        patience=patience,
        reports=reports,
        validation=validation is not None,
    )
    check_flag("resume", resume)
    _check_objects(batching, augmentation, optimizer, on_report)
    check_named(run, resume)
    check_run_is_named(run)
    ranks = join(resolve_device(device))
    if not resume and run is not None:  # a restart by torchrun
        resume = ranks.from_first(ranks.first and begun_by_this_launch(Path(run).expanduser()))
    target = ranks.device
    check_precision(speed.precision, target)
    check_compile(speed.compile, ranks)
    check_shared(model, ranks, span=batching.span_ranks)
    dealt = None
    if isinstance(data, PartedData):
        check_unlabelled(model)
        resumed = Path(run).expanduser() if resume and run is not None else None
        hands = hands_of(resumed) if resumed is not None and data.hands is None else None
        dealt = Dealt(data, batching, seed=seed, ranks=ranks, hands=hands)
        data = data.first  # for the scale, pictures and advice
    data = check_fit(model, data, "training")
    if validation is not None:
        validation = check_fit(model, validation, "validation").to(target)
    if augmentation is not None:
        augmentation.check(data.shape)
    warmup.check(model, traits(model).scales)
    steps_per_epoch = batching.num_batches(data) if dealt is None else dealt.num_batches
    folder = Path(ranks.from_first(str(new_name(config, seed) if run is None else run)))
    folder = folder.expanduser()
    if run is not None:
        check_folder(folder, resume)

    # Move model and data to the device; build the state, new or from the checkpoint.
    described = {
        "batching": to_config(batching),
        "augmentation": None if augmentation is None else to_config(augmentation),
    }
    if config is None:
        trainer = {"epochs": epochs, "patience": patience}
        trainer |= {"warmup": warmup, "speed": speed, "reports": reports}
        config = _config(model, data, described | {"optimizer": plain(optimizer)}, trainer, seed)
    # Before the move: images on the disk may move to the device.
    fingerprint = data.fingerprint() if dealt is None else dealt.fingerprint()
    data = data.to(target)
    model.to(target).train()
    model.table_columns = data.columns  # type: ignore[assignment]
    if not resume:
        measure_scale(model, data)
    scales = dict(traits(model).scales)
    for scale in scales.values():
        scale.fill_(1)  # an earlier training may have ended during its warm-up
    state = TrainingState(
        run=folder,
        config=dict(plain(config)),
        shape=data.shape,
        model=model,
        parts=StepParts(model, optimizer, speed=speed, ranks=ranks),
        seed=seed,
        steps_per_epoch=steps_per_epoch,
        total_steps=epochs * steps_per_epoch,
        ranks=ranks,
        fixed={
            "data": fingerprint,
            "batching": {**described["batching"], "span_ranks": None},  # may change
            "augmentation": described["augmentation"],
        },
        scale=None if scale_is_known(model) else advice_on_columns(data),
    )
    if resume:
        state.resume()
    stepper = Stepper(
        training_step,
        state.parts,
        data,
        seed=seed,
        total_steps=state.total_steps,
        warmup=warmup,
        scales=scales,
        augmentation=augmentation,
        room=min(steps_per_epoch, reports.log_every or steps_per_epoch),
        in_parts=dealt is not None,
    )
    plans = Plans(
        batching,
        data,
        seed=seed,
        ranks=ranks,
        largest_group=traits(model).largest_group,
        dealt=dealt,
    )

    # Open the run's folder.
    new = ranks.first and not folder.exists()
    if run is None:
        state.run = Path(ranks.from_first(str(claim(folder) if ranks.first else folder)))
        if "run" in state.config:
            state.config["run"] = str(state.run)
    with ExitStack() as opening:
        if ranks.first:
            opening.enter_context(held(state.run, resume))
            opening.enter_context(undone_on_failure(state.run, lambda: not new or state.step > 0))
            write_config(state.run, state.config)
            mark(state.run)
        monitor = opening.enter_context(Monitor(state, reports=reports, on_report=on_report))
        monitor.started(data)
        monitor.advise(advice_on_steps(state.total_steps, steps_per_epoch))
        if state.step == 0:
            monitor.advise(state.scale)
        opened = opening.pop_all()
    borrowed = torch.random.fork_rng([target] if target.type == "cuda" else [])
    interruptible = Interrupt(repeatedly=ranks.several)
    watched = ranks.watch(lambda: how_to_continue(state))
    with opened, interruptible as interrupt, borrowed, watched, torch.enable_grad():
        try:
            stopped = _loop(
                state, stepper, plans, monitor, interrupt, reports, patience, validation, batching
            )
        except InputError:  # for example, a report could not be written
            if state.step > 0:
                with contextlib.suppress(InputError, Diverged):
                    state.save()
            raise

        state.save()
        finished = state.step == state.total_steps or not stopped
        if finished:
            _finish(monitor, validation or data)
        else:
            monitor.interrupted()
        ranks.wait()  # all ranks return after rank 0 has written its files
    model.eval()
    return Result(state.run, state.metrics, finished and not interrupt.requested)


def _check_records(warmup: object, speed: object, reports: object) -> None:
    """Raise :class:`InputError` unless the groups of options are records of their classes."""
    for name, record, kind in (
        ("warmup", warmup, Warmup),
        ("speed", speed, Speed),
        ("reports", reports, Reports),
    ):
        check_type(name, record, kind, f"{kind.__name__}(...)")


def _check_objects(batching: object, augmentation: object, optimizer: Any, report: object) -> None:
    """Raise :class:`InputError` unless parts that a user may write have their methods."""
    if report is not None and (not callable(report) or isinstance(report, type)):
        raise InputError(f"on_report must be a function (step, values), not {shown(report)}")
    check_part("batching", batching, BATCHINGS, ("plan", "num_batches", "for_evaluation"))
    recipes = optimizer.values() if isinstance(optimizer, Mapping) else [optimizer]
    for recipe in recipes:
        check_part("optimizer", recipe, OPTIMIZERS, ("build", "rates", "steady"))
    if augmentation is not None:
        check_part("augmentation", augmentation, AUGMENTATIONS, ("check", "__call__"))


def _config(
    model: nn.Module,
    data: GroupedData,
    parts: Mapping[str, Any],
    trainer: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """The config of a training that was called without one.

    Args:
        model: the model.
        data: the training data.
        parts: batching, augmentation and optimiser as plain values, by name.
        trainer: options of the trainer, in their records.
        seed: seed of the training.
    """
    options = {
        name: _fields(value) if is_dataclass(value) else value for name, value in trainer.items()
    }
    config = {"model": traits(model).config or {}, **parts, "trainer": options, "seed": seed}
    if (images := prepared_as(data.x)) is not None:
        config["images"] = images  # for mlvae.read_images
    return config


def _finish(monitor: Monitor, data: GroupedData) -> None:
    """The pictures of ``data``, the advice and the reports at the end of a training."""
    state, reports = monitor.state, monitor.reports
    if state.ranks.first and reports.figures:
        monitor.pictures(pictures(state.model, data))
    if state.ranks.first and reports.advice:
        monitor.advise_at_end(state.model, data)
    monitor.finished()


def training_step(parts: StepParts, batch: Batch, generator: torch.Generator) -> None:
    """Forward, backward, update: every training step, eager, compiled or in a CUDA graph."""
    parts.buffers.hold()
    with parts.products():
        with parts.autocast:
            passed = parts.forward(batch, generator=generator)
        losses, totals = parts.over_ranks(passed, batch.groups)
        parts.backward(losses)
    parts.update(totals, passed.units)
    parts.buffers.restore()


def _loop(
    state: TrainingState,
    stepper: Stepper,
    plans: Plans,
    monitor: Monitor,
    interrupt: Interrupt,
    reports: Reports,
    patience: int | None,
    validation: GroupedData | None,
    batching: Shuffled | Grouped,
) -> bool:
    """Train until the end, a signal or the end of patience; whether a signal stopped it."""
    ranks, sums, log_every = state.ranks, state.parts.sums, reports.log_every
    plan, saved_at, first = None, time.monotonic(), state.step == 0
    while state.step < state.total_steps and not _patience_lost(state, patience):
        epoch, position = divmod(state.step, state.steps_per_epoch)
        if position == 0:
            plan = None  # releases its memory before the next one is made
        if plan is None:
            plan = plans.of(epoch)

        # Take a step, or a block of steps before the next report.
        most = log_every - state.step % log_every if log_every else state.steps_per_epoch
        steps = stepper(plan, position, state.step, most=most)
        state.step += steps
        monitor.advance(steps)

        # Find out what is due.
        ends = state.step == state.total_steps
        epochs_done = state.epochs_done
        if epochs_done and not ends:
            plans.expect(epochs_done)
        log_due = ends or (_every(log_every, state.step) if log_every else epochs_done > 0)
        validation_due = ends or _every(reports.validate_every, epochs_done)
        pictures_due = reports.figures and _every(reports.pictures_every, epochs_done) and not ends
        seconds, now = reports.checkpoint_seconds, time.monotonic()
        save_due = seconds is not None and now - saved_at >= seconds
        save_due, stop = ranks.agree(save_due, interrupt.requested)
        validated = validation is not None and reports.validate_every and validation_due

        # Stop if something is not finite. The check waits for the device, so it is rare on CUDA.
        on_cpu = state.parts.device.type == "cpu"
        if on_cpu or log_due or validated or save_due or stop or first:
            state.check_finite()
        if first:
            monitor.advise(advice_on_scale(sums.read(), state.shape))
            first = False

        # Report training averages.
        if log_due:
            averages = sums.read()
            sums.reset()
            monitor.training(averages)

        # Validate, and keep the best state.
        if validated and validation is not None:
            with monitor.untimed():
                values = evaluate_bound(
                    state.model, validation, batching, seed=state.seed, ranks=ranks
                )
                state.check_validation(values)
                monitor.validation(values)
            state.stale = 0 if values["loss"] < state.best else state.stale + 1
            if state.stale == 0:
                state.best = state.metrics["validation/best_loss"] = values["loss"]
                state.save("best.pt")
        if pictures_due and ranks.first:
            monitor.pictures(pictures(state.model, validation or plans.data))
        monitor.publish()

        # Stop at a signal, or save from time to time.
        if stop:
            return True
        if save_due:
            state.save()
            saved_at = time.monotonic()
    return False


def _fields(record: object) -> dict[str, Any]:
    """The fields of a record as plain values, without the name of its class."""
    return {name: plain(value) for name, value in vars(record).items()}


def _every(interval: int | None, count: int) -> bool:
    """Whether ``count`` is a positive multiple of ``interval``; never if that is None."""
    return bool(interval and count and count % interval == 0)


def _patience_lost(state: TrainingState, patience: int | None) -> bool:
    return patience is not None and state.stale >= patience
