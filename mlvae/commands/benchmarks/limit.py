"""The time of a training step beside its floor and beside the common way.

For every recipe, precision and number of threads, the floor of the step (:mod:`benchmarks.floor`)
and the step are measured one after the other, then the same recipe in the common way. All variants
take turns, round after round; a ratio compares values of one round.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mlvae.commands.benchmarks.common import common_steps
from mlvae.commands.benchmarks.floor import (
    Floor,
    Machine,
    machine_of,
    measure,
    operations,
    step_products,
)
from mlvae.commands.benchmarks.machine import PRECISIONS, facts, line, setting
from mlvae.commands.benchmarks.products import Product
from mlvae.commands.benchmarks.recipes import RECIPES, Recipe, small
from mlvae.commands.benchmarks.tables import Rows, table
from mlvae.commands.benchmarks.training import compilable, library_steps, of_a_graph, rate, warm
from mlvae.data import GroupedData

__all__ = ["limit", "report"]

COMMON = "common way"


@dataclass
class _Way:
    """A variant of training a recipe, and its measurements, one per round.

    Only the first variant of a precision has products, which determine the floor of the precision.
    """

    recipe: Recipe
    way: str
    precision: str
    threads: int
    data: GroupedData
    steps: Iterator[int]
    products: Counter[Product]
    rates: list[float] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)
    times: list[dict[Product, float]] = field(default_factory=list)


def limit(
    device: torch.device,
    *,
    root: str | None = None,
    threads: int | None = None,
    rounds: int = 3,
    seconds: float = 1.0,
    quick: bool = False,
    compile: bool = True,
    recipes: Sequence[Recipe] = RECIPES,
) -> dict[str, Any]:
    """Measure ``recipes`` on ``device``.

    Args:
        device: a CPU or a CUDA device.
        root: folder of MNIST; None: random bytes.
        threads: CPU threads; None: one, and PyTorch's own choice.
        rounds: turns of each variant, at least 1.
        seconds: length of a turn; the floor takes as long again.
        quick: measure tiny models, for a quick check.
        compile: also measure compiled variants, where possible; compiling takes up to a minute.
        recipes: the recipes to train.
    """
    recipes = [small(recipe) for recipe in recipes] if quick else recipes
    counts = sorted({1, torch.get_num_threads()}) if threads is None else [threads]
    counts = [torch.get_num_threads()] if device.type == "cuda" else counts
    torch.manual_seed(0)
    ways = [way for recipe in recipes for way in _ways(recipe, device, root, counts, compile)]
    for way in ways:
        with setting(threads=way.threads, precision=way.precision):
            if way.way == COMMON:
                rate(way.steps, min(1.0, seconds), device)
            else:
                warm(way.steps, way.data, min(1.0, seconds))
    best: dict[tuple[int, str], list[Machine]] = {}
    for _ in range(rounds):
        _round(ways, best, device, seconds, quick)
    return {
        **facts(device),
        "rows": [_row(way, ways) for way in ways],
        "best": [
            {
                "precision": precision,
                "threads": count,
                "gigaflops": [machine.rate / 1e9 for machine in machines],
                "gigabytes_per_second": [machine.bandwidth / 1e9 for machine in machines],
            }
            for (count, precision), machines in best.items()
        ],
        "products": [row for way in ways if way.products for row in _product_rows(way)],
    }


def _ways(
    recipe: Recipe,
    device: torch.device,
    root: str | None,
    counts: Sequence[int],
    compile: bool,
) -> Iterator[_Way]:
    """All variants of a recipe."""
    data: GroupedData = recipe.data(root)[0].to(device)
    for count in counts:
        for precision in PRECISIONS[device.type]:
            products = step_products(recipe, data, precision)
            steps = library_steps(recipe, data, precision)
            yield _Way(recipe, precision, precision, count, data, steps, products)
            for way, options in _further_ways(recipe, data, compile=compile):
                steps = library_steps(recipe, data, precision, **options)
                way = f"{precision}, {way}"
                yield _Way(recipe, way, precision, count, data, steps, Counter())
        yield _Way(recipe, COMMON, "float32", count, data, common_steps(recipe, data), Counter())


def _further_ways(
    recipe: Recipe, data: GroupedData, *, compile: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Further variants of a precision: names and options."""
    compile = compile and compilable(recipe)
    block = of_a_graph(recipe, data)
    if data.device.type == "cpu":
        if compile:
            yield "compiled", {"compile": True}
    elif block > 1:
        yield f"{block} a graph", {"steps_per_graph": block}
        if compile:
            yield f"compiled, {block} a graph", {"steps_per_graph": block, "compile": True}


