"""The kernel of :mod:`mlvae.kernels.accumulation`, in Triton.

A program has one content dimension of one group, and passes through all observations once.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

__all__ = ["accumulated"]

#: Observations that a program looks at at once: few enough for one warp, whose threads need not
#: wait for others.
AT_ONCE = 256


def accumulated(
    log_variance: Tensor, mean: Tensor, index: Tensor, num_groups: int
) -> tuple[Tensor, Tensor]:
    """See :func:`mlvae.kernels.accumulation.accumulated`; arrays (N, C) may be parts of wider."""
    n, dims = mean.shape
    results = [mean.new_empty(num_groups, dims) for _ in range(2)]
    _accumulated[(num_groups, dims)](
        log_variance,
        mean,
        index,
        *results,
        n,
        dims,
        *log_variance.stride(),
        *mean.stride(),
        min(AT_ONCE, triton.next_power_of_2(n)),
        num_warps=1,
    )
    return tuple(results)


@triton.jit
def _accumulated(
    log_variance,
    mean,
    index,
    of_log_variance,
    of_mean,
    n,
    dims,
    log_variance_row,
    log_variance_column,
    mean_row,
    mean_column,
    AT_ONCE: tl.constexpr,
):
    group, dim = tl.program_id(0), tl.program_id(1)
    largest = -float("inf")
    total = 0.0
    weighted = 0.0
    for start in range(0, n, AT_ONCE):
        each = start + tl.arange(0, AT_ONCE)
        there = each < n
        at = log_variance + each * log_variance_row + dim * log_variance_column
        log_precision = -tl.load(at, mask=there, other=0)
        mu = tl.load(mean + each * mean_row + dim * mean_column, mask=there, other=0)
        member = tl.load(index + each, mask=there, other=-1) == group
        larger = tl.maximum(largest, tl.max(tl.where(member, log_precision, -float("inf")), 0))
        # What there is so far is over the largest precision of so far.
        scale = tl.where(larger == -float("inf"), 0.0, larger)
        weight = tl.where(member, tl.exp(log_precision - scale), 0)
        shrunk = tl.exp(largest - scale)
        total = total * shrunk + tl.sum(weight, 0)
        weighted = weighted * shrunk + tl.sum(weight * mu, 0)
        largest = larger
    none = total == 0
    total = tl.where(none, 1.0, total)
    largest = tl.where(none, 0.0, largest)
    at = group * dims + dim
    tl.store(of_log_variance + at, -(largest + tl.log(total)))
    tl.store(of_mean + at, weighted / total)
