"""The time of a training step with several groupings, beside the same step with one.

All models have the same number of latent dimensions, the same layers and the same observations.
Each further grouping adds the accumulation and the content KL of its groups.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from mlvae.commands.benchmarks.machine import facts, line
from mlvae.commands.benchmarks.recipes import AUTHOR, LABELS, small
from mlvae.commands.benchmarks.tables import Rows, table
from mlvae.commands.benchmarks.training import library_steps, rate, warm

__all__ = ["measure", "report"]

#: Dimensions of the content of each grouping, by the number of groupings.
DIMS = {1: (18,), 2: (9, 9), 3: (6, 6, 6)}


def measure(
    device: torch.device, *, root: str | None, rounds: int, seconds: float, quick: bool = False
) -> dict[str, Any]:
    """Images per second for each number of groupings, which take turns."""
    recipe = small(AUTHOR) if quick else AUTHOR
    data, name = recipe.data(root)
    generator = torch.Generator().manual_seed(1)
    labels = {"a": data.labels}
    for grouping in ("b", "c"):
        labels[grouping] = torch.randint(LABELS, (len(data),), generator=generator).numpy()
    ways = {}
    for number, dims in DIMS.items():
        names = list(labels)[:number]
        several = data.regrouped({each: labels[each] for each in names}).to(device)
        contents = dict(zip(names, dims, strict=True))
        torch.manual_seed(0)
        model = replace(recipe, content_dim=contents)
        ways[number] = library_steps(model, several, "float32")
        warm(ways[number], several, min(1.0, seconds))
    rates: dict[int, list[float]] = {number: [] for number in ways}
    for _ in range(rounds):
        for number, steps in ways.items():
            rates[number].append(rate(steps, seconds, device))
    rows: Rows = [
        {
            "groupings": number,
            "images_per_second": values,
            "step_time_of_one": [a / b for a, b in zip(rates[1], values, strict=True)],
        }
        for number, values in rates.items()
    ]
    return {"recipe": recipe.name, "data": name, **facts(device), "rows": rows}


def report(result: dict[str, Any]) -> str:
    """The result as a table."""
    title = f"{result['recipe']}, {result['data']}: step time beside that of one grouping"
    return f"{title}\n{line(result)}\n\n{table(result['rows'])}"
