"""Checks before a training, so that no file is written by one that cannot start."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from mlvae.arguments import as_path
from mlvae.data import GroupedData
from mlvae.data.collections.regular import open_regular
from mlvae.data.rows.sparse import SparseRows
from mlvae.errors import InputError, check_choice, check_integer
from mlvae.groups.grouping import UNNAMED
from mlvae.likelihoods import Likelihood
from mlvae.likelihoods.counts import check_sizes
from mlvae.models.mlvae.nested import upper_groups
from mlvae.models.observed import is_of_counts, known_values
from mlvae.models.part_checks import check_likelihood, check_networks
from mlvae.models.protocol import Traits, traits
from mlvae.training.files import check_no_links
from mlvae.training.settings import PRECISIONS, Reports

__all__ = [
    "check_fit",
    "check_folder",
    "check_named",
    "check_options",
    "check_precision",
    "resolve_device",
    "with_needs",
]

#: The first line of a run's config.yaml. Older runs have the second one.
HEADER = "# The configuration of this run.\n"
HEADERS = (HEADER, "# What this run was told.\n")

#: Number of observations of a source that are compared with the likelihood.
READ = 1024


def check_options(
    *, epochs: int, seed: int, patience: int | None, reports: Reports, validation: bool
) -> None:
    """Raise :class:`InputError` unless the options of a training are in range."""
    check_integer("trainer.epochs", epochs, minimum=1)
    check_integer("seed", seed, minimum=0)
    if patience is None:
        return
    check_integer("trainer.patience", patience, minimum=1)
    if not validation or reports.validate_every is None:
        raise InputError(
            "trainer.patience counts validations: give validation data and an interval in "
            "trainer.reports.validate_every, or set trainer.patience to null"
        )


def check_named(run: str | Path | None, resume: bool) -> None:
    """Raise :class:`InputError` if ``run`` is empty, or None where a run is resumed."""
    if run is None and resume:
        raise InputError("run must name the folder to resume, not None")
    if run is not None:
        as_path("run", run)


def has_our_config(run: Path) -> bool:
    """Whether ``config.yaml`` in ``run`` is a training's, or empty."""
    config = run / "config.yaml"
    if not config.exists():
        return False
    with open_regular(config) as file:
        text = file.read(100)
    return not text or text.startswith(tuple(header.encode() for header in HEADERS))


def check_folder(run: Path, resume: bool) -> None:
    """Raise :class:`InputError` unless a run can begin, or go on, in the folder ``run``."""
    try:
        if "\0" in str(run):
            raise ValueError("the name has a null byte")
        check_no_links(run)
        there = (run / "checkpoint.pt").exists()
        written = any((run / name).exists() for name in ("config.yaml", "metrics.jsonl"))
        ours = not written or has_our_config(run)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"run must name a folder, but {str(run)[:80]!r}: {reason}") from error
    if not there and not ours:
        raise InputError(
            f"{run} has a config.yaml or metrics.jsonl of something else; choose another folder"
        )
    if there and not resume:
        raise InputError(
            f"{run} holds a run already; continue it with resume=True, or choose another folder"
        )
    if resume and not there:
        raise InputError(f"{run} must be the folder of a run, but has no checkpoint.pt to resume")
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} must be a folder for the run, but is a file")


def resolve_device(device: str, *, float64: bool = False) -> torch.device:
    """The device that "auto", "cpu", "cuda" or "mps" stands for, or :class:`InputError`.

    Args:
        device: the name. "auto" is CUDA if there is a device, then Apple's GPU (MPS), then the
            CPU.
        float64: whether the work needs float64, which MPS lacks.
    """
    check_choice("device", device, ("auto", "cpu", "cuda", "mps"))
    usable = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available() and not float64,
        "cpu": True,
    }
    if device == "auto":
        return torch.device(next(name for name, there in usable.items() if there))
    if device == "mps" and float64:
        raise InputError("device=mps has no float64, which this work needs; use device=cpu")
    if not usable[device]:
        name = {"cuda": "a CUDA device", "mps": "an Apple GPU"}[device]
        raise InputError(f"device={device} needs {name}, but none is visible; use device=cpu")
    return torch.device(device)


def check_precision(precision: str, device: torch.device) -> None:
    """Raise :class:`InputError` unless ``device`` computes matrix products in ``precision``."""
    check_choice("trainer.speed.precision", precision, PRECISIONS)
    if precision == "tf32" and device.type != "cuda":
        raise InputError(
            f"trainer.speed.precision=tf32 is for CUDA devices, not for {device.type}; use "
            "float32 or bfloat16"
        )


