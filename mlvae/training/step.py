"""One training step, and the running sums of what it sees.

Sums and the verdict whether all is finite stay on the device; nothing waits for it until they are
read.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mlvae.batch import Batch
from mlvae.groups import Groups
from mlvae.objectives import Objective
from mlvae.shares import Share
from mlvae.training.compiling import compiled
from mlvae.training.graphs import Graphs
from mlvae.training.ranks import Ranks

__all__ = ["TrainingStep", "averages", "counted"]

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
        precision: "float32", or "bfloat16" for matrix products under autocast.
        graphs: on a CUDA device, capture the step as CUDA graphs; see
            :class:`~mlvae.training.graphs.Graphs`.
        compile: compile the forward pass and its gradient; see :mod:`mlvae.training.compiling`.
        ranks: that train together; losses, gradients and sums are those of whole batches.
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
        self.model = compiled(model) if compile else ranks.parallel(model)
        self.optimizer = optimizer
        self.gradient_clip = gradient_clip
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        self.autocast = torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"
        )
        self.one = torch.ones((), device=self.device)
        # All of these are written in place: a CUDA graph knows tensors by their addresses.
        self.number = torch.zeros((), dtype=torch.int64, device=self.device)
        self.good = torch.ones((), dtype=torch.bool, device=self.device)
        self.failed = torch.zeros((), device=self.device)  # the contrary, as optimisers want it
        self.failed_step = torch.full((), -1, dtype=torch.int64, device=self.device)
        self.witness: Tensor | None = None  # the terms of the last step, or the one that failed
        optimizer.found_inf = self.failed  # fused optimisers skip the update where this is 1
        self.names: list[str] = []  # of the sums: terms, and what was counted
        self.sums: Tensor | None = None
        graphs = graphs and self.device.type == "cuda"
        if graphs and ranks.several:
            graphs = False
            if ranks.first:
                LOG.info("the training step runs eagerly: several ranks train together")
        self.run = Graphs(self.eager) if graphs else self.eager

    def reset(self) -> None:
        """Begin new sums."""
        if self.sums is not None:
            self.sums.zero_()

    def __call__(self, batch: Batch, step: int, generator: torch.Generator | None = None) -> None:
        """Train on ``batch``; ``step`` is only remembered in case it fails."""
        self.number.fill_(step)
        self.run(batch, generator)

    def eager(self, batch: Batch, generator: torch.Generator | None) -> None:
        """Train on ``batch``, kernel by kernel, as the step that ``number`` holds."""
        with self.autocast:
            objective = self.model(batch, generator=generator)
        totals, loss = self._of_all_ranks(objective, batch.groups)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(self.one.to(loss.dtype))
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = get_total_norm(gradients, foreach=True)
        if self.gradient_clip is not None:
            clip_grads_with_norm_(self.parameters, self.gradient_clip, norm, foreach=True)
        numbers = {name: totals.pop(name) for name in ("observations", "groups")}
        self._count({**totals, "gradient_norm": norm, **numbers, "batches": self.one})
        self.optimizer.step()

    def _of_all_ranks(
        self, objective: Objective, groups: Groups
    ) -> tuple[dict[str, Tensor], Tensor]:
        """What the whole batch adds to the sums, and of its loss this rank's part.

        The gradient is a mean over ranks, and that of this part is right as one term of it.
        """
        totals = counted(objective, groups)
        if not self.ranks.several:
            return totals, objective.loss
        whole = self.ranks.sum(torch.stack(list(totals.values())).double())
        share = self.ranks.count * groups.counts * objective.num_groups
        part = objective.loss * (share / whole[-1]).to(objective.loss.dtype)
        return dict(zip(totals, whole.to(objective.loss.dtype), strict=True)), part

    @torch.no_grad()
    def _count(self, totals: dict[str, Tensor]) -> None:
        self.names = list(totals)
        now = torch.stack(list(totals.values())).double()
        if self.witness is None:
            self.witness = torch.zeros_like(now)
        if self.sums is None:
            self.sums = torch.zeros_like(now)
        # What failed stays, and so does the verdict on it. Few kernels: they are short, but many.
        torch.where(self.good, now, self.witness, out=self.witness)
        torch.where(self.good, self.number, self.failed_step, out=self.failed_step)
        largest = torch.linalg.vector_norm(self.witness, torch.inf)  # NaN if one is
        torch.lt(largest, torch.inf, out=self.good)
        torch.logical_not(self.good, out=self.failed)
        torch.where(self.good, self.sums + now, self.sums, out=self.sums)

    def failure(self) -> tuple[int, str] | None:
        """The first step that was not finite and what was not, or None. Waits for the device."""
        if not self.failed.item():
            return None
        values = dict(zip(self.names, self.witness.tolist(), strict=True))
        wrong = {name: v for name, v in values.items() if not abs(v) < float("inf")}
        # The loss and the bound are sums of the terms: name a term where one is at fault.
        terms = {k: v for k, v in wrong.items() if k not in ("loss", "elbo")} or wrong
        if len(terms) > 1:
            terms.pop("gradient_norm", None)
        return int(self.failed_step), ", ".join(f"{name} is {v}" for name, v in terms.items())

    def read(self) -> dict[str, float]:
        """Averages since the last :meth:`reset`. Waits for the device."""
        totals = dict(zip(self.names, self.sums.tolist(), strict=True))
        observations, groups, batches = map(totals.pop, ("observations", "groups", "batches"))
        norm = totals.pop("gradient_norm") / batches
        return {**averages(totals, observations, groups), "gradient_norm": norm}

    def state_dict(self) -> dict[str, object]:
        """The sums, for a checkpoint."""
        return {"names": self.names, "sums": None if self.sums is None else self.sums.clone()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue the sums of a checkpoint."""
        self.names = state["names"]
        self.sums = None if state["sums"] is None else state["sums"].to(self.device)


def counted(objective: Objective, groups: Groups) -> dict[str, Tensor]:
    """What a batch adds to the sums, shape () each: totals in nats, observations, groups.

    Of a share of a batch it is what is counted here, so that a sum over ranks has all once.
    """
    totals = objective.totals()
    like = totals["loss"]
    counts = groups_count = 1
    if isinstance(groups, Share):
        counts, groups_count = groups.counts, groups.counts_groups
        totals = {name: counts * total for name, total in totals.items()}
    totals["observations"] = torch.full_like(like, counts * objective.num_observations)
    totals["groups"] = torch.full_like(like, groups_count * objective.num_groups)
    return totals


def averages(totals: dict[str, float], num_observations: int, num_groups: int) -> dict[str, float]:
    """Every total in nats per observation and per group; the loss is per group by definition."""
    result = {"loss": totals["loss"] / num_groups}
    for name, total in totals.items():
        if name != "loss":
            result[f"{name}_per_observation"] = total / num_observations
            result[f"{name}_per_group"] = total / num_groups
    return result
