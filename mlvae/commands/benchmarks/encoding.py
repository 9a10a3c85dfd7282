"""The speed of :func:`mlvae.encode`, beside a plain loop over the same batches.

The plain loop is what a user writes: it calls ``infer_content`` and ``infer_style`` of each batch
without gradients and concatenates the means. It has no groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import mlvae
from mlvae.commands.benchmarks.machine import facts, line, timed
from mlvae.commands.benchmarks.tables import Rows, table
from mlvae.data import GroupedData
from mlvae.likelihoods import Bernoulli, LearnedGaussian
from mlvae.networks import MLP, Conv

__all__ = ["measure", "report"]

#: Rows of a batch.
BATCH = 4096

#: By name: the shape of an observation, the number of observations, and the network.
KINDS = {
    "table of 30 features": ((30,), 200_000, MLP((128,))),
    "images 1x28x28, MLP": ((1, 28, 28), 50_000, MLP((500,))),
    "images 1x28x28, conv": ((1, 28, 28), 4096, Conv()),
}


def measure(
    device: torch.device, *, rounds: int, seconds: float, quick: bool = False
) -> dict[str, Any]:
    """Observations per second of each way, which take turns."""
    rows: Rows = []
    for kind, (shape, number, network) in list(KINDS.items())[: 1 if quick else None]:
        model, x, labels = _work(shape, number // 100 if quick else number, network, device)
        data = GroupedData(x, labels, kind="array").to(device)
        ways: dict[str, Callable[[], object]] = {
            "plain loop": lambda model=model, x=data.x: plain_loop(model, x),
            "encode": lambda model=model, x=data.x: mlvae.encode(model, x, progress=False),
            "encode, groups of 20": lambda model=model, data=data: mlvae.encode(
                model, data, progress=False
            ),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, work in ways.items():
                rates[way].append(len(x) / timed(work, device, seconds=seconds))
        for way, values in rates.items():
            ratios = [a / b for a, b in zip(values, rates["plain loop"], strict=True)]
            rows.append(
                {
                    "observations": kind,
                    "way": way,
                    "per_second": values,
                    "times_the_plain_loop": ratios,
                }
            )
    return {"batch": BATCH, **facts(device), "rows": rows}


def report(result: dict[str, Any]) -> str:
    """The result as a table."""
    title = f"observations encoded per second, in batches of {result['batch']}"
    return f"{title}\n{line(result)}\n\n{table(result['rows'])}"


@torch.no_grad()
def plain_loop(model: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """The means of content and style (N, 10) each, batch by batch."""
    content, style = [], []
    for batch in x.split(BATCH):
        content.append(model.infer_content(batch).mean)
        style.append(model.infer_style(batch).mean)
    return torch.cat(content).cpu().numpy(), torch.cat(style).cpu().numpy()


def _work(
    shape: tuple[int, ...], number: int, network: Any, device: torch.device
) -> tuple[Any, torch.Tensor, np.ndarray]:
    """A model with initial weights, random observations, and labels of groups of 20."""
    torch.manual_seed(0)
    images = len(shape) == 3
    likelihood = Bernoulli() if images else LearnedGaussian()
    model = mlvae.models.MLVAE(shape, network=network, likelihood=likelihood)
    x = torch.rand(number, *shape)
    return model.to(device).eval(), x, np.arange(number) // 20
