"""The matrix products and convolutions of a training step: operations and time.

A product of (256, 784) by (784, 500) does not reach the rate of a product of 4,096 by 4,096.
Therefore each product is measured in the shapes, strides and precision of the step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mlvae.commands.benchmarks.machine import timed

__all__ = ["Like", "Product", "products_of", "time_of"]

#: Products that can write into existing memory.
INTO = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm)

#: Calls in one CUDA graph.
CAPTURED = 10


@dataclass(frozen=True)
class Like:
    """Shape, strides and type of a tensor."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def make(self, device: torch.device) -> Tensor:
        """A tensor of this form with normal random numbers."""
        reach = sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True)) + 1
        values = torch.randn(reach, device=device).to(self.dtype)
        return values.as_strided(self.shape, self.stride)


@dataclass(frozen=True)
class Product:
    """A matrix product or convolution, including the addition of a bias.

    Attributes:
        function: PyTorch's operator; "convolution_backward" is both products of the backward pass
            of a convolution.
        arguments: plain values, and :class:`Like` instead of tensors.
        operations: floating-point operations; an addition and a multiplication are two.
    """

    function: torch._ops.OpOverload
    arguments: tuple[object, ...]
    operations: int

    @property
    def name(self) -> str:
        """The operator and the shapes of its tensors."""
        shapes = [a.shape for a in self.arguments if isinstance(a, Like)]
        words = " ".join("x".join(map(str, shape)) for shape in shapes)
        return f"{self.function.overloadpacket.__name__} {words}"

    def call(self, device: torch.device) -> Callable[[], object]:
        """A function that computes the product at every call, on random numbers."""
        values = [a.make(device) if isinstance(a, Like) else a for a in self.arguments]
        packet = self.function.overloadpacket
        if packet not in INTO:
            return lambda: self.function(*values)
        out = self.function(*values)
        return lambda: packet(*values, out=out)


class _Recorder(TorchDispatchMode):
    """Records every product that is computed inside its ``with`` block."""

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Product] = Counter()

    def __torch_dispatch__(
        self,
        function: torch._ops.OpOverload,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket in flop_registry:
            count = flop_registry[function.overloadpacket]
            operations = count(*args, **(kwargs or {}), out_val=result)
            self.products[Product(function, tuple(map(_plain, args)), operations)] += 1
        return result


def _plain(value: object) -> object:
    """A hashable form of an argument."""
    if isinstance(value, Tensor):
        return Like(tuple(value.shape), value.stride(), value.dtype)
    return tuple(value) if isinstance(value, list) else value


def products_of(work: Callable[[], object]) -> Counter[Product]:
    """The products that ``work`` computes, forward and backward, and the number of each.

    Args:
        work: function that must not use CUDA graphs.

    Example:
        >>> work = lambda: torch.rand(3, 4) @ torch.rand(4, 5)
        >>> [(p.name, p.operations, n) for p, n in products_of(work).items()]
        [('mm 3x4 4x5', 120, 1)]
    """
    with _Recorder() as recorder:
        work()
    return recorder.products


@torch.no_grad()
def time_of(product: Product, device: torch.device, seconds: float) -> float:
    """Seconds of the product, measured for about ``seconds``.

    Every call reads the same numbers, which therefore lie in the cache if it is large enough. That
    is the best case of a step.
    """
    return timed(product.call(device), device, seconds=seconds, captured=CAPTURED)
