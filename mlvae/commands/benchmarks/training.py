"""The speed of training, beside the same step written the common way."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch

import mlvae
from mlvae.commands.benchmarks.common import common_steps
from mlvae.commands.benchmarks.machine import PRECISIONS, facts, line, wait
from mlvae.commands.benchmarks.recipes import AUTHOR, Recipe
from mlvae.data import GroupedData
from mlvae.networks import MLP
from mlvae.training import Adam, Speed
from mlvae.training.loop import training_step
from mlvae.training.speed.compiling import check_compile
from mlvae.training.speed.plans import Plans
from mlvae.training.speed.stepper import Stepper
from mlvae.training.step import StepParts

__all__ = ["compilable", "library_steps", "measure", "of_a_graph", "rate", "report", "warm"]

COMMON = "common way float32"

#: Largest number of steps in one CUDA graph; launching a longer graph takes longer per step.
A_GRAPH = 16


def of_a_graph(recipe: Recipe, data: GroupedData) -> int:
    """Steps per CUDA graph: a divisor of the number of whole batches of an epoch."""
    whole = len(data) // recipe.batch_size
    return max((n for n in range(1, A_GRAPH + 1) if whole % n == 0), default=1)


def library_steps(
    recipe: Recipe,
    data: GroupedData,
    precision: str,
    graphs: bool = True,
    steps_per_graph: int = 1,
    compile: bool = False,
) -> Iterator[int]:
    """Train with the steps of `mlvae.train`; yield the number of images after each call."""
    speed = Speed(precision, graphs, steps_per_graph, compile)
    parts = StepParts(recipe.model().to(data.device), Adam(), speed=speed)
    room = recipe.batching.num_batches(data)
    stepper = Stepper(training_step, parts, data, seed=0, total_steps=room, room=room)
    plans = Plans(recipe.batching, data, seed=0)
    step = epoch = 0
    while True:
        plan = plans.of(epoch)
        batch = 0
        while batch < len(plan):
            steps = stepper(plan, batch, step, most=len(plan))
            if data.device.type == "cpu":
                parts.sums.failure()
            images = plan.rows[batch + steps] - plan.rows[batch]
            batch, step = batch + steps, step + steps
            yield images
        epoch += 1
        plans.expect(epoch)
        parts.sums.read()
        parts.sums.reset()


def rate(steps: Iterator[int], seconds: float, device: torch.device) -> float:
    """Images per second over at least ``seconds``, and at least one step."""
    images, start = 0, time.perf_counter()
    while images == 0 or time.perf_counter() - start < seconds:
        images += next(steps)
    wait(device)
    return images / (time.perf_counter() - start)


def warm(steps: Iterator[int], data: GroupedData, seconds: float) -> None:
    """Train before the measurement: on a GPU until every form of batch has been captured.

    A form is captured at its fourth occurrence; the last batch of an epoch has a different form.
    """
    least = 5 * len(data) if data.device.type == "cuda" else 0
    images = next(steps)  # compiles the step, if it is compiled
    start = time.perf_counter()
    while images < least or time.perf_counter() - start < seconds:
        images += next(steps)
    wait(data.device)


def compilable(recipe: Recipe) -> bool:
    """Whether ``recipe`` is measured compiled.

    Compiling convolutions takes minutes, and makes them slower on a CPU.
    """
    try:
        check_compile(True)
    except mlvae.InputError:
        return False
    return isinstance(recipe.network, MLP)


def measure(
    device: torch.device,
    *,
    root: str | None,
    rounds: int,
    seconds: float,
    recipe: Recipe = AUTHOR,
    compile: bool = True,
) -> dict[str, Any]:
    """Measure all variants in turn; with ``compile`` also compiled ones, where possible."""
    data, name = recipe.data(root)
    data = data.to(device)
    block = of_a_graph(recipe, data)
    torch.manual_seed(0)
    ways = {COMMON: common_steps(recipe, data)}
    for precision in PRECISIONS[device.type]:
        ways[f"mlvae {precision}"] = library_steps(recipe, data, precision)
        if compile and compilable(recipe):
            way = f"mlvae {precision}, compiled"
            ways[way] = library_steps(recipe, data, precision, compile=True)
        if device.type == "cuda":
            way = f"mlvae {precision}, {block} steps a graph"
            ways[way] = library_steps(recipe, data, precision, steps_per_graph=block)
        if device.type == "cuda" and compile and compilable(recipe):
            way = f"mlvae {precision}, compiled, {block} steps a graph"
            ways[way] = library_steps(recipe, data, precision, steps_per_graph=block, compile=True)
    if device.type == "cuda":
        ways["mlvae float32, without graphs"] = library_steps(
            recipe, data, "float32", graphs=False
        )
    for way, steps in ways.items():
        if way == COMMON:
            rate(steps, min(1.0, seconds), device)
        else:
            warm(steps, data, min(1.0, seconds))
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, steps in ways.items():
            rates[way].append(rate(steps, seconds, device))
    common = rates[COMMON]
    ratios = {
        way: [a / b for a, b in zip(values, common, strict=True)] for way, values in rates.items()
    }
    return {
        "recipe": "experiment=mnist_author, batch 256" if recipe is AUTHOR else recipe.name,
        "data": name,
        **facts(device),
        "images_per_second": rates,
        "ratio_to_common_way": ratios,
    }


def report(result: dict[str, Any]) -> str:
    """The result as a table of medians, with the range over rounds."""
    width = 2 + max(map(len, result["images_per_second"]))
    lines = [
        f"{result['recipe']}; {result['data']}",
        line(result),
        "",
        f"{'':{width}}{'images/s':>12}{'s per epoch':>13}{'times the common way':>28}",
    ]
    for way, rates in result["images_per_second"].items():
        ratios = result["ratio_to_common_way"][way]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        median = statistics.median(rates)
        lines.append(f"{way:{width}}{median:12,.0f}{50_000 / median:13.2f}{spread:>28}")
    return "\n".join(lines)
