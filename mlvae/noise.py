"""Random numbers, of which a share of a batch takes its own rows.

Where a batch is shared by several processes, each draws what one process would draw for the whole
batch, and keeps the rows of its share: the noise does not depend on how many processes there are.

Shapes: n rows of a share, N rows of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from mlvae.errors import InputError

__all__ = ["HeldGenerator", "ShareGenerator", "normal", "per_group", "uniform"]


class ShareGenerator(torch.Generator):
    """A generator whose draws, made by this file, are rows of draws for a whole batch.

    What is drawn from it without this file, as by ``torch.randn``, is independent noise of its
    own: right in distribution, but other than what one process draws.

    Args:
        whole: the generator of the whole batch.
        rows: which rows are kept, (n,) on its device.
        length: N.
        own: number of the share; shares draw differently on their own.
        groups: the same for draws that have a row for each group; see :func:`per_group`.

    Example:
        >>> whole = torch.Generator().manual_seed(0)
        >>> share = ShareGenerator(whole, torch.tensor([1, 3]), 4)
        >>> half = normal((2, 5), generator=share)
        >>> torch.equal(half, torch.randn(4, 5, generator=whole.manual_seed(0))[[1, 3]])
        True
    """

    def __new__(cls, whole: torch.Generator, *_: object, **__: object) -> ShareGenerator:
        """On the device of ``whole``: it is decided here, before ``__init__``."""
        return super().__new__(cls, device=whole.device)

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
    """Stands for a generator within a compiled model, where a generator itself cannot be.

    What is drawn from it by this file is what ``generator`` draws, in the same order: a draw is an
    operation that the compiler neither looks into nor moves, for it writes to ``ticket``.

    Attributes:
        generator: what draws now; None is torch's own.
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
    return getattr(torch, kind)(shape, generator=generator, dtype=dtype, device=device)


@_held_draw.register_fake
def _(
    ticket: Tensor, kind: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=device)


def per_group(generator: torch.Generator | None) -> torch.Generator | None:
    """The generator for draws with a row for each group, not for each observation."""
    return generator.groups if isinstance(generator, ShareGenerator) else generator


def normal(
    shape: tuple[int, ...],
    *,
    generator: torch.Generator | None = None,
    axis: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Standard normal numbers.

    Args:
        shape: of the result.
        generator: where they come from; None is torch's own.
        axis: of the rows: of observations, or with :func:`per_group` of groups.
        dtype: of the result.
        device: of the result and of the generator.

    Raises:
        InputError: if the generator is of a share that has another number of rows.
    """
    return _draw("randn", shape, generator, axis, dtype=dtype, device=device)


def uniform(
    shape: tuple[int, ...],
    *,
    generator: torch.Generator | None = None,
    axis: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Numbers uniform in [0, 1); arguments are those of :func:`normal`."""
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
    draw, options = getattr(torch, kind), {"dtype": dtype, "device": device}
    if not isinstance(generator, ShareGenerator):
        return draw(shape, generator=generator, **options)
    if shape[axis] != len(generator.rows):
        raise InputError(
            f"a draw from a share of a batch must have its {len(generator.rows)} rows, not "
            f"{shape[axis]}; noise.per_group(generator) is for rows of groups"
        )
    whole = (*shape[:axis], generator.length, *shape[axis + 1 :])
    return draw(whole, generator=generator.whole, **options).index_select(axis, generator.rows)
