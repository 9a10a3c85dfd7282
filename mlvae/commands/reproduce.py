"""Run the experiment behind a table: mlvae reproduce table=mnist_quantitative.

Finished runs are kept and not repeated. After an interruption the same command continues.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Collection
from copy import deepcopy
from pathlib import Path
from typing import Any

import hydra
from hydra import compose
from omegaconf import DictConfig

from mlvae.arguments import as_path
from mlvae.commands import cli, figures, kept, pages, tables
from mlvae.commands.cli import Config
from mlvae.commands.configs import CONFIGS
from mlvae.commands.evaluate import evaluate_by
from mlvae.commands.labels import with_quoted_labels
from mlvae.commands.provenance import ordered, own_seeds
from mlvae.commands.table_checks import check_asked
from mlvae.commands.train import optimizer_of, train_by
from mlvae.commands.workers import at_once
from mlvae.data.collections.regular import read_regular
from mlvae.errors import InputError, check_choice, check_flag, check_integer
from mlvae.evaluation import QUESTIONS
from mlvae.parts import from_config, plain
from mlvae.training import Speed, Warmup
from mlvae.training.checkpoint import read_state
from mlvae.training.checks import resolve_device
from mlvae.training.files import replace_file
from mlvae.training.settings import renamed_options

#: Largest file of metrics in bytes.
MAX_RECORD = 2**30
#: Options that do not change the result of a run.
FREE = ("run", "device", "resume", "parts")
#: Likewise, of the dataset.
FREE_OF_DATASET = ("cache", "workers")
#: Likewise, of the trainer's speed.
FREE_OF_SPEED = ("steps_per_graph",)
#: Datasets whose content depends on the root. The root of any other dataset is free.
OWN = ("arrays", "bag_of_words", "faces", "hivae", "table")


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="reproduce")
def main(cfg: DictConfig) -> None:
    """Reproduce one table or all."""
    with cli.one_line_errors():
        run(cfg)


def run(cfg: DictConfig) -> None:
    """Reproduce the configured table or all."""
    config = cli.resolved(cfg)
    others = ("table", "fast", "seeds", "variants", "folder", "pages", "root", "device", "jobs")
    cli.check_options(config, (), others)
    check_integer("jobs", config["jobs"], minimum=1)
    check_flag("fast", config["fast"])
    check_seeds(config["seeds"])
    check_variants(config["variants"])
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


def check_variants(variants: object) -> None:
    """Raise :class:`InputError` unless ``variants`` is None or a list of names."""
    if variants is not None and (not isinstance(variants, list) or not variants):
        raise InputError(f"variants must be a list, as variants=[plain,best], not {variants!r}")


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
    """Do the missing runs of a table, print the table and write it to ``table.md`` and a page.

    With ``variants``, runs of other variants are not made, and appear if they are finished. A page
    has the numbers of earlier runs as well, wherever these were made.
    """
    if config["fast"] and "fast" not in table:
        raise InputError(f"table={name} has no small version: leave out fast, or add `fast` to it")
    folder = Path(name).stem + ("-fast" if config["fast"] else "")
    folder = Path(config["folder"]).expanduser() / folder
    page, results = None, {}
    if config["pages"] is not None:
        page = Path(config["pages"]).expanduser() / f"{folder.name}.md"
        if page.exists():
            pages.notes(page)  # a damaged page is an error before the training, not after it
        results, old = kept.kept(page.with_suffix(".json"), table, fast=config["fast"])
        for sentence in old:
            print(f"{name}: left out of the page: {sentence}", flush=True)
    chosen = config["variants"] or list(table["variants"])
    for variant in chosen:
        check_choice("a name of variants", variant, list(table["variants"]))
    jobs, pairs = [], []
    for variant in table["variants"]:
        for seed in seeds_of(variant, table, config):
            job = plan(table, variant, seed, folder, config)
            done = job.pop("done")
            if done or variant in chosen:
                pairs.append((variant, seed))
            if variant in chosen and not done:
                jobs.append(job)
    check_asked(table, name, jobs)
    done = len(pairs) - len(jobs)
    print(f"{name}: {done} runs are done, {len(jobs)} to do, in {folder}", flush=True)
    if config["jobs"] == 1:
        for number, job in enumerate(jobs, 1):
            print(f"{name}: run {number} of {len(jobs)}, {job['train']['run']}", flush=True)
            work(job)
    else:
        at_once(work, jobs, config["jobs"])
    for variant, seed in pairs:
        metrics = folder / f"{variant}-seed{seed}" / "evaluation" / "metrics.json"
        results[variant, seed] = json.loads(metrics.read_text())
    results = ordered(results, table)
    pictures = {
        folder / f"{file}.png": figure for file, figure in table.get("figures", {}).items()
    }
    for path, figure in pictures.items():
        figures.draw(path, figure, table, results)
    text = tables.render(name, table, results, fast=config["fast"])
    replace_file(folder / "table.md", text.encode())
    if page is not None:
        pages.write(page, text, pictures)
        kept.keep(page.with_suffix(".json"), table, results, fast=config["fast"])
    print(text, flush=True)


def seeds_of(variant: str, table: Config, config: Config) -> list[int]:
    """The seeds of a variant: those of the command, of the small version, or its own."""
    if config["seeds"] is not None:
        return config["seeds"]
    return own_seeds(variant, table, fast=config["fast"])


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
    training = compose("train", with_quoted_labels(overrides))
    if config["root"] is not None and "root" in training.dataset:  # drawn datasets have none
        training.dataset.root = config["root"]
    train = cli.resolved(training)
    overrides = [*table["evaluation"], *fast.get("evaluation", ()), *common]
    evaluation = cli.resolved(compose("evaluate", with_quoted_labels(overrides)))
    train["dataset"] = cli.with_absolute_paths(train["dataset"])
    evaluation["root"] = train["dataset"].get("root")
    evaluation["parts"] = train["parts"]
    asked = {
        "train": deciding(train),
        "evaluation": deepcopy(evaluation["evaluation"]),
        "of": {name: evaluation[name] for name in ("best", "vae")},
    }
    if "fidelity" in evaluation["evaluation"]:  # all runs of a table share its classifiers
        evaluation["evaluation"]["fidelity"]["keep"] = str(folder / "classifiers")
    record = run / "reproduced.json"
    done = same_text(content_of(record)) == same_text(asked) and _has_answers(run, asked)
    return {"train": train, "evaluation": evaluation, "asked": asked, "done": done}


def _has_answers(run: Path, asked: Config) -> bool:
    """Whether the metrics of a run have an answer to each question.

    If nobody chose the questions, those about other kinds of models have no answer.
    """
    metrics = content_of(run / "evaluation" / "metrics.json")
    names = {"facts", *(question["name"].lower() for question in asked["evaluation"].values())}
    if len(asked["evaluation"]) == len(QUESTIONS):
        names -= {kind.__name__.lower() for kind in QUESTIONS if hasattr(kind, "applies")}
    return isinstance(metrics, dict) and all(isinstance(metrics.get(n), dict) for n in names)


def same_text(asked: Any) -> Any:
    """Options with labels of groups as texts: earlier versions recorded 7 for the label 7."""
    if not isinstance(asked, dict) or not isinstance(asked.get("train"), dict):
        return asked
    return {**asked, "train": with_text_labels(asked["train"])}


def with_text_labels(config: Config) -> Config:
    """The configuration of a training with labels of groups as texts."""
    dataset = config.get("dataset")
    if not isinstance(dataset, dict):
        return config
    lists = {
        name: [str(label) for label in dataset[name]]
        for name in ("unseen_groups", "validation", "test")
        if isinstance(dataset.get(name), list)
    }
    return {**config, "dataset": {**dataset, **lists}}


def content_of(path: Path) -> object:
    """The content of a JSON file; None if it is missing, empty or damaged."""
    try:
        return json.loads(read_regular(path, MAX_RECORD))
    except (OSError, ValueError, RecursionError):
        return None


def work(job: Config, *, progress: bool = True) -> None:
    """Train a run, or resume it, and evaluate it."""
    run, trained = Path(job["train"]["run"]), False
    resume = (run / "checkpoint.pt").is_file()
    if resume:
        checkpoint: Config = read_state(run / "checkpoint.pt")
        trained_by = with_text_labels(deciding(checkpoint["config"]))
        if trained_by != with_text_labels(job["asked"]["train"]):
            raise InputError(
                f"{run} holds a run with other options than this table's; delete it, or choose "
                "another folder=..."
            )
        epochs = job["train"]["trainer"]["epochs"]
        trained = checkpoint["step"] == epochs * checkpoint["steps_per_epoch"]
    if not trained and not train_by(job["train"], resume=resume, progress=progress).finished:
        raise SystemExit(0)
    _complete(run / "evaluation")
    evaluate_by(job["evaluation"], progress=progress)
    replace_file(run / "reproduced.json", json.dumps(job["asked"]).encode())


def _complete(folder: Path) -> None:
    """Let an evaluation that lost one of its two main files be replaced, as a whole one is."""
    files = [folder / "metrics.json", folder / "report.html"]
    if any(file.exists() for file in files) and not folder.is_symlink():
        for file in files:
            if not file.exists():
                replace_file(file, b"")


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


def command() -> None:
    """Run the command with the arguments of the process."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # all workers end too
    with cli.one_line_errors():
        main()
