"""A training step captured as CUDA graphs: one launch instead of a hundred small ones.

A step of a small model is a hundred kernels of a few microseconds each, and launching them one by
one takes several times as long as running them.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch

from mlvae.batch import Batch

__all__ = ["Graphs", "capturing", "nothing_collected"]

WARMUP = 3  # steps of one form before it is captured: libraries allocate in their first ones
MOST_FORMS = 8  # graphs kept at most

#: Trains on a batch, drawing from a generator.
Step = Callable[[Batch, torch.Generator | None], None]


class Graphs:
    """Runs a step, from its fourth time on as a CUDA graph.

    There is one graph for each form of a batch: its shape and number of groups. Forms beyond the
    first eight run eagerly, as all do from then on if a capture fails. The results are those of
    the eager step: the same kernels on the same numbers, also the random ones, for a graph takes
    the state of ``generator`` at every replay.

    Args:
        step: must read and write the same tensors at every call, but for the batch, and never wait
            for the device.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.seen: Counter[tuple] = Counter()
        self.graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, Batch]] = {}
        self.failed = False

    def __call__(self, batch: Batch, generator: torch.Generator | None) -> None:
        """Run the step on ``batch``.

        ``generator`` must be the same object at every call, and be seeded anew before each.
        """
        groups = batch.groups
        form = (tuple(batch.x.shape), batch.x.dtype, groups.num_groups, groups.origin is None)
        if form not in self.graphs:
            self.seen[form] += 1
            eager = self.seen[form] <= WARMUP or len(self.graphs) == MOST_FORMS
            if self.failed or eager or not self._capture(form, batch, generator):
                self.step(batch, generator)
                return
        graph, static = self.graphs[form]
        static.x.copy_(batch.x)
        static.groups.copy_(groups)
        graph.replay()

    def _capture(self, form: tuple, batch: Batch, generator: torch.Generator | None) -> bool:
        """Record the step, which does not run it; whether that was possible."""
        static = Batch(batch.x.clone(), batch.groups.clone())
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self.graphs.values()))[0].pool() if self.graphs else None
        generators = [] if generator is None else [generator]
        try:
            with capturing(graph, generators, pool=pool):
                self.step(static, generator)
        except RuntimeError as error:
            self.failed = True
            logging.getLogger("mlvae").warning(
                "the training step cannot be captured as a CUDA graph (%s); it runs eagerly",
                str(error).splitlines()[0],
            )
            return False
        self.graphs[form] = graph, static
        return True


@contextlib.contextmanager
def capturing(
    graph: torch.cuda.CUDAGraph,
    generators: Sequence[torch.Generator],
    *,
    pool: tuple[int, int] | None = None,
) -> Iterator[None]:
    """Record what is run in this context, after which a failure leaves nothing behind.

    PyTorch leaves another stream current then, and generators, its own among them, that refuse to
    draw as if they were being captured still.

    Args:
        graph: what records.
        generators: that are drawn from; every replay takes their states.
        pool: memory of other graphs, that this one may use too.

    Raises:
        RuntimeError: if something cannot be recorded.
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
        with torch.cuda.graph(other):  # a capture that succeeds gives generators back
            torch.zeros((), device=stream.device)
        raise


@contextlib.contextmanager
def nothing_collected() -> Iterator[None]:
    """Python's garbage is collected before this context, and none within it.

    Garbage may hold CUDA graphs, as of an earlier training; to free one while another is being
    captured spoils the capture.
    """
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
