"""The state of a run between two steps, and its checkpoints."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from mlvae.errors import Diverged, InputError
from mlvae.models.protocol import traits
from mlvae.parts import plain
from mlvae.training.checkpoint import read_state, write_checkpoint
from mlvae.training.players import set_rates
from mlvae.training.ranks import Ranks
from mlvae.training.run import restore
from mlvae.training.step import StepParts
from mlvae.training.structure import check_moments
from mlvae.version import __version__

__all__ = ["TrainingState"]

ADVICE = "resume with a lower optimizer.learning_rate or with optimizer.gradient_clip"


@dataclass
class TrainingState:
    """A run between two steps.

    Attributes:
        run: folder of the run.
        config: nested plain values that the run keeps.
        shape: shape of one observation.
        model: the model.
        parts: the parts of a training step, with players and sums.
        seed: with the number of a step, the state of every generator.
        steps_per_epoch: steps of a pass over the data.
        total_steps: steps of the whole run.
        ranks: the processes that train together. Nothing of them is saved.
        fixed: nested plain values by name, which must be the same when the run is resumed.
        step: number of steps done.
        best: lowest validation loss so far.
        stale: validations since then.
        metrics: last value of every metric, as "split/name".
        scale: advice about the scale of the data; None: its scale is usual.
    """

    run: Path
    config: dict[str, Any]
    shape: tuple[int, ...]
    model: nn.Module
    parts: StepParts
    seed: int
    steps_per_epoch: int
    total_steps: int
    ranks: Ranks = Ranks()
    fixed: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    best: float = float("inf")
    stale: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    scale: str | None = None

    def rates(self, step: int) -> dict[str, list[float]]:
        """Learning rates of each player's parameter groups at step number ``step``."""
        return {p.name: p.recipe.rates(step, self.total_steps) for p in self.parts.players}

    @property
    def learning_rate(self) -> float:
        """The first learning rate of the first player's last step."""
        return next(iter(self.rates(max(0, self.step - 1)).values()))[0]

    @property
    def epochs_done(self) -> int:
        """Number of epochs done if the last step ended one, else 0."""
        return 0 if self.step % self.steps_per_epoch else self.step // self.steps_per_epoch

    def save(self, name: str = "checkpoint.pt", *, diverged: bool = False) -> None:
        """Write the state to the run's folder, atomically, on rank 0.

        Args:
            name: name of the file.
            diverged: whether the next step was not finite.

        Raises:
            Diverged: if a parameter is not finite. Nothing is written.
        """
        self._check_weights(f"after step {self.step} (epoch {self._epoch})")
        if not self.ranks.first:
            return
        rates = next(iter(self.rates(self.step).values()))
        columns = getattr(self.model, "table_columns", None)
        state = {
            "version": __version__,
            "config": self.config,
            "shape": list(self.shape),
            "model_config": plain(traits(self.model).config),
            "columns": None if columns is None else columns.plain(),
            "fixed": self.fixed,
            "diverged": diverged,
            "model": self.model.state_dict(),
            "optimizers": {p.name: p.optimizer.state_dict() for p in self.parts.players},
            "sums": self.parts.sums.state_dict(),
            **plain(
                {
                    "schedule": {"learning_rate": rates[0]},
                    "generators": {"seed": self.seed, "step": self.step},
                    "step": self.step,
                    "steps_per_epoch": self.steps_per_epoch,
                    "best": self.best,
                    "stale": self.stale,
                    "metrics": self.metrics,
                }
            ),
        }
        write_checkpoint(self.run / name, state)

    def resume(self) -> None:
        """Load the folder's last checkpoint.

        Raises:
            InputError: if the checkpoint has another model, seed, number of steps per epoch or
                another value in ``fixed``, or more steps than this training.
        """
        path = self.run / "checkpoint.pt"
        checkpoint = read_state(path)
        was = checkpoint["generators"]["seed"], checkpoint["steps_per_epoch"]
        if was != (self.seed, self.steps_per_epoch):
            raise InputError(
                f"{self.run} was trained with seed {was[0]} and {was[1]} steps an epoch, not with "
                f"seed {self.seed} and {self.steps_per_epoch}; resume with the same data, "
                "batching and seed"
            )
        if checkpoint["step"] > self.total_steps:
            raise InputError(
                f"{self.run} has trained for {checkpoint['step'] / self.steps_per_epoch:g} "
                f"epochs, more than {self.total_steps / self.steps_per_epoch:g}; resume it with "
                "more trainer.epochs"
            )
        if (config := traits(self.model).config) is not None:
            self._check_same("model", checkpoint["model_config"], plain(config))
        for name, value in checkpoint.get("fixed", {}).items():  # format 0.0 has none
            self._check_same(name, value, self.fixed.get(name))
        restore(self.model, checkpoint["model"], path)
        saved = checkpoint.get("optimizers") or {"model": checkpoint["optimizer"]}
        if saved.keys() != self.rates(0).keys():
            raise InputError(
                f"{self.run} was trained with the players {', '.join(saved)}, not "
                f"{', '.join(self.rates(0))}"
            )
        for player in self.parts.players:
            # The moments alone: options may have changed, and devices have options of their own.
            here = [dict(group, params=None) for group in player.optimizer.param_groups]
            where = f"{path}: the state of the optimizer of {player.name}"
            check_moments(player.optimizer, saved[player.name], where)
            try:
                player.optimizer.load_state_dict(saved[player.name])
            except (ValueError, LookupError, TypeError, RuntimeError, AttributeError) as error:
                raise InputError(f"{where} cannot be loaded: {error}") from error
            for group, options in zip(player.optimizer.param_groups, here, strict=True):
                group.update(options, params=group["params"])
        self.parts.sums.load_state_dict(checkpoint["sums"])
        self.step, self.best = checkpoint["step"], checkpoint["best"]
        self.stale, self.metrics = checkpoint["stale"], checkpoint["metrics"]

    def _check_same(self, name: str, was: object, now: object) -> None:
        """Raise :class:`InputError` unless a setting of the run is unchanged."""
        if was == now:
            return
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            for key in was:  # an option that is newer than the run has its default
                self._check_same(f"{name}.{key}", was[key], now.get(key, was[key]))
            return
        raise InputError(
            f"{self.run} was trained with {name}={_short(was)}, not {_short(now)}; resume it as "
            "it was configured"
        )

    def check_validation(self, values: dict[str, float]) -> None:
        """Save the state and raise :class:`Diverged` if a validation average is not finite."""
        wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
        if not wrong:
            return
        self.save()
        what = ", ".join(f"{name} is {value}" for name, value in wrong.items())
        raise Diverged(
            f"after step {self.step} (epoch {self._epoch}) of the validation data {what}; the "
            f"state is saved in {self.run}; look at these data, or train with a lower "
            "optimizer.learning_rate"
        )

    def check_finite(self) -> None:
        """Save the last good state and raise :class:`Diverged` if a step was not finite.

        Waits for the device.
        """
        if (failure := self.parts.sums.failure()) is None:
            return
        self.step, what = failure
        for player in self.parts.players:  # the optimiser has the rates of later steps
            set_rates(player.optimizer, player.recipe.rates(self.step, self.total_steps))
        where = f"at step {self.step} (epoch {self._epoch}) {what}"
        self._check_weights(f"{where}, and")
        earlier = self._keep_earlier()
        self.save(diverged=True)
        advice = ADVICE
        if self.step == 0:  # the weights are those before any update
            advice = (
                "no lower rate helps at the first step: look at the data and the likelihood, such "
                f"as likelihood.std; {self.scale or 'x has no unusual scale'}"
            )
        raise Diverged(
            f"{where}; the state before that step is saved in {self.run}; {advice}{earlier}"
        )

    @property
    def _epoch(self) -> str:
        """Passes over the data so far, for messages."""
        return f"{self.step / self.steps_per_epoch:.2f}"

    def _check_weights(self, where: str) -> None:
        """Raise :class:`Diverged` if a parameter is not finite; the last checkpoint stays."""
        if all(parameter.isfinite().all() for parameter in self.model.parameters()):
            return
        there = (self.run / "checkpoint.pt").is_file()
        kept = "the last checkpoint stays" if there else "nothing is saved"
        raise Diverged(f"{where} a parameter is not finite; {kept}; {ADVICE}")

    def _keep_earlier(self) -> str:
        """Keep the last checkpoint of before the divergence, and describe how to go back to it.

        The state before the step can be finite and yet have no finite next step at any rate.
        """
        if not self.ranks.first:
            return ""
        last, kept = self.run / "checkpoint.pt", self.run / "checkpoint.before.pt"
        with contextlib.suppress(InputError):  # a damaged file is no state to go back to
            if last.is_file() and not read_state(last).get("diverged"):
                last.replace(kept)
        if not kept.is_file():
            return ""
        try:
            step = read_state(kept)["step"]
        except InputError:
            return ""
        return (
            f"; if no rate helps, go back to step {step}: rename {kept.name} to checkpoint.pt, "
            "then resume"
        )


def _short(value: object) -> str:
    """A setting in a message."""
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
