"""The Triton kernels of :mod:`mlvae.kernels.dense`.

One program computes one tile of a result. The sizes of a layer are constants of a kernel: Triton
compiles the kernel for each layer and can use the alignment of the rows of its arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["gradients", "outputs"]

#: Rows and columns of a tile, in order of efficiency on one multiprocessor. The chosen tile is the
#: first that occupies most multiprocessors of the device, otherwise the smallest. This rule, and
#: the step lengths and pipeline depths below, were the fastest for layers of 20 to 1,568 units.
TILES = ((128, 128), (64, 64), (64, 32), (64, 16), (32, 16), (16, 16))


def outputs(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """Return the outputs (n, o) of :func:`mlvae.kernels.dense.dense`, from contiguous arrays."""
    (n, i), o = x.shape, len(weight)
    y = x.new_empty(n, o)
    rows, columns = tile = _tile(n, o, x.device)
    launch: Callable[..., None] = _outputs[(_count(n, o, tile),)]
    launch(
        x,
        weight,
        bias,
        y,
        n,
        i,
        o,
        activation,
        rows,
        columns,
        min(64, max(16, triton.next_power_of_2(i))),
        num_warps=_warps(tile),
        num_stages=3 if rows * columns >= 64 * 64 else 5,
    )
    return y


def gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, needs_x: bool, before: str = "none"
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x (n, i), the weight (o, i) and the bias (o,).

    The gradient of x has shape (0,) without ``needs_x``. All arrays are contiguous.
    """
    (n, i), o = x.shape, len(weight)
    x_gradient = torch.empty_like(x) if needs_x else x.new_empty(0)
    weight_gradient = torch.empty(o, i, device=x.device)
    bias_gradient = torch.empty(o, device=x.device)
    # Fewer and larger tiles for x, because the tiles of the weight run at the same time.
    tile_x, tile_w = _tile(n, i, x.device, least=0.4), _tile(o, i, x.device)
    tiles_x = _count(n, i, tile_x) if needs_x else 0
    launch: Callable[..., None] = _gradients[(tiles_x + _count(o, i, tile_w),)]
    launch(
        gradient,
        x,
        weight,
        x_gradient,
        weight_gradient,
        bias_gradient,
        n,
        i,
        o,
        before,
        tiles_x,
        *tile_x,
        64,
        *tile_w,
        32 if tile_w == (64, 64) else 64,
        num_warps=max(_warps(tile_x), _warps(tile_w)),
        num_stages=4 if max(_warps(tile_x), _warps(tile_w)) == 4 else 3,
    )
    return x_gradient, weight_gradient, bias_gradient


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def _tile(rows: int, columns: int, device: torch.device, least: float = 0.7) -> tuple[int, int]:
    """Return the first tile with ``least`` tiles per multiprocessor; the largest needs two."""
    for tile in TILES:
        enough = 2 if tile == TILES[0] else least
        if _count(rows, columns, tile) >= enough * _multiprocessors(device):
            return tile
    return TILES[-1]


def _count(rows: int, columns: int, tile: tuple[int, int]) -> int:
    return triton.cdiv(rows, tile[0]) * triton.cdiv(columns, tile[1])


def _warps(tile: tuple[int, int]) -> int:
    return 8 if tile == TILES[0] else 4


@triton.jit
def _outputs(
    x,
    weight,
    bias,
    y,
    n: tl.constexpr,
    i: tl.constexpr,
    o: tl.constexpr,
    activation: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
):
    tile_columns: tl.constexpr = (o + COLUMNS - 1) // COLUMNS
    row = tl.program_id(0) // tile_columns * ROWS + tl.arange(0, ROWS)
    out = tl.program_id(0) % tile_columns * COLUMNS + tl.arange(0, COLUMNS)
    step = tl.arange(0, STEP)
    z = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, i, STEP):
        k = start + step
        inputs = tl.load(
            x + row[:, None] * i + k[None, :],
            mask=(row < n)[:, None] & (k < i)[None, :],
            other=0,
        )
        weights = tl.load(
            weight + out[None, :] * i + k[:, None],
            mask=(out < o)[None, :] & (k < i)[:, None],
            other=0,
        )
        z = tl.dot(inputs, weights, z)
    z += tl.load(bias + out, mask=out < o, other=0)[None, :]
    if activation == "tanh":
        z = 2 * tl.sigmoid(2 * z) - 1
    elif activation == "relu":
        z = tl.maximum(z, 0)
    tl.store(y + row[:, None] * o + out[None, :], z, mask=(row < n)[:, None] & (out < o)[None, :])


