"""The kernels of :mod:`mlvae.kernels.dense`, in Triton.

A program computes one tile of a result. Sizes of layers are constants of a kernel, so that it is
compiled for each layer, and knows how the rows of its arrays are aligned.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["gradients", "outputs"]

#: Rows and columns of a tile, the best use of a multiprocessor first. What is chosen has tiles
#: for most multiprocessors of the device, or as many as there can be. That, and how far a program
#: steps and how deep its loads are staged below, was fastest for layers of 20 to 1,568 units.
TILES = ((128, 128), (64, 64), (64, 32), (64, 16), (32, 16), (16, 16))


def outputs(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """See :func:`mlvae.kernels.dense.dense`; all is contiguous."""
    (n, i), o = x.shape, len(weight)
    y = x.new_empty(n, o)
    rows, columns = tile = _tile(n, o, x.device)
    _outputs[(_count(n, o, tile),)](
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
    """Of x, or nothing (0,) if it needs none; of the weight; of the bias. All is contiguous."""
    (n, i), o = x.shape, len(weight)
    of_x = torch.empty_like(x) if needs_x else x.new_empty(0)
    of_weight = torch.empty(o, i, device=x.device)
    of_bias = torch.empty(o, device=x.device)
    # Fewer and larger tiles of x: beside them run those of the weight.
    tile_x, tile_w = _tile(n, i, x.device, least=0.4), _tile(o, i, x.device)
    tiles_x = _count(n, i, tile_x) if needs_x else 0
    _gradients[(tiles_x + _count(o, i, tile_w),)](
        gradient,
        x,
        weight,
        of_x,
        of_weight,
        of_bias,
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
    return of_x, of_weight, of_bias


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def _tile(rows: int, columns: int, device: torch.device, least: float = 0.7) -> tuple[int, int]:
    """The first tile of which there are enough: of the largest two for each multiprocessor."""
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
    across: tl.constexpr = (o + COLUMNS - 1) // COLUMNS
    row = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)
    out = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
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
    of_x,
    of_weight,
    of_bias,
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
    """The first ``tiles_x`` programs are for x, for they take longest; the others for the rest."""
    if tl.program_id(0) < tiles_x:
        across: tl.constexpr = (i + X_COLUMNS - 1) // X_COLUMNS
        row = tl.program_id(0) // across * X_ROWS + tl.arange(0, X_ROWS)
        column = tl.program_id(0) % across * X_COLUMNS + tl.arange(0, X_COLUMNS)
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
        tl.store(of_x + at, total, mask=inside)
    else:
        across_w: tl.constexpr = (i + W_COLUMNS - 1) // W_COLUMNS
        tile = tl.program_id(0) - tiles_x
        out = tile // across_w * W_ROWS + tl.arange(0, W_ROWS)
        column_w = tile % across_w * W_COLUMNS + tl.arange(0, W_COLUMNS)
        step_w = tl.arange(0, W_STEP)
        total_w = tl.zeros((W_ROWS, W_COLUMNS), tl.float32)
        seen = tl.zeros((W_ROWS, W_STEP), tl.float32)
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
            seen += d_w.to(tl.float32)
        tl.store(
            of_weight + out[:, None] * i + column_w[None, :],
            total_w,
            mask=(out < o)[:, None] & (column_w < i)[None, :],
        )
        if tile % across_w == 0:
            tl.store(of_bias + out, tl.sum(seen, 1), mask=out < o)
