"""The training step, and the loop that repeats it and reports."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from mlvae.batch import Batch
from mlvae.data import Grouped, GroupedData, Shuffled
from mlvae.grids import pictures
from mlvae.training.advice import advice_on_scale
from mlvae.training.interrupt import Interrupt
from mlvae.training.monitor import Monitor
from mlvae.training.speed.plans import Plans
from mlvae.training.speed.stepper import Stepper
from mlvae.training.state import TrainingState
from mlvae.training.step import StepParts
from mlvae.training.validation import evaluate_bound

__all__ = ["Loop", "training_step"]


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


class _Due(NamedTuple):
    """What is done after a step.

    Attributes:
        report: training averages.
        validation: the validation loss; ``best.pt`` if it is the lowest.
        pictures: pictures of reconstructions.
        save: a checkpoint.
        stop: the end, which a signal requested.
    """

    report: bool
    validation: bool
    pictures: bool
    save: bool
    stop: bool


@dataclass
class Loop:
    """The steps of a training, and what is due between them.

    Attributes:
        state: the state of the run.
        stepper: takes steps.
        plans: the batches of every epoch.
        monitor: writes reports, with the options of their intervals.
        interrupt: whether a signal requested a stop.
        patience: validations without a new lowest loss after which training stops; None: no limit.
        validation: validation data, or None.
        batching: the observations of each step.
        saved_at: time of the last checkpoint.
    """

    state: TrainingState
    stepper: Stepper
    plans: Plans
    monitor: Monitor
    interrupt: Interrupt
    patience: int | None
    validation: GroupedData | None
    batching: Shuffled | Grouped
    saved_at: float = field(default_factory=time.monotonic)

    def run(self) -> bool:
        """Train until the end, a signal or the end of patience; whether a signal stopped it."""
        state, reports = self.state, self.monitor.reports
        plan, first = None, state.step == 0
        while state.step < state.total_steps and not self._patience_lost():
            epoch, position = divmod(state.step, state.steps_per_epoch)
            if position == 0:
                plan = None  # releases its memory before the next one is made
            if plan is None:
                plan = self.plans.of(epoch)
            # A step, or a block of steps before the next report.
            every = reports.log_every
            most = every - state.step % every if every else state.steps_per_epoch
            steps = self.stepper(plan, position, state.step, most=most)
            state.step += steps
            self.monitor.advance(steps)
            due = self._due()
            # The check waits for the device, so it is rare on CUDA.
            on_cpu = state.parts.device.type == "cpu"
            if on_cpu or first or due.report or due.validation or due.save or due.stop:
                state.check_finite()
            if first:
                self.monitor.advise(advice_on_scale(state.parts.sums.read(), state.shape))
                first = False
            self._report(due)
            if due.stop:
                return True
            if due.save:
                state.save()
                self.saved_at = time.monotonic()
        return False

    def _due(self) -> _Due:
        """What is done after the steps so far; the same in all processes."""
        state, reports = self.state, self.monitor.reports
        ends = state.step == state.total_steps
        epochs = state.epochs_done
        if epochs and not ends:
            self.plans.expect(epochs)
        every, seconds = reports.log_every, reports.checkpoint_seconds
        late = seconds is not None and time.monotonic() - self.saved_at >= seconds
        save, stop = state.ranks.agree(late, self.interrupt.requested)
        validated = self.validation is not None and bool(reports.validate_every)
        return _Due(
            report=ends or (_every(every, state.step) if every else epochs > 0),
            validation=validated and (ends or _every(reports.validate_every, epochs)),
            pictures=reports.figures and _every(reports.pictures_every, epochs) and not ends,
            save=save,
            stop=stop,
        )

    def _report(self, due: _Due) -> None:
        """Report training averages, validate, and make pictures."""
        sums = self.state.parts.sums
        if due.report:
            averages = sums.read()
            sums.reset()
            self.monitor.training(averages)
        if due.validation and self.validation is not None:
            self._validate(self.validation)
        if due.pictures and self.state.ranks.first:
            self.monitor.pictures(pictures(self.state.model, self.validation or self.plans.data))
        self.monitor.publish()

    def _validate(self, data: GroupedData) -> None:
        """Measure the bound on validation data, and save the state if it is the best one."""
        state = self.state
        with self.monitor.untimed():
            values = evaluate_bound(
                state.model, data, self.batching, seed=state.seed, ranks=state.ranks
            )
            state.check_validation(values)
            self.monitor.validation(values)
        state.stale = 0 if values["loss"] < state.best else state.stale + 1
        if state.stale == 0:
            state.best = state.metrics["validation/best_loss"] = values["loss"]
            state.save("best.pt")

    def _patience_lost(self) -> bool:
        return self.patience is not None and self.state.stale >= self.patience


def _every(interval: int | None, count: int) -> bool:
    """Whether ``count`` is a positive multiple of ``interval``; never if that is None."""
    return bool(interval and count and count % interval == 0)
