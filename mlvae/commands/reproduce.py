"""Run the experiment behind a table: mlvae reproduce table=mnist_quantitative.

Finished runs are kept and not repeated. After an interruption the same command continues.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from multiprocessing.synchronize import Event
from pathlib import Path

import hydra
import torch
from hydra import compose
from omegaconf import DictConfig

from mlvae.arguments import as_path
from mlvae.commands import cli, figures, pages, tables
from mlvae.commands.cli import Config
from mlvae.commands.configs import CONFIGS
from mlvae.commands.evaluate import evaluate_by
from mlvae.commands.table_checks import check_asked
from mlvae.commands.train import optimizer_of, train_by
from mlvae.errors import InputError, check_flag, check_integer
from mlvae.parts import from_config, plain
from mlvae.training import Speed, Warmup
from mlvae.training.checkpoint import read_state
from mlvae.training.checks import resolve_device
from mlvae.training.files import replace_file
from mlvae.training.settings import renamed_options

#: Options that do not change the result of a run.
FREE = ("run", "device", "resume")
#: Likewise, of the dataset.
FREE_OF_DATASET = ("cache", "workers")
#: Likewise, of the trainer's speed.
FREE_OF_SPEED = ("steps_per_graph",)
#: Datasets whose content depends on the root. The root of any other dataset is free.
OWN = ("arrays", "faces")


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="reproduce")
def main(cfg: DictConfig) -> None:
    """Reproduce one table or all."""
    with cli.one_line_errors():
        run(cfg)


def run(cfg: DictConfig) -> None:
    """Reproduce the configured table or all."""
    config = cli.resolved(cfg)
    others = ("table", "fast", "seeds", "folder", "pages", "root", "device", "jobs")
    cli.check_options(config, (), others)
    check_integer("jobs", config["jobs"], minimum=1)
    check_flag("fast", config["fast"])
    check_seeds(config["seeds"])
    for name in ("table", "folder"):
        cli.check_text_option(name, config[name], optional=False)
    as_path("folder", config["folder"])
    cli.check_text_option("pages", config["pages"], optional=True)
    resolve_device(config["device"])
    names = tables.names() if config["table"] == "all" else [config["table"]]
    experiments = {name: tables.read(name) for name in names}
    failed = [name for name, table in experiments.items() if not tried(name, table, config)]
    if failed:
        raise InputError(f"not reproduced: {', '.join(failed)}; the reasons are above")


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


def tried(name: str, table: Config, config: Config) -> bool:
    """Reproduce a table. With ``table=all``, print an error, continue and return False."""
    try:
        reproduce(name, table, config)
    except InputError as error:
        if config["table"] != "all":
            raise
        print(f"{name}: {error}", flush=True)
        return False
    return True


def reproduce(name: str, table: Config, config: Config) -> None:
    """Do the missing runs of a table, print the table and write it to ``table.md`` and a page."""
    if config["fast"] and "fast" not in table:
        raise InputError(f"table={name} has no small version: leave out fast, or add `fast` to it")
    folder = Path(name).stem + ("-fast" if config["fast"] else "")
    folder = Path(config["folder"]).expanduser() / folder
    page = None
    if config["pages"] is not None:
        page = Path(config["pages"]).expanduser() / f"{folder.name}.md"
        if page.exists():
            pages.notes(page)  # a damaged page is an error before the training, not after it
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
    pictures = {
        folder / f"{file}.png": figure for file, figure in table.get("figures", {}).items()
    }
    for path, figure in pictures.items():
        figures.draw(path, figure, table, results)
    text = tables.render(name, table, results, fast=config["fast"])
    replace_file(folder / "table.md", text.encode())
    if page is not None:
        pages.write(page, text, pictures)
    print(text, flush=True)


def plan(table: Config, variant: str, seed: int, folder: Path, config: Config) -> Config:
    """The configurations of a run's training and evaluation, and whether the run is done.

    Returns:
        ``train`` and ``evaluation``: configurations. ``asked``: the options that change the
        result, which are written beside a finished run. ``done``: whether such a run exists.
    """
    run = folder / f"{variant}-seed{seed}"
    fast = table["fast"] if config["fast"] else {}
    common = [f"run={run}", f"device={config['device']}"]
    overrides = [*table["variants"][variant], *fast.get("train", ()), f"seed={seed}", *common]
    training = compose("train", overrides)
    if config["root"] is not None and "root" in training.dataset:  # drawn datasets have none
        training.dataset.root = config["root"]
    train = cli.resolved(training)
    overrides = [*table["evaluation"], *fast.get("evaluation", ()), *common]
    evaluation = cli.resolved(compose("evaluate", overrides))
    train["dataset"] = cli.with_absolute_paths(train["dataset"])
    evaluation["root"] = train["dataset"].get("root")
    asked = {
        "train": deciding(train),
        "evaluation": deepcopy(evaluation["evaluation"]),
        "of": {name: evaluation[name] for name in ("best", "vae")},
    }
    if "fidelity" in evaluation["evaluation"]:  # all runs of a table share its classifiers
        evaluation["evaluation"]["fidelity"]["keep"] = str(folder / "classifiers")
    record = run / "reproduced.json"
    done = content_of(record) == asked and isinstance(
        content_of(run / "evaluation" / "metrics.json"), dict
    )
    return {"train": train, "evaluation": evaluation, "asked": asked, "done": done}


def content_of(path: Path) -> object:
    """The content of a JSON file; None if it is missing, empty or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def work(job: Config, *, progress: bool = True) -> None:
    """Train a run, or resume it, and evaluate it."""
    run, trained = Path(job["train"]["run"]), False
    resume = (run / "checkpoint.pt").is_file()
    if resume:
        checkpoint: Config = read_state(run / "checkpoint.pt")
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
    replace_file(run / "reproduced.json", json.dumps(job["asked"]).encode())


