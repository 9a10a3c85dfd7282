"""Evaluate a trained run: mlvae evaluate run=runs/first.

The answers are in evaluation/ of the run, or in ``folder``: report.html, metrics.json, figures.
The plain VAE as control is in controls/ of the run, or in ``folder``-controls.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

import mlvae
from mlvae.arguments import as_path, is_address
from mlvae.commands import cli
from mlvae.commands.configs import CONFIGS
from mlvae.commands.labels import with_quoted_labels
from mlvae.commands.own_parts import imported, naming_parts
from mlvae.commands.train import train_by
from mlvae.data import BATCHINGS, open_dataset
from mlvae.errors import InputError, check_flag, check_integer
from mlvae.evaluation import QUESTIONS, Composition, Rollout, evaluate
from mlvae.evaluation.applicable import applicable
from mlvae.evaluation.evaluate import check_writable
from mlvae.evaluation.report import link_explorer
from mlvae.parts import from_config
from mlvae.training.checkpoint import read_state
from mlvae.training.checks import resolve_device
from mlvae.training.files import check_no_links
from mlvae.training.settings import renamed_options
from mlvae.training.structure import check_config

#: Folders, below the root, of datasets that are downloaded if they are missing.
DOWNLOADED = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}

#: Models that are not compared with a plain VAE: it is one itself, or its observations are
#: trajectories, of which a VAE has no codes of frames.
WITHOUT_VAE = ("VAE", "Rotations")


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Evaluate as configured."""
    with cli.one_line_errors():
        config = checked(cfg)
        metrics = evaluate_by(config)
        for paragraph in metrics["verdict"]:
            cli.say(paragraph)
        cli.say(f"the report is {folder_of(config) / 'report.html'}")


def folder_of(config: dict[str, Any]) -> Path:
    """The folder of the answers."""
    if config.get("folder") is None:
        return as_path("run", config["run"]) / "evaluation"
    return as_path("folder", config["folder"])


