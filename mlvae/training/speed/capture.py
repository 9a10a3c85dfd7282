"""CUDA graphs of training steps: one launch instead of many small ones.

A step of a small model is a hundred kernels of a few microseconds each. Launching them one by one
takes several times as long as running them.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from mlvae.batch import Batch
from mlvae.data.plan import Block

__all__ = ["Recorder", "capturing", "nothing_collected"]

WARMUP = 3  # eager runs of a form before its capture: libraries allocate memory in the first ones
MOST_FORMS = 8  # largest number of graphs


Recorded = TypeVar("Recorded", Batch, Block)


class Recorder:
    """Runs a function, from the fourth input of a form on as a CUDA graph.

    There is one graph for each form. Inputs of further forms run eagerly, and all inputs do once a
    capture has failed. The results are those of eager runs: the same kernels on the same numbers,
    random ones included, because a replay starts from the generators' present states.

    Args:
        enabled: False runs everything eagerly.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self.seen: Counter[tuple] = Counter()
        self.graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, Any]] = {}

    def __call__(
        self,
        inputs: Recorded,
        run: Callable[[Recorded], None],
        generators: Sequence[torch.Generator],
    ) -> None:
        """Call ``run`` on ``inputs``, or replay its graph.

        Args:
            inputs: the input of this call.
            run: reads and writes the same tensors at every call, except for its input, and never
                waits for the device.
            generators: the same objects at every call, seeded before it.
        """
        form = inputs.form
        if self.enabled and form not in self.graphs:
            self.seen[form] += 1
            if self.seen[form] > WARMUP and len(self.graphs) < MOST_FORMS:
                self._capture(form, inputs, run, generators)
        if form not in self.graphs:
            run(inputs)
            return
        graph, static = self.graphs[form]
        static.copy_(inputs)
        graph.replay()

    def _capture(
        self,
        form: tuple,
        inputs: Recorded,
        run: Callable[[Recorded], None],
        generators: Sequence[torch.Generator],
    ) -> None:
        """Record the function without running it, if that is possible."""
        static = inputs.clone()
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self.graphs.values()))[0].pool() if self.graphs else None
        try:
            with capturing(graph, generators, pool=pool):
                run(static)
        except RuntimeError as error:
            self.enabled = False
            logging.getLogger("mlvae").warning(
                "training steps cannot be captured as a CUDA graph (%s); they run eagerly",
                str(error).splitlines()[0],
            )
        else:
            self.graphs[form] = graph, static


@contextlib.contextmanager
def capturing(
    graph: torch.cuda.CUDAGraph,
    generators: Sequence[torch.Generator],
    *,
    pool: Any = None,
) -> Iterator[None]:
    """Record the operations of this context. After a failure the device is as before.

    After a failure PyTorch leaves another stream current, and generators, its own among them, that
    refuse to draw as if the capture went on.

    Args:
        graph: the recorder.
        generators: generators of the random numbers; every replay starts from their states.
        pool: memory of other graphs that this one may use too.

    Raises:
        RuntimeError: if an operation cannot be recorded.
    """
    for generator in generators:
        graph.register_generator_state(generator)
    stream = torch.cuda.current_stream()
    try:
        with nothing_collected(), torch.cuda.graph(graph, pool=pool):
            yield
    except RuntimeError:
        torch.cuda.set_stream(stream)
        other = torch.cuda.CUDAGraph()
        for generator in generators:
            other.register_generator_state(generator)
        with torch.cuda.graph(other):  # a successful capture releases the generators
            torch.zeros((), device=stream.device)
        raise


@contextlib.contextmanager
def nothing_collected() -> Iterator[None]:
    """Collect Python's garbage before this context, and none inside it.

    Garbage may hold CUDA graphs of an earlier training. Freeing a graph during a capture breaks
    the capture.
    """
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
