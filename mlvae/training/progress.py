"""Progress of a training: a bar in a terminal or a notebook, lines in any other output."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

__all__ = ["Progress"]

LOG = logging.getLogger("mlvae")

#: Epoch, share, bar, remaining time and last bound. The bar takes the columns that are left.
FORMAT = "{desc} {percentage:3.0f}% |{bar}| {remaining} left{postfix}"


class Progress:
    """Progress of a training, for people.

    A terminal and a notebook show a tqdm bar: the epoch, the share of the steps, the last bound
    and the remaining time. Other outputs get one line for each report.

    Args:
        steps: steps of the whole run.
        done: steps that an earlier training of the run has done.
        steps_per_epoch: steps of a pass over the data.
        shown: False: nothing is printed.
    """

    def __init__(self, steps: int, *, done: int, steps_per_epoch: int, shown: bool) -> None:
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        text = self._epoch(done)
        self.bar = _bar(total=steps, initial=done, desc=text, bar_format=FORMAT, shown=shown)
        self.lines = shown and bool(self.bar.disable)

    def advance(self, steps: int) -> None:
        """Count ``steps`` more steps."""
        if not self.bar.disable:
            self.bar.set_description_str(self._epoch(self.bar.n + steps), refresh=False)
            self.bar.update(steps)

    def report(self, split: str, values: Mapping[str, float], step: int) -> None:
        """Show the averages of a split: the bound in the bar, or all its terms in a line."""
        for name, word in (("elbo_per_observation", "bound"), ("loss", "loss")):
            if name in values:
                self.bar.set_postfix_str(f"{word} {values[name]:.2f} ({split})", refresh=False)
                break
        if self.lines:
            epoch, terms = step / self.steps_per_epoch, ", ".join(_terms(values))
            self.say(f"epoch {epoch:g}, step {step}/{self.steps}, {split}: {terms}")

    def _epoch(self, done: int) -> str:
        """The number of the present epoch, after ``done`` steps, and of all epochs."""
        epochs = -(-self.steps // self.steps_per_epoch)
        return f"epoch {min(done // self.steps_per_epoch + 1, epochs)}/{epochs}"

    def say(self, message: str) -> None:
        """Print a line without breaking the bar. The training continues if nobody reads it."""
        try:
            if self.lines:
                print(message, flush=True)
            elif not self.bar.disable:
                self.bar.write(message, file=sys.stdout)
        except OSError:  # a closed pipe, or a log on a full disk
            self.lines, self.bar.disable = False, True
            LOG.warning("standard output cannot be written any more; the training continues")

    def warn(self, message: str) -> None:
        """Log a warning without breaking the bar, also where no progress is shown."""
        with self.bar.external_write_mode(file=sys.stdout):
            LOG.warning(message)

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()


def _bar(*, shown: bool, **options: Any) -> tqdm:
    """The bar of a notebook or of a terminal; a disabled one in any other output."""
    if shown and "ipykernel" in sys.modules:
        from tqdm.auto import tqdm as auto  # a widget, if ipywidgets is installed

        if auto.status_printer is not tqdm.status_printer:
            return auto(**options)
    return tqdm(disable=None if shown else True, dynamic_ncols=True, **options)


def _terms(values: Mapping[str, float]) -> list[str]:
    """The bound per observation and its terms, or the loss of a model without a bound."""
    shown = []
    if "elbo_per_observation" not in values and "loss" in values:
        shown.append(f"loss {values['loss']:.2f}")
    for name, value in values.items():
        term, _, unit = name.rpartition("_per_")
        if unit in ("observation", "group") and name != "elbo_per_group":
            shown.append(f"{term} {value:.2f}")
    return shown
