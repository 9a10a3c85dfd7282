"""Evaluate a trained run: mlvae evaluate run=runs/first.

The answers are in evaluation/ of the run, or in ``folder``: report.html, metrics.json, figures.
The plain VAE as control is in controls/ of the run, or in ``folder``-controls.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

import mlvae
from mlvae.arguments import as_path, is_address
from mlvae.commands import cli
from mlvae.commands.configs import CONFIGS
from mlvae.commands.controls import Controls
from mlvae.commands.labels import with_quoted_labels
from mlvae.commands.own_parts import imported, naming_parts
from mlvae.data import BATCHINGS, open_dataset
from mlvae.errors import InputError, check_flag
from mlvae.evaluation import QUESTIONS, Composition, evaluate
from mlvae.evaluation.applicable import applicable
from mlvae.evaluation.evaluate import check_writable
from mlvae.evaluation.report import link_explorer
from mlvae.parts import from_config
from mlvae.training.checkpoint import read_state
from mlvae.training.checks import resolve_device
from mlvae.training.files import check_no_links
from mlvae.training.structure import check_config

#: Folders, below the root, of datasets that are downloaded if they are missing.
DOWNLOADED = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}


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
    controls = Controls(run, as_trained, checkpoint["step"], config.get("folder"), progress)
    vae = controls.plain_vae(config["vae"], checkpoint["shape"])
    further = controls.of_questions(
        part
        for part in questions
        if not isinstance(part, Composition) or not part.reason(model, splits)
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


def command() -> None:
    """Run the command with the arguments of the process."""
    sys.argv[1:] = with_quoted_labels(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # all workers end too
    with cli.one_line_errors():
        main()
