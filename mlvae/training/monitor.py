"""Reports of a run: metrics.jsonl, TensorBoard, pictures, progress, the user's function."""

from __future__ import annotations

import io
import json
import logging
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlvae.data import GroupedData
from mlvae.errors import InputError
from mlvae.grids import Grid
from mlvae.invocation import command_line
from mlvae.models.protocol import traits
from mlvae.training.advice import advice_on_collapse, advice_on_kl
from mlvae.training.files import append, replace_file
from mlvae.training.history import records
from mlvae.training.progress import Progress
from mlvae.training.settings import Reports
from mlvae.training.state import TrainingState

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

__all__ = ["Monitor", "OnReport", "how_to_continue", "quoted"]

LOG = logging.getLogger("mlvae")

#: A function of the user that receives the step and the values by name, "split/name".
OnReport = Callable[[int, dict[str, float]], object]


class Monitor:
    """Reports of a run: progress, files in its folder, the user's function.

    Use it in a ``with``. Records of steps after the state's step are removed first, so that a
    resumed run has no doubled lines or curves. With several ranks, rank 0 reports.

    Args:
        state: the run; its ``metrics`` are kept up to date.
        reports: which reports there are.
        on_report: called with the step and the values of each report.
    """

    def __init__(
        self,
        state: TrainingState,
        *,
        reports: Reports = Reports(),
        on_report: OnReport | None = None,
    ) -> None:
        self.state, self.reports = state, reports
        self.writes = state.ranks.first
        self.on_report = on_report
        self.metrics_file = state.run / "metrics.jsonl"
        self.begun = state.step
        if self.writes:
            self._remove_after(state.step)
        self.progress = Progress(
            state.total_steps,
            done=state.step,
            steps_per_epoch=state.steps_per_epoch,
            shown=reports.progress and self.writes,
        )
        self.since, self.step = time.monotonic(), state.step
        self.unpublished: dict[str, float] = {}

    @cached_property
    def writer(self) -> SummaryWriter:
        """TensorBoard's writer, made at the first report."""
        from torch.utils.tensorboard.writer import SummaryWriter  # takes seconds to import

        return SummaryWriter(self.state.run, purge_step=self.begun + 1 if self.begun else None)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.close()
        try:
            if "writer" in vars(self):
                self.writer.close()
        except (OSError, ValueError):  # the disk is full; the records are in metrics.jsonl
            LOG.warning("TensorBoard's records of %s could not be written", self.state.run)

    def _remove_after(self, step: int) -> None:
        """Remove lines of steps after ``step``, and an incomplete last line."""
        if not self.metrics_file.exists():
            return
        lines = records(self.metrics_file.read_bytes())
        with self._writing():
            kept = b"".join(line for line, record in lines if record["step"] <= step)
            replace_file(self.metrics_file, kept)

    def started(self, data: GroupedData) -> None:
        """Report the folder, the data, the model, the device and the number of steps."""
        state = self.state
        self.progress.say(f"the run is in {state.run}")
        self.progress.say(training_line(state, data))
        if state.step:
            self.progress.say(f"resumed at step {state.step} of {state.total_steps}")

    def advise(self, advice: str | None) -> None:
        """Log a warning for the user, if there is one."""
        if advice is not None and self.writes and self.reports.advice:
            self.progress.warn(advice)

    def advise_at_end(self, model: object, data: GroupedData) -> None:
        """Log a warning if the trained ``model`` hardly uses its codes on ``data``."""
        if (collapse := advice_on_collapse(model, data)) is not None:
            self.advise(collapse)
            return
        for advice in advice_on_kl(self.state.metrics, traits(model).given_codes):
            self.advise(advice)

    def advance(self, steps: int = 1) -> None:
        """Count ``steps`` more steps."""
        self.progress.advance(steps)

    def training(self, values: dict[str, float]) -> None:
        """Report averages over the training since the last report."""
        state = self.state
        seconds = time.monotonic() - self.since
        state.metrics |= {f"train/{name}": value for name, value in values.items()}
        speed = {"steps_per_second": (state.step - self.step) / seconds}
        rate = {"learning_rate": state.learning_rate}
        self._scalars("train", {**values, **rate, **speed})
        self.since, self.step = time.monotonic(), state.step

    def validation(self, values: dict[str, float]) -> None:
        """Report averages over the validation observations."""
        self.state.metrics |= {f"validation/{name}": value for name, value in values.items()}
        self._scalars("validation", values)

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """Time that is no part of ``steps_per_second``, such as that of a validation."""
        begun = time.monotonic()
        yield
        self.since += time.monotonic() - begun

    def _scalars(self, split: str, values: Mapping[str, float]) -> None:
        if not self.writes:
            return
        step, epoch = self.state.step, self.state.step / self.state.steps_per_epoch
        record = {"step": step, "epoch": round(epoch, 6), "split": split, **values}
        with self._writing():
            append(self.metrics_file, json.dumps(record) + "\n")
            for name, value in values.items() if self.reports.tensorboard else ():
                self.writer.add_scalar(f"{split}/{name}", value, step)
        self.progress.report(split, values, step)
        self.unpublished |= {f"{split}/{name}": value for name, value in values.items()}

    def publish(self) -> None:
        """Call ``on_report`` with the values of this step, if the step has a report.

        If it raises an exception, the state is saved first, so that the run can be resumed.
        """
        values, self.unpublished = self.unpublished, {}
        if self.on_report is None or not values:
            return
        try:
            self.on_report(self.state.step, values)
        except Exception:
            self.state.save()
            raise

    def pictures(self, grids: Mapping[str, Grid]) -> None:
        """Draw labelled grids by name: to TensorBoard, and to ``figures/``."""
        if not grids:
            return
        from PIL import Image

        from mlvae.show.drawing import draw, pixels  # it imports matplotlib, which takes a second

        figures = self.state.run / "figures"
        for name, grid in grids.items():
            image, file = pixels(draw(grid)), io.BytesIO()
            Image.fromarray(image).save(file, format="png")
            with self._writing():
                if self.reports.tensorboard:
                    self.writer.add_image(name, image, self.state.step, dataformats="HWC")
                figures.mkdir(exist_ok=True)
                replace_file(figures / f"{name}.png", file.getvalue())

    def finished(self) -> None:
        """Report the end; write the configuration and the final metrics to TensorBoard's table."""
        state = self.state
        if not self.writes:
            return
        if self.reports.tensorboard:
            with self._writing():
                self.writer.add_hparams(
                    _flat(state.config), state.metrics, run_name=".", global_step=state.step
                )
        self.progress.say(
            f"finished at step {state.step} of {state.total_steps}; the run is in {state.run}"
        )

    def interrupted(self) -> None:
        """Report an early end, and how to continue."""
        state = self.state
        self.progress.say(
            f"stopped at step {state.step} of {state.total_steps} and saved; "
            f"{how_to_continue(state)}"
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise :class:`InputError` where the operating system cannot write."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{error.filename or self.state.run} could not be written ({error.strerror}); "
                "what was saved before is intact: make room, then resume from the last checkpoint"
            ) from error


