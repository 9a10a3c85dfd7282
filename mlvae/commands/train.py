"""Train a model: mlvae train dataset=mnist trainer.epochs=20.

To continue a run: mlvae train resume=runs/mnist/...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mlvae.arguments import as_path
from mlvae.commands import cli
from mlvae.commands.configs import CONFIGS
from mlvae.commands.default_experiment import with_default_experiment
from mlvae.commands.labels import with_quoted_labels
from mlvae.commands.own_parts import imported, naming_parts
from mlvae.data import AUGMENTATIONS, BATCHINGS, PartedData, open_dataset
from mlvae.errors import InputError, check_choice
from mlvae.invocation import command_line
from mlvae.models import build
from mlvae.parts import from_config
from mlvae.training import OPTIMIZERS, Reports, Result, Speed, Warmup, train
from mlvae.training.checkpoint import read_state
from mlvae.training.checks import resolve_device
from mlvae.training.ranks import join
from mlvae.training.seeding import seeded
from mlvae.training.settings import RENAMED, renamed_options
from mlvae.training.structure import check_config

#: Records of the trainer's options.
RECORDS = {"warmup": Warmup, "speed": Speed, "reports": Reports}

#: Options that may change when a run is resumed.
RESUMABLE = (
    "trainer.*",
    "optimizer.*",
    *(f"dataset.{name}" for name in ("root", "cache", "table", "workers")),
    "batching.span_ranks",
    "device",
    "parts",
    "resume",
)


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")
def main(cfg: DictConfig) -> float:
    """Train as configured; return the lowest validation loss, for sweeps to minimise."""
    with cli.one_line_errors(job=cli.job_of_sweep()):
        return run(cfg)


def run(cfg: DictConfig) -> float:
    """Train a new run, or resume one."""
    resume = cfg.get("resume") is not None
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    config = resumed_config(cfg, overrides) if resume else cli.resolved(cfg)
    check(config)
    if resume and not any(name.lstrip("+").startswith("dataset.cache=") for name in overrides):
        config["dataset"] = cli.with_usable_cache(config["dataset"])
    config["dataset"] = cli.with_absolute_paths(config["dataset"])
    first = join(resolve_device(config["device"])).first
    if first:
        name = config["dataset"].get("name")
        new = f"training on {name}; --cfg job prints all options"
        cli.say(f"resuming {config['run']}" if resume else new)
    result = train_by(config, resume=resume)
    if not result.finished:
        raise SystemExit(0)  # this ends a sweep too
    if first:
        evaluate = f"{command_line('evaluate')} {cli.argument('run', result.run)}"
        cli.say(f"to evaluate it: {evaluate}")
    best = result.metrics.get("validation/best_loss")
    return result.metrics["train/loss"] if best is None else best


def check(config: dict[str, Any]) -> None:
    """Raise :class:`InputError` unless the configuration has exactly the options of a training."""
    sections = ("dataset", "model", "batching", "optimizer", "trainer")
    config = {"augmentation": None, "parts": [], **config}  # runs of older versions have none
    others = ("augmentation", "parts", "seed", "device", "run", "resume")
    cli.check_options(config, sections, others)
    cli.check_text_option("run", config["run"])
    for name in config["trainer"]:
        if name in RENAMED:
            raise InputError(f"trainer.{name} is now trainer.{RENAMED[name]}")
        check_choice("an option of trainer", name, ("epochs", "patience", *RECORDS))
    trainer_of(config["trainer"])
    optimizer_of(config["optimizer"])


def train_by(config: dict[str, Any], *, resume: bool, progress: bool = True) -> Result:
    """Build the parts that the configuration names, and train."""
    parts = parts_by(config)
    if not progress:
        parts["reports"] = replace(parts["reports"], progress=False)
    ranks = join(resolve_device(config["device"]))
    splits = ranks.in_turn(lambda: open_dataset(**config["dataset"]))
    with torch.random.fork_rng():
        seeded(torch.default_generator, config["seed"], "initial weights")
        own = imported(config.get("parts", []))
        # The groups of all parts are not numbered: each process would open them all.
        parted = isinstance(splits.train, PartedData)
        names = None if parted else splits.train.group_names
        with naming_parts():
            model = build(
                splits.train.shape,
                config["model"],
                group_names=names,
                data=splits.train,
                parts=own,
            )
    return train(
        model,
        splits.train,
        validation=splits.validation,
        run=config["run"],
        resume=resume,
        device=config["device"],
        seed=config["seed"],
        config=config,
        **parts,
    )


def parts_by(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`train` that the configuration describes by name."""
    augmentation = None
    if config.get("augmentation") is not None:
        augmentation = from_config(config["augmentation"], AUGMENTATIONS, "augmentation")
    return {
        "batching": from_config(config["batching"], BATCHINGS, "batching"),
        "augmentation": augmentation,
        "optimizer": optimizer_of(config["optimizer"]),
        **trainer_of(config["trainer"]),
    }