def _round(
    ways: list[_Way],
    best: dict[tuple[int, str], list[Machine]],
    device: torch.device,
    seconds: float,
    quick: bool,
) -> None:
    """Measure every variant once."""
    now: dict[tuple[int, str], Machine] = {}
    for way in ways:
        with setting(threads=way.threads, precision=way.precision):
            key = way.threads, way.precision
            if key not in now:
                now[key] = machine_of(device, way.precision, seconds=seconds / 5, small=quick)
                best.setdefault(key, []).append(now[key])
            if way.products:
                floor, times = measure(way.recipe, way.products, now[key], device, seconds=seconds)
                way.floors.append(floor)
                way.times.append(times)
            way.rates.append(rate(way.steps, seconds, device))


def _row(way: _Way, ways: list[_Way]) -> dict[str, object]:
    """The measurements of a variant; times are in microseconds per step."""
    alike = {w.way: w for w in ways if (w.recipe, w.threads) == (way.recipe, way.threads)}
    floors = alike[way.precision].floors  # the floor of the precision, which the common way shares
    steps = [way.recipe.batch_size / rate for rate in way.rates]
    return {
        "configuration": way.recipe.name,
        "way": way.way,
        "threads": way.threads,
        "images_per_second": way.rates,
        "step": [1e6 * step for step in steps],
        "floor": [1e6 * floor.total for floor in floors],
        "of_it_products": [1e6 * floor.products for floor in floors],
        "floor_at_peak": [1e6 * floor.peak for floor in floors],
        "part_of_the_floor": _ratios([floor.total for floor in floors], steps),
        "part_of_the_products": _ratios([floor.products for floor in floors], steps),
        "part_of_the_peak": _ratios([floor.peak for floor in floors], steps),
        "times_the_common_way": _ratios(way.rates, alike[COMMON].rates),
    }


def _product_rows(way: _Way) -> Rows:
    """The measurements of every product of a step."""
    total = operations(way.products)
    return [
        {
            "configuration": way.recipe.name,
            "way": way.way,
            "threads": way.threads,
            "product": product.name,
            "times_a_step": count,
            "part_of_the_operations": product.operations * count / total,
            "microseconds": [1e6 * times[product] for times in way.times],
            "gigaflops": [product.operations / times[product] / 1e9 for times in way.times],
        }
        for product, count in way.products.items()
    ]


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


#: Columns that the table leaves out, and columns of which it shows only the median.
HIDDEN = ("floor_at_peak", "part_of_the_products")
MIDDLE = ("step", "floor", "of_it_products", "part_of_the_peak")


def report(result: dict[str, Any]) -> str:
    """The result as tables: medians, with the range over rounds for ratios."""
    rows = [
        {k: statistics.median(v) if k in MIDDLE else v for k, v in row.items() if k not in HIDDEN}
        for row in result["rows"]
    ]
    return "\n".join(
        (
            "A training step beside its floor: the time of its own matrix products and of the",
            "traffic of Adam and the batch, in microseconds per step. The floor of the common way",
            "is that of float32.",
            line(result),
            "",
            table(rows),
            "",
            "The best rates of the machine: a large product, a large copy",
            "",
            table(result["best"]),
        )
    )
