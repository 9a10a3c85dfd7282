"""Run the experiment behind a table: python scripts/reproduce.py table=mnist_quantitative.

What is done is kept and not done again; after an interruption, the same command goes on.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from pathlib import Path

import cli
import figures
import hydra
import tables
import torch
from evaluate import evaluate_by
from hydra import compose
from omegaconf import DictConfig
from table_checks import check_asked
from train import train_by

from mlvae.errors import InputError, check_flag, check_integer
from mlvae.training.checkpoint import read_checkpoint

#: Of a run's configuration, what does not decide its result.
FREE = ("run", "device", "resume")
FREE_OF_DATASET = ("cache", "workers")  # and the root, which only says where they lie,
OWN = ("arrays", "faces")  # but for these, which are whatever lies there
FREE_OF_TRAINER = (
    "log_every",
    "validate_every",
    "pictures_every",
    "checkpoint_seconds",
    "steps_per_graph",
)


@hydra.main(version_base="1.3", config_path="../configs", config_name="reproduce")
def main(cfg: DictConfig) -> None:
    """Reproduce one table or all."""
    with cli.one_line_errors():
        config = cli.plain(cfg)
        others = ("table", "fast", "seeds", "folder", "root", "device", "jobs")
        cli.check_options(config, (), others)
        check_integer("jobs", config["jobs"], minimum=1)
        check_flag("fast", config["fast"])
        check_seeds(config["seeds"])
        names = tables.names() if config["table"] == "all" else [config["table"]]
        experiments = {name: tables.read(name) for name in names}
        failed = [name for name, table in experiments.items() if not tried(name, table, config)]
        if failed:
            raise InputError(f"not reproduced: {', '.join(failed)}; the reasons stand above")


def check_seeds(seeds: object) -> None:
    """Raise :class:`InputError` unless ``seeds`` is None or a list of seeds."""
    if seeds is None:
        return
    if not isinstance(seeds, list) or not seeds:
        raise InputError(f"seeds must be a list, as seeds=[0,1,2], not {seeds!r}")
    for seed in seeds:
        check_integer("seeds", seed, minimum=0)
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds must be different, not {seeds}")


def tried(name: str, table: dict, config: dict[str, object]) -> bool:
    """Reproduce a table; of all, one whose data is not there keeps no other from being done."""
    try:
        reproduce(name, table, config)
    except InputError as error:
        if config["table"] != "all":
            raise
        print(f"{name}: {error}", flush=True)
        return False
    return True


def reproduce(name: str, table: dict, config: dict[str, object]) -> None:
    """Run what is missing of one table, then print it and keep it as a file."""
    if config["fast"] and "fast" not in table:
        raise InputError(f"table={name} has no small version: leave out fast, or write its `fast`")
    folder = Path(name).stem + ("-fast" if config["fast"] else "")
    folder = Path(config["folder"]).expanduser() / folder
    seeds = config["seeds"] or (table["fast"] if config["fast"] else table)["seeds"]
    jobs = [
        job
        for variant in table["variants"]
        for seed in seeds
        if not (job := plan(table, variant, seed, folder, config)).pop("done")
    ]
    check_asked(table, name, jobs)
    done = len(table["variants"]) * len(seeds) - len(jobs)
    print(f"{name}: {done} runs are done, {len(jobs)} to do, in {folder}", flush=True)
    if config["jobs"] == 1:
        for number, job in enumerate(jobs, 1):
            print(f"{name}: run {number} of {len(jobs)}, {job['train']['run']}", flush=True)
            work(job)
    else:
        at_once(jobs, config["jobs"])
    results = {
        (variant, seed): json.loads(
            (folder / f"{variant}-seed{seed}" / "evaluation" / "metrics.json").read_text()
        )
        for variant in table["variants"]
        for seed in seeds
    }
    for figure, of in table.get("figures", {}).items():
        figures.draw(folder / f"{figure}.png", of, table, results)
    text = tables.render(name, table, results, fast=config["fast"])
    (folder / "table.md").write_text(text)
    print(text, flush=True)


def plan(
    table: dict, variant: str, seed: int, folder: Path, config: dict[str, object]
) -> dict[str, object]:
    """What one run of a table takes: how to train and evaluate it, and whether that is done."""
    run = folder / f"{variant}-seed{seed}"
    fast = table["fast"] if config["fast"] else {}
    train = [*table["variants"][variant], *fast.get("train", ()), f"seed={seed}", f"run={run}"]
    evaluation = [*table["evaluation"], *fast.get("evaluation", ()), f"run={run}"]
    for overrides in (train, evaluation):
        overrides.append(f"device={config['device']}")
    train, evaluation = compose("train", train), compose("evaluate", evaluation)
    if config["root"] is not None and "root" in train.dataset:  # some are drawn, and lie nowhere
        train.dataset.root = config["root"]
    train, evaluation = cli.plain(train), cli.plain(evaluation)
    train["dataset"] = cli.with_absolute_paths(train["dataset"])
    evaluation["root"] = train["dataset"].get("root")
    asked = {
        "train": deciding(train),
        "evaluation": deepcopy(evaluation["evaluation"]),
        "of": {name: evaluation[name] for name in ("best", "vae")},
    }
    if "fidelity" in evaluation["evaluation"]:  # one classifier reads all runs of a table
        evaluation["evaluation"]["fidelity"]["keep"] = str(folder / "classifiers")
    record = run / "reproduced.json"
    done = record.is_file() and json.loads(record.read_text()) == asked
    return {"train": train, "evaluation": evaluation, "asked": asked, "done": done}


def work(job: dict[str, object], *, progress: bool = True) -> None:
    """Train, or go on training, and evaluate one run."""
    run, trained = Path(job["train"]["run"]), False
    resume = (run / "checkpoint.pt").is_file()
    if resume:
        checkpoint = read_checkpoint(run / "checkpoint.pt")
        if deciding(checkpoint["config"]) != job["asked"]["train"]:
            raise InputError(
                f"{run} holds a run with other options than this table's; delete it, or choose "
                "another folder=..."
            )
        epochs = job["train"]["trainer"]["epochs"]
        trained = checkpoint["step"] == epochs * checkpoint["steps_per_epoch"]
    if not trained and not train_by(job["train"], resume=resume, progress=progress).finished:
        raise SystemExit(0)
    evaluate_by(job["evaluation"], progress=progress)
    (run / "reproduced.json").write_text(json.dumps(job["asked"]))


def deciding(config: dict[str, object]) -> dict[str, object]:
    """The part of a run's configuration that decides its result."""
    kept = {key: value for key, value in config.items() if key not in FREE}
    free = FREE_OF_DATASET if kept["dataset"]["name"] in OWN else (*FREE_OF_DATASET, "root")
    kept["dataset"] = {key: of for key, of in kept["dataset"].items() if key not in free}
    trainer = kept["trainer"].items()
    kept["trainer"] = {key: of for key, of in trainer if key not in FREE_OF_TRAINER}
    return kept


def at_once(jobs: list[dict[str, object]], number: int) -> None:
    """Do several jobs at a time, each in a process that writes its output beside its run."""
    cores = max(1, (os.cpu_count() or 1) // number)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(number, context, _few_threads, (cores,)) as pool:
        for job in jobs:
            job["evaluation"]["workers"] = cores
        for job, _ in zip(jobs, pool.map(_logged, jobs), strict=True):
            print(f"done: {job['train']['run']}", flush=True)


def _few_threads(number: int) -> None:
    torch.set_num_threads(number)


def _logged(job: dict[str, object]) -> None:
    """Do one job, with what it prints in a file."""
    run = Path(job["train"]["run"])
    run.parent.mkdir(parents=True, exist_ok=True)
    with run.with_suffix(".log").open("a") as log, contextlib.redirect_stdout(log):
        work(job)


if __name__ == "__main__":
    with cli.one_line_errors():
        main()
