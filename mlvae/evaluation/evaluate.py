"""Evaluation of one trained model: all questions, and a folder with the answers."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import warnings
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from mlvae.arguments import as_path, check_type
from mlvae.data import BATCHINGS, Grouped, GroupedData, Shuffled, Splits
from mlvae.errors import InputError, check_flag, check_integer, check_part, shown
from mlvae.evaluation import report
from mlvae.evaluation.answer import Answer
from mlvae.evaluation.applicable import applicable
from mlvae.evaluation.beside import Beside
from mlvae.evaluation.measures.codes import representations
from mlvae.evaluation.questions.codebook import Codebook
from mlvae.evaluation.questions.collapse import Collapse
from mlvae.evaluation.questions.composition import Composition
from mlvae.evaluation.questions.counterfactual import Counterfactual
from mlvae.evaluation.questions.disentanglement import Disentanglement
from mlvae.evaluation.questions.documents import Documents
from mlvae.evaluation.questions.embedding import Embedding
from mlvae.evaluation.questions.factors import Factors
from mlvae.evaluation.questions.fidelity import Fidelity
from mlvae.evaluation.questions.groups import Groups
from mlvae.evaluation.questions.imputation import Imputation
from mlvae.evaluation.questions.leakage import Leakage
from mlvae.evaluation.questions.likelihood import Likelihood
from mlvae.evaluation.questions.manipulation import Manipulation
from mlvae.evaluation.questions.rollout import Rollout
from mlvae.evaluation.questions.separation import Separation
from mlvae.evaluation.questions.topics import Topics
from mlvae.evaluation.questions.unseen import Unseen
from mlvae.evaluation.subject import Subject, known_splits
from mlvae.evaluation.verdict import verdict
from mlvae.models import MLVAE, VAE, Rotations
from mlvae.version import __version__

__all__ = ["QUESTIONS", "evaluate"]

QUESTIONS = (
    Separation,
    Leakage,
    Unseen,
    Factors,
    Disentanglement,
    Fidelity,
    Manipulation,
    Embedding,
    Codebook,
    Groups,
    Imputation,
    Counterfactual,
    Likelihood,
    Topics,
    Documents,
    Collapse,
    Rollout,
    Composition,
)


def evaluate(
    model: Any,
    splits: Splits,
    folder: str | Path,
    *,
    questions: Sequence[Any] | None = None,
    vae: Any = None,
    controls: Mapping[str, Any] | None = None,
    batching: Shuffled | Grouped = Shuffled(),
    seed: int = 0,
    workers: int | None = None,
    title: str = "Evaluation",
    facts: Mapping[str, str] | None = None,
    config: str = "",
    progress: bool = True,
) -> dict[str, object]:
    """Ask ``questions`` of a trained model and write the answers into ``folder``.

    The folder has ``metrics.json``, the figures as PNG, ``projector/`` for TensorBoard, and
    ``report.html``, one page without external files. An earlier evaluation in the folder is
    replaced as a whole at the end; any other folder is refused. No file is ever half-written.

    Args:
        model: a trained model, on the device to work on.
        splits: the data it was trained with.
        folder: folder of the answers.
        questions: such as ``Separation(k=(1, 2))``; None asks all of :data:`QUESTIONS` that are
            about models of this kind.
        vae: the control: a plain VAE trained the same way.
        controls: further models that were trained the same way, by name: for the question
            ``rollout`` "matrix" and "network", for ``composition`` "conditional".
        batching: batching of the training, which sets the sizes of groups in the bound.
        seed: seed of the training, which determines the weights of the untrained control.
        workers: processes that train probes; None: one for each CPU core.
        title: title of the report.
        facts: first lines of the report, by name.
        config: last text of the report.
        progress: whether the terminal shows progress.

    Returns:
        The content of ``metrics.json``.

    Raises:
        InputError: if an option of a question does not fit the data, or the folder has other
            files. Nothing is written then.

    Example::

        model, splits = mlvae.load("runs/first"), mlvae.data.digits()
        metrics = mlvae.evaluation.evaluate(model, splits, "evaluation")
    """
    # An empty name is the working directory, which is refused below.
    folder = Path() if isinstance(folder, str) and not folder else as_path("folder", folder)
    _check_folder(folder)
    _check(model, splits, questions, vae, workers)
    if controls is not None:
        check_type("controls", controls, Mapping, "models by name")
        for name, other in controls.items():
            check_part(f"controls[{name!r}]", other, (Rotations,), ("codes", "decode"))
    check_part("batching", batching, BATCHINGS, ("plan", "num_batches", "for_evaluation"))
    check_integer("seed", seed, minimum=0)
    check_flag("progress", progress)
    check_type("title", title, str, "text")
    check_type("config", config, str, "text")
    if facts is not None:
        check_type("facts", facts, Mapping, "texts by name")
    device = next(model.parameters()).device
    if device.type == "mps":
        raise InputError("device=mps has no float64, which an evaluation needs; use model.cpu()")
    splits, unknown = known_splits(model, splits)
    check_writable(folder)
    if vae is not None:
        vae = _checked_control(vae.to(device).eval(), splits.train.subset([0]).to(device))
    subject = Subject(
        model=model.eval(),
        splits=Splits(**{name: data.to(device) for name, data in splits}),
        vae=vae,
        others={name: other.to(device).eval() for name, other in (controls or {}).items()},
        batching=batching,
        seed=seed,
        workers=workers or os.cpu_count() or 1,
        progress=progress,
    )
    answers = _answers(
        questions or applicable([question() for question in QUESTIONS], model), subject
    )
    facts = {
        **(facts or {}),
        "model": _description(model),
        **{f"{name} split": _size(data) for name, data in splits},
        **{f"{name} split": "not used: the model does not know its groups" for name in unknown},
        **_controls(subject),
        "evaluated": f"{date.today()}, mlvae {__version__}, PyTorch {torch.__version__}, "
        f"Python {platform.python_version()}, {_machine(device)}",
    }
    metrics = {name: answer.metrics for name, answer in answers.items()}
    opening = verdict(metrics, images=len(splits.train.shape) == 3)
    return _replace(folder, answers, title=title, facts=facts, config=config, opening=opening)


def _answers(questions: Sequence[Any], subject: Subject) -> dict[str, Answer]:
    """The answer to each question; a terminal shows the question.

    The probes show their remaining time themselves. That of all questions has no estimate: they
    take between no time and most of it.
    """
    from tqdm import tqdm  # a local import: it takes time that `import mlvae` does not need

    answers = {}
    disable = None if subject.progress else True
    form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
    progress = tqdm(questions, "questions", bar_format=form, disable=disable)
    with (
        warnings.catch_warnings(),
        contextlib.closing(Beside(questions, subject)) as beside,
        progress as bar,
    ):
        # joblib replaces a process that has kept more than 300 MB, as after large observations.
        warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
        for question in bar:
            name = type(question).__name__.lower()
            bar.set_postfix_str(name)
            answers[name] = beside.answer(question) or question.ask(subject)
    return answers


def _check(
    model: object,
    splits: object,
    questions: Sequence[object] | None,
    vae: object,
    workers: int | None,
) -> None:
    """Raise :class:`InputError` unless the arguments have the right types."""
    check_part("model", model, (MLVAE, VAE), ("codes", "decode", "parameters"))
    if not isinstance(splits, Splits):
        raise InputError(
            f"splits must be Splits, as Splits(train, test=...), not a {type(splits).__name__}"
        )
    if questions is not None and (not isinstance(questions, list | tuple) or not questions):
        raise InputError(f"questions must be a list, as [Separation()], not {shown(questions)}")
    asked = []
    for question in questions or ():
        check_part("a question", question, (Separation,), ("ask",))
        asked.append(type(question).__name__)
    if len(set(asked)) < len(asked):
        raise InputError(f"each question must be asked once, not {', '.join(asked)}")
    if vae is not None:
        check_part("vae", vae, (VAE,), ("codes", "decode"))
    if workers is not None:
        check_integer("workers", workers, minimum=1)


def _controls(subject: Subject) -> dict[str, str]:
    """What is to say on each control that is a model."""
    vae, reason = subject.vae, subject.without_untrained
    none = "none: no trained VAE was given as vae; mlvae.models.plain_vae(model) builds one"
    if type(subject.model) is VAE:
        none = "none: the model is a plain VAE itself"
    facts = {"plain VAE as control": none if vae is None else _description(vae)}
    return {**facts, "untrained encoder as control": f"none: {reason}"} if reason else facts


def _checked_control(vae: Any, data: GroupedData) -> Any:
    """The control, or :class:`InputError` unless it has one code."""
    if len(codes := representations(vae, data)) != 1:
        raise InputError(
            f"vae must be a plain VAE, with one code, not a {type(vae).__name__} with the codes "
            f"{', '.join(codes)}"
        )
    return vae


def _check_folder(folder: Path) -> None:
    """Raise :class:`InputError` unless ``folder`` is new or has an earlier evaluation."""
    if not folder.name:
        raise InputError(f"the folder of an evaluation must have a name, not be {str(folder)!r}")
    try:
        there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except FileNotFoundError:  # another evaluation is about to replace the folder
        there = set()
    except NotADirectoryError as error:
        raise InputError(f"{folder} must be a folder for the evaluation, not a file") from error
    except OSError as error:
        raise _not_written(folder, error) from error
    if there and not there >= {"metrics.json", "report.html"}:
        raise InputError(
            f"{folder} must be a new folder or have an earlier evaluation, which is replaced, but "
            f"has {min(there)}; choose another"
        )
    if "checkpoint.pt" in there:
        raise InputError(
            f"{folder} holds a run; choose another folder, as {folder / 'evaluation'}"
        )


def check_writable(folder: Path) -> None:
    """Raise :class:`InputError` unless :func:`evaluate` can write ``folder``.

    The check makes and removes a hidden folder beside it, before work that may take hours.
    """
    _check_folder(folder)
    try:
        parent = next(path for path in folder.absolute().parents if path.exists())
        with TemporaryDirectory(prefix=f".{folder.name[:100]}-", dir=parent):
            pass
    except OSError as error:
        raise _not_written(folder, error) from error


def _replace(folder: Path, answers: dict, **options: Any) -> dict[str, object]:
    """Write into a hidden folder, then rename it to ``folder``."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as hidden:
            part = Path(hidden, "new")
            part.mkdir()
            metrics = report.write(part, answers, **options)
            _check_folder(folder)  # it may have changed during the evaluation
            for number in count():  # of several at once, the last one stays
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
