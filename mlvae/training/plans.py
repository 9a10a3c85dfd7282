"""The plan of each epoch; on a CUDA device it is made while the epoch before is trained on.

To know how many groups each batch has, the host waits for what plans. On the stream of the
training steps that would be after all steps that were launched, and then the device would wait
for the host in its turn.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch

from mlvae.data import Grouped, GroupedData, Plan, Shuffled
from mlvae.training.ranks import Ranks
from mlvae.training.seeding import seeded

__all__ = ["Plans"]

#: Of more observations no plan is made ahead: two take memory, and a long epoch hides the wait.
MOST_AHEAD = 10_000_000


class Plans:
    """Plans of epochs, drawn from (seed, epoch) alone, whenever they are made.

    Args:
        batching: what plans an epoch.
        data: of the training.
        seed: of the order of observations.
        ranks: that train together; plans are this one's shares.
        ahead: whether :meth:`expect` makes plans; None: on a CUDA device, of data that are few
            enough.
    """

    def __init__(
        self,
        batching: Shuffled | Grouped,
        data: GroupedData,
        *,
        seed: int,
        ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
        ahead: bool | None = None,
    ) -> None:
        self.batching, self.data, self.seed, self.ranks = batching, data, seed, ranks
        cuda = data.device.type == "cuda"
        self.ahead = cuda and len(data) <= MOST_AHEAD if ahead is None else ahead
        self.order = torch.Generator(data.device)
        self.stream = torch.cuda.Stream(data.device) if cuda and self.ahead else None
        self.released = None if self.stream is None else self._steps().record_event()
        self.expected: tuple[int, Plan] | None = None
        self.given: Plan | None = None

    def of(self, epoch: int) -> Plan:
        """The plan of ``epoch``; those given before must not be used any more."""
        (number, plan), self.expected = self.expected or (None, None), None
        if number != epoch:
            plan = self._made(epoch)
        if self.stream is not None:
            steps = self._steps()
            steps.wait_stream(self.stream)
            # Memory of the last plan goes to the one after this, once steps are done with it. It
            # is held till then, whoever has let go of it: steps that were launched may be waiting.
            self.released, self.given = steps.record_event(), plan
        return plan

    def expect(self, epoch: int) -> None:
        """``epoch`` is next: best called when all steps of the one before have been launched."""
        if not self.ahead:
            return
        with nullcontext() if self.stream is None else torch.cuda.stream(self.stream):
            if self.stream is not None:
                self.stream.wait_event(self.released)
            self.expected = epoch, self._made(epoch)

    def _steps(self) -> torch.cuda.Stream:
        """The stream of the training steps."""
        return torch.cuda.current_stream(self.data.device)

    def _made(self, epoch: int) -> Plan:
        plan = self.batching.plan(self.data, seeded(self.order, self.seed, "order", epoch))
        return self.ranks.share(plan, span=self.batching.span_ranks)
