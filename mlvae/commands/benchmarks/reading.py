"""The speed of reading images from the disk and from memory, without and with training.

The variants take turns, round after round, so that other load slows all of them alike.
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
from mlvae.data.plan import Plan
from mlvae.training import Adam
from mlvae.training.loop import training_step
from mlvae.training.step import StepParts

__all__ = ["BATCH", "collection", "measure", "num_images", "stored", "training"]

#: Images in a batch, and the shape of an image.
BATCH, SHAPE = 256, (3, 64, 64)
ROW_BYTES = 3 * 64 * 64

#: Largest size in bytes of the collection in memory, which is the start of the one on the disk.
HELD = 10**9


def measure(
    folder: Path, gigabytes: float, *, rounds: int, seconds: float, train: bool
) -> list[dict[str, object]]:
    """Images per second of each variant, and the share of their bytes that the disk delivered."""
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
    """Number of images in ``gigabytes``, at least a batch."""
    return max(BATCH, round(gigabytes * 1e9 / ROW_BYTES))


def collection(folder: Path, count: int) -> Path:
    """A file of ``count`` images of random bytes in the format of the cache, made if missing."""
    path = folder / f"{count}.u8"
    if not path.exists():
        generator = np.random.default_rng(0)
        with path.open("wb") as file:
            for start in range(0, count, 4096):
                file.write(generator.bytes(min(4096, count - start) * ROW_BYTES))
            file.flush()
            os.fsync(file.fileno())  # only pages that are on the disk can be dropped
    return path


def stored(path: Path, count: int) -> GroupedData:
    """The collection in a file, read from the disk, 20 images per group."""
    return GroupedData(StoredImages(path, (count, *SHAPE)), _labels(count))


def training(shape: tuple[int, ...]) -> Callable[[Batch], None]:
    """Training steps of a small network, so that reading takes a large part of the time."""
    torch.manual_seed(0)
    model = mlvae.models.MLVAE(shape, network=mlvae.networks.MLP(hidden=(64,)))
    parts = StepParts(model, Adam())
    noise = torch.Generator().manual_seed(0)
    return lambda batch: training_step(parts, batch, noise)


def _labels(count: int) -> np.ndarray:
    return np.arange(count) // 20


def _turn(plan: Plan, work: Callable[[Batch], None], seconds: float) -> tuple[float, float]:
    """Images per second, and the share of their bytes that was read from the disk.

    A turn ends with the epoch at the latest, so that no image is read twice.
    """
    images, read, start = 0, _bytes_read(), time.perf_counter()
    for batch in plan:
        work(batch)
        images += len(batch.x)
        if (passed := time.perf_counter() - start) >= seconds:
            break
    return images / passed, (_bytes_read() - read) / (images * ROW_BYTES)


def _keep(path: Path) -> None:
    """Read the file once, so that its pages are in the page cache as far as it has room."""
    with path.open("rb", buffering=0) as file:
        while file.read(2**24):
            pass


def _drop(path: Path) -> None:
    """Drop the pages of the file from the page cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _bytes_read() -> float:
    """Bytes that the disk has read for this process; NaN if the system does not count them.

    The pages of a memory file system cannot be dropped, and reading them does not count.
    """
    try:
        counts = Path("/proc/self/io").read_text()
    except OSError:
        return float("nan")
    match = re.search(r"^read_bytes: (\d+)", counts, re.MULTILINE)
    return float("nan") if match is None else int(match[1])
