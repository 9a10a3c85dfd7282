"""The training loop: any model that returns an objective for a batch is trained here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from mlvae.data import (
    AUGMENTATIONS,
    BATCHINGS,
    Grouped,
    GroupedData,
    GroupWarp,
    Shuffled,
)
from mlvae.errors import check_flag, check_part
from mlvae.grids import pictures
from mlvae.parts import plain, to_config
from mlvae.training.blocks import blocks_of
from mlvae.training.checks import (
    check_fit,
    check_folder,
    check_named,
    check_options,
    check_precision,
    resolve_device,
)
from mlvae.training.compiling import check_compile
from mlvae.training.interrupt import Interrupt
from mlvae.training.kl_schedule import KLSchedule
from mlvae.training.monitor import Monitor, how_to_go_on
from mlvae.training.optimizer import OPTIMIZERS, Adam
from mlvae.training.plans import Plans
from mlvae.training.ranks import check_shared, join
from mlvae.training.run import claim, held, new_name, undone_on_failure, write_config
from mlvae.training.seeding import default_generator, seeded
from mlvae.training.state import TrainingState
from mlvae.training.validation import evaluate_bound

__all__ = ["Result", "train"]


class Result(NamedTuple):
    """What :func:`train` returns.

    Attributes:
        run: folder of the run.
        metrics: the last value of every metric, as "split/name".
        finished: False if a signal asked to stop, whether the training had come to its end or not.
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
    augmentation: GroupWarp | None = None,
    optimizer: Adam = Adam(),  # noqa: B008 (frozen)
    epochs: int = 100,
    kl_warmup_steps: int = 0,
    content_first_steps: int = 0,
    content_first_weight: float = 8.0,
    precision: str = "float32",
    cuda_graphs: bool = True,
    steps_per_graph: int = 1,
    compile: bool = False,
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
    Ctrl-C and SIGTERM save and return. However a run ended, resumed it goes on from its last
    checkpoint and ends bit for bit as an uninterrupted one, on a CPU with the same number of
    threads (with one, if compiled); on CUDA PyTorch's own conditions for determinism apply.

    Started by torchrun, several processes train together and give what one would, to rounding;
    rank 0 writes the run. See :mod:`mlvae.training.ranks`.

    Args:
        model: returns an objective for a batch; :class:`mlvae.models.MLVAE` for one.
        data: training observations.
        validation: observations to choose the best state on.
        run: the run's folder; None makes a new one under ``runs/`` with the time in its name.
        resume: continue the run in that folder, with the same data, model, batching, augmentation
            and seed; other arguments may differ.
        batching: which observations a step sees.
        augmentation: what happens to a training batch before a step, drawn anew for each; see
            :class:`mlvae.data.GroupWarp`. None leaves it as it is.
        optimizer: how parameters are updated.
        epochs: passes over the data.
        kl_warmup_steps: steps over which the KL terms grow linearly to their weight; 0: none.
        content_first_steps: steps over which the weight of the style KL falls linearly to its own,
            so that the content is learned before the style can take its place; 0: none.
        content_first_weight: how many times its own weight that is at first.
        precision: of matrix products alone; posteriors, divergences and log-probabilities are in
            float32. "float32", which leaves convolutions on a CUDA device as PyTorch has them, in
            TF32; "tf32" for all products there, whose factors have 10 bits of mantissa; or
            "bfloat16".
        cuda_graphs: on a CUDA device, capture the step as CUDA graphs: the same results in a
            fraction of the time for small models. False runs every step eagerly, and so do several
            ranks.
        steps_per_graph: training steps in one graph, and so many at once on a CPU: the same
            results. Several pay where a step is shorter than what the host does for it: some ten,
            of which the whole batches of an epoch are a multiple. Reports, checkpoints and signals
            come between blocks of steps, and steps that fill none, as before a report or with
            batches of unequal size or number of groups, run one by one. So do all with several
            ranks, observations on the disk, augmentation or dropout; a model of your own must draw
            from the generator it is given alone.
        compile: compile the model's forward pass and its gradient, and on a CUDA device the
            update, which takes up to a minute; the results differ by rounding. On a CPU it gains
            a tenth if networks are fully connected, and loses if they are convolutional. See
            :mod:`mlvae.training.compiling`.
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
        Diverged: if the loss, a term or the gradient is not finite, or the bound on the validation
            data; the last good state is saved.
        RankLost: if of several ranks another one ended; the last checkpoint stays.
    """
    # Check everything before anything is written.
    check_options(
        epochs=epochs,
        kl_warmup_steps=kl_warmup_steps,
        content_first_steps=content_first_steps,
        content_first_weight=content_first_weight,
        steps_per_graph=steps_per_graph,
        seed=seed,
        log_every=log_every,
        validate_every=validate_every,
        pictures_every=pictures_every,
        checkpoint_seconds=checkpoint_seconds,
        patience=patience,
        validation=validation is not None,
    )
    check_flag("resume", resume)
    check_flag("trainer.cuda_graphs", cuda_graphs)
    check_part("batching", batching, BATCHINGS, ("plan", "num_batches", "for_evaluation"))
    check_part("optimizer", optimizer, OPTIMIZERS, ("build", "rate", "set_rate", "steady"))
    if augmentation is not None:
        check_part("augmentation", augmentation, AUGMENTATIONS, ("check", "__call__"))
    check_named(run, resume)
    ranks = join(resolve_device(device))
    target = ranks.device
    check_precision(precision, target)
    check_compile(compile, ranks)
    check_shared(model, ranks, span=batching.span_ranks)
    check_fit(model, data, "training")
    if validation is not None:
        check_fit(model, validation, "validation")
        validation = validation.to(target)
    if augmentation is not None:
        augmentation.check(data.shape)
    steps_per_epoch = batching.num_batches(data)
    unnamed = run is None and not resume
    run = new_name(config, seed) if run is None else run
    run = Path(ranks.told(str(run))).expanduser()
    if not unnamed:
        check_folder(run, resume)
    kl_schedule = KLSchedule(
        model,
        warmup_steps=kl_warmup_steps,
        content_first_steps=content_first_steps,
        content_first_weight=content_first_weight,
    )

    # Model, optimiser and step on the device; their state, new or from the checkpoint.
    fingerprint = data.fingerprint()  # as it was handed over: what lies on a disk may move
    data = data.to(target)
    model.to(target).train()
    kl_schedule.reset()
    if config is None:
        config = {
            "model": getattr(model, "config", {}),
            "batching": to_config(batching),
            "augmentation": None if augmentation is None else to_config(augmentation),
            "optimizer": to_config(optimizer),
            "trainer": {
                "epochs": epochs,
                "kl_warmup_steps": kl_warmup_steps,
                "content_first_steps": content_first_steps,
                "content_first_weight": content_first_weight,
                "precision": precision,
            },
            "seed": seed,
        }
    state = TrainingState(
        run=run,
        config=plain(config),
        shape=data.shape,
        model=model,
        recipe=optimizer,
        seed=seed,
        steps_per_epoch=steps_per_epoch,
        total_steps=epochs * steps_per_epoch,
        precision=precision,
        graphs=cuda_graphs,
        compile=compile,
        ranks=ranks,
        fixed={
            "data": fingerprint,
            "batching": {**to_config(batching), "span_ranks": None},  # which may change
            "augmentation": None if augmentation is None else to_config(augmentation),
        },
    )
    if resume:
        state.resume()

    blocks = blocks_of(
        state,
        data,
        length=steps_per_graph,
        kl_schedule=kl_schedule,
        log_every=log_every,
        augmentation=augmentation,
    )

    # The run's folder, from here on.
    new = ranks.first and not run.exists()
    if unnamed:
        run = state.run = Path(ranks.told(str(claim(run) if ranks.first else run)))
        if "run" in config:
            state.config["run"] = str(run)
    with ExitStack() as opening:
        if ranks.first:
            opening.enter_context(held(run, resume))  # from here on it is nobody else's
            opening.enter_context(undone_on_failure(run, lambda: not new or state.step > 0))
            write_config(run, state.config)
        monitor = opening.enter_context(Monitor(state, progress=progress))
        opened = opening.pop_all()

    # Main loop.
    plans = Plans(batching, data, seed=seed, ranks=ranks)
    noise, warp = (torch.Generator(target) for _ in range(2))
    dropout = default_generator(target)  # PyTorch's own, afterwards given back as it was
    plan, stop, saved_at = None, False, time.monotonic()
    borrowed = torch.random.fork_rng([target] if target.type == "cuda" else [])
    interruptible = Interrupt(repeatedly=ranks.several)
    watched = ranks.watch(lambda: how_to_go_on(state))
    with opened, interruptible as interrupt, borrowed, watched, torch.enable_grad():
        while state.step < state.total_steps and not _patience_lost(state, patience):
            epoch, position = divmod(state.step, steps_per_epoch)
            if plan is None or position == 0:
                plan = plans.of(epoch)

            # A block of steps where there is one before the next report, else one step.
            seeded(dropout, seed, ranks.own("dropout"), state.step)
            steps = steps_per_graph if blocks is not None else 1
            reported = log_every is not None and state.step % log_every + steps > log_every
            if steps == 1 or reported or not blocks(plan, position, state.step):
                steps = 1
                state.set_learning_rate()
                kl_schedule.set(state.step)
                seeded(noise, seed, "noise", state.step)
                if augmentation is None:
                    batch = plan.kept(position)
                else:
                    batch = plan[position]
                    seeded(warp, seed, "warp", state.step)
                    batch = augmentation(batch, generator=ranks.noise(warp, batch))
                state.training_step(batch, state.step, ranks.noise(noise, batch))
            state.done(steps)
            monitor.advance(steps)

            # What is due after it.
            ends = state.step == state.total_steps
            epochs_done = state.epochs_done
            if epochs_done and not ends:
                plans.expect(epochs_done)
            log_due = ends or (_every(log_every, state.step) if log_every else epochs_done > 0)
            validation_due = ends or _every(validate_every, epochs_done)
            pictures_due = _every(pictures_every, epochs_done) and not ends
            save_due = (
                checkpoint_seconds is not None
                and time.monotonic() - saved_at >= checkpoint_seconds
            )
            save_due, stop = ranks.agree(save_due, interrupt.requested)

            validated = validation is not None and validate_every and validation_due

            # Stop if something is not finite. To look is to wait for a device, so it looks seldom.
            if target.type == "cpu" or log_due or validated or save_due or stop:
                state.check_finite()

            # Report training averages.
            if log_due:
                monitor.training(state.training_step.sums.read())
                state.training_step.sums.reset()

            # Validate, and keep the best state.
            if validated:
                values = evaluate_bound(model, validation, batching, seed=seed, ranks=ranks)
                state.check_validation(values)
                monitor.validation(values)
                state.stale = 0 if values["loss"] < state.best else state.stale + 1
                if state.stale == 0:
                    state.best = state.metrics["validation/best_loss"] = values["loss"]
                    state.save("best.pt")
            if pictures_due and ranks.first:
                monitor.pictures(pictures(model, validation or data))

            # Stop on a signal, or save from time to time.
            if stop:
                break
            if save_due:
                state.save()
                saved_at = time.monotonic()

        # The end, or an early one.
        state.save()
        finished = state.step == state.total_steps or not stop
        if finished and ranks.first:
            monitor.pictures(pictures(model, validation or data))
        if finished:
            monitor.finished()
        else:
            monitor.interrupted()
        ranks.wait()  # what rank 0 writes is there for all that come back
    model.eval()
    # Who asked to stop after the last step is told so, and does not begin another training.
    return Result(run, state.metrics, finished and not interrupt.requested)


def _every(interval: int | None, count: int) -> bool:
    """Whether something done every ``interval`` is due at ``count``; None and 0 are never."""
    return bool(interval and count and count % interval == 0)


def _patience_lost(state: TrainingState, patience: int | None) -> bool:
    return patience is not None and state.stale >= patience
