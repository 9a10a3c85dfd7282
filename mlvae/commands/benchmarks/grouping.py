"""The cost of grouping, against the number of identities."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from mlvae import DiagonalGaussian, Evidence
from mlvae.data import Grouped, GroupedData, Shuffled

__all__ = ["measure", "ragged"]

#: Images per identity at the largest number of identities.
IMAGES_PER_IDENTITY = 2

#: Dimensions of the content whose evidence is accumulated.
CONTENT = 10


def measure(identities: int, *, rounds: int) -> list[dict[str, object]]:
    """Nanoseconds per image of planning and of accumulating, for 10, 100, ... identities.

    The number of images is constant: twice the largest number of identities.
    """
    images = IMAGES_PER_IDENTITY * identities
    powers = [10**power for power in range(1, len(str(identities)))]
    return [_row(images, number, rounds) for number in sorted({*powers, identities})]


def ragged(images: int, identities: int) -> np.ndarray:
    """Labels (images,) in random order: every identity has an image, a few have very many."""
    generator = np.random.default_rng(0)
    weights = generator.lognormal(sigma=1.5, size=identities)
    further = generator.choice(identities, images - identities, p=weights / weights.sum())
    labels = np.concatenate((np.arange(identities), further))
    generator.shuffle(labels)
    return labels


def _row(images: int, identities: int, rounds: int) -> dict[str, object]:
    data = GroupedData(np.zeros((images, 1, 1), np.uint8), ragged(images, identities))
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, images, CONTENT, generator=generator)
    evidence = Evidence.of(DiagonalGaussian(mean, log_variance))
    tasks = {
        "plan_shuffled": lambda: Shuffled(256).plan(data, generator),
        "plan_grouped": lambda: Grouped(16, 16, small_groups="keep").plan(data, generator),
        "accumulate": lambda: evidence.accumulate(data.groups),
    }
    sizes = {"smallest": int(data.groups.sizes.min()), "largest": int(data.groups.sizes.max())}
    times = {
        name: [_nanoseconds(task, images) for _ in range(rounds)] for name, task in tasks.items()
    }
    return {"identities": identities, "images": images, **sizes, **times}


def _nanoseconds(task: Callable[[], object], images: int) -> float:
    start = time.perf_counter()
    task()
    return (time.perf_counter() - start) / images * 1e9