def trainer_of(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`mlvae.train` that the options of the trainer describe."""
    records = {
        name: from_config(config.get(name, {}), (record,), f"trainer.{name}")
        for name, record in RECORDS.items()
    }
    return {**config, **records}


def optimizer_of(config: dict[str, Any]) -> Any:
    """The recipe that a configuration describes, or a recipe for each player by its name."""
    if "name" in config:
        return from_config(config, OPTIMIZERS, "optimizer")
    return {
        player: from_config(recipe, OPTIMIZERS, f"optimizer.{player}")
        for player, recipe in config.items()
    }


def resumed_config(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """The saved configuration of the run, with the changes that the command line makes."""
    cli.check_text_option("resume", cfg.resume)
    run = as_path("resume", cfg.resume)
    config = saved_config(run)
    config["parts"] = []  # only names that the user types are imported
    saved = OmegaConf.create(config)
    for override in overrides:
        key = override.split("=")[0].lstrip("+")  # the default dataset has fewer options
        # A file with the labels of held-out groups may have moved; a fraction may not change.
        file = key in ("dataset.validation", "dataset.test") and all(
            isinstance(value, str) for value in (_select(config, key), OmegaConf.select(cfg, key))
        )
        if not file and key not in RESUMABLE and key.split(".")[0] + ".*" not in RESUMABLE:
            raise InputError(
                f"a resumed run keeps its configuration, so {key} cannot change; only "
                "trainer.*, optimizer.*, batching.span_ranks, device and, as +dataset.root=..., "
                "the place of the data (root, cache, table, workers, files of labels) can"
            )
        if key not in ("resume", "parts"):
            cli.say(f"changed: {key} was {_select(config, key)}")
        if key != "resume":
            OmegaConf.update(saved, key, OmegaConf.select(cfg, key))
    saved.run = str(run)
    resumed = OmegaConf.to_container(saved)  # interpolations in a saved config stay text
    assert isinstance(resumed, dict)
    return {str(name): value for name, value in resumed.items()}


def _select(config: Any, key: str) -> Any:
    """The value of a dotted key, or None."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, dict) else None
    return config


def saved_config(run: Path) -> dict[str, Any]:
    """The configuration in the last checkpoint of a run, with the present names of options."""
    config = read_state(run / "checkpoint.pt")["config"]
    if not isinstance(config.get("dataset"), dict):
        raise InputError(
            f"{run} was trained from Python; resume it with mlvae.train(..., resume=True)"
        )
    check_config(config, ("dataset", "model", "batching", "optimizer", "trainer"), run)
    return {**config, "trainer": renamed_options(config["trainer"])}


def command() -> None:
    """Run the command with the arguments of the process."""
    sys.argv[1:] = with_default_experiment(with_quoted_labels(sys.argv[1:]))
    with cli.one_line_errors():
        main()
