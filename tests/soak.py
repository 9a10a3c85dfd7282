"""Kill trainings with SIGKILL at random moments, resume them, and compare them with whole ones.

    python tests/soak.py --minutes 30 --folder /tmp/soak

Each round trains the built-in data twice with the same seed: once without interruption, once
with kills. The process that is killed has no time to save. So the round proves that every
checkpoint on the disk is whole at every moment. A round fails if a checkpoint is lost, is
unreadable, or goes back in steps; or if the final tensors or the metrics differ in one bit.

The test suite does not run this file, because it takes half an hour.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
TRAIN = [sys.executable, str(ROOT / "scripts" / "train.py")]
#: Trainings of different code: batching, style given content, critics, a VAE, pairs.
SETTINGS = (
    ["dataset=digits"],
    ["dataset=digits", "batching=grouped", "model.evidence_from=others"],
    ["dataset=digits", "model.style_given_content=true", "trainer.speed.precision=bfloat16"],
    ["dataset=digits", "model=vae", "optimizer=torch", "optimizer.optimizer=AdamW"],
    ["dataset=digits", "model=ada", "batching=grouped", "batching.members=2"],
)
LONGEST = 600  # seconds of one process


@dataclass
class Count:
    """What a soak saw."""

    rounds: int = 0
    kills: int = 0
    before_first_checkpoint: int = 0
    failures: list[str] = field(default_factory=list)


def options(setting: list[str], seed: int, epochs: int) -> list[str]:
    """Overrides of one training. It saves a checkpoint after every step."""
    return [
        *setting,
        f"seed={seed}",
        "device=cpu",
        f"trainer.epochs={epochs}",
        "trainer.reports.checkpoint_seconds=0",
        "trainer.reports.log_every=1",
        "trainer.reports.pictures_every=null",
        "trainer.reports.progress=false",
    ]


def start(arguments: list[str], log: Path) -> subprocess.Popen:
    """A training as a process; its output goes to the end of ``log``."""
    with log.open("ab") as output:
        return subprocess.Popen([*TRAIN, *arguments], stdout=output, stderr=output)


def step_of(run: Path) -> int | None:
    """Step of the checkpoint on the disk; None: there is none. An unreadable one raises."""
    path = run / "checkpoint.pt"
    return int(torch.load(path, weights_only=True)["step"]) if path.exists() else None


def killed_training(arguments: list[str], run: Path, log: Path, count: Count, mean: float) -> None:
    """Train to the end, with a SIGKILL after a random time in every process but the last."""
    last = None
    while True:
        resume = last is not None
        extra = [f"resume={run}"] if resume else [*arguments, f"run={run}"]
        process = start(extra, log)
        try:
            code = process.wait(timeout=random.uniform(0.0, 2 * mean))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            count.kills += 1
        else:
            if code == 0:
                return
            count.failures.append(f"{run.name}: exit code {code}, see {log}")
            return
        try:
            step = step_of(run)
        except Exception as error:
            count.failures.append(f"{run.name}: unreadable checkpoint: {error}")
            return
        if last is not None and (step is None or step < last):
            count.failures.append(f"{run.name}: checkpoint of step {last} became {step}")
            return
        if step is None:
            count.before_first_checkpoint += 1
            shutil.rmtree(run, ignore_errors=True)
        if step == last:
            mean *= 1.3  # the machine has become slower: no process reached its first step
        last = step


def differences(whole: Path, killed: Path) -> list[str]:
    """Names of what differs between two finished runs: tensors of the state, metrics."""
    first, second = state(whole), state(killed)
    found = [f"checkpoint{name}" for name in unequal(first, second)]
    return found if metrics(whole) == metrics(killed) else [*found, "metrics.jsonl"]


def state(run: Path) -> dict:
    """The checkpoint without the name of its folder."""
    values = torch.load(run / "checkpoint.pt", weights_only=True)
    del values["config"]["run"]
    return values


def metrics(run: Path) -> list[dict]:
    """The records of a run without their speed."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "steps_per_second"} for record in records]


def unequal(first: object, second: object, name: str = "") -> list[str]:
    """Paths of the leaves of two nested states that are not equal bit for bit."""
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return [n for key in first for n in unequal(first[key], second[key], f"{name}/{key}")]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return [name]
        pairs = enumerate(zip(first, second, strict=True))
        return [n for i, (a, b) in pairs for n in unequal(a, b, f"{name}/{i}")]
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        same = first.dtype == second.dtype and torch.equal(first, second)
        return [] if same else [name]
    return [] if first == second else [name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random.seed(given.seed)
    given.folder.mkdir(parents=True, exist_ok=True)
    log, count = given.folder / "output.log", Count()
    end = time.monotonic() + 60 * given.minutes
    while time.monotonic() < end and not count.failures:
        setting = SETTINGS[count.rounds % len(SETTINGS)]
        arguments = options(setting, seed=count.rounds, epochs=given.epochs)
        whole, killed = (given.folder / f"{kind}-{count.rounds}" for kind in ("whole", "killed"))
        before, kills = time.monotonic(), count.kills
        code = start([*arguments, f"run={whole}"], log).wait(timeout=LONGEST)
        if code:
            count.failures.append(f"{whole.name}: exit code {code}, see {log}")
            break
        mean = 0.4 * (time.monotonic() - before)
        killed_training(arguments, killed, log, count, mean)
        if not count.failures:
            count.failures += [f"{killed.name}: {name}" for name in differences(whole, killed)]
        count.rounds += 1
        print(f"{' '.join(setting)}: {count.kills - kills} kills", flush=True)
    print(count)
    sys.exit(bool(count.failures))


if __name__ == "__main__":
    main()