@triton.jit
def _gradients(
    gradient,
    x,
    weight,
    x_gradient,
    weight_gradient,
    bias_gradient,
    n: tl.constexpr,
    i: tl.constexpr,
    o: tl.constexpr,
    before: tl.constexpr,
    tiles_x: tl.constexpr,
    X_ROWS: tl.constexpr,
    X_COLUMNS: tl.constexpr,
    X_STEP: tl.constexpr,
    W_ROWS: tl.constexpr,
    W_COLUMNS: tl.constexpr,
    W_STEP: tl.constexpr,
):
    """The first ``tiles_x`` programs compute x, which takes longest. The others do the rest."""
    if tl.program_id(0) < tiles_x:
        tile_columns: tl.constexpr = (i + X_COLUMNS - 1) // X_COLUMNS
        row = tl.program_id(0) // tile_columns * X_ROWS + tl.arange(0, X_ROWS)
        column = tl.program_id(0) % tile_columns * X_COLUMNS + tl.arange(0, X_COLUMNS)
        step = tl.arange(0, X_STEP)
        total = tl.zeros((X_ROWS, X_COLUMNS), tl.float32)
        for start in range(0, o, X_STEP):
            k = start + step
            d = tl.load(
                gradient + row[:, None] * o + k[None, :],
                mask=(row < n)[:, None] & (k < o)[None, :],
                other=0,
            )
            weights = tl.load(
                weight + k[:, None] * i + column[None, :],
                mask=(k < o)[:, None] & (column < i)[None, :],
                other=0,
            )
            total = tl.dot(d, weights, total)
        at = row[:, None] * i + column[None, :]
        inside = (row < n)[:, None] & (column < i)[None, :]
        if before != "none":
            value = tl.load(x + at, mask=inside, other=0).to(tl.float32)
            if before == "tanh":
                total = total * (1 - value * value)
            elif before == "relu":
                total = tl.where(value > 0, total, 0)
        tl.store(x_gradient + at, total, mask=inside)
    else:
        tile_columns_w: tl.constexpr = (i + W_COLUMNS - 1) // W_COLUMNS
        tile = tl.program_id(0) - tiles_x
        out = tile // tile_columns_w * W_ROWS + tl.arange(0, W_ROWS)
        column_w = tile % tile_columns_w * W_COLUMNS + tl.arange(0, W_COLUMNS)
        step_w = tl.arange(0, W_STEP)
        total_w = tl.zeros((W_ROWS, W_COLUMNS), tl.float32)
        bias_sum = tl.zeros((W_ROWS, W_STEP), tl.float32)
        for start in range(0, n, W_STEP):
            observation = start + step_w
            d_w = tl.load(
                gradient + observation[None, :] * o + out[:, None],
                mask=(observation < n)[None, :] & (out < o)[:, None],
                other=0,
            )
            inputs = tl.load(
                x + observation[:, None] * i + column_w[None, :],
                mask=(observation < n)[:, None] & (column_w < i)[None, :],
                other=0,
            )
            total_w = tl.dot(d_w, inputs, total_w)
            bias_sum += d_w.to(tl.float32)
        tl.store(
            weight_gradient + out[:, None] * i + column_w[None, :],
            total_w,
            mask=(out < o)[:, None] & (column_w < i)[None, :],
        )
        if tile % tile_columns_w == 0:
            tl.store(bias_gradient + out, tl.sum(bias_sum, 1), mask=out < o)
