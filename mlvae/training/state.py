"""What a run is at one moment: everything its checkpoint holds, and how it goes back in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from mlvae.errors import Diverged, InputError
from mlvae.parts import plain
from mlvae.training.checkpoint import read_checkpoint, write_checkpoint
from mlvae.training.optimizer import Adam
from mlvae.training.ranks import Ranks
from mlvae.training.run import restore
from mlvae.training.step import TrainingStep
from mlvae.version import __version__

__all__ = ["TrainingState"]


@dataclass
class TrainingState:
    """A run between two steps.

    Attributes:
        run: folder of the run.
        config: nested plain values kept with it.
        shape: shape of one observation.
        model: what is trained.
        recipe: how it is updated.
        seed: with the step, the state of every generator.
        steps_per_epoch: steps that visit every observation once.
        total_steps: steps of the whole run.
        precision: of the matrix products.
        graphs: whether steps on a CUDA device are captured as CUDA graphs.
        compile: whether the model's forward pass is compiled.
        ranks: that train together; nothing of them is saved.
        fixed: nested plain values by name, of what must be the same when the run is resumed.
        step: steps done.
        best: lowest validation loss so far, in nats per group.
        stale: validations since then.
        metrics: last value of every metric, as "split/name".
    """

    run: Path
    config: dict[str, object]
    shape: tuple[int, ...]
    model: nn.Module
    recipe: Adam
    seed: int
    steps_per_epoch: int
    total_steps: int
    precision: str = "float32"
    graphs: bool = True
    compile: bool = False
    ranks: Ranks = Ranks()  # noqa: RUF009 (frozen)
    fixed: dict[str, object] = field(default_factory=dict)
    step: int = 0
    best: float = float("inf")
    stale: int = 0
    metrics: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.optimizer = self.recipe.build(self.model.parameters())
        self.rate_set: float | None = None
        self.training_step = TrainingStep(
            self.model,
            self.optimizer,
            gradient_clip=self.recipe.gradient_clip,
            precision=self.precision,
            graphs=self.graphs,
            compile=self.compile,
            ranks=self.ranks,
        )

    @property
    def learning_rate(self) -> float:
        """Of the step to come."""
        return self.recipe.rate(self.step, self.total_steps)

    def set_learning_rate(self) -> None:
        """Tell the optimiser, if it is another than that of the last step."""
        if self.learning_rate != self.rate_set:
            self.rate_set = self.learning_rate
            self.recipe.set_rate(self.optimizer, self.rate_set)

    def done(self, steps: int) -> None:
        """Count steps; several are a block, which has told the optimiser its own rates."""
        self.step += steps
        if steps > 1:
            self.rate_set = None

    @property
    def epochs_done(self) -> int:
        """Whole epochs done if the last step ended one, else 0."""
        return 0 if self.step % self.steps_per_epoch else self.step // self.steps_per_epoch

    def save(self, name: str = "checkpoint.pt") -> None:
        """Write the state to the run's folder, atomically; rank 0 does."""
        if not self.ranks.first:
            return
        state = {
            "version": __version__,
            "config": self.config,
            "shape": list(self.shape),
            "model_config": plain(getattr(self.model, "config", None)),
            "fixed": self.fixed,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sums": self.training_step.sums.state_dict(),
            **plain(
                {
                    "schedule": {"learning_rate": self.learning_rate},
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
        """Take the state of the folder's last checkpoint.

        Raises:
            InputError: if it is of another model, seed or number of steps an epoch, of anything
                else in ``fixed``, or further than this training goes.
        """
        path = self.run / "checkpoint.pt"
        checkpoint = read_checkpoint(path)
        was = checkpoint["generators"]["seed"], checkpoint["steps_per_epoch"]
        if was != (self.seed, self.steps_per_epoch):
            raise InputError(
                f"{self.run} was trained with seed {was[0]} and {was[1]} steps an epoch, not with "
                f"seed {self.seed} and {self.steps_per_epoch}; resume with the same data, "
                "batching and seed"
            )
        if checkpoint["step"] > self.total_steps:
            raise InputError(
                f"{self.run} has {checkpoint['step'] / self.steps_per_epoch:g} epochs behind it, "
                f"so it cannot end after {self.total_steps / self.steps_per_epoch:g}; resume it "
                "with more trainer.epochs"
            )
        if hasattr(self.model, "config"):
            self._check_same("model", checkpoint["model_config"], plain(self.model.config))
        for name, value in checkpoint.get("fixed", {}).items():  # older ones have none
            self._check_same(name, value, self.fixed[name])
        restore(self.model, checkpoint["model"], path)
        # Its moments alone: options may have changed, and another kind of device has its own.
        here = [dict(group, params=None) for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        for group, options in zip(self.optimizer.param_groups, here, strict=True):
            group.update(options, params=group["params"])
        self.training_step.sums.load_state_dict(checkpoint["sums"])
        self.step, self.best = checkpoint["step"], checkpoint["best"]
        self.stale, self.metrics = checkpoint["stale"], checkpoint["metrics"]

    def _check_same(self, name: str, was: object, now: object) -> None:
        """Raise :class:`InputError` unless what was configured is so still."""
        if was == now:
            return
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            for key in was:  # an option that is new since then is at its default
                self._check_same(f"{name}.{key}", was[key], now.get(key, was[key]))
            return
        raise InputError(
            f"{self.run} was trained with {name}={was}, not {now}; resume it as it was configured"
        )

    def check_validation(self, values: dict[str, float]) -> None:
        """Save the state and raise :class:`Diverged` if the bound on other data is not finite."""
        wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
        if not wrong:
            return
        self.save()
        what = ", ".join(f"{name} is {value}" for name, value in wrong.items())
        raise Diverged(
            f"after step {self.step} (epoch {self.step / self.steps_per_epoch:.2f}) of the "
            f"validation data {what}; the state is saved in {self.run}; look at these data, or "
            "train with a lower optimizer.learning_rate"
        )

    def check_finite(self) -> None:
        """Save the last good state and raise :class:`Diverged` if a step was not finite.

        Waits for the device.
        """
        if (failure := self.training_step.sums.failure()) is None:
            return
        self.step, what = failure
        self.set_learning_rate()  # the optimiser may have heard of steps after it
        self.save()
        raise Diverged(
            f"at step {self.step} (epoch {self.step / self.steps_per_epoch:.2f}) {what}; the "
            f"state before that step is saved in {self.run}; resume with a lower "
            "optimizer.learning_rate or with optimizer.gradient_clip"
        )
