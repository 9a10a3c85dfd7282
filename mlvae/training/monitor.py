"""Reports of a run: progress on the terminal, metrics.jsonl, TensorBoard, pictures."""

from __future__ import annotations

import io
import json
import logging
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from tqdm import tqdm

from mlvae.errors import InputError
from mlvae.invocation import command_line
from mlvae.training.files import append, replace_file
from mlvae.training.state import TrainingState

__all__ = ["Monitor", "how_to_continue", "quoted"]

LOG = logging.getLogger("mlvae")


class Monitor:
    """Progress on the terminal, and files in the run's folder. Use it in a ``with``.

    A terminal shows a tqdm bar; other outputs get one line for each report. Records of steps after
    the state's step are removed first, so that a resumed run has no doubled lines or curves. With
    several ranks, rank 0 reports.

    Args:
        state: the run; its ``metrics`` are kept up to date.
        progress: False: nothing is printed.
    """

    def __init__(self, state: TrainingState, *, progress: bool = True) -> None:
        self.state = state
        self.writes = state.ranks.first
        progress = progress and self.writes
        self.metrics_file = state.run / "metrics.jsonl"
        if self.writes:
            from torch.utils.tensorboard.writer import SummaryWriter  # takes seconds to import

            self._remove_after(state.step)
            purge = state.step + 1 if state.step else None
            self.writer = SummaryWriter(state.run, purge_step=purge)
        self.bar = tqdm(
            total=state.total_steps,
            initial=state.step,
            unit="step",
            disable=None if progress else True,
        )
        self.lines = progress and self.bar.disable
        self.since, self.step = time.monotonic(), state.step

    def __enter__(self) -> Monitor:
        if self.writes:
            self._say(f"the run is in {self.state.run}")
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()
        if not self.writes:
            return
        try:
            self.writer.close()
        except (OSError, ValueError):  # the disk is full; the records are in metrics.jsonl
            LOG.warning("TensorBoard's records of %s could not be written", self.state.run)

    def _remove_after(self, step: int) -> None:
        """Remove lines of steps after ``step``, and an incomplete last line."""
        if not self.metrics_file.exists():
            return
        kept = b""
        for line in self.metrics_file.read_bytes().splitlines(keepends=True):
            try:
                if json.loads(line)["step"] <= step:
                    kept += line.rstrip(b"\n") + b"\n"
            except (ValueError, LookupError, TypeError, RecursionError):  # cut off, or no record
                continue
        with self._writing():
            replace_file(self.metrics_file, kept)

    def advance(self, steps: int = 1) -> None:
        """Count ``steps`` more steps."""
        self.bar.update(steps)

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
        self.since = time.monotonic()

    def _scalars(self, split: str, values: Mapping[str, float]) -> None:
        if not self.writes:
            return
        step, epoch = self.state.step, self.state.step / self.state.steps_per_epoch
        record = {"step": step, "epoch": round(epoch, 6), "split": split, **values}
        with self._writing():
            append(self.metrics_file, json.dumps(record) + "\n")
            for name, value in values.items():
                self.writer.add_scalar(f"{split}/{name}", value, step)
        shown = self._summary(values)
        self.bar.set_postfix_str(f"{split} {shown}", refresh=False)
        if self.lines:
            self._say(f"epoch {epoch:g}, step {step}/{self.state.total_steps}, {split}: {shown}")

    @staticmethod
    def _summary(values: Mapping[str, float]) -> str:
        """The bound per observation and its terms, or the loss of a model without a bound."""
        shown = []
        if "elbo_per_observation" not in values and "loss" in values:
            shown.append(f"loss {values['loss']:.2f}")
        for name, value in values.items():
            term, _, unit = name.rpartition("_per_")
            if unit in ("observation", "group") and name != "elbo_per_group":
                shown.append(f"{term} {value:.2f}")
        return ", ".join(shown)

    def pictures(self, grids: Mapping[str, Tensor]) -> None:
        """Images (channels, height, width) by name: to TensorBoard, and to ``figures/``."""
        from torchvision.utils import save_image  # takes seconds to import

        figures = self.state.run / "figures"
        for name, grid in grids.items():
            image = io.BytesIO()
            save_image(grid, image, format="png")
            content = image.getvalue()
            with self._writing():
                self.writer.add_image(name, grid, self.state.step)
                figures.mkdir(exist_ok=True)
                replace_file(figures / f"{name}.png", content)

    def finished(self) -> None:
        """Report the end; write the configuration and the final metrics to TensorBoard's table."""
        state = self.state
        if not self.writes:
            return
        with self._writing():
            self.writer.add_hparams(
                _flat(state.config), state.metrics, run_name=".", global_step=state.step
            )
        self._say(
            f"finished at step {state.step} of {state.total_steps}; the run is in {state.run}"
        )

    def interrupted(self) -> None:
        """Report an early end, and how to continue."""
        state = self.state
        self._say(
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

    def _say(self, message: str) -> None:
        """Print a line without breaking the bar. The training continues if nobody reads it."""
        try:
            if self.lines:
                print(message, flush=True)
            elif not self.bar.disable:
                tqdm.write(message, file=sys.stdout)
        except OSError:  # a closed pipe, or a log on a full disk
            self.lines, self.bar.disable = False, True
            LOG.warning("standard output cannot be written any more; the training continues")


def how_to_continue(state: TrainingState) -> str:
    """The command that continues the run."""
    if not (state.run / "checkpoint.pt").exists():
        return "nothing is saved yet: start again"
    override = shlex.quote(f"resume={quoted(state.run)}")
    return (
        f"continue with {command_line('train')} {override}, "
        f"or from Python with mlvae.train(..., run={str(state.run)!r}, resume=True)"
    )


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
