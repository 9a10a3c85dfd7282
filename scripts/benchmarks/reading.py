"""How fast images come from the disk, beside those in memory: drawn only, or trained on.

The ways take turns, round after round, so that a busy machine slows all alike.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import mlvae
from mlvae.batch import Batch
from mlvae.data import GroupedData, Shuffled, StoredImages
from mlvae.data.batching import Plan
from mlvae.training import Adam
from mlvae.training.step import TrainingStep

__all__ = ["BATCH", "collection", "measure", "num_images", "stored", "training"]

#: Images in a batch, and the shape of one.
BATCH, SHAPE = 256, (3, 64, 64)
ROW_BYTES = 3 * 64 * 64

#: The collection in memory is the first so many bytes of the one on the disk.
HELD = 10**9


def measure(
    folder: Path, gigabytes: float, *, rounds: int, seconds: float, train: bool
) -> list[dict[str, object]]:
    """Images per second of each way, and how much of them the disk was asked for."""
    count = num_images(gigabytes)
    path = collection(folder, count)
    pixels = np.fromfile(path, np.uint8, min(count, HELD // ROW_BYTES) * ROW_BYTES)
    held = GroupedData(pixels.reshape(-1, *SHAPE), _labels(len(pixels) // ROW_BYTES))
    disk = stored(path, count)
    ways = {"in memory": (held, None), "disk, warm": (disk, _keep)}
    if hasattr(os, "posix_fadvise"):
        ways["disk, cold"] = (disk, _drop)
    work = training(held.shape) if train else lambda batch: None
    work(held.batch(range(min(BATCH, len(held)))))
    generator = torch.Generator().manual_seed(0)
    turns: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (data, pages) in ways.items():
            plan = Shuffled(BATCH).plan(data, generator)
            if pages is not None:
                pages(path)
            turns[way].append(_turn(plan, work, seconds))
    memory = [rate for rate, _ in turns["in memory"]]
    return [
        {
            "images": f"{way}, {len(ways[way][0]) * ROW_BYTES / 1e9:.2f} GB",
            "images_per_second": [rate for rate, _ in pairs],
            "times_in_memory": [a / b for (a, _), b in zip(pairs, memory, strict=True)],
            "share_from_the_disk": [share for _, share in pairs],
        }
        for way, pairs in turns.items()
    ]


def num_images(gigabytes: float) -> int:
    """How many images fill so many gigabytes; at least a batch."""
    return max(BATCH, round(gigabytes * 1e9 / ROW_BYTES))


def collection(folder: Path, count: int) -> Path:
    """A file of ``count`` images of random bytes, as a cache has it; made if it is not there."""
    path = folder / f"{count}.u8"
    if not path.exists():
        generator = np.random.default_rng(0)
        with path.open("wb") as file:
            for start in range(0, count, 4096):
                file.write(generator.bytes(min(4096, count - start) * ROW_BYTES))
            file.flush()
            os.fsync(file.fileno())  # pages that are not written yet cannot be dropped
    return path


def stored(path: Path, count: int) -> GroupedData:
    """The collection in this file, 20 images to a group, on the disk."""
    return GroupedData(StoredImages(path, (count, *SHAPE)), _labels(count))


def training(shape: tuple[int, ...]) -> Callable[[Batch], None]:
    """Steps of a network so small that the reading counts."""
    torch.manual_seed(0)
    model = mlvae.models.MLVAE(shape, network=mlvae.networks.MLP(hidden=(64,)))
    step = TrainingStep(model, Adam().build(model.parameters()))
    noise = torch.Generator().manual_seed(0)
    return lambda batch: step(batch, 0, noise)


def _labels(count: int) -> np.ndarray:
    return np.arange(count) // 20


def _turn(plan: Plan, work: Callable[[Batch], None], seconds: float) -> tuple[float, float]:
    """Images per second, and the share of them that was read from the disk.

    A turn ends with the epoch at the latest: until then no image is asked for twice.
    """
    images, read, start = 0, _bytes_read(), time.perf_counter()
    for batch in plan:
        work(batch)
        images += len(batch.x)
        if (passed := time.perf_counter() - start) >= seconds:
            break
    return images / passed, (_bytes_read() - read) / (images * ROW_BYTES)


def _keep(path: Path) -> None:
    """Have the system keep the file's pages, as far as it has room: read it once."""
    with path.open("rb", buffering=0) as file:
        while file.read(2**24):
            pass


def _drop(path: Path) -> None:
    """Ask the system to forget the file's pages."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _bytes_read() -> float:
    """What this process has had the disk read so far; not a number where the system does not tell.

    A memory file system has no disk: its pages cannot be dropped, and nothing is read for them.
    """
    try:
        return int(re.search(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), re.M)[1])
    except (OSError, TypeError):
        return float("nan")
