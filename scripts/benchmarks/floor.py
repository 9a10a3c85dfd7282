r"""The time that a training step cannot do without, as measured on this machine just now.

.. math:: \text{floor} = \sum_p n_p \, t_p + t_{\text{traffic}}

over the step's own products p, which occur :math:`n_p` times and take :math:`t_p` each; and the
time to move what no product moves (:func:`traffic`). It is a sum, for an update needs the whole
gradient and so waits for the products. Tanh, exponentials, random numbers and sums over pixels are
no part of it: they could hide behind a product.

"Peak" is the same with the rate of a large product in place of the step's own,
:math:`\text{operations} / \text{peak rate} + \text{bytes} / \text{bandwidth}`: what a better
matrix library might still gain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.machine import timed
from benchmarks.products import CAPTURED, Product, products_of, time_of
from benchmarks.recipes import Recipe
from mlvae.data import GroupedData
from mlvae.training import Adam
from mlvae.training.step import TrainingStep

__all__ = ["Floor", "Machine", "machine_of", "measure", "operations", "step_products", "traffic"]

#: Times that Adam moves each parameter: it reads the parameter, its gradient and two moments, and
#: writes all but the gradient.
MOVES = 7


@dataclass(frozen=True)
class Machine:
    """What this machine does at its best.

    Attributes:
        rate: floating-point operations a second of a large square matrix product.
        bandwidth: bytes a second of a large copy, those read and those written.
    """

    rate: float
    bandwidth: float


@dataclass(frozen=True)
class Floor:
    """The floor of a step, in seconds.

    Attributes:
        products: of its own matrix products.
        traffic: of what must be moved besides.
        peak: of both, at the machine's best rates.
    """

    products: float
    traffic: float
    peak: float

    @property
    def total(self) -> float:
        """Products and traffic."""
        return self.products + self.traffic


def traffic(num_parameters: int, pixels: int) -> int:
    r"""Bytes that a step moves at least, without those of its products: :math:`28 P + 5 X`.

    Adam in float32 moves 7 numbers of 4 bytes for each of P parameters; a batch of X pixels in all
    is read as bytes and written as float32. That products read parameters and write gradients is
    in their own time.

    Example:
        >>> traffic(num_parameters=1000, pixels=200)
        29000
    """
    return MOVES * 4 * num_parameters + (1 + 4) * pixels


def operations(products: Counter[Product]) -> int:
    """Floating-point operations of the products."""
    return sum(product.operations * times for product, times in products.items())


def step_products(recipe: Recipe, data: GroupedData, precision: str) -> Counter[Product]:
    """The products of a training step on a whole batch of ``data``."""
    model = recipe.model().to(data.device)
    step = TrainingStep(model, Adam().build(model.parameters()), precision=precision)
    plan = recipe.batching.plan(data, torch.Generator(data.device).manual_seed(0))
    return products_of(lambda: step(plan[0], 0))


def machine_of(
    device: torch.device, precision: str, *, seconds: float, small: bool = False
) -> Machine:
    """Measure the best rates, each for about ``seconds``; ``small`` ones are no such thing."""
    size, megabytes = (64, 1) if small else (4096 if device.type == "cuda" else 2048, 256)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    out = torch.empty_like(a)
    product = _seconds(lambda: torch.mm(a, b, out=out), device, seconds)
    copy = _copy(megabytes * 2**20, device, seconds)
    return Machine(2 * size**3 / product, megabytes * 2**20 / copy)


def measure(
    recipe: Recipe,
    products: Counter[Product],
    best: Machine,
    device: torch.device,
    *,
    seconds: float,
) -> tuple[Floor, dict[Product, float]]:
    """The floor of a recipe's step, and the seconds of each product, in about ``seconds``."""
    parameters = sum(p.numel() for p in recipe.model().parameters())
    moved = traffic(parameters, recipe.batch_size * torch.Size(recipe.shape).numel())
    share = seconds / (len(products) + 1)
    times = {product: time_of(product, device, share) for product in products}
    floor = Floor(
        products=sum(times[product] * count for product, count in products.items()),
        # A copy of as many bytes: what fits into a cache is faster than the bandwidth of memory.
        traffic=_copy(moved, device, share),
        peak=operations(products) / best.rate + moved / best.bandwidth,
    )
    return floor, times


def _copy(moved: int, device: torch.device, seconds: float) -> float:
    """Seconds of a copy that moves so many bytes, half of them read and half written."""
    source = torch.ones(max(1, moved // 2), dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return _seconds(lambda: target.copy_(source), device, seconds)


@torch.no_grad()
def _seconds(function: Callable[[], object], device: torch.device, seconds: float) -> float:
    return timed(function, device, seconds=seconds, captured=CAPTURED)
