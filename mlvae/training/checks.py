"""What is checked before a training begins, so that nothing is left half-written."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mlvae.data import GroupedData
from mlvae.errors import InputError, check_choice, check_integer, check_number
from mlvae.models import told_groups

__all__ = [
    "check_fit",
    "check_folder",
    "check_named",
    "check_options",
    "check_precision",
    "resolve_device",
]

#: The first line of a run's config.yaml.
HEADER = "# What this run was told.\n"

PRECISIONS = ("float32", "tf32", "bfloat16")


def check_options(
    *,
    checkpoint_seconds: float | None,
    content_first_weight: float,
    patience: int | None,
    validate_every: int | None,
    validation: bool,
    **integers: int | None,
) -> None:
    """Raise :class:`InputError` unless the options of a training are in range.

    ``integers`` are the remaining options, all at least 1 or, where None has a meaning, None;
    three may be 0.
    """
    optional = ("log_every", "pictures_every", "validate_every", "patience")
    integers |= {"patience": patience, "validate_every": validate_every}
    for name, value in integers.items():
        if value is not None or name not in optional:
            prefix = "" if name == "seed" else "trainer."
            least = 0 if name in ("seed", "kl_warmup_steps", "content_first_steps") else 1
            check_integer(prefix + name, value, minimum=least)
    if checkpoint_seconds is not None:
        check_number("trainer.checkpoint_seconds", checkpoint_seconds, minimum=0)
    check_number("trainer.content_first_weight", content_first_weight, minimum=0)
    if patience is not None and (not validation or validate_every is None):
        raise InputError(
            "trainer.patience counts validations, so there must be some: give validation data and "
            "an interval in trainer.validate_every"
        )


def check_named(run: str | Path | None, resume: bool) -> None:
    """Raise :class:`InputError` if ``run`` names no folder but has to, or the present one."""
    if run is None and resume:
        raise InputError("run must name the folder to resume, not None")
    if run is not None and not str(run).strip():
        raise InputError("run must name a folder, or be None for a new one, not be empty")


def begins_as_ours(run: Path) -> bool:
    """Whether ``config.yaml`` in ``run`` was written by a training, or was about to be."""
    config = run / "config.yaml"
    return config.exists() and config.read_bytes()[: len(HEADER)] in (b"", HEADER.encode())


def check_folder(run: Path, resume: bool) -> None:
    """Raise :class:`InputError` unless a run can begin, or go on, in the folder ``run``."""
    try:
        if "\0" in str(run):
            raise ValueError("a name has no null byte")
        there = (run / "checkpoint.pt").exists()
        written = any((run / name).exists() for name in ("config.yaml", "metrics.jsonl"))
        ours = not written or begins_as_ours(run)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"run must name a folder, but {str(run)[:80]!r}: {reason}") from error
    if not there and not ours:
        raise InputError(
            f"{run} has a config.yaml or metrics.jsonl that is of no run; choose another folder"
        )
    if there and not resume:
        raise InputError(f"{run} holds a run already; resume it, or choose another folder")
    if resume and not there:
        raise InputError(f"{run} must be the folder of a run, but has no checkpoint.pt to resume")
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} must be a folder for the run, but is a file")


def resolve_device(device: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" means here, or :class:`InputError`."""
    check_choice("device", device, ("auto", "cpu", "cuda"))
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("device=cuda needs a CUDA device, and none is visible; use device=cpu")
    return torch.device("cuda" if device != "cpu" and available else "cpu")


def check_precision(precision: str, device: torch.device) -> None:
    """Raise :class:`InputError` unless ``device`` computes matrix products in ``precision``."""
    check_choice("trainer.precision", precision, PRECISIONS)
    if precision == "tf32" and device.type != "cuda":
        raise InputError(
            "trainer.precision=tf32 is for CUDA devices, and this is the CPU; use float32 or "
            "bfloat16"
        )


def check_fit(model: nn.Module, data: GroupedData, what: str) -> None:
    """Raise :class:`InputError` unless ``model`` takes observations like these.

    A model may say what it takes: by ``shape``, the shape of one observation, by
    ``likelihood.check(x)``, and by ``check_groups(group_names)`` if it knows some groups only.
    """
    if not isinstance(data, GroupedData):
        raise InputError(f"{what} data must be GroupedData, not {type(data).__name__}")
    dtypes = {p.dtype for p in model.parameters() if p.requires_grad}
    if not dtypes:
        raise InputError("the model must have parameters that require a gradient, but has none")
    if dtypes != {torch.float32}:
        raise InputError(
            f"a model is trained in float32, not in {dtypes.pop()}: take model.float(); "
            "precision=bfloat16 is for matrix products"
        )
    shape = tuple(getattr(model, "shape", data.shape))
    if shape != data.shape:
        raise InputError(
            f"the model takes observations of shape {shape}, but {what} data has {data.shape}"
        )
    if data.x.is_floating_point() and hasattr(model, "likelihood"):
        model.likelihood.check(data.x)
    if told_groups(model):
        model.check_groups(data.group_names)
