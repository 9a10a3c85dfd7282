"""The memory of a training that reads from the disk, against the size of the collection.

Each training runs in a separate process, which prints one line of JSON:
``python -m mlvae.commands.benchmarks.memory FILE IMAGES THREADS``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch

import mlvae
from mlvae.batch import Batch
from mlvae.commands.benchmarks.reading import (
    BATCH,
    SHAPE,
    collection,
    num_images,
    stored,
    training,
)
from mlvae.data import Shuffled
from mlvae.errors import InputError
from mlvae.groups import Groups

__all__ = ["measure", "resident"]

#: Relative sizes of the collections; --gigabytes gives the size of the largest.
TIMES = (1, 4, 16)

#: Training steps. The other batches of the epoch are only drawn, so that every image is read.
STEPS = 20


def measure(folder: Path, gigabytes: float) -> list[dict[str, object]]:
    """Resident megabytes of a model in training, and the addition of the collection."""
    resident()  # raises an error before any work
    rows = []
    for times in TIMES:
        count = num_images(gigabytes * times / TIMES[-1])
        path = collection(folder, count)
        model, peak = _in_a_process(path, count)
        rows.append(
            {
                "collection": f"{times}x",
                "images": count,
                "megabytes": path.stat().st_size / 1e6,
                "resident_with_the_model": model,
                "beyond_the_model": peak - model,
            }
        )
    return rows


def resident() -> float:
    """Resident memory of this process in megabytes: anonymous and file-mapped pages."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError as error:
        raise InputError("resident memory needs /proc, which this system lacks") from error
    kilobytes = re.findall(r"^Rss(?:Anon|File):\s+(\d+) kB", status, flags=re.MULTILINE)
    return sum(map(int, kilobytes)) * 1024 / 1e6


def _in_a_process(path: Path, count: int) -> tuple[float, float]:
    """:func:`peaks` in a new process."""
    command = [sys.executable, "-m", "mlvae.commands.benchmarks.memory", str(path), str(count)]
    places = [str(Path(mlvae.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [*command, str(torch.get_num_threads())],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
        check=True,
        stdout=subprocess.PIPE,
    )
    model, peak = json.loads(done.stdout)
    return model, peak


def peaks(path: Path, count: int) -> tuple[float, float]:
    """Largest resident megabytes while training on one batch, and on the collection."""
    work = training(SHAPE)
    batch = Batch(torch.rand(BATCH, *SHAPE), Groups(torch.arange(BATCH) // 20))
    model = 0.0
    for _ in range(STEPS):
        work(batch)
        model = max(model, resident())
    plan = Shuffled(BATCH).plan(stored(path, count), torch.Generator().manual_seed(0))
    peak = resident()
    for number, batch in enumerate(plan):
        if number < STEPS:
            work(batch)
        peak = max(peak, resident())
    return model, peak


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(json.dumps(peaks(Path(sys.argv[1]), int(sys.argv[2]))))
