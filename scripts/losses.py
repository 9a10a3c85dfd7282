"""Record the loss of every training step, and compare two records bit for bit.

    python scripts/losses.py new.json                        # the code of this repository
    python scripts/losses.py old.json --root ../other-clone  # the code of another checkout
    python scripts/losses.py new.json --only vae_digits yale_b
    python scripts/losses.py --compare old.json new.json

A refactoring must leave every loss as it was. The script runs ``scripts/train.py`` of a checkout
with fixed configurations on the CPU, with one thread, because the number of threads changes the
last bits. It writes every metric of every report to a JSON file. MLVAE_DATA names the folder with
MNIST and Extended Yale B. All configurations together take some minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

__all__ = ["CONFIGURATIONS", "Configuration", "compare", "option_name", "record"]

#: Metrics by name (``train/loss``): the value at every step that was reported.
Metrics = dict[str, dict[int, float]]

#: Threads of every process.
THREADS = 1

#: Seconds that a configuration may take.
LIMIT = 900

#: Numbers of a report that are no results.
NOT_COMPARED = ("epoch", "steps_per_second")

#: Option of the trainer -> its dotted names in different versions, newest last.
OPTIONS = {
    name: (f"trainer.{name}", f"trainer.{section}.{name}")
    for section, names in {
        "speed": ("precision", "compile", "steps_per_graph", "cuda_graphs"),
        "reports": ("log_every", "validate_every", "pictures_every", "checkpoint_seconds"),
    }.items()
    for name in names
}


@dataclass(frozen=True)
class Configuration:
    """A training whose losses are recorded.

    Attributes:
        options: options of ``scripts/train.py``; a key of :data:`OPTIONS` stands for the name that
            the checkout has for it.
        steps: reports after this step are dropped.
        ranks: processes that train together.
        interrupt: reported steps after which SIGTERM stops the training, which is then resumed;
            None trains without interruption.
    """

    options: Mapping[str, object]
    steps: int = 200
    ranks: int = 1
    interrupt: int | None = None


EVERY_STEP = {"log_every": 1, "pictures_every": None, "checkpoint_seconds": None}
DIGITS = {**EVERY_STEP, "dataset": "digits", "trainer.epochs": 34, "validate_every": 10}

#: 10,000 images: 40 steps an epoch.
MNIST = {
    **EVERY_STEP,
    "dataset.validation": 50_000,
    "trainer.epochs": 5,
    "validate_every": None,
}
AUTHOR = {**MNIST, "experiment": "mnist_author"}

CONFIGURATIONS = {
    "mnist_author": Configuration(AUTHOR),
    "mnist_author_resumed": Configuration(AUTHOR, interrupt=100),
    "mnist_author_two_ranks": Configuration(AUTHOR, ranks=2),
    "mnist_author_blocks": Configuration({**AUTHOR, "steps_per_graph": 10, "log_every": 10}),
    "mnist_author_compiled": Configuration({**AUTHOR, "compile": True}),
    "mnist_plain": Configuration({**MNIST, "experiment": "mnist_plain"}),
    "mnist_best": Configuration({**MNIST, "experiment": "mnist_best"}),
    "yale_b": Configuration({**EVERY_STEP, "experiment": "yale_b", "trainer.epochs": 2}, steps=30),
    "ada_sprite_pairs": Configuration(
        {
            **EVERY_STEP,
            "dataset": "sprite_pairs",
            "dataset.pairs": 2560,
            "dataset.validation": 128,
            "dataset.test": 128,
            "dataset.size": 32,
            "model": "ada",
            "batching": "grouped",
            "batching.members": 2,
            "batching.groups": 64,
            "trainer.epochs": 5,
        }
    ),
    "conditional_digits": Configuration({**DIGITS, "model": "conditional"}),
    "vae_digits": Configuration({**DIGITS, "model": "vae"}),
}


def record(root: Path, configurations: Mapping[str, Configuration]) -> dict[str, object]:
    """Train every configuration with the code in ``root``; return facts and metrics."""
    root = root.expanduser().absolute()
    if not (root / "scripts" / "train.py").exists():
        raise ValueError(f"--root must be a checkout with scripts/train.py, not {root}")
    runs: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="mlvae-losses-") as name:
        folder = Path(name)
        environment = _environment(root, folder)
        _check_library(root, folder, environment)
        for name, configuration in configurations.items():
            start = time.monotonic()
            metrics = _train(root, folder / name, configuration, environment)
            seconds = time.monotonic() - start
            steps = max(metrics["train/loss"])
            print(f"{name}: {steps} steps, {seconds:.0f} s", flush=True)
            runs[name] = {"seconds": round(seconds, 1), "metrics": metrics}
    return {
        "commit": _commit(root),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": THREADS,
        "runs": runs,
    }


def option_name(option: str, trainer: Mapping[str, object]) -> str:
    """The dotted name of an option.

    Args:
        option: a key of :data:`OPTIONS`; any other option is returned as it is.
        trainer: the content of ``configs/trainer/default.yaml``.

    Example:
        >>> option_name("compile", {"epochs": 3, "speed": {"compile": False}})
        'trainer.speed.compile'
    """
    if option not in OPTIONS:
        return option
    for name in OPTIONS[option]:
        value: object = trainer
        for key in name.split(".")[1:]:
            value = value.get(key, ...) if isinstance(value, Mapping) else ...
        if value is not ...:
            return name
    raise ValueError(f"configs/trainer/default.yaml must have one of {', '.join(OPTIONS[option])}")


def compare(old: Mapping[str, Metrics], new: Mapping[str, Metrics]) -> tuple[list[str], bool]:
    """One line for each configuration and metric, and whether all values have the same bits.

    A configuration that only one of the records contains is reported and not compared.
    """
    lines, same = [], True
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in old or name not in new:
            lines.append(f"{name}: only in the {'old' if name in old else 'new'} record")
            continue
        for metric in sorted({*old[name], *new[name]}):
            verdict = _verdict(old[name].get(metric), new[name].get(metric))
            same = same and verdict.startswith("equal")
            lines.append(f"{name} {metric}: {verdict}")
    return lines, same


def _verdict(old: Mapping[int, float] | None, new: Mapping[int, float] | None) -> str:
    if old is None or new is None:
        return f"only in the {'old' if new is None else 'new'} record"
    if old.keys() != new.keys():
        return f"different steps: {len(old)} up to {max(old)}, {len(new)} up to {max(new)}"
    changed = [step for step in old if float(old[step]).hex() != float(new[step]).hex()]
    if not changed:
        return f"equal bit for bit, {len(old)} values"
    largest = max(_relative(old[step], new[step]) for step in changed)
    return (
        f"{len(changed)} of {len(old)} values differ, first at step {min(changed)}, largest "
        f"relative difference {largest:.2g}"
    )


def _relative(a: float, b: float) -> float:
    """The relative difference; infinite where a value is not finite."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / max(abs(a), abs(b), sys.float_info.min)


