"""How fast training is, beside the same step written the common way."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import torch

import mlvae
from benchmarks.common import common_steps
from benchmarks.machine import facts, line, wait
from benchmarks.recipes import AUTHOR, Recipe
from mlvae.data import GroupedData
from mlvae.training import Adam
from mlvae.training.compiling import check_compile
from mlvae.training.seeding import seeded
from mlvae.training.step import TrainingStep

__all__ = ["library_steps", "measure", "rate", "report"]


def library_steps(
    recipe: Recipe, data: GroupedData, precision: str, graphs: bool = True, compile: bool = False
) -> Iterator[int]:
    """Train as `mlvae.train` does, and yield the number of images after each step."""
    model = recipe.model().to(data.device)
    adam = Adam().build(model.parameters())
    training_step = TrainingStep(model, adam, precision=precision, graphs=graphs, compile=compile)
    order, noise = torch.Generator(data.device), torch.Generator(data.device)
    step = epoch = 0
    while True:
        for batch in recipe.batching.plan(data, seeded(order, 0, "order", epoch)):
            training_step(batch, step, seeded(noise, 0, "noise", step))
            step += 1
            if data.device.type == "cpu":
                training_step.failure()
            yield len(batch.x)
        training_step.read()
        training_step.reset()
        epoch += 1


def rate(steps: Iterator[int], seconds: float, device: torch.device) -> float:
    """Images per second over at least ``seconds``, and at least one step."""
    images, start = 0, time.perf_counter()
    while images == 0 or time.perf_counter() - start < seconds:
        images += next(steps)
    wait(device)
    return images / (time.perf_counter() - start)


def compilable() -> bool:
    """Whether this machine has what compiling a model takes."""
    try:
        check_compile(True)
    except mlvae.InputError:
        return False
    return True


def measure(
    device: torch.device,
    *,
    root: str | None,
    rounds: int,
    seconds: float,
    recipe: Recipe = AUTHOR,
    compile: bool = True,
) -> dict[str, object]:
    """All rounds of all ways, in turn; with ``compile`` also compiled, where that can be."""
    data, name = recipe.data(root)
    data = data.to(device)
    torch.manual_seed(0)
    ways = {
        "mlvae float32": library_steps(recipe, data, "float32"),
        "mlvae bfloat16": library_steps(recipe, data, "bfloat16"),
        "common way float32": common_steps(recipe, data),
    }
    if device.type == "cuda":
        ways["mlvae float32, eager"] = library_steps(recipe, data, "float32", graphs=False)
    if compile and compilable():
        for precision in ("float32", "bfloat16"):
            way = f"mlvae {precision}, compiled"
            ways[way] = library_steps(recipe, data, precision, compile=True)
    for steps in ways.values():
        next(steps)  # compiles, where that is the way
        rate(steps, min(1.0, seconds), device)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, steps in ways.items():
            rates[way].append(rate(steps, seconds, device))
    common = rates["common way float32"]
    ratios = {
        way: [a / b for a, b in zip(mine, common, strict=True)] for way, mine in rates.items()
    }
    return {
        "recipe": "experiment=mnist_author, batch 256" if recipe is AUTHOR else recipe.name,
        "data": name,
        **facts(device),
        "images_per_second": rates,
        "ratio_to_common_way": ratios,
    }


def report(result: dict[str, object]) -> str:
    """The result as a table of medians, with the range over rounds."""
    lines = [
        f"{result['recipe']}; {result['data']}",
        line(result),
        "",
        f"{'':25}{'images/s':>12}{'s per epoch':>13}{'times the common way':>28}",
    ]
    for way, rates in result["images_per_second"].items():
        ratios = result["ratio_to_common_way"][way]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        median = statistics.median(rates)
        lines.append(f"{way:25}{median:12,.0f}{50_000 / median:13.2f}{spread:>28}")
    return "\n".join(lines)
