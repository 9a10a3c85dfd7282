"""The measured machine: its properties, its settings, and the time of a function."""

from __future__ import annotations

import contextlib
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["PRECISIONS", "facts", "line", "setting", "timed", "wait"]

#: Precisions of matrix products. TF32 rounds the factors of a float32 product to 10 bits.
PRECISIONS = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "tf32", "bfloat16")}


def facts(device: torch.device) -> dict[str, Any]:
    """The machine, the versions and the date, on which the figures depend."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if cuda else _processor("model name"),
        "bf16_instructions": torch.cuda.is_bf16_supported() if cuda else _computes_in_bf16(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def line(result: Mapping[str, Any]) -> str:
    """The facts in one line."""
    return (
        f"{result['device']}, {'with' if result['bf16_instructions'] else 'without'} bf16 "
        f"instructions, {result['threads']} threads, torch {result['torch']}, "
        f"Python {result['python']}, {result['date']}"
    )


def wait(device: torch.device) -> None:
    """Wait until ``device`` has finished all operations."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def setting(*, threads: int | None = None, precision: str = "float32") -> Iterator[None]:
    """Set the CPU threads, and whether float32 products and convolutions are computed in TF32.

    PyTorch's default is float32 for matrix products and TF32 for convolutions.
    """
    cudnn = torch.backends.cudnn
    before = torch.get_num_threads(), torch.get_float32_matmul_precision(), cudnn.allow_tf32
    torch.set_num_threads(before[0] if threads is None else threads)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
        cudnn.allow_tf32 = before[2]


def timed(
    function: Callable[[], object],
    device: torch.device,
    *,
    seconds: float,
    captured: int = 0,
) -> float:
    """Mean seconds of a call. Two calls precede the measurement, which has at least one.

    Args:
        function: function to call; it must not wait for the device.
        device: device on which it runs.
        seconds: approximate duration of the measurement, at least 0.
        captured: on a CUDA device, number of calls in one graph, which excludes the time of
            launching kernels; 0 calls the function itself.
    """
    call: Callable[[], object] = function
    repeated = 1
    function()
    if captured and device.type == "cuda":
        call, repeated = _graph(function, captured), captured
    once = _total(call, device, 1)
    calls = max(1, math.ceil(seconds / once))
    return _total(call, device, calls) / (calls * repeated)


def _total(call: Callable[[], object], device: torch.device, calls: int) -> float:
    wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        call()
    wait(device)
    return max(time.perf_counter() - start, 1e-9)  # 0 on a coarse clock


def _graph(function: Callable[[], object], calls: int) -> Callable[[], None]:
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            function()
    graph.replay()  # the first replay uploads the graph
    return graph.replay


def _computes_in_bf16() -> bool:
    """Whether the processor lists instructions for products of bfloat16."""
    flags = _processor("flags", "Features").split()
    return any(flag in ("avx512_bf16", "amx_bf16", "bf16") for flag in flags)


def _processor(*fields: str) -> str:
    """The first of these fields in /proc/cpuinfo; without one, Python's name of the processor."""
    info = Path("/proc/cpuinfo")
    for text in info.read_text().splitlines() if info.exists() else []:
        name, _, value = text.partition(":")
        if name.strip() in fields:
            return value.strip()
    return platform.processor() or platform.machine()
