"""Random draws that do not depend on how a batch is split over processes.

If several processes share a batch, each draws the noise of the whole batch and keeps the rows of
its share. The noise is then the same for any number of processes.

Shapes: n rows of a share, N rows of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from mlvae.arguments import check_generator
from mlvae.errors import InputError

__all__ = ["HeldGenerator", "ShareGenerator", "normal", "per_group", "uniform"]


class ShareGenerator(torch.Generator):
    """A generator for a share: :func:`normal` and :func:`uniform` draw rows of the whole batch.

    Warning:
        Other functions, for example ``torch.randn``, draw from a separate stream of this share.
        The distribution is correct, but the numbers differ from those of a single process.

    Args:
        whole: the generator of the whole batch.
        rows: rows of the share, (n,) on the device of ``whole``.
        length: number N of values.
        own: number of the share, which seeds its separate stream.
        groups: generator for draws with one row per group; see :func:`per_group`.

    Example:
        >>> whole = torch.Generator().manual_seed(0)
        >>> share = ShareGenerator(whole, torch.tensor([1, 3]), 4)
        >>> half = normal((2, 5), generator=share)
        >>> torch.equal(half, torch.randn(4, 5, generator=whole.manual_seed(0))[[1, 3]])
        True
    """

    def __new__(cls, whole: torch.Generator, *_: object, **__: object) -> ShareGenerator:
        """Set the device, which is fixed before ``__init__``, to that of ``whole``."""
        # torch's stub declares the argument of __new__ in __init__.
        return super().__new__(cls, device=whole.device)  # pyright: ignore[reportCallIssue]

    def __init__(
        self,
        whole: torch.Generator,
        rows: Tensor,
        length: int,
        *,
        own: int = 0,
        groups: ShareGenerator | None = None,
    ) -> None:
        self.whole, self.rows, self.length, self.groups = whole, rows, length, groups
        self.manual_seed(whole.initial_seed() + 1 + own)


class HeldGenerator:
    """A reference to a generator, for compiled models, which cannot take a generator as input.

    :func:`normal` and :func:`uniform` draw from ``generator``, in the order of the calls. A draw
    is an opaque operation for the compiler. It mutates ``ticket``, so the compiler keeps the
    order.

    Attributes:
        generator: the generator of the next draws; None is torch's default.
        ticket: number of this object, shape ().

    Example:
        >>> held = HeldGenerator()
        >>> held.generator = torch.Generator().manual_seed(0)
        >>> draw = torch.compile(lambda: normal((2, 3), generator=held), backend="eager")
        >>> torch.equal(draw(), torch.randn(2, 3, generator=torch.Generator().manual_seed(0)))
        True
    """

    def __init__(self) -> None:
        self.generator: torch.Generator | None = None
        self.ticket = torch.tensor(id(self))
        _HELD[id(self)] = self


_HELD: WeakValueDictionary[int, HeldGenerator] = WeakValueDictionary()


@torch.library.custom_op(
    "mlvae::draw", mutates_args=("ticket",), tags=(torch.Tag.nondeterministic_seeded,)
)
def _held_draw(
    ticket: Tensor, kind: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    generator = _HELD[int(ticket)].generator
    draw = torch.randn if kind == "randn" else torch.rand
    return draw(shape, generator=generator, dtype=dtype, device=device)


@_held_draw.register_fake
def _(
    ticket: Tensor, kind: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=device)


def per_group(generator: torch.Generator | None) -> torch.Generator | None:
    """Return the generator for draws with one row per group instead of one per observation."""
    return generator.groups if isinstance(generator, ShareGenerator) else generator


def normal(
    shape: tuple[int, ...],
    *,
    generator: torch.Generator | HeldGenerator | None = None,
    axis: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Draw standard normal numbers.

    Args:
        shape: shape of the result.
        generator: source of the draw; None is torch's default.
        axis: axis of the rows, which are observations, or groups with :func:`per_group`.
        dtype: dtype of the result.
        device: device of the result and of the generator.

    Raises:
        InputError: if the generator belongs to a share with another number of rows.
    """
    return _draw("randn", shape, generator, axis, dtype=dtype, device=device)


def uniform(
    shape: tuple[int, ...],
    *,
    generator: torch.Generator | HeldGenerator | None = None,
    axis: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Draw uniform numbers in [0, 1). The arguments are those of :func:`normal`."""
    return _draw("rand", shape, generator, axis, dtype=dtype, device=device)


def _draw(
    kind: str,
    shape: tuple[int, ...],
    generator: torch.Generator | HeldGenerator | None,
    axis: int,
    *,
    dtype: torch.dtype | None,
    device: torch.device | None,
) -> Tensor:
    if isinstance(generator, HeldGenerator):
        dtype = torch.get_default_dtype() if dtype is None else dtype
        device = torch.device("cpu") if device is None else device
        return _held_draw(generator.ticket, kind, shape, dtype, device)
    check_generator(generator)
    draw = torch.randn if kind == "randn" else torch.rand
    options = {"dtype": dtype, "device": device}
    if not isinstance(generator, ShareGenerator):
        return draw(shape, generator=generator, **options)
    if shape[axis] != len(generator.rows):
        raise InputError(
            f"a draw for a share of a batch must have the share's {len(generator.rows)} rows, not "
            f"{shape[axis]}; use noise.per_group(generator) for rows of groups"
        )
    whole = (*shape[:axis], generator.length, *shape[axis + 1 :])
    return draw(whole, generator=generator.whole, **options).index_select(axis, generator.rows)
