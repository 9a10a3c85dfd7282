"""What the time of a training step goes into, by kernel on a CUDA device, by operation on a CPU.

It shows what stands between a step and its floor. The step runs eagerly, for a CUDA graph hides
whose kernel is whose; the kernels are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import PRECISIONS, facts, line, setting, wait
from benchmarks.recipes import AUTHOR, RECIPES, Recipe, small
from benchmarks.tables import Rows, table
from benchmarks.training import compilable, library_steps

__all__ = ["kernels", "report"]

#: Steps that are profiled, after as many that are not.
STEPS = 5

#: Kernels in a table, the rest being one line; and letters of their names.
MOST, LETTERS = 12, 60

#: The recipe that is quoted, and one so large that latency is no excuse.
PROFILED = (AUTHOR, RECIPES[2])


def kernels(
    device: torch.device, *, recipes: Sequence[Recipe] = PROFILED, quick: bool = False
) -> dict[str, object]:
    """Profile ``recipes`` on ``device`` in every precision; ``quick`` takes a tiny model."""
    recipes = [small(recipes[0])] if quick else recipes
    tables = [
        {"configuration": recipe.name, "precision": precision, "rows": rows}
        for recipe in recipes
        for precision, rows in _profiles(recipe, device)
    ]
    return {**facts(device), "profiles": tables}


def _profiles(recipe: Recipe, device: torch.device) -> Iterator[tuple[str, Rows]]:
    data = recipe.data()[0].to(device)
    for precision in PRECISIONS[device.type]:
        with setting(precision=precision):
            steps = library_steps(recipe, data, precision, graphs=False)
            yield precision, _rows(steps, device)
            if device.type == "cuda" and compilable(recipe):
                steps = library_steps(recipe, data, precision, graphs=False, compile=True)
                yield f"{precision}, compiled", _rows(steps, device)


def _rows(steps: Iterator[int], device: torch.device) -> Rows:
    cuda = device.type == "cuda"
    for _ in range(STEPS):
        next(steps)
    wait(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, acc_events=True) as record:
        for _ in range(STEPS):
            next(steps)
        wait(device)
    wanted = DeviceType.CUDA if cuda else DeviceType.CPU
    spent = [
        (e.self_device_time_total if cuda else e.self_cpu_time_total, e.count, e.key[:LETTERS])
        for e in record.key_averages()
        # On a CUDA device an annotation is the sum of kernels that are listed besides.
        if e.device_type == wanted and not (cuda and getattr(e, "is_user_annotation", False))
    ]
    spent = sorted((each for each in spent if each[0] > 0), reverse=True)
    if rest := spent[MOST:]:
        spent[MOST:] = [(sum(e[0] for e in rest), sum(e[1] for e in rest), "all others")]
    total = sum(each[0] for each in spent)
    return [
        {
            "kernel" if cuda else "operation": name,
            "calls_a_step": count / STEPS,
            "microseconds_a_step": time / STEPS,
            "part_of_all": time / total,
        }
        for time, count, name in spent
    ]


def report(result: dict[str, object]) -> str:
    """The result as a table for each recipe and precision."""
    parts = ["What a training step spends its time on", line(result)]
    for each in result["profiles"]:
        rows = table(each["rows"]) if each["rows"] else "the driver let nobody look"
        parts += ["", f"{each['configuration']}, {each['precision']}", "", rows]
    return "\n".join(parts)
