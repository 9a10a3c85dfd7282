"""What a run shows while it trains and leaves behind: progress, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import save_image
from tqdm import tqdm

__all__ = ["Monitor"]


class Monitor:
    """Progress on the terminal, and files in the run's folder.

    A tqdm bar where there is a terminal, a line for each report where there is none.

    Args:
        run: folder of the run.
        step: steps done so far; what the folder holds of later steps is taken back, so that a
            resumed run leaves no doubled lines or curves.
        total_steps: steps of the whole run.
        steps_per_epoch: to tell the epoch.
        progress: False keeps the terminal silent.
    """

    def __init__(
        self, run: Path, *, step: int, total_steps: int, steps_per_epoch: int, progress: bool
    ) -> None:
        self.run = run
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.metrics_file = run / "metrics.jsonl"
        self._take_back(step)
        self.writer = SummaryWriter(run, purge_step=step + 1 if step else None)
        self.bar = tqdm(
            total=total_steps, initial=step, unit="step", disable=None if progress else True
        )
        self.lines = progress and self.bar.disable

    def _take_back(self, step: int) -> None:
        """Drop lines of steps after ``step``, and a last line that was cut off."""
        if not self.metrics_file.exists():
            return
        kept = []
        for line in self.metrics_file.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except json.JSONDecodeError:
                break
        temporary = self.metrics_file.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        temporary.replace(self.metrics_file)

    def advance(self) -> None:
        """One more step is done."""
        self.bar.update()

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Report ``values`` of a split after ``step`` steps."""
        epoch = step / self.steps_per_epoch
        record = {"step": step, "epoch": round(epoch, 6), "split": split, **values}
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in values.items():
            self.writer.add_scalar(f"{split}/{name}", value, step)
        shown = self._summary(values)
        self.bar.set_postfix_str(f"{split} {shown}", refresh=False)
        if self.lines:
            self.say(f"epoch {epoch:g}, step {step}/{self.total_steps}, {split}: {shown}")

    @staticmethod
    def _summary(values: Mapping[str, float]) -> str:
        """The bound and its terms, per observation but for what belongs to a group."""
        shown = []
        for name, value in values.items():
            term, _, unit = name.rpartition("_per_")
            if unit == ("group" if term == "content_kl" else "observation"):
                shown.append(f"{term} {value:.2f}")
        return ", ".join(shown)

    def say(self, message: str) -> None:
        """Print a line without breaking the bar."""
        if self.lines:
            print(message, flush=True)
        elif not self.bar.disable:
            tqdm.write(message, file=sys.stdout)

    def pictures(self, step: int, grids: Mapping[str, Tensor]) -> None:
        """Images (channels, height, width) by name: to TensorBoard, and to ``figures/``."""
        for name, grid in grids.items():
            self.writer.add_image(name, grid, step)
            figures = self.run / "figures"
            figures.mkdir(exist_ok=True)
            save_image(grid, figures / f"{name}.png")

    def hyperparameters(self, config: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """The run's configuration beside its final metrics, for TensorBoard's table of runs."""
        self.writer.add_hparams(_flat(config), dict(metrics), run_name=".")

    def close(self) -> None:
        """Write out what is pending."""
        self.bar.close()
        self.writer.close()


def _flat(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested options as one level, ``model.network.hidden``; lists as text."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            simple = isinstance(value, bool | int | float | str)
            flat[f"{prefix}{key}"] = value if simple else str(value)
    return flat