def deciding(config: Config) -> Config:
    """The options of a run that change its result."""
    kept = _without(config, FREE)
    free = FREE_OF_DATASET if kept["dataset"]["name"] in OWN else (*FREE_OF_DATASET, "root")
    kept["dataset"] = _without(kept["dataset"], free)
    # Runs of older versions have other names, and lack options that are newer than they are.
    trainer = renamed_options(kept["trainer"])
    speed = _without(
        plain(from_config(trainer.get("speed", {}), (Speed,), "speed")), FREE_OF_SPEED
    )
    warmup = plain(from_config(trainer.get("warmup", {}), (Warmup,), "warmup"))
    kept["trainer"] = {**_without(trainer, ("reports",)), "speed": speed, "warmup": warmup}
    kept["optimizer"] = plain(optimizer_of(kept["optimizer"]))
    return kept


def _without(options: Config, names: Collection[str]) -> Config:
    return {name: value for name, value in options.items() if name not in names}


def at_once(jobs: list[Config], number: int) -> None:
    """Do ``number`` jobs at a time; the process of a job writes its output beside its run."""
    cores = max(1, (os.cpu_count() or 1) // number)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(number, context, _start_worker, (cores, stop)) as pool:
        for job in jobs:
            job["evaluation"]["workers"] = cores
        try:
            for job, _ in zip(jobs, pool.map(_logged, jobs), strict=True):
                print(f"done: {job['train']['run']}", flush=True)
        except BaseException:  # SIGTERM, Ctrl-C, or a failed job: the others save and end too
            stop.set()
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


#: Set in a worker when the parent ends: no further job begins.
_STOP: list[Event] = []


def _start_worker(threads: int, stop: Event) -> None:
    torch.set_num_threads(threads)
    _STOP.append(stop)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # its own workers end too


def _logged(job: Config) -> None:
    """Do one job and write its output to a file."""
    if any(stop.is_set() for stop in _STOP):
        return
    run = Path(job["train"]["run"])
    run.parent.mkdir(parents=True, exist_ok=True)
    with run.with_suffix(".log").open("a") as log, contextlib.redirect_stdout(log):
        work(job)


def command() -> None:
    """Run the command with the arguments of the process."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # all workers end too
    with cli.one_line_errors():
        main()
