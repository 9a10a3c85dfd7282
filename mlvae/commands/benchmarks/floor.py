r"""A lower limit ("floor") of the time of a training step, measured on this machine.

.. math:: \text{floor} = \sum_p n_p \, t_p + t_{\text{traffic}}

where product p of the step occurs :math:`n_p` times and takes :math:`t_p`. The second term is the
time to move the data that no product moves (:func:`traffic`). The terms are added because an
update needs the whole gradient, and therefore waits for the products. Hyperbolic tangents,
exponentials, random numbers and sums over pixels are left out, because they can overlap with a
product.

"Peak" uses the rate of a large product instead of the rates of the step's own products,
:math:`\text{operations} / \text{peak rate} + \text{bytes} / \text{bandwidth}`. The difference
from the floor is the possible gain of a better matrix library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mlvae.commands.benchmarks.machine import timed
from mlvae.commands.benchmarks.products import CAPTURED, Product, products_of, time_of
from mlvae.commands.benchmarks.recipes import Recipe
from mlvae.data import GroupedData
from mlvae.training import Adam, Speed
from mlvae.training.loop import training_step
from mlvae.training.step import StepParts

__all__ = ["Floor", "Machine", "machine_of", "measure", "operations", "step_products", "traffic"]

#: Numbers that Adam moves per parameter: it reads the parameter, the gradient and two moments, and
#: writes the parameter and two moments.
MOVES = 7


@dataclass(frozen=True)
class Machine:
    """The best rates of this machine.

    Attributes:
        rate: floating-point operations per second of a large square matrix product.
        bandwidth: bytes per second of a large copy, read and written bytes together.
    """

    rate: float
    bandwidth: float


@dataclass(frozen=True)
class Floor:
    """The floor of a step, in seconds.

    Attributes:
        products: time of the step's own matrix products.
        traffic: time to move the data that no product moves.
        peak: time of both at the best rates of the machine.
    """

    products: float
    traffic: float
    peak: float

    @property
    def total(self) -> float:
        """Products and traffic."""
        return self.products + self.traffic


def traffic(num_parameters: int, pixels: int) -> int:
    r"""Bytes that a step must move outside its products: :math:`28 P + 5 X`.

    Adam in float32 moves 7 numbers of 4 bytes for each of P parameters. The X pixels of a batch
    are read as bytes and written as float32. The time of a product includes reading its factors
    and writing its result.

    Args:
        num_parameters: P.
        pixels: X.

    Example:
        >>> traffic(num_parameters=1000, pixels=200)
        29000
    """
    return MOVES * 4 * num_parameters + (1 + 4) * pixels


def operations(products: Counter[Product]) -> int:
    """Floating-point operations of all products."""
    return sum(product.operations * times for product, times in products.items())


def step_products(recipe: Recipe, data: GroupedData, precision: str) -> Counter[Product]:
    """The products of a training step on a whole batch of ``data``."""
    model = recipe.model().to(data.device)
    parts = StepParts(model, Adam(), speed=Speed(precision))
    generator = torch.Generator(data.device).manual_seed(0)
    plan = recipe.batching.plan(data, generator)
    return products_of(lambda: training_step(parts, plan[0], generator))


def machine_of(
    device: torch.device, precision: str, *, seconds: float, small: bool = False
) -> Machine:
    """Measure the best rates, each for about ``seconds``.

    With ``small`` the product and the copy are too small to reach them: for tests.
    """
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
    """The floor of a recipe's step and the seconds of each product.

    The measurement takes about ``seconds``.
    """
    parameters = sum(p.numel() for p in recipe.model().parameters())
    moved = traffic(parameters, recipe.batch_size * torch.Size(recipe.shape).numel())
    share = seconds / (len(products) + 1)
    times = {product: time_of(product, device, share) for product in products}
    floor = Floor(
        products=sum(times[product] * count for product, count in products.items()),
        # Measured as a copy of as many bytes: data in a cache move faster than data in memory.
        traffic=_copy(moved, device, share),
        peak=operations(products) / best.rate + moved / best.bandwidth,
    )
    return floor, times


def _copy(moved: int, device: torch.device, seconds: float) -> float:
    """Seconds of a copy that reads ``moved / 2`` bytes and writes as many."""
    source = torch.ones(max(1, moved // 2), dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return _seconds(lambda: target.copy_(source), device, seconds)


@torch.no_grad()
def _seconds(function: Callable[[], object], device: torch.device, seconds: float) -> float:
    return timed(function, device, seconds=seconds, captured=CAPTURED)
