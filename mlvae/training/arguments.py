"""Checks of the arguments of :func:`mlvae.train`, made before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mlvae.arguments import check_type
from mlvae.data import AUGMENTATIONS, BATCHINGS
from mlvae.errors import InputError, check_flag, check_part, shown
from mlvae.optimizers import OPTIMIZERS
from mlvae.training.checks import check_named, check_options
from mlvae.training.elastic import check_run_is_named
from mlvae.training.settings import Reports, Speed, Warmup

__all__ = ["check_arguments"]


def check_arguments(
    model: object,
    batching: object,
    augmentation: object,
    optimizer: object,
    warmup: object,
    speed: object,
    reports: Any,
    on_report: object,
    *,
    validation: object,
    run: str | Path | None,
    resume: bool,
    epochs: int,
    patience: int | None,
    seed: int,
    config: object,
) -> None:
    """Raise :class:`InputError` unless every argument by itself is one that training takes.

    The arguments are those of :func:`mlvae.train`. The data and the device are checked later.
    """
    check_type("model", model, nn.Module, "a model, as MLVAE(shape)")
    if config is not None:
        check_type("config", config, Mapping, "plain values by name")
    _check_records(warmup, speed, reports)
    check_options(
        epochs=epochs,
        seed=seed,
        patience=patience,
        reports=reports,
        validation=validation is not None,
    )
    check_flag("resume", resume)
    _check_objects(batching, augmentation, optimizer, on_report)
    check_named(run, resume)
    check_run_is_named(run)


def _check_records(warmup: object, speed: object, reports: object) -> None:
    """Raise :class:`InputError` unless the groups of options are records of their classes."""
    for name, record, kind in (
        ("warmup", warmup, Warmup),
        ("speed", speed, Speed),
        ("reports", reports, Reports),
    ):
        check_type(name, record, kind, f"{kind.__name__}(...)")


def _check_objects(batching: object, augmentation: object, optimizer: Any, report: object) -> None:
    """Raise :class:`InputError` unless parts that a user may write have their methods."""
    if report is not None and (not callable(report) or isinstance(report, type)):
        raise InputError(f"on_report must be a function (step, values), not {shown(report)}")
    check_part("batching", batching, BATCHINGS, ("plan", "num_batches", "for_evaluation"))
    recipes = optimizer.values() if isinstance(optimizer, Mapping) else [optimizer]
    for recipe in recipes:
        check_part("optimizer", recipe, OPTIMIZERS, ("build", "rates", "steady"))
    if augmentation is not None:
        check_part("augmentation", augmentation, AUGMENTATIONS, ("check", "__call__"))
