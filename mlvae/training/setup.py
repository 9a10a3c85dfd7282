"""What a training needs before its first step: processes, fitting data, and its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from mlvae.data import Grouped, GroupedData, GroupWarp, Shuffled
from mlvae.data.collections.preparation import prepared_as
from mlvae.data.parted import PartedData
from mlvae.models.protocol import traits
from mlvae.optimizers import Recipe
from mlvae.parts import plain, to_config
from mlvae.training.advice import advice_on_columns
from mlvae.training.checks import check_fit, check_precision, resolve_device
from mlvae.training.dealt import Dealt, check_unlabelled, hands_of
from mlvae.training.elastic import begun_by_this_launch
from mlvae.training.ranks import Ranks, check_shared, join
from mlvae.training.run import new_name
from mlvae.training.scale import measure_scale, scale_is_known
from mlvae.training.settings import Reports, Speed, Warmup
from mlvae.training.speed.compiling import check_compile
from mlvae.training.state import TrainingState
from mlvae.training.step import StepParts

__all__ = ["Fitted", "Place", "fitted", "new_state", "placed"]


class Place(NamedTuple):
    """Where a training runs and writes.

    Attributes:
        ranks: the processes that train together, with the device of this one.
        folder: folder of the run.
        named: whether the caller named it.
        resume: whether the run in it is continued.
    """

    ranks: Ranks
    folder: Path
    named: bool
    resume: bool


def placed(
    run: str | Path | None,
    resume: bool,
    device: str,
    config: Mapping[str, Any] | None,
    seed: int,
) -> Place:
    """Join the other processes; the first one decides the folder, and whether it is resumed."""
    ranks = join(resolve_device(device))
    if not resume and run is not None:  # a restart by torchrun
        resume = ranks.from_first(ranks.first and begun_by_this_launch(Path(run).expanduser()))
    folder = ranks.from_first(str(new_name(config, seed) if run is None else run))
    return Place(ranks, Path(folder).expanduser(), run is not None, resume)


class Fitted(NamedTuple):
    """Data that fit the model.

    Attributes:
        data: training data; of data in parts those of the first part.
        validation: validation data on the device, or None.
        dealt: data in parts, dealt to the processes; None: the data have no parts.
        steps_per_epoch: steps of a pass over the data.
    """

    data: GroupedData
    validation: GroupedData | None
    dealt: Dealt | None
    steps_per_epoch: int


def fitted(
    model: nn.Module,
    data: GroupedData | PartedData,
    validation: GroupedData | None,
    batching: Shuffled | Grouped,
    augmentation: GroupWarp | None,
    *,
    speed: Speed,
    place: Place,
    seed: int,
) -> Fitted:
    """Check that data, model and machine fit each other; the arguments are those of ``train``."""
    ranks = place.ranks
    check_precision(speed.precision, ranks.device)
    check_compile(speed.compile, ranks)
    check_shared(model, ranks, span=batching.span_ranks)
    dealt = None
    if isinstance(data, PartedData):
        check_unlabelled(model)
        resumed = place.resume and place.named and data.hands is None
        hands = hands_of(place.folder) if resumed else None
        dealt = Dealt(data, batching, seed=seed, ranks=ranks, hands=hands)
        data = data.first  # for the scale, pictures and advice
    data = check_fit(model, data, "training")
    if validation is not None:
        validation = check_fit(model, validation, "validation").to(ranks.device)
    if augmentation is not None:
        augmentation.check(data.shape)
    steps = batching.num_batches(data) if dealt is None else dealt.num_batches
    return Fitted(data, validation, dealt, steps)


def new_state(
    model: nn.Module,
    found: Fitted,
    place: Place,
    batching: Shuffled | Grouped,
    augmentation: GroupWarp | None,
    optimizer: Recipe | Mapping[str, Recipe],
    *,
    epochs: int,
    patience: int | None,
    warmup: Warmup,
    speed: Speed,
    reports: Reports,
    seed: int,
    config: Mapping[str, Any] | None,
) -> tuple[TrainingState, GroupedData]:
    """The state before the first step, and the training data on the device with the model."""
    data, dealt, ranks = found.data, found.dealt, place.ranks
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
    data = data.to(ranks.device)
    model.to(ranks.device).train()
    model.table_columns = data.columns  # type: ignore[assignment]
    if not place.resume:
        measure_scale(model, data)
    for scale in traits(model).scales.values():
        scale.fill_(1)  # an earlier training may have ended during its warm-up
    state = TrainingState(
        run=place.folder,
        config=dict(plain(config)),
        shape=data.shape,
        model=model,
        parts=StepParts(model, optimizer, speed=speed, ranks=ranks),
        seed=seed,
        steps_per_epoch=found.steps_per_epoch,
        total_steps=epochs * found.steps_per_epoch,
        ranks=ranks,
        fixed={
            "data": fingerprint,
            "batching": {**described["batching"], "span_ranks": None},  # may change
            "augmentation": described["augmentation"],
        },
        scale=None if scale_is_known(model) else advice_on_columns(data),
    )
    return state, data


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


def _fields(record: object) -> dict[str, Any]:
    """The fields of a record as plain values, without the name of its class."""
    return {name: plain(value) for name, value in vars(record).items()}