def training_line(state: TrainingState, data: GroupedData) -> str:
    """The data, the model, the device and the number of steps of a training, in one line."""
    dataset = state.config.get("dataset")
    name = f"{dataset['name']}, " if isinstance(dataset, Mapping) and "name" in dataset else ""
    parameters = sum(parameter.numel() for parameter in state.model.parameters())
    epochs = state.total_steps // state.steps_per_epoch
    return (
        f"{name}{len(data):,} observations {data.shape} in {data.groups.num_groups:,} groups; "
        f"{type(state.model).__name__} of {parameters:,} parameters on {state.parts.device}; "
        f"{state.total_steps:,} steps in {epochs:,} epochs"
    )


def how_to_continue(state: TrainingState) -> str:
    """The command, or the call, that continues the run."""
    if not (state.run / "checkpoint.pt").exists():
        return "nothing is saved yet: start again"
    if "dataset" not in state.config:  # trained from Python, without the options of a script
        return f"continue with mlvae.train(..., run={str(state.run)!r}, resume=True)"
    override = shlex.quote(f"resume={quoted(state.run)}")
    return f"continue with {command_line('train')} {override}"


def quoted(value: object) -> str:
    """A text as Hydra's command line reads it: in quotes unless it is a plain word or path.

    Example:
        >>> quoted("runs/first"), quoted("lr=0.1"), quoted("5"), quoted("null")
        ('runs/first', '"lr=0.1"', '"5"', '"null"')
    """
    text = str(value)
    plain = re.fullmatch(r"(\.{0,2}/|[A-Za-z_])[\w./:-]*", text, flags=re.ASCII)
    if plain and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    # A backslash is itself, except before a quote and at the end.
    escaped = re.sub(r'(\\+)(?="|\Z)', r"\1\1", text).replace('"', '\\"')
    escaped = escaped.replace("${", "\\${")
    return f'"{escaped}"'


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options as one level, ``model.network.hidden``; lists as text."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            simple = isinstance(value, bool | int | float | str)
            flat[f"{prefix}{key}"] = value if simple else str(value)
    return flat