def checked(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values, with exactly the options of an evaluation."""
    config = {"evaluation": {}, **cli.resolved(cfg)}  # evaluation=[] removes all
    places = ("root", "cache", "table", "folder")
    others = ("run", "best", "vae", "parts", *places, "device", "workers")
    cli.check_options(config, ("evaluation",), others)
    return config


def evaluate_by(config: dict[str, Any], *, progress: bool = True) -> dict[str, Any]:
    """Load the run and its data, train its control if it is missing, and evaluate."""
    for name in ("run", "vae"):
        cli.check_text_option(name, config[name], optional=name == "vae")
    run = as_path("run", config["run"])
    questions = [
        from_config(question, QUESTIONS, f"evaluation.{name}")
        for name, question in config["evaluation"].items()
    ]
    if not questions:
        raise InputError("evaluation must name at least one question: evaluation=[separation]")
    folder = folder_of(config)
    check_writable(folder)  # before the control is trained
    device = resolve_device(config["device"], float64=True)
    check_no_links(run)
    check_flag("best", config["best"])
    name = "best.pt" if config["best"] else "checkpoint.pt"
    checkpoint = read_state(run / name)
    places = {name: config.get(name) for name in ("root", "cache", "table")}
    trained, dataset = trained_on(run, checkpoint, **places)
    own = imported(config["parts"])
    with naming_parts():
        model = mlvae.load(run, best=config["best"], device=device, parts=own)
    if len(questions) == len(QUESTIONS):  # nobody chose them
        questions = applicable(questions, model)
    splits = open_dataset(**dataset)
    if splits.train.shape != model.shape:
        raise InputError(
            f"{run} was trained on observations of shape {model.shape}, but those of "
            f"{dataset['name']} now have {splits.train.shape}"
        )
    as_trained = {
        **trained,
        "dataset": dataset,
        "device": config["device"],
        "parts": config["parts"],
    }
    controls = run / "controls" / "vae"
    if config.get("folder") is not None and not _is_trained(controls, checkpoint["step"]):
        controls = folder.with_name(f"{folder.name}-controls") / "vae"
    vae = _control(
        config["vae"],
        run,
        as_trained,
        checkpoint["step"],
        progress,
        shape=checkpoint["shape"],
        folder=controls,
    )
    asked = [
        part
        for part in questions
        if not isinstance(part, Composition) or not part.reason(model, splits)
    ]
    further = _further_controls(
        asked, run, as_trained, checkpoint["step"], progress, folder=controls.parent
    )
    metrics = evaluate(
        model,
        splits,
        folder,
        questions=questions,
        vae=None if vae is None else mlvae.load(vae, device=device, parts=own),
        controls={
            kind: mlvae.load(place, device=device, parts=own) for kind, place in further.items()
        },
        batching=from_config(trained["batching"], BATCHINGS, "batching"),
        seed=trained["seed"],
        workers=config["workers"],
        title=f"{type(model).__name__} on {dataset['name']}",
        facts={"run": f"{run}, {name}, step {checkpoint['step']:,}"},
        config=OmegaConf.to_yaml(trained),
        progress=progress,
    )
    link_explorer(folder / "report.html", run / "explore.html")
    return metrics


def trained_on(
    run: Path,
    checkpoint: dict[str, Any],
    root: str | list[str] | None = None,
    cache: str | None = None,
    table: str | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration of a run's training, and that of its dataset at the given places.

    A folder that only the configuration of the run names is never created.

    Raises:
        InputError: if the run was trained from Python, its dataset has no such place, or its root
            does not exist and no root is given.
    """
    trained = checkpoint["config"]
    if not isinstance(trained.get("dataset"), dict):
        raise InputError(
            f"{run} was trained from Python; evaluate it with mlvae.evaluation.evaluate(model, "
            "splits, folder)"
        )
    check_config(trained, ("dataset", "model", "batching", "optimizer", "trainer"), run)
    dataset = dict(trained["dataset"])
    places = {"root": root, "cache": cache, "table": table}
    given = {name: place for name, place in places.items() if place is not None}
    for name in given:
        if name not in dataset:
            raise InputError(
                f"{name}: the dataset {dataset['name']} has no {name}; leave out {name}"
            )
    dataset |= given
    if cache is None:
        dataset = cli.with_usable_cache(dataset)
    dataset = cli.with_absolute_paths(dataset)
    if root is None and "root" in dataset:
        _check_root(dataset)
    return trained, dataset


def _check_root(dataset: dict[str, Any]) -> None:
    """Raise :class:`InputError` unless the root exists: nothing is downloaded to a new folder."""
    roots = dataset["root"] if isinstance(dataset["root"], list) else [dataset["root"]]
    within = DOWNLOADED.get(dataset["name"], ".")
    for root in roots:
        if is_address(root):
            continue
        path = Path(root) / within
        try:
            found = os.path.lexists(path)
        except ValueError:  # a path with a null character
            found = False
        if not found:
            raise InputError(
                f"the data of the run must be in {str(path)!r}, which does not exist; give "
                "their folder, root=..."
            )


def _control(
    vae: str | None,
    run: Path,
    trained: dict[str, Any],
    step: int,
    progress: bool,
    *,
    shape: Sequence[int],
    folder: Path,
) -> Path | None:
    """The folder of the run of the plain VAE as control, trained first if it is missing.

    Args:
        vae: the option: "auto", None or the folder of a run.
        run: the run that is evaluated.
        trained: its configuration.
        step: its number of steps.
        progress: whether the terminal shows progress.
        shape: shape of an observation.
        folder: the folder of the control that "auto" trains.
    """
    if vae is None or trained["model"]["name"] in WITHOUT_VAE:
        return None
    if vae != "auto":
        given = read_state(as_path("vae", vae) / "checkpoint.pt")
        name = (given["model_config"] or {}).get("name")
        if name != "VAE":
            raise InputError(f"vae={vae} must be the run of a plain VAE, not of {name}")
        if given["shape"] != list(shape):
            raise InputError(
                f"vae={vae} must be trained on observations of shape {tuple(shape)} like {run}, "
                f"not {tuple(given['shape'])}"
            )
        return as_path("vae", vae)
    words = f"training a plain VAE as control, in {folder}; vae=null turns it off"
    _train_control(vae_config(trained, folder), run, step, progress, folder=folder, words=words)
    return folder


def _further_controls(
    questions: Sequence[Any],
    run: Path,
    trained: dict[str, Any],
    step: int,
    progress: bool,
    *,
    folder: Path,
) -> dict[str, Path]:
    """The folders of the controls of single questions by their kind, trained first.

    A rollout compares a model of rotations with other transitions, and a composition compares with
    a VAE that is given the labels.

    Args:
        questions: the questions that can be answered.
        run: the run that is evaluated.
        trained: its configuration.
        step: its number of steps.
        progress: whether the terminal shows progress.
        folder: the folder of all controls.
    """
    places = {}
    for question in questions:
        kinds = {kind: folder / kind for kind in getattr(question, "controls", ())}
        if isinstance(question, Rollout) and trained["model"].get("transition") == "rotation":
            name, text = "rollout", "transition={}"
            configs = {kind: transition_config(trained, kind, at) for kind, at in kinds.items()}
        elif isinstance(question, Composition):
            name, text = "composition", "{}, a VAE that is given the labels"
            configs = {kind: conditional_config(trained, at) for kind, at in kinds.items()}
        else:
            continue
        for kind, config in configs.items():
            words = (
                f"training the control {text.format(kind)}, in {kinds[kind]}; "
                f"evaluation.{name}.controls=[] turns it off"
            )
            _train_control(config, run, step, progress, folder=kinds[kind], words=words)
        places |= kinds
    return places


def _train_control(
    config: dict[str, Any], run: Path, step: int, progress: bool, *, folder: Path, words: str
) -> None:
    """Train a control in ``folder``, or the rest of it, if it has fewer steps than ``step``."""
    resume = (folder / "checkpoint.pt").is_file()
    if resume:
        checkpoint = read_state(folder / "checkpoint.pt")
        if not folder.is_relative_to(run) and not _same_training(checkpoint["config"], config):
            raise InputError(
                f"{folder} holds the control of another run; choose another folder, or delete it"
            )
        if checkpoint["step"] >= step:
            return
    cli.say(words)
    result = train_by(config, resume=resume, progress=progress)
    if not result.finished:
        raise SystemExit(f"stopped; the next evaluation resumes the control in {folder}")


def _is_trained(folder: Path, step: int) -> bool:
    """Whether a folder has a checkpoint of at least ``step`` steps."""
    path = folder / "checkpoint.pt"
    return path.is_file() and read_state(path)["step"] >= step


def _same_training(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two configurations differ at most in places, devices, length and reports."""

    def deciding(config: dict[str, Any]) -> dict[str, Any]:
        free = {
            "": ("run", "device", "parts"),
            "trainer": ("epochs", "reports"),
            "dataset": ("root", "cache", "table", "workers"),
        }
        kept = {name: value for name, value in config.items() if name not in free[""]}
        for name in ("trainer", "dataset"):
            options = config.get(name) or {}
            kept[name] = {key: options[key] for key in options if key not in free[name]}
        for name in ("validation", "test"):  # a file of labels may have moved
            if isinstance(kept["dataset"].get(name), str):
                del kept["dataset"][name]
        return kept

    return deciding(one) == deciding(other)


def vae_config(trained: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration of the run with a plain VAE, with as many latent dimensions."""
    model = trained["model"]
    dims = dict[str, Any]()
    for name, value in model.items():
        if name.endswith("_dim"):
            several = value if isinstance(value, dict) else {"": value}
            dims |= {f"{name}.{part}".rstrip("."): dim for part, dim in several.items()}
    for name, value in dims.items():
        check_integer(f"model.{name}", value, minimum=1)
    parts = {
        name: model[name] for name in ("network", "likelihood", "standardise") if name in model
    }
    trainer = renamed_options(trained["trainer"])
    warmup = trainer.get("warmup", {})
    if not isinstance(warmup, dict):
        raise InputError(f"trainer.warmup must be options by name, not {warmup!r}")
    warmup = {**warmup, "content_first_steps": 0, "information_after": 0, "entanglement_steps": 0}
    optimizer = trained["optimizer"]
    if "name" not in optimizer:  # a recipe for each player, of which a VAE has one
        optimizer = optimizer.get("model")
    rates = optimizer.get("learning_rates", {}) if isinstance(optimizer, dict) else None
    if not isinstance(rates, dict):
        raise InputError(f"the optimizer of {folder.parent} must be options by name")
    rates = {name: rate for name, rate in rates.items() if name in ("encoder", "decoder")}
    return {
        **trained,
        "optimizer": {**optimizer, "learning_rates": rates},
        "model": {"name": "VAE", "latent_dim": sum(dims.values()), "kl_weight": 1.0, **parts},
        "trainer": {**trainer, "warmup": warmup},
        "run": str(folder),
    }


def transition_config(trained: dict[str, Any], kind: str, folder: Path) -> dict[str, Any]:
    """The configuration of the run of a model of rotations with another kind of transition."""
    model = {**trained["model"], "transition": kind}
    trainer = renamed_options(trained["trainer"])
    return {**trained, "model": model, "trainer": trainer, "run": str(folder)}


def conditional_config(trained: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration of the run with a VAE that is given the labels of all groupings."""
    config, model = vae_config(trained, folder), trained["model"]
    kept = ("content_dim", "style_dim", "style_kl_weight", "network", "likelihood", "standardise")
    parts = {name: model[name] for name in kept if name in model}
    return {**config, "model": {"name": "ConditionalVAE", "group_names": None, **parts}}


def command() -> None:
    """Run the command with the arguments of the process."""
    sys.argv[1:] = with_quoted_labels(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # all workers end too
    with cli.one_line_errors():
        main()
