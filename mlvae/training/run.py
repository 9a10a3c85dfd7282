"""The folder of a run, and loading a trained model from it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlvae.arguments import as_device, as_path, check_type
from mlvae.data.tables.columns import Columns
from mlvae.errors import InputError, check_flag, shown
from mlvae.models.building import check_classes
from mlvae.system import lock, opened_for_lock
from mlvae.training.checkpoint import read_state
from mlvae.training.checks import HEADER, check_folder, resolve_device
from mlvae.training.files import replace_file
from mlvae.training.hub import HUB, downloaded
from mlvae.training.portable import check_whole, is_portable, read_portable
from mlvae.training.structure import built_model

__all__ = ["claim", "held", "load", "new_name", "restore", "undone_on_failure", "write_config"]

#: Words that YAML reads as booleans or null.
WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")


def load(
    run: str | Path,
    *,
    best: bool = False,
    device: torch.device | str = "cpu",
    model: nn.Module | None = None,
    parts: Sequence[type] = (),
) -> Any:
    """The trained model of a run, in evaluation mode.

    Args:
        run: the run's folder; or a folder of :func:`mlvae.export`, with model.safetensors and
            config.json; or the name of a model on the Hugging Face Hub, "hf://user/name", at a
            revision "hf://user/name@revision".
        best: the state with the lowest validation loss, instead of the last one; of a run only.
        device: device of the model.
        model: a model of your own class that receives the weights; needed only if the run trained
            such a model.
        parts: your own classes of which the model has parts: networks and likelihoods, and models
            with the attribute ``Options``. A run names its classes, and nothing is imported by
            that name: a run may come from another person.

    Raises:
        InputError: if the folder has no such checkpoint, if the checkpoint is of another model, or
            if the device is not available.

    Example::

        model = mlvae.load("runs/first")
        model = mlvae.load("runs/waves", parts=[WaveNetwork, Laplace])
        model = mlvae.load("hf://someone/faces")
    """
    check_flag("best", best)
    if (kind := str(device).split(":")[0]) in ("cuda", "mps"):
        resolve_device(kind)  # raises if there is none
    device = as_device(device)
    check_classes(parts)
    if model is not None:
        check_type("model", model, nn.Module, "a model that is built, as MLVAE(shape)")
        if parts:
            raise InputError("parts must be empty where a model that is built is given")
    if isinstance(run, str) and run.startswith(HUB):
        run = downloaded(run)
    path = as_path("run", run) / ("best.pt" if best else "checkpoint.pt")
    if is_portable(path.parent) and not (path.parent / "checkpoint.pt").exists():
        if best:
            raise InputError(f"best must be false: {path.parent} is an export, with one state")
        path, checkpoint = path.parent, read_portable(path.parent)
    else:
        try:
            checkpoint = read_state(path)
        except InputError:
            check_whole(path.parent)
            raise
    if model is None:
        if checkpoint["model_config"] is None:
            raise InputError(
                f"{path} is of a model without a `config`; build it and pass it: load(run, model=)"
            )
        model = built_model(checkpoint, path, parts)
    assert model is not None
    restore(model, checkpoint["model"], path)
    columns = checkpoint.get("columns")  # older runs have none
    model.table_columns = None if columns is None else Columns.of_plain(columns)  # type: ignore
    return model.to(device).eval()


def restore(model: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load ``weights`` from the checkpoint at ``path``, or raise :class:`InputError`."""
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(
            f"{path} is of another model than this {type(model).__name__}: {first}"
        ) from error


def new_name(config: Mapping[str, object] | None, seed: int) -> Path:
    """The default folder of a run: ``runs/<dataset>/<time>-seed<seed>``.

    Args:
        config: its "dataset" has the "name" of the dataset, as in the configs of the scripts.
            Without it, the folder is ``runs/<time>-seed<seed>``.
        seed: seed of the run.
    """
    dataset = (config or {}).get("dataset")
    name = dataset.get("name") if isinstance(dataset, Mapping) else None
    parent = Path("runs", name) if name else Path("runs")
    return parent / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-seed{seed}"


def claim(folder: Path) -> Path:
    """Make ``folder``, or if it exists, the first free one of ``folder-2``, ``folder-3``...

    The operating system makes a folder for one process only. So several processes that start in
    the same second, on one machine or on several with a shared disk, get different folders.

    Raises:
        InputError: if it cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        number, path = 1, folder
        while True:
            try:
                path.mkdir()
                return path
            except FileExistsError:
                number += 1
                path = folder.with_name(f"{folder.name}-{number}")
    except OSError as error:
        raise _not_writable(folder, error) from error


def write_config(run: Path, config: Mapping[str, object]) -> None:
    """Make the run's folder, and in it ``config.yaml`` with nested plain values.

    Each line of the YAML has one value in JSON notation, which YAML reads.

    Raises:
        InputError: if the folder cannot be made or written, or a value is not plain.
    """
    text = HEADER + "".join(_lines(config, ""))
    try:
        run.mkdir(parents=True, exist_ok=True)
        replace_file(run / "config.yaml", text.encode())
    except OSError as error:
        raise _not_writable(run, error) from error


@contextmanager
def undone_on_failure(run: Path, begun: Callable[[], bool]) -> Iterator[None]:
    """Remove the folder ``run`` if an exception occurs before the first step.

    Args:
        run: a folder with files of this training only.
        begun: whether a step is done.
    """
    try:
        yield
    except Exception:
        if not begun() and not (run / "checkpoint.pt").exists():
            shutil.rmtree(run, ignore_errors=True)
        raise


@contextmanager
def held(run: Path, resume: bool) -> Iterator[None]:
    """Make the folder ``run``, and lock it. The lock ends with the process.

    Raises:
        InputError: if another training has the lock or has written there meanwhile, or if the
            folder cannot be made.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        number = opened_for_lock(run)
    except OSError as error:
        raise _not_writable(run, error) from error
    try:
        _lock(number, run)
        check_folder(run, resume)
        yield
    finally:
        os.close(number)


def _lock(number: int, run: Path) -> None:
    try:
        lock(number)
    except BlockingIOError as error:
        raise InputError(
            f"{run} is locked by a training that is running; choose another folder"
        ) from error
    except OSError:  # a file system without locks
        return


def _not_writable(run: Path, error: OSError) -> InputError:
    return InputError(f"the run's folder {run} must be writable: {error.strerror}; choose another")


def _lines(config: Mapping[str, object], indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{_name(key)}:\n", *_lines(value, indent + "  ")]
        else:
            try:
                lines.append(f"{indent}{_name(key)}: {json.dumps(value, ensure_ascii=False)}\n")
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"config must have plain values (numbers, strings, lists), but {key} is "
                    f"{shown(value)}"
                ) from error
    return lines


def _name(key: object) -> str:
    """A key as YAML reads it: unquoted if it is a name, else quoted."""
    unquoted = str(key).isidentifier() and str(key).lower() not in WORDS
    return str(key) if unquoted else json.dumps(str(key), ensure_ascii=False)
