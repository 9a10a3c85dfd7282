"""The speed of preparing a collection: images per second, and per second of processor time."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mlvae.data import faces
from mlvae.data.collections.decoders import num_cores

__all__ = ["measure"]

#: Height and width of the generated images, as in Labeled Faces in the Wild.
SIZE = 250

#: Generated images per format, unless --images gives another number.
IMAGES = 1000


def measure(
    folder: Path, *, root: str | None, images: int | None, rounds: int
) -> list[dict[str, object]]:
    """Prepare JPEGs and PNGs, or ``root``, with one process and with one process per core."""
    kinds = {"JPEG": "jpg", "PNG": "png"}
    collections: dict[str, str | Path]
    if root is not None:
        collections = {root: root}
    else:
        collections = {
            f"{kind}, {SIZE}x{SIZE}": make(folder / ending, ending, images or IMAGES)
            for kind, ending in kinds.items()
        }
    cores = num_cores()
    settings = [(name, workers) for name in collections for workers in sorted({1, cores})]
    rates: dict[tuple[str, int], list[tuple[float, float]]] = {key: [] for key in settings}
    for _ in range(rounds):
        for name, workers in settings:
            rates[name, workers].append(_rates(folder, collections[name], images, workers))
    return [
        {
            "files": name,
            "processes": workers,
            "images_per_second": [wall for wall, _ in pairs],
            "per_core": [core for _, core in pairs],
        }
        for (name, workers), pairs in rates.items()
    ]


def make(folder: Path, ending: str, images: int) -> Path:
    """Make a collection of smooth, slightly noisy images, all different, 20 per identity."""
    generator = np.random.default_rng(0)
    for i in range(images):
        coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        noise = generator.integers(0, 8, pixels.shape, dtype=np.uint8)
        path = folder / f"person{i // 20:05}" / f"{i % 20:02}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels // 8 * 7 + noise).save(path)
    return folder


def _rates(folder: Path, root: str | Path, limit: int | None, workers: int) -> tuple[float, float]:
    """Images per second, and per second of processor time of this process and of the decoders."""
    cache = folder / "cache"
    start, busy = time.perf_counter(), _processor_time()
    with contextlib.redirect_stdout(io.StringIO()):
        splits = faces(root, cache=cache, validation=0, test=0, workers=workers, limit=limit)
    busy, seconds = _processor_time() - busy, time.perf_counter() - start
    shutil.rmtree(cache)
    return len(splits.train) / seconds, len(splits.train) / busy


def _processor_time() -> float:
    """Seconds of processor time of this process and of its finished children."""
    return sum(os.times()[:4])