def _environment(root: Path, folder: Path) -> dict[str, str]:
    """Environment variables of a training: one thread, no GPU, the library in ``root``."""
    return os.environ | {
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": str(THREADS),
        "MKL_NUM_THREADS": str(THREADS),
        "CUDA_VISIBLE_DEVICES": "",
        "MLVAE_DATA": str(Path(os.environ.get("MLVAE_DATA", "data")).absolute()),
        "MLVAE_CACHE": str(folder / "cache"),
    }


def _check_library(root: Path, folder: Path, environment: Mapping[str, str]) -> None:
    """Raise ValueError if ``import mlvae`` finds another copy than the one in ``root``."""
    find = "from importlib.util import find_spec; print(find_spec('mlvae').origin)"
    command = [sys.executable, "-c", find]
    found = _finished(subprocess.Popen(command, cwd=folder, env=environment, **PIPES)).strip()
    if not Path(found).is_relative_to(root):
        raise ValueError(f"mlvae must be imported from {root}, not from {found}")


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def _train(
    root: Path, folder: Path, configuration: Configuration, environment: Mapping[str, str]
) -> Metrics:
    """Train in ``folder`` and return the metrics of every report."""
    folder.mkdir()
    trainer = yaml.safe_load((root / "configs" / "trainer" / "default.yaml").read_text())
    options = ["device=cpu", "run=run"] + [
        f"{option_name(key, trainer)}={_as_option(value)}"
        for key, value in configuration.options.items()
    ]
    command = [sys.executable]
    if configuration.ranks > 1:
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={configuration.ranks}"]
    command.append(str(root / "scripts" / "train.py"))
    process = subprocess.Popen([*command, *options], cwd=folder, env=environment, **PIPES)
    file = folder / "run" / "metrics.jsonl"
    if configuration.interrupt is not None:
        _interrupt(process, file, configuration.interrupt)
        process = subprocess.Popen([*command, "resume=run"], cwd=folder, env=environment, **PIPES)
    _finished(process)
    return _metrics(file, configuration.steps)


def _as_option(value: object) -> str:
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _interrupt(process: subprocess.Popen[str], file: Path, reports: int) -> None:
    """Send SIGTERM once ``file`` has so many lines, and wait for the end of the process."""
    while process.poll() is None and _lines(file) < reports:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    if "resume" not in _finished(process):
        raise ValueError(f"the training ended before SIGTERM could stop it at {reports} reports")


def _lines(file: Path) -> int:
    return file.read_text().count("\n") if file.exists() else 0


def _finished(process: subprocess.Popen[str]) -> str:
    """Standard output of a process that must succeed."""
    try:
        out, errors = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    if process.returncode != 0:
        raise ValueError(f"{process.args} failed:\n{errors[-2000:]}")
    return out


def _metrics(file: Path, steps: int) -> Metrics:
    """Read ``metrics.jsonl``; JSON keeps every bit of a float64."""
    metrics: Metrics = {}
    for line in file.read_text().splitlines():
        values = json.loads(line)
        step, split = values.pop("step"), values.pop("split")
        for name, value in values.items():
            if name not in NOT_COMPARED and step <= steps:
                metrics.setdefault(f"{split}/{name}", {})[step] = value
    return metrics


def _commit(root: Path) -> str:
    """The commit that is checked out, with "-dirty" after it if files differ."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _load(path: Path) -> dict[str, Metrics]:
    """The metrics of a record, with step numbers as integers."""
    return {
        name: {
            metric: {int(step): value for step, value in values.items()}
            for metric, values in run["metrics"].items()
        }
        for name, run in json.loads(path.read_text())["runs"].items()
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, help="JSON file to write")
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, metavar="NAME")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"))
    options = parser.parse_args(arguments)
    if (options.out is None) == (options.compare is None):
        parser.error("give a file to write, or --compare OLD NEW")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Record, or compare; the exit status of a comparison is 1 if a value differs."""
    options = _options(arguments)
    try:
        if options.compare is not None:
            lines, same = compare(*map(_load, options.compare))
            print("\n".join(lines))
            sys.exit(0 if same else 1)
        chosen = {name: CONFIGURATIONS[name] for name in options.only or CONFIGURATIONS}
        result = record(options.root, chosen)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
