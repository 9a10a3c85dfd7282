"""The Triton kernel of :mod:`mlvae.kernels.accumulation`.

One program computes one content dimension of one group, in one pass over all observations.
"""

from __future__ import annotations

from collections.abc import Callable

import triton
import triton.language as tl
from torch import Tensor

__all__ = ["accumulated"]

#: Largest number of observations in one block. A block of 256 fits one warp, whose threads need no
#: synchronisation.
BLOCK = 256


def accumulated(
    log_variance: Tensor, mean: Tensor, index: Tensor, num_groups: int
) -> tuple[Tensor, Tensor]:
    """See :func:`mlvae.kernels.accumulation.accumulated`. Arrays (N, C) may have any strides."""
    n, dims = mean.shape
    group_log_variance = mean.new_empty(num_groups, dims)
    group_mean = mean.new_empty(num_groups, dims)
    launch: Callable[..., None] = _accumulated[(num_groups, dims)]
    launch(
        log_variance,
        mean,
        index,
        group_log_variance,
        group_mean,
        n,
        dims,
        *log_variance.stride(),
        *mean.stride(),
        min(BLOCK, triton.next_power_of_2(n)),
        num_warps=1,
    )
    return group_log_variance, group_mean


@triton.jit
def _accumulated(
    log_variance,
    mean,
    index,
    group_log_variance,
    group_mean,
    n,
    dims,
    log_variance_row,
    log_variance_column,
    mean_row,
    mean_column,
    BLOCK: tl.constexpr,
):
    group, dim = tl.program_id(0), tl.program_id(1)
    largest = -float("inf")
    total = 0.0
    weighted = 0.0
    for start in range(0, n, BLOCK):
        row = start + tl.arange(0, BLOCK)
        exists = row < n
        at = log_variance + row * log_variance_row + dim * log_variance_column
        log_precision = -tl.load(at, mask=exists, other=0)
        mu = tl.load(mean + row * mean_row + dim * mean_column, mask=exists, other=0)
        member = tl.load(index + row, mask=exists, other=-1) == group
        larger = tl.maximum(largest, tl.max(tl.where(member, log_precision, -float("inf")), 0))
        # The sums of the blocks before this one are relative to the largest precision in them.
        scale = tl.where(larger == -float("inf"), 0.0, larger)
        weight = tl.where(member, tl.exp(log_precision - scale), 0)
        factor = tl.exp(largest - scale)
        total = total * factor + tl.sum(weight, 0)
        weighted = weighted * factor + tl.sum(weight * mu, 0)
        largest = larger
    empty = total == 0
    total = tl.where(empty, 1.0, total)
    largest = tl.where(empty, 0.0, largest)
    at = group * dims + dim
    tl.store(group_log_variance + at, -(largest + tl.log(total)))
    tl.store(group_mean + at, weighted / total)
