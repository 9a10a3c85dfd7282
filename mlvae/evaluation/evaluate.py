"""All questions asked of one trained model, and the answers in one folder."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import torch
from torch import nn

from mlvae.data import Grouped, GroupedData, Shuffled, Splits
from mlvae.errors import InputError
from mlvae.evaluation import report
from mlvae.evaluation.disentanglement import Disentanglement
from mlvae.evaluation.embedding import Embedding
from mlvae.evaluation.factors import Factors
from mlvae.evaluation.fidelity import Fidelity
from mlvae.evaluation.likelihood import Likelihood
from mlvae.evaluation.manipulation import Manipulation
from mlvae.evaluation.separation import Separation
from mlvae.evaluation.subject import Subject, known_splits
from mlvae.evaluation.unseen import Unseen
from mlvae.version import __version__

__all__ = ["QUESTIONS", "evaluate"]

QUESTIONS = (
    Separation,
    Unseen,
    Factors,
    Disentanglement,
    Fidelity,
    Manipulation,
    Embedding,
    Likelihood,
)


def evaluate(
    model: nn.Module,
    splits: Splits,
    folder: str | Path,
    *,
    questions: Sequence[object] | None = None,
    vae: nn.Module | None = None,
    batching: Shuffled | Grouped = Shuffled(),  # noqa: B008 (frozen)
    seed: int = 0,
    workers: int | None = None,
    title: str = "Evaluation",
    facts: Mapping[str, str] | None = None,
    config: str = "",
    progress: bool = True,
) -> dict[str, object]:
    """Ask ``questions`` of a trained model and write the answers into ``folder``.

    The folder has ``metrics.json``, the figures as PNG, ``projector/`` for TensorBoard, and
    ``report.html``, one page that holds everything it shows. It is replaced as a whole at the end:
    what was there stays until then, and nothing is ever half-written.

    Args:
        model: a trained model, on the device to work on.
        splits: the data it was trained with.
        folder: where the answers go.
        questions: such as ``Separation(k=(1, 2))``; None asks all of :data:`QUESTIONS`.
        vae: the control: a plain VAE trained the same way.
        batching: of the training, which sets the size of groups in the bound.
        seed: of the training, which decides the weights of the untrained control.
        workers: processes that train probes; None: one for each CPU core.
        title: of the report.
        facts: lines to begin the report with, by name.
        config: text to end it with.
        progress: whether to show progress on the terminal.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        InputError: if a question cannot be asked as it is; nothing is written then.

    Example::

        model, splits = mlvae.load("runs/first"), mlvae.data.digits()
        metrics = mlvae.evaluation.evaluate(model, splits, "evaluation")
    """
    device = next(model.parameters()).device
    splits, unknown = known_splits(model, splits)
    subject = Subject(
        model=model.eval(),
        splits=Splits(**{name: data.to(device) for name, data in splits}),
        vae=None if vae is None else vae.to(device).eval(),
        batching=batching,
        seed=seed,
        workers=workers or os.cpu_count() or 1,
        progress=progress,
    )
    answers = {}
    for question in questions or [question() for question in QUESTIONS]:
        answers[type(question).__name__.lower()] = question.ask(subject)
    facts = {
        **(facts or {}),
        "model": _description(model),
        **{f"{name} split": _size(data) for name, data in splits},
        **{f"{name} split": "left out: the model is told the groups" for name in unknown},
        "plain VAE as control": "none" if vae is None else _description(vae),
        "evaluated": f"{date.today()}, mlvae {__version__}, PyTorch {torch.__version__}, "
        f"{_machine(device)}",
    }
    return _replace(Path(folder), answers, title=title, facts=facts, config=config)


def _replace(folder: Path, answers: dict, **options: object) -> dict[str, object]:
    """Write beside ``folder``, then take its place."""
    part, old = (folder.with_name(f"{folder.name}.{end}") for end in ("part", "old"))
    try:
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)
        part.mkdir(parents=True)
        metrics = report.write(part, answers, **options)
        if folder.exists():
            folder.replace(old)
        part.replace(folder)
    except OSError as error:
        raise InputError(
            f"{folder} could not be written ({error.strerror}); make room or choose another"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return metrics


def _description(model: nn.Module) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())
    return f"{type(model).__name__}, {count:,} parameters"


def _size(data: GroupedData) -> str:
    return f"{len(data):,} observations in {len(data.group_names):,} groups"


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"
