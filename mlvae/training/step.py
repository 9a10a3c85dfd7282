"""One training step: forward, backward, update."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.groups import Groups
from mlvae.training.compiling import compiled
from mlvae.training.graphs import Graphs
from mlvae.training.ranks import Ranks
from mlvae.training.sums import Passed, RunningSums, forward_of
from mlvae.training.update import CompiledUpdate, Update

__all__ = ["TrainingStep"]

LOG = logging.getLogger("mlvae")


class TrainingStep:
    """Forward, backward, update, and sums of every term.

    If the loss, a term or the gradient is not finite at some step, that update and all later ones
    are skipped on the device itself: the parameters stay as the last good step left them, until
    :meth:`failure` is asked.

    Args:
        model: returns an :class:`~mlvae.objectives.Objective` for a batch.
        optimizer: a fused optimiser of the model's parameters.
        gradient_clip: largest norm of the whole gradient, or None.
        precision: "float32"; "tf32", on a CUDA device, for matrix products in TF32; or "bfloat16"
            for them under autocast.
        graphs: on a CUDA device, capture the step as CUDA graphs; see
            :class:`~mlvae.training.graphs.Graphs`.
        compile: compile the forward pass and its gradient, see :mod:`mlvae.training.compiling`; on
            a CUDA device also the update.
        ranks: that train together; losses, gradients and sums are those of whole batches.

    Attributes:
        sums: what the steps saw.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        gradient_clip: float | None = None,
        precision: str = "float32",
        graphs: bool = False,
        compile: bool = False,
        ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    ) -> None:
        self.ranks = ranks
        self.optimizer = optimizer
        self.precision = precision
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        if compile:
            cuda = self.device.type == "cuda"
            layers = None if cuda and precision != "bfloat16" else precision
            self.forward = compiled(model, one_size=cuda, layers=layers)
        else:
            self.forward = forward_of(ranks.parallel(model))
        self.autocast = torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"
        )
        self.one = torch.ones((), device=self.device)
        self.sums = RunningSums(self.device)
        # A CPU has few threads, and an update is long there: PyTorch's own is as fast.
        update = CompiledUpdate if compile and self.device.type == "cuda" else Update
        self.update = update(optimizer, self.parameters, self.sums, gradient_clip=gradient_clip)
        graphs = graphs and self.device.type == "cuda"
        if graphs and ranks.several:
            graphs = False
            if ranks.first:
                LOG.info("the training step runs eagerly: several ranks train together")
        self.run = Graphs(self.eager) if graphs else self.eager

    def __call__(self, batch: Batch, step: int, generator: torch.Generator | None = None) -> None:
        """Train on ``batch``; ``step`` is only remembered in case it fails."""
        self.sums.number.fill_(step)
        self.run(batch, generator)

    def eager(self, batch: Batch, generator: torch.Generator | None) -> None:
        """Train on ``batch``, kernel by kernel, as the step that ``sums.number`` holds."""
        with _products_in(self.precision):
            with self.autocast:
                passed = self.forward(batch, generator=generator)
            loss, totals = self._of_all_ranks(passed, batch.groups)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward(self.one.to(loss.dtype))
        self.update(totals)

    def _of_all_ranks(self, passed: Passed, groups: Groups) -> tuple[Tensor, dict[str, Tensor]]:
        """Of a whole batch's loss this rank's part, and what all of it adds to the sums.

        The gradient is a mean over ranks, and that of this part is right as one term of it.
        """
        loss, num_groups, totals = passed
        if not self.ranks.several:
            return loss, totals
        whole = self.ranks.sum(torch.stack(list(totals.values())).double())
        share = self.ranks.count * groups.counts * num_groups
        part = loss * (share / whole[-1]).to(loss.dtype)
        return part, dict(zip(totals, whole.to(loss.dtype), strict=True))


@contextlib.contextmanager
def _products_in(precision: str) -> Iterator[None]:
    """Matrix products of float32 numbers in TF32 where that is the ``precision``.

    TF32 rounds the factors of a product to 10 bits of mantissa, on CUDA devices alone.
    """
    if precision != "tf32":  # whoever has set it otherwise is not overruled
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
