"""Compilation of a model's forward pass and its gradient by ``torch.compile``.

The model itself does not change: parameters, names, checkpoints and other callers, such as
validation, see the eager model. A training step calls one compiled function, from the encoder to
the sums of the terms, or runs eagerly. The numbers of observations and of groups may differ
between batches. On a CPU one piece of code serves all sizes, and a second one batches of a single
group. On a CUDA device, code for all sizes is slower and cannot be captured as a graph. There only
batches of one size are compiled: the size of the first of the largest batches, which is mostly
that of all batches but the last of an epoch. A batch of one observation runs eagerly, because
PyTorch 2.14 computes wrong strides for its images. Noise comes from the generator, as in the eager
model. A few operations are opaque to the compiler, because compiled code of them is slower: see
:mod:`mlvae.kernels`.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import nn

from mlvae.batch import Batch
from mlvae.errors import InputError
from mlvae.noise import HeldGenerator
from mlvae.training.players import graph_is_kept
from mlvae.training.ranks import Ranks
from mlvae.training.sums import Forward, Passed, forward_of

LOG = logging.getLogger("mlvae")

__all__ = ["TOGETHER", "check_compile", "compiled", "compiled_alone"]

#: Inductor's options for short kernels: independent kernels are combined, and so are kernels that
#: stack scalars.
TOGETHER = {"combo_kernels": True, "max_pointwise_cat_inputs": 32}


def check_compile(compile: bool, ranks: Ranks = Ranks()) -> None:
    """Raise :class:`InputError` if ``compile`` is set and compilation is not possible.

    Args:
        compile: the option.
        ranks: the processes that train together.
    """
    if not compile:
        return
    if ranks.several:
        raise InputError(
            f"trainer.speed.compile is for one process, not for {ranks.count} ranks; set it to "
            "false"
        )
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise InputError(
            f"trainer.speed.compile needs a C++ compiler, but {compiler} is not installed; "
            "install one (on Debian: apt install g++), set CXX, or set trainer.speed.compile to "
            "false"
        )


def compiled(
    model: nn.Module,
    *,
    one_size: bool = False,
    layers: str | None = None,
    several_losses: bool = False,
    backend: str = "inductor",
) -> Forward:
    """The compiled form of :func:`~mlvae.training.sums.forward_of`.

    The first call compiles. A model that cannot be compiled in one piece, or that needs to be
    compiled again and again, is an error: it does not run eagerly without notice.

    Args:
        model: returns an :class:`~mlvae.objectives.Objective` for a batch, and draws its noise
            through :mod:`mlvae.noise`.
        one_size: compile batches with the numbers of observations and groups of the first of the
            largest batches so far, and run others eagerly. If large batches differ in the number
            of groups, one line of the log reports it.
        layers: replace each linear layer and its activation by one operation, see
            :mod:`mlvae.kernels.dense`, with products in "float32", or in "bfloat16" under
            autocast. None leaves the layers to the compiler.
        several_losses: whether the gradients of several losses are computed one after the other.
            See :func:`mlvae.training.players.graph_is_kept`.
        backend: backend of ``torch.compile``.

    Returns:
        The function. It raises :class:`InputError` if the model cannot be compiled.

    Example:
        >>> from mlvae import Groups
        >>> from mlvae.models import MLVAE
        >>> model = MLVAE((1, 8, 8))
        >>> batch = Batch(torch.rand(6, 1, 8, 8), Groups.of([0, 0, 1, 1, 2, 2]))
        >>> passed = compiled(model, backend="eager")(batch)
        >>> passed.losses["model"].shape, passed.totals["observations"]
        (torch.Size([]), tensor(6.))
    """
    from torch import _dynamo  # seconds `import mlvae` need not take
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    held = HeldGenerator()
    eager = forward_of(model)
    options = TOGETHER if one_size and backend == "inductor" else {}
    if layers is None:
        run = compiled_alone(eager, backend=backend, options=options)
    else:
        half = layers == "bfloat16"
        run = compiled_alone(eager, backend=_with_dense_layers(backend, options, half=half))
    chosen, warned = (0,), False

    def forward(batch: Batch, *, generator: torch.Generator | None = None) -> Passed:
        nonlocal chosen, warned
        size = len(batch.x), *(each.num_groups for each in batch.groupings.values())
        if size[0] == 1:
            return eager(batch, generator=generator)
        if size[0] > chosen[0]:
            chosen = size
        if one_size and size != chosen:
            if size[0] == chosen[0] and not warned:
                warned = True
                LOG.warning(
                    "batches of %d observations differ in their number of groups; only those with "
                    "%s groups are compiled",
                    chosen[0],
                    " and ".join(map(str, chosen[1:])),
                )
            return eager(batch, generator=generator)
        if not one_size:
            for values in (
                batch.x,
                *(each.index for each in batch.groupings.values()),
                *(each.sizes for each in batch.groupings.values()),
                *batch.given.values(),
            ):
                _dynamo.maybe_mark_dynamic(values, 0)
        held.generator = generator
        try:
            with graph_is_kept() if several_losses else nullcontext():
                return run(batch, generator=held)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            raise InputError(
                f"this {type(model).__name__} cannot be compiled "
                f"({str(error).strip().splitlines()[0]}); set trainer.speed.compile to false"
            ) from error

    return forward


def _with_dense_layers(
    backend: str, options: dict[str, object], *, half: bool
) -> Callable[..., Any]:
    """A backend of ``torch.compile`` that replaces layers by single operations first."""
    from torch import _dynamo

    from mlvae.kernels.layers import with_dense_layers

    inner: Callable[..., Any] = _dynamo.lookup_backend(backend)
    if options:
        inner = partial(inner, config_patches=options)
    return lambda graph, inputs: inner(with_dense_layers(graph, half=half), inputs)


def compiled_alone(function: FunctionType, **options: Any) -> Callable[..., Any]:
    """``function`` compiled in one piece, with a code object of its own.

    PyTorch compiles a code object a limited number of times, for all functions that share it. With
    a shared code object, the last of ten models that a notebook trains would not be compiled.

    Args:
        function: a function.
        options: options of ``torch.compile``.
    """
    own = FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    own.__kwdefaults__ = function.__kwdefaults__
    return torch.compile(own, fullgraph=True, **options)
