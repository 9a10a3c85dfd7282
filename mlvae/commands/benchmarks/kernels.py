"""The time of a training step by kernel (CUDA device) or by operation (CPU).

The profile explains the difference between a step and its floor. The step runs eagerly, because a
CUDA graph hides the operation that a kernel belongs to; the kernels are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.autograd import (
    DeviceType,  # pyright: ignore[reportPrivateImportUsage] (torch exports it without __all__)
)
from torch.profiler import ProfilerActivity, profile

from mlvae.commands.benchmarks.machine import PRECISIONS, facts, line, setting, wait
from mlvae.commands.benchmarks.recipes import AUTHOR, RECIPES, Recipe, small
from mlvae.commands.benchmarks.tables import Rows, table
from mlvae.commands.benchmarks.training import compilable, library_steps

__all__ = ["kernels", "report"]

#: Profiled steps; as many run before them.
STEPS = 5

#: Kernels in a table, where one line is the sum of the rest; letters of their names.
LARGEST, LETTERS = 12, 60

#: The recipe that the README quotes, and one whose steps are not limited by latency.
PROFILED = (AUTHOR, RECIPES[2])


def kernels(
    device: torch.device, *, recipes: Sequence[Recipe] = PROFILED, quick: bool = False
) -> dict[str, Any]:
    """Profile ``recipes`` on ``device`` in every precision; ``quick`` profiles a tiny model."""
    recipes = [small(recipes[0])] if quick else recipes
    tables = [
        {"configuration": recipe.name, "precision": precision, "rows": rows}
        for recipe in recipes
        for precision, rows in _profiles(recipe, device)
    ]
    return {**facts(device), "profiles": tables}


def _profiles(recipe: Recipe, device: torch.device) -> Iterator[tuple[str, Rows]]:
    """The rows of every precision, and of its compiled step on a CUDA device."""
    data = recipe.data()[0].to(device)
    for precision in PRECISIONS[device.type]:
        with setting(precision=precision):
            steps = library_steps(recipe, data, precision, graphs=False)
            yield precision, _rows(steps, device)
            if device.type == "cuda" and compilable(recipe):
                steps = library_steps(recipe, data, precision, graphs=False, compile=True)
                yield f"{precision}, compiled", _rows(steps, device)


def _rows(steps: Iterator[int], device: torch.device) -> Rows:
    """The kernels of ``steps`` with the largest times, in descending order."""
    cuda = device.type == "cuda"
    for _ in range(STEPS):
        next(steps)
    wait(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, acc_events=True) as record:
        for _ in range(STEPS):
            next(steps)
        wait(device)
    kind = DeviceType.CUDA if cuda else DeviceType.CPU
    spent = [
        (e.self_device_time_total if cuda else e.self_cpu_time_total, e.count, e.key[:LETTERS])
        for e in record.key_averages()
        # On a CUDA device an annotation is the sum of kernels that are also listed.
        if e.device_type == kind and not (cuda and getattr(e, "is_user_annotation", False))
    ]
    spent = sorted((entry for entry in spent if entry[0] > 0), reverse=True)
    if rest := spent[LARGEST:]:
        spent[LARGEST:] = [(sum(e[0] for e in rest), sum(e[1] for e in rest), "all others")]
    total = sum(entry[0] for entry in spent)
    return [
        {
            "kernel" if cuda else "operation": name,
            "calls_a_step": count / STEPS,
            "microseconds_a_step": time / STEPS,
            "part_of_all": time / total,
        }
        for time, count, name in spent
    ]


def report(result: dict[str, Any]) -> str:
    """The result as one table per recipe and precision."""
    parts = ["The time of a training step by kernel or operation", line(result)]
    for entry in result["profiles"]:
        rows = table(entry["rows"]) if entry["rows"] else "the driver does not permit profiling"
        parts += ["", f"{entry['configuration']}, {entry['precision']}", "", rows]
    return "\n".join(parts)
