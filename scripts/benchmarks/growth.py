"""How the cost of an image grows: with the batch, the groups, the content, the images.

A curve varies one thing and keeps the rest. Its settings take turns, round after round, and each
is compared with the first of its round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.floor import operations
from benchmarks.machine import facts, line, timed
from benchmarks.products import products_of
from benchmarks.recipes import AUTHOR, LABELS, Recipe
from benchmarks.tables import Rows, table
from mlvae.batch import Batch
from mlvae.data import Grouped, GroupedData, Shuffled
from mlvae.groups import Groups
from mlvae.networks import MLP
from mlvae.training import Adam
from mlvae.training.step import TrainingStep

__all__ = ["CURVES", "growth", "report", "zipf_sizes"]

#: Images in the batches of the group curves: in earnest, and to see that all runs.
MANY, FEW = 100_000, 500

#: So small that the grouping counts: the least favourable case for many groups.
SMALL = Recipe("64-128-20 and back", shape=(64,), network=MLP((128,)))


@dataclass(frozen=True)
class Work:
    """Something to measure.

    Attributes:
        run: what is measured.
        images: how many images it handles.
        operations: floating-point operations of its matrix products; 0 where it has none.
    """

    run: Callable[[], object]
    images: int
    operations: int = 0


@dataclass(frozen=True)
class Curve:
    """One thing that varies.

    Attributes:
        title: what the table and the figure say above it; {images} are those of a batch that does
            not vary.
        column: what varies.
        values: its settings; ``quick`` ones are to see that all runs.
        quick: see ``values``.
        work: makes the work of a setting on a device; a batch that does not vary has as many
            images as the third argument says.
    """

    title: str
    column: str
    values: Sequence[float]
    quick: Sequence[float]
    work: Callable[[float, torch.device, int], Work]


def zipf_sizes(images: int, groups: int, exponent: float) -> Tensor:
    r"""Sizes (groups,) that add up to ``images``: each has one, the rest fall as rank^-exponent.

    Example:
        >>> zipf_sizes(12, 3, 1.0)
        tensor([6, 3, 3])
    """
    weights = torch.arange(1, groups + 1, dtype=torch.float64) ** -exponent
    shares = (images - groups) * weights / weights.sum()
    sizes = shares.long()
    left = images - groups - int(sizes.sum())
    sizes[(shares - sizes).argsort(descending=True, stable=True)[:left]] += 1
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
    adam = Adam().build(model.parameters())
    step = TrainingStep(model, adam, graphs=True)
    noise = torch.Generator(device)

    def run() -> None:
        step(batch, 0, noise.manual_seed(0))

    eager = TrainingStep(model, adam)
    products = products_of(lambda: eager(batch, 0))
    adam.found_inf = step.sums.failed  # an optimiser asks one step whether all is finite
    for _ in range(4):  # from the fourth on it is a CUDA graph
        run()
    return Work(run, images, operations(products))


def epoch(batching: Shuffled | Grouped, images: int, device: torch.device) -> Work:
    """An epoch planned and all its batches drawn, of 16x16 images, 50 to a group on average."""
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
        SMALL.name + ", {images:,} images, 100 to a group on average, sizes as rank^-a",
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
        "an epoch of Shuffled(256) planned and drawn, against the images of the data",
        "images_in_the_data",
        (1000, 10_000, 100_000, 1_000_000),
        (1000, 2000),
        lambda n, device, images: epoch(Shuffled(256), n, device),
    ),
    "images_grouped": Curve(
        "the same of Grouped(16, 16, small_groups='keep')",
        "images_in_the_data",
        (1000, 10_000, 100_000, 1_000_000),
        (1000, 2000),
        lambda n, device, images: epoch(Grouped(16, 16, small_groups="keep"), n, device),
    ),
}


def growth(
    device: torch.device, *, rounds: int = 3, seconds: float = 0.3, quick: bool = False
) -> dict[str, object]:
    """Measure every curve on ``device``.

    Args:
        device: a CPU or a CUDA device.
        rounds: turns of each setting, at least 1.
        seconds: length of a turn, and at least one step.
        quick: take fewer and smaller settings, to see that all runs.
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
    values = curve.quick if quick else curve.values
    works = [curve.work(value, device, FEW if quick else MANY) for value in values]
    costs: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, mine in zip(works, costs, strict=True):
            mine.append(1e9 * timed(work.run, device, seconds=seconds) / work.images)
    for value, work, mine in zip(values, works, costs, strict=True):
        row = {
            curve.column: value,
            "nanoseconds_per_image": mine,
            "times_the_first": [a / b for a, b in zip(mine, costs[0], strict=True)],
        }
        if work.operations:
            first = works[0].operations / works[0].images
            row["operations_times_the_first"] = work.operations / work.images / first
        yield row


def report(result: dict[str, object]) -> str:
    """The result as a table for each curve."""
    parts = ["Cost per image", line(result)]
    curves: dict[str, Rows] = result["curves"]
    for name, rows in curves.items():
        title = result["titles"][name]
        parts += ["", title[0].upper() + title[1:], "", table(rows)]
    return "\n".join(parts)
