"""All questions asked of one trained model, and the answers in one folder."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from mlvae.data import Grouped, GroupedData, Shuffled, Splits
from mlvae.errors import InputError, check_integer
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
    ``report.html``, one page that holds everything it shows. An earlier evaluation there is
    replaced as a whole at the end, anything else never; and nothing is ever half-written.

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
        InputError: if a question cannot be asked as it is, or the folder holds something else;
            nothing is written then.

    Example::

        model, splits = mlvae.load("runs/first"), mlvae.data.digits()
        metrics = mlvae.evaluation.evaluate(model, splits, "evaluation")
    """
    folder = Path(folder).expanduser()
    _check_folder(folder)
    _check(splits, questions, vae, workers)
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
    return _replace(folder, answers, title=title, facts=facts, config=config)


def _check(
    splits: object, questions: Sequence[object] | None, vae: object, workers: int | None
) -> None:
    """Raise :class:`InputError` unless arguments are of the kinds they must be."""
    if not isinstance(splits, Splits):
        raise InputError(
            f"splits must be Splits, as Splits(train, test=...), not a {type(splits).__name__}"
        )
    if not (questions is None or isinstance(questions, list | tuple)):
        raise InputError(f"questions must be a list, as [Separation()], not {questions!r}")
    asked = []
    for question in questions or ():
        if isinstance(question, type) or not callable(getattr(question, "ask", None)):
            raise InputError(f"a question must be such as Separation(), not {question!r}")
        asked.append(type(question).__name__)
    if len(set(asked)) < len(asked):
        raise InputError(f"questions must be asked once each, not {', '.join(asked)}")
    if vae is not None and not (isinstance(vae, nn.Module) and hasattr(vae, "infer")):
        raise InputError(f"vae must be a plain VAE, not a {type(vae).__name__}")
    if workers is not None:
        check_integer("workers", workers, minimum=1)


def _check_folder(folder: Path) -> None:
    """Raise :class:`InputError` unless ``folder`` is free, or of an evaluation to be replaced."""
    if not folder.name:
        raise InputError(f"the folder of an evaluation must have a name, not be {str(folder)!r}")
    try:
        there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except NotADirectoryError as error:
        raise InputError(f"{folder} must be a folder for the evaluation, not a file") from error
    except OSError as error:
        raise _not_written(folder, error) from error
    if there and not there >= {"metrics.json", "report.html"}:
        raise InputError(
            f"{folder} must be a new folder or hold an earlier evaluation, which is replaced, but "
            f"has {min(there)}; choose another"
        )
    if "checkpoint.pt" in there:
        raise InputError(
            f"{folder} holds a run; choose another folder, as {folder / 'evaluation'}"
        )


def _replace(folder: Path, answers: dict, **options: object) -> dict[str, object]:
    """Write into a folder of nobody else's, then give it the name of ``folder``."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as hidden:
            part = Path(hidden, "new")
            part.mkdir()
            metrics = report.write(part, answers, **options)
            _check_folder(folder)  # hours may have passed
            for number in count():  # of several that are done at once the last one stays
                with contextlib.suppress(FileNotFoundError):
                    folder.replace(Path(hidden, f"old-{number}"))
                try:
                    part.replace(folder)
                    break
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or number == 9:
                        raise
    except OSError as error:
        raise _not_written(folder, error) from error
    return metrics


def _not_written(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"{folder} could not be written ({error.strerror}); make room or choose another"
    )


def _description(model: nn.Module) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())
    return f"{type(model).__name__}, {count:,} parameters"


def _size(data: GroupedData) -> str:
    return f"{len(data):,} observations in {len(data.group_names):,} groups"


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"