def check_fit(model: nn.Module, data: GroupedData, what: str) -> GroupedData:
    """The ``data`` with the given values that ``model`` needs.

    Raises:
        InputError: if the model does not take these data; see :class:`mlvae.models.Traits`.
    """
    if not isinstance(data, GroupedData):
        raise InputError(f"{what} data must be GroupedData, not {type(data).__name__}")
    dtypes = {p.dtype for p in model.parameters() if p.requires_grad}
    if not dtypes:
        raise InputError("the model must have parameters that require a gradient, but has none")
    if dtypes != {torch.float32}:
        raise InputError(
            f"a model is trained in float32, not in {dtypes.pop()}: call model.float(); "
            "precision=bfloat16 is for matrix products"
        )
    stated = traits(model)
    if stated.shape is not None and tuple(stated.shape) != data.shape:
        raise InputError(
            f"the model takes observations of shape {tuple(stated.shape)}, but {what} data has "
            f"{data.shape}"
        )
    if stated.likelihood is not None:
        _check_support(stated.likelihood, data, what)
    data = with_needs(model, data, what)
    _check_parts(model, data)
    return data


def _check_support(likelihood: Likelihood, data: GroupedData, what: str) -> None:
    """Raise :class:`InputError` if observations have no probability; some of a source are read."""
    x, name = data.x, type(likelihood).__name__
    if is_of_counts(likelihood) and x.dtype == torch.uint8:
        raise InputError(
            f"the likelihood {name} is of counts, but the {what} data have uint8 images, which a "
            "model receives divided by 255; give counts as GroupedData(..., kind='array')"
        )
    if not x.is_floating_point():
        return
    if isinstance(x, Tensor):
        likelihood.check(x, **known_values(likelihood, data.given))
        return
    likelihood.check(data.sample(READ))
    if not is_of_counts(likelihood):
        return
    if isinstance(x.source, SparseRows):
        x.source.check_counts(x.rows)
    if "size" in known_values(likelihood, data.given):
        check_sizes(data.given["size"], len(data))


def _check_complete(model: object, data: GroupedData, what: str) -> None:
    """Raise :class:`InputError` if cells are missing."""
    absent = ~data.given["observed"]
    if number := int(absent.sum()):
        rows = int(absent.any(1).sum())
        raise InputError(
            f"a {type(model).__name__} takes no missing cells, but the {what} data miss "
            f"{number:,} cells in {rows:,} of {len(data):,} rows; impute them, or use a VSAE"
        )


def _check_parts(model: nn.Module, data: GroupedData) -> None:
    """Raise :class:`InputError` unless parts of a user's own work on observations of the data."""
    some = data.subset(sorted({0, len(data) - 1}))
    likelihood, scale = traits(model).likelihood, traits(model).standardise
    if likelihood is not None:
        x = some.observations(torch.arange(len(some), device=some.device))
        if scale is not None and scale.kind is not None:  # not measured yet
            x = torch.linspace(-1, 1, x.numel()).view_as(x)
        check_likelihood(likelihood, x)
    some = some.to(next(model.parameters()).device)
    check_networks(model, some.singles(range(len(some))), some.singles([0]))


def _check_groupings(stated: Traits, data: GroupedData, what: str) -> None:
    """Raise :class:`InputError` unless the data have the groupings of a model's codes."""
    names = [name for name in stated.grouping_of.values() if name != UNNAMED]
    if missing := [name for name in names if name not in data.groupings]:
        raise InputError(
            f"the model has contents of {', '.join(names)}, but the {what} data have the "
            f"groupings {', '.join(data.groupings)}; pass the labels of {missing[0]} in "
            f"GroupedData(x, groups={{{missing[0]!r}: [...]}}), or in the config as dataset.group"
        )
    if len(names) == 1 and names[0] != data.grouping:
        raise InputError(
            f"a model with one content needs {names[0]} as the first grouping of the {what} data, "
            f"not {data.grouping}; use data.regrouped({names[0]!r}), or name it first in "
            "dataset.group"
        )
    for upper, lower in pairwise(stated.nested):
        groups = [data.groupings[name].groups.to("cpu") for name in (lower, upper)]
        upper_groups(*groups)


def with_needs(model: object, data: GroupedData, what: str) -> GroupedData:
    """The ``data`` with the given values that ``model`` needs in training.

    Raises:
        InputError: if a value is missing or does not fit, or a group is unknown to the model.
    """
    stated = traits(model)
    _check_groupings(stated, data, what)
    if "label" in stated.needs and stated.group_names is not None:
        data = data.labelled(stated.group_names)
    if not stated.missing_cells and "observed" in data.given:
        _check_complete(model, data, what)
    if missing := sorted(stated.needs - data.given.keys()):
        raise InputError(
            f"a {type(model).__name__} needs the given values {', '.join(missing)}, which the "
            f"{what} data lack; pass them as GroupedData(..., given={{{missing[0]!r}: ...}})"
        )
    if stated.check_given is not None:
        stated.check_given(data.given)
    return data
