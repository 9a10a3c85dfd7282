"""The cost of an image against batch size, groups, content dimensions and images.

A curve varies one quantity. Its settings take turns, round after round; the ratio of a setting
refers to the first setting of the same round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.commands.benchmarks.floor import operations
from mlvae.commands.benchmarks.machine import facts, line, timed
from mlvae.commands.benchmarks.products import products_of
from mlvae.commands.benchmarks.recipes import AUTHOR, LABELS, Recipe
from mlvae.commands.benchmarks.tables import Rows, table
from mlvae.data import Grouped, GroupedData, Shuffled
from mlvae.groups import Groups
from mlvae.networks import MLP
from mlvae.training import Adam
from mlvae.training.loop import training_step
from mlvae.training.speed.capture import Recorder
from mlvae.training.step import StepParts

__all__ = ["CURVES", "growth", "report", "zipf_sizes"]

#: Images in the batches of the group curves: measured, and in a quick check.
MANY, FEW = 100_000, 500

#: A network so small that grouping takes a large part of the time: the worst case for many groups.
SMALL = Recipe("64-128-20 and back", shape=(64,), network=MLP((128,)))


@dataclass(frozen=True)
class Work:
    """A function to measure.

    Attributes:
        run: the function.
        images: number of images that a call handles.
        operations: floating-point operations of its matrix products; 0 if it has none.
    """

    run: Callable[[], object]
    images: int
    operations: int = 0


@dataclass(frozen=True)
class Curve:
    """A quantity that varies.

    Attributes:
        title: heading of table and figure; {images} is replaced by the images of a batch whose
            size is constant.
        column: name of the quantity.
        values: its settings.
        quick: its settings in a quick check.
        work: function of setting, device and number of images of a batch whose size is constant;
            returns the work to measure.
    """

    title: str
    column: str
    values: Sequence[float]
    quick: Sequence[float]
    work: Callable[[Any, torch.device, int], Work]


def zipf_sizes(images: int, groups: int, exponent: float) -> Tensor:
    r"""Group sizes (groups,) with sum ``images``: one image each, the rest as rank^-exponent.

    Example:
        >>> zipf_sizes(12, 3, 1.0)
        tensor([6, 3, 3])
    """
    weights = torch.arange(1, groups + 1, dtype=torch.float64) ** -exponent
    shares = (images - groups) * weights / weights.sum()
    sizes = shares.long()
    rest = images - groups - int(sizes.sum())
    sizes[(shares - sizes).argsort(descending=True, stable=True)[:rest]] += 1
    return sizes + 1


def training(recipe: Recipe, sizes: Tensor, device: torch.device) -> Work:
    """A training step on one batch of random images, in random order, with groups of ``sizes``."""
    images = int(sizes.sum())
    generator = torch.Generator().manual_seed(0)
    index = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    index = index[torch.randperm(images, generator=generator)]
    x = torch.rand(images, *recipe.shape, generator=generator)
    batch = Batch(x.to(device), Groups.unchecked(index.to(device), sizes.to(device)))
    model = recipe.model().to(device)
    parts = StepParts(model, Adam())
    recorder = Recorder(enabled=device.type == "cuda")
    noise = torch.Generator(device)

    def run() -> None:
        noise.manual_seed(0)
        recorder(batch, lambda batch: training_step(parts, batch, noise), [noise])

    products = products_of(lambda: training_step(parts, batch, noise))
    for _ in range(4):  # the fourth call captures the CUDA graph
        run()
    return Work(run, images, operations(products))


def epoch(batching: Shuffled | Grouped, images: int, device: torch.device) -> Work:
    """Plan an epoch and draw all its batches; 16x16 images, on average 50 per group."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (images, 1, 16, 16), dtype=torch.uint8, generator=generator)
    labels = torch.randint(-(-images // 50), (images,), generator=generator)
    data = GroupedData(x, labels).to(device)
    order = torch.Generator(device)

    def run() -> None:
        for _ in batching.plan(data, order.manual_seed(0)):
            pass

    return Work(run, images)


def _equal(images: int, groups: int) -> Tensor:
    """Group sizes that differ by one at most."""
    return zipf_sizes(images, groups, 0.0)


CURVES = {
    "batch": Curve(
        "author's recipe, ten groups, against the batch",
        "images_in_a_batch",
        (16, 64, 256, 1024, 4096, 16_384),
        (16, 32),
        lambda n, device, images: training(AUTHOR, _equal(n, LABELS), device),
    ),
    "groups": Curve(
        SMALL.name + ", {images:,} images, against their groups",
        "groups_in_a_batch",
        (1, 10, 100, 1000, 10_000, 100_000),
        (1, FEW),
        lambda n, device, images: training(SMALL, _equal(images, n), device),
    ),
    "raggedness": Curve(
        SMALL.name + ", {images:,} images, on average 100 per group, sizes as rank^-a",
        "a",
        (0.0, 0.5, 1.0, 1.5, 2.0),
        (0.0, 2.0),
        lambda a, device, images: training(SMALL, zipf_sizes(images, images // 100, a), device),
    ),
    "content": Curve(
        "author's recipe, batch 256, against the content's dimensions",
        "content_dimensions",
        (2, 8, 32, 128, 512),
        (2, 4),
        lambda n, device, images: training(
            replace(AUTHOR, content_dim=n), _equal(256, LABELS), device
        ),
    ),
    "images": Curve(
        "planning and drawing an epoch of Shuffled(256), against the images of the data",
        "images_in_the_data",
        (1000, 10_000, 100_000, 1_000_000),
        (1000, 2000),
        lambda n, device, images: epoch(Shuffled(256), n, device),
    ),
    "images_grouped": Curve(
        "the same for Grouped(16, 16, small_groups='keep')",
        "images_in_the_data",
        (1000, 10_000, 100_000, 1_000_000),
        (1000, 2000),
        lambda n, device, images: epoch(Grouped(16, 16, small_groups="keep"), n, device),
    ),
}


def growth(
    device: torch.device, *, rounds: int = 3, seconds: float = 0.3, quick: bool = False
) -> dict[str, Any]:
    """Measure every curve on ``device``.

    Args:
        device: a CPU or a CUDA device.
        rounds: turns of each setting, at least 1.
        seconds: length of a turn; a turn has at least one step.
        quick: use fewer and smaller settings, for a quick check.
    """
    torch.manual_seed(0)
    curves = {
        name: list(_rows(curve, device, rounds, seconds, quick)) for name, curve in CURVES.items()
    }
    titles = {
        name: curve.title.format(images=FEW if quick else MANY) for name, curve in CURVES.items()
    }
    return {**facts(device), "titles": titles, "curves": curves}


def _rows(
    curve: Curve, device: torch.device, rounds: int, seconds: float, quick: bool
) -> Iterator[dict[str, object]]:
    """The rows of a curve's table."""
    values = curve.quick if quick else curve.values
    works = [curve.work(value, device, FEW if quick else MANY) for value in values]
    costs: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, measured in zip(works, costs, strict=True):
            measured.append(1e9 * timed(work.run, device, seconds=seconds) / work.images)
    for value, work, measured in zip(values, works, costs, strict=True):
        row: dict[str, object] = {
            curve.column: value,
            "nanoseconds_per_image": measured,
            "times_the_first": [a / b for a, b in zip(measured, costs[0], strict=True)],
        }
        if work.operations:
            first = works[0].operations / works[0].images
            row["operations_times_the_first"] = work.operations / work.images / first
        yield row


def report(result: dict[str, Any]) -> str:
    """The result as one table per curve."""
    parts = ["Cost per image", line(result)]
    curves: dict[str, Rows] = result["curves"]
    for name, rows in curves.items():
        title = result["titles"][name]
        parts += ["", title[0].upper() + title[1:], "", table(rows)]
    return "\n".join(parts)
