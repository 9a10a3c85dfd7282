"""A model's forward pass, and so its gradient, compiled by ``torch.compile``.

The model itself is left as it is: its parameters, their names and its checkpoints are those of the
eager one, and so is all that calls it elsewhere, as validation does. What a training step calls is
compiled in one piece, from the encoder to the sums of the terms, or not at all. The numbers of
observations and of groups may vary from batch to batch: on a CPU one piece of code serves all,
another batches of a single group. On a CUDA device code for any size is slower and cannot be
captured as a graph; there only batches of one size are compiled, that of the first among those
with the most observations, which mostly are all but the last of an epoch. A batch of one
observation runs eagerly: PyTorch 2.14 has the strides of its images wrong. Noise is drawn by the
generator, as the eager model draws it. A few things are operations that the compiler does not look
into, because it makes them slower: see :mod:`mlvae.kernels`.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import nn

from mlvae.batch import Batch
from mlvae.errors import InputError, check_flag
from mlvae.noise import HeldGenerator
from mlvae.training.ranks import Ranks
from mlvae.training.sums import Forward, Passed, forward_of

LOG = logging.getLogger("mlvae")

__all__ = ["TOGETHER", "check_compile", "compiled", "compiled_alone"]

#: Inductor's options where kernels are short: those that need not wait for one another are one,
#: and so are those that only put scalars side by side.
TOGETHER = {"combo_kernels": True, "max_pointwise_cat_inputs": 32}


def check_compile(compile: bool, ranks: Ranks = Ranks()) -> None:  # noqa: B008 (frozen)
    """Raise :class:`InputError` if ``compile`` is asked for where it cannot be.

    Args:
        compile: the option.
        ranks: that train together.
    """
    check_flag("trainer.compile", compile)
    if not compile:
        return
    if ranks.several:
        raise InputError(
            f"trainer.compile is for one process, but a batch is shared by {ranks.count} ranks; "
            "set it to false"
        )
    compiler = os.environ.get("CXX", "cl" if os.name == "nt" else "g++")
    if shutil.which(compiler) is None:
        raise InputError(
            f"trainer.compile needs a C++ compiler, but there is no {compiler}; install one (on "
            "Debian: apt install g++), name yours in CXX, or set trainer.compile to false"
        )


def compiled(
    model: nn.Module,
    *,
    one_size: bool = False,
    layers: str | None = None,
    backend: str = "inductor",
) -> Forward:
    """What is called as ``model`` is, on a batch with a generator, and gives what a step needs.

    That is the same loss, and what the batch adds to the sums of a training.

    The first call compiles. A model that cannot be compiled in one piece, or needs to be compiled
    anew again and again, is an error and does not run eagerly unnoticed.

    Args:
        model: returns an :class:`~mlvae.objectives.Objective` for a batch, and draws its noise by
            :mod:`mlvae.noise`.
        one_size: compile batches that have as many observations and groups as the first of the
            largest so far, and run others eagerly. If there are as large ones of other numbers of
            groups, the log says so once.
        layers: make each linear layer with its activation one operation, see
            :mod:`mlvae.kernels.dense`: with products in "float32", or in "bfloat16" under
            autocast. None leaves them to the compiler.
        backend: of ``torch.compile``.

    Returns:
        The function. It raises :class:`InputError` if the model cannot be compiled.

    Example:
        >>> from mlvae import Groups
        >>> from mlvae.models import MLVAE
        >>> model = MLVAE((1, 8, 8))
        >>> batch = Batch(torch.rand(6, 1, 8, 8), Groups.of([0, 0, 1, 1, 2, 2]))
        >>> passed = compiled(model, backend="eager")(batch)
        >>> passed.loss.shape, passed.totals["observations"]
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
    chosen, said = (0, 0), False

    def forward(batch: Batch, *, generator: torch.Generator | None = None) -> Passed:
        nonlocal chosen, said
        size = len(batch.x), batch.groups.num_groups
        if size[0] == 1:
            return eager(batch, generator=generator)
        if size[0] > chosen[0]:
            chosen = size
        if one_size and size != chosen:
            if size[0] == chosen[0] and not said:
                said = True
                LOG.warning(
                    "batches of %d observations differ in their number of groups; of them only "
                    "those of %d groups are compiled",
                    *chosen,
                )
            return eager(batch, generator=generator)
        if not one_size:
            for values in (batch.x, batch.groups.index, batch.groups.sizes):
                _dynamo.maybe_mark_dynamic(values, 0)
        held.generator = generator
        try:
            return run(batch, generator=held)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            raise InputError(
                f"this {type(model).__name__} cannot be compiled "
                f"({str(error).strip().splitlines()[0]}); set trainer.compile to false"
            ) from error

    return forward


def _with_dense_layers(
    backend: str, options: dict[str, object], *, half: bool
) -> Callable[..., Any]:
    """``backend`` of ``torch.compile``, which is given the layers as operations of their own."""
    from torch import _dynamo

    from mlvae.kernels.layers import with_dense_layers

    compile = _dynamo.lookup_backend(backend)
    if options:
        compile = partial(compile, config_patches=options)
    return lambda graph, inputs: compile(with_dense_layers(graph, half=half), inputs)


def compiled_alone(function: FunctionType, **options: object) -> Callable[..., Any]:
    """``function`` compiled in one piece, with a code that it shares with no other.

    PyTorch compiles a code a few times and then never again, whichever of the functions that share
    it was called: of ten models that a notebook trains, the last would not be compiled.

    Args:
        function: a function.
        options: of ``torch.compile``.
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
