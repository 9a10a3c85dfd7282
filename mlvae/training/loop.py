"""The training loop: any model that returns an objective for a batch is trained here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from mlvae.data import Grouped, GroupedData, Shuffled
from mlvae.errors import Diverged, InputError, check_choice, check_integer, check_number
from mlvae.grids import pictures
from mlvae.parts import to_config
from mlvae.training.checkpoint import read_checkpoint, write_checkpoint
from mlvae.training.interrupt import Interrupt
from mlvae.training.monitor import Monitor
from mlvae.training.optimizer import Adam
from mlvae.training.run import restore, write_config
from mlvae.training.seeding import seeded
from mlvae.training.step import TrainingStep, averages
from mlvae.version import __version__

__all__ = ["Result", "evaluate_bound", "resolve_device", "train"]

PRECISIONS = ("float32", "bfloat16")


class Result(NamedTuple):
    """What :func:`train` returns.

    Attributes:
        run: folder of the run.
        metrics: the last value of every metric, as "split/name".
        finished: False if a signal stopped the training before its end.
    """

    run: Path
    metrics: dict[str, float]
    finished: bool


def train(
    model: nn.Module,
    data: GroupedData,
    *,
    validation: GroupedData | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    batching: Shuffled | Grouped = Shuffled(),  # noqa: B008 (frozen)
    optimizer: Adam = Adam(),  # noqa: B008 (frozen)
    epochs: int = 100,
    kl_warmup_steps: int = 0,
    precision: str = "float32",
    device: str = "auto",
    seed: int = 0,
    log_every: int | None = None,
    validate_every: int | None = 1,
    pictures_every: int | None = 10,
    checkpoint_seconds: float | None = 60.0,
    patience: int | None = None,
    config: Mapping[str, object] | None = None,
    progress: bool = True,
) -> Result:
    """Train ``model`` on ``data``, and leave a run folder that can be resumed and loaded.

    The folder has ``config.yaml``, ``metrics.jsonl``, TensorBoard events, ``figures/``,
    ``checkpoint.pt`` (the last state) and ``best.pt`` (the lowest validation loss).
    Ctrl-C and SIGTERM save and return. Resumed runs end bit for bit as uninterrupted ones do on
    the same device with the same number of threads.

    Args:
        model: returns an objective for a batch; :class:`mlvae.models.MLVAE` for one.
        data: training observations.
        validation: observations to choose the best state on.
        run: the run's folder; None makes one under ``runs/`` with the time in its name.
        resume: continue the run in that folder, with the same arguments; ``epochs`` may differ.
        batching: which observations a step sees.
        optimizer: how parameters are updated.
        epochs: passes over the data.
        kl_warmup_steps: steps over which the KL terms grow linearly to their weight; 0: none.
        precision: "float32", or "bfloat16" for matrix products only, with posteriors, divergences
            and log-probabilities in float32.
        device: "cpu", "cuda", or "auto" for CUDA where there is one.
        seed: of the order of observations and of the latents' noise. A model is initialised
            before it comes here: seed that yourself.
        log_every: steps between reports of training averages; None: once an epoch.
        validate_every: epochs between validations, the last included; None: never.
        pictures_every: epochs between pictures, besides those at the end; None: only then.
        checkpoint_seconds: time between checkpoints; None: only at the end or a signal.
        patience: validations without a new lowest loss after which training stops; None: never.
        config: nested plain values to keep with the run; None keeps these arguments.
        progress: whether to show progress on the terminal.

    Returns:
        Folder, final metrics, and whether the training came to its end.

    Raises:
        InputError: if arguments do not fit each other or the folder, before anything is written;
            or if a checkpoint cannot be saved.
        Diverged: if the loss, a term or the gradient is not finite; the last good state is saved.
    """
    # Check everything before anything is written.
    check_integer("trainer.epochs", epochs, minimum=1)
    check_integer("trainer.kl_warmup_steps", kl_warmup_steps, minimum=0)
    check_integer("seed", seed, minimum=0)
    for name, interval in (
        ("log_every", log_every),
        ("validate_every", validate_every),
        ("pictures_every", pictures_every),
        ("patience", patience),
    ):
        if interval is not None:
            check_integer(f"trainer.{name}", interval, minimum=1)
    if checkpoint_seconds is not None:
        check_number("trainer.checkpoint_seconds", checkpoint_seconds, minimum=0)
    check_choice("trainer.precision", precision, PRECISIONS)
    if patience is not None and (validation is None or validate_every is None):
        raise InputError("trainer.patience needs validations: give validation data and an interval")
    target = resolve_device(device)
    check_fit(model, data, "training")
    steps_per_epoch = batching.num_batches(data)
    if validation is not None:
        check_fit(model, validation, "validation")
    run = Path(run if run is not None else f"runs/{datetime.now():%Y-%m-%d_%H-%M-%S}").expanduser()
    checkpoint_file, best_file = run / "checkpoint.pt", run / "best.pt"
    if not resume and checkpoint_file.exists():
        raise InputError(f"{run} holds a run already; resume it, or choose another folder")
    checkpoint = read_checkpoint(checkpoint_file, target) if resume else None

    # Model, data, step and generators on the device.
    model.to(target).train()
    data = data.to(target)
    validation = validation.to(target) if validation is not None else None
    adam = optimizer.build(model.parameters())
    training_step = TrainingStep(
        model, adam, gradient_clip=optimizer.gradient_clip, precision=precision
    )
    order, noise = torch.Generator(target), torch.Generator(target)
    step, best, stale, metrics = 0, float("inf"), 0, {}
    total_steps = epochs * steps_per_epoch
    if config is None:
        config = {
            "model": getattr(model, "config", {}),
            "batching": to_config(batching),
            "optimizer": to_config(optimizer),
            "epochs": epochs,
            "kl_warmup_steps": kl_warmup_steps,
            "precision": precision,
            "seed": seed,
        }

    # Continue where the run stopped.
    if checkpoint is not None:
        restore(model, checkpoint["model"], checkpoint_file)
        adam.load_state_dict(checkpoint["optimizer"])
        training_step.load_state_dict(checkpoint["sums"])
        step, best, stale = checkpoint["step"], checkpoint["best"], checkpoint["stale"]
        metrics = checkpoint["metrics"]
        if checkpoint["steps_per_epoch"] != steps_per_epoch or checkpoint["seed"] != seed:
            raise InputError(
                f"{run} was trained with seed {checkpoint['seed']} and "
                f"{checkpoint['steps_per_epoch']} steps an epoch, not with seed {seed} and "
                f"{steps_per_epoch}; resume with the same data, batching and seed"
            )

    def save(path: Path) -> None:
        state = {
            "version": __version__,
            "config": dict(config),
            "shape": list(data.shape),
            "model_config": getattr(model, "config", None),
            "model": model.state_dict(),
            "optimizer": adam.state_dict(),
            "schedule": {"learning_rate": optimizer.rate(step, total_steps)},
            "generators": {"seed": seed, "step": step},
            "sums": training_step.state_dict(),
            "seed": seed,
            "step": step,
            "steps_per_epoch": steps_per_epoch,
            "best": best,
            "stale": stale,
            "metrics": dict(metrics),
        }
        write_checkpoint(path, state)

    # The run's folder, from here on.
    run.mkdir(parents=True, exist_ok=True)
    write_config(run / "config.yaml", config)
    monitor = Monitor(
        run,
        step=step,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        progress=progress,
    )

    # Main loop.
    plan, saved_at, since, seen = None, time.monotonic(), time.monotonic(), 0
    with Interrupt() as interrupt:
        while step < total_steps and not (patience is not None and stale >= patience):
            epoch, position = divmod(step, steps_per_epoch)
            if plan is None or position == 0:
                plan = batching.plan(data, seeded(order, seed, "order", epoch))

            # One step.
            for group in adam.param_groups:
                group["lr"] = optimizer.rate(step, total_steps)
            if kl_warmup_steps:
                model.objective.kl_scale.fill_(min(1.0, (step + 1) / kl_warmup_steps))
            batch = plan[position]
            training_step(batch, step, seeded(noise, seed, "noise", step))
            step += 1
            seen += len(batch.x)
            monitor.advance()

            # What is due after it.
            epochs_done = step // steps_per_epoch if step % steps_per_epoch == 0 else None
            ends = step == total_steps
            log = ends or (step % log_every == 0 if log_every else epochs_done is not None)
            checkpoint_due = ends or interrupt.requested or (
                checkpoint_seconds is not None
                and time.monotonic() - saved_at >= checkpoint_seconds
            )

            # Stop if it is no longer finite; looking costs a wait only where there is a device.
            if target.type == "cpu" or log or checkpoint_due:
                if (failure := training_step.failure()) is not None:
                    step, what = failure
                    save(checkpoint_file)
                    monitor.close()
                    raise Diverged(
                        f"step {step} (epoch {step / steps_per_epoch:.2f}): {what}; the state "
                        f"before it is saved in {run}: resume with a lower "
                        "optimizer.learning_rate or with optimizer.gradient_clip"
                    )

            # Report training averages.
            if log:
                values = training_step.read()
                values["learning_rate"] = adam.param_groups[0]["lr"]
                metrics |= {f"train/{name}": value for name, value in values.items()}
                rate = seen / (time.monotonic() - since)
                monitor.scalars(step, "train", {**values, "observations_per_second": rate})
                training_step.reset()
                since, seen = time.monotonic(), 0

            # Validate, and keep the best state.
            if (
                validation is not None
                and validate_every is not None
                and epochs_done is not None
                and (ends or epochs_done % validate_every == 0)
            ):
                values = evaluate_bound(model, validation, batching, seed=seed)
                metrics |= {f"validation/{name}": value for name, value in values.items()}
                monitor.scalars(step, "validation", values)
                stale = 0 if values["loss"] < best else stale + 1
                if stale == 0:
                    best = values["loss"]
                    save(best_file)
                since = time.monotonic()
            if pictures_every and epochs_done and epochs_done % pictures_every == 0 and not ends:
                monitor.pictures(step, pictures(model.eval(), validation or data))
                model.train()

            # Save.
            if checkpoint_due:
                save(checkpoint_file)
                saved_at = time.monotonic()
            if interrupt.requested:
                break

    # The end, or an early one.
    finished = not interrupt.requested or step == total_steps
    if finished:
        if best < float("inf"):
            metrics["validation/best_loss"] = best
        save(checkpoint_file)
        monitor.pictures(step, pictures(model.eval(), validation or data))
        monitor.hyperparameters(config, metrics)
        monitor.say(f"finished at step {step}; the run is in {run}")
    else:
        monitor.say(
            f"stopped at step {step} of {total_steps} and saved; to continue: "
            f"python scripts/train.py resume={run}"
            f", or mlvae.train(..., run={str(run)!r}, resume=True)"
        )
    monitor.close()
    return Result(run, metrics, finished)


@torch.no_grad()
def evaluate_bound(
    model: nn.Module, data: GroupedData, batching: Shuffled | Grouped, *, seed: int
) -> dict[str, float]:
    """The bound and its terms over ``data``, each observation once, from one draw of the latents.

    Order and noise are the same at every call, so that two states of a model can be compared.
    """
    order, noise = torch.Generator(data.device), torch.Generator(data.device)
    seeded(noise, seed, "validation noise")
    training = model.training
    model.eval()
    sums, num_observations, num_groups = None, 0, 0
    for batch in batching.plan(data, seeded(order, seed, "validation order")):
        objective = model(batch, generator=noise)
        totals = objective.totals()
        now = torch.stack(list(totals.values())).double()
        sums = now if sums is None else sums + now
        num_observations += objective.num_observations
        num_groups += objective.num_groups
    model.train(training)
    values = dict(zip(totals, sums.tolist(), strict=True))
    return averages(values, num_observations, num_groups)


def resolve_device(device: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" means here, or :class:`InputError`."""
    check_choice("device", device, ("auto", "cpu", "cuda"))
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("device=cuda needs a CUDA device, and none is visible; use device=cpu")
    return torch.device("cuda" if device != "cpu" and available else "cpu")


def check_fit(model: nn.Module, data: GroupedData, what: str) -> None:
    """Raise :class:`InputError` unless ``model`` takes observations like these."""
    shape = getattr(model, "shape", data.shape)
    if shape != data.shape:
        raise InputError(
            f"the model takes observations of shape {shape}, but {what} data has {data.shape}"
        )
    if hasattr(model, "likelihood"):
        model.likelihood.check(data.x)
