"""The plan of each epoch; on a CUDA device it is made during the epoch before.

The host waits for the plan's computation, because it needs the number of groups of each batch. On
the stream of the training steps it would wait for all launched steps, and then the device would
wait for the host.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch

from mlvae.data import Grouped, GroupedData, Plan, Shuffled
from mlvae.errors import InputError
from mlvae.training.dealt import Dealt
from mlvae.training.ranks import Ranks
from mlvae.training.seeding import seeded

__all__ = ["Plans"]

#: Larger data have no plan made ahead: two plans take memory, and a long epoch hides the wait.
MOST_AHEAD = 10_000_000


class Plans:
    """Plans of epochs. A plan depends on (seed, epoch) alone.

    Args:
        batching: makes the plans.
        data: the training data.
        seed: seed of the order of observations.
        ranks: the processes that train together; the plans are this rank's shares.
        ahead: whether :meth:`expect` makes plans; None: on a CUDA device, up to a number of
            observations.
        largest_group: largest number of members of a group; None: any.
        dealt: makes the plans of data in parts, of which ``data`` is the first; None: the data are
            whole.
    """

    def __init__(
        self,
        batching: Shuffled | Grouped,
        data: GroupedData,
        *,
        seed: int,
        ranks: Ranks = Ranks(),
        ahead: bool | None = None,
        largest_group: int | None = None,
        dealt: Dealt | None = None,
    ) -> None:
        self.largest_group = largest_group
        self.batching, self.data, self.seed, self.ranks = batching, data, seed, ranks
        cuda = data.device.type == "cuda"
        self.dealt = dealt
        small = len(data) <= MOST_AHEAD and dealt is None
        self.ahead = cuda and small if ahead is None else ahead
        self.order = torch.Generator(data.device)
        self.stream = torch.cuda.Stream(data.device) if cuda and self.ahead else None
        self.released = None if self.stream is None else self._steps().record_event()
        self.expected: tuple[int, Plan] | None = None
        self.given: Plan | None = None

    def of(self, epoch: int) -> Plan:
        """The plan of ``epoch``. Plans returned before must not be used any more.

        Raises:
            InputError: if a group is larger than ``largest_group``.
        """
        expected, self.expected = self.expected, None
        ready = expected is not None and expected[0] == epoch
        plan = expected[1] if expected is not None and ready else self._made(epoch)
        if self.largest_group is not None and plan.largest_group() > self.largest_group:
            raise InputError(
                f"the model is trained on groups of at most {self.largest_group} observations, "
                f"not of {plan.largest_group()}; use batching=grouped with "
                f"batching.members={self.largest_group}"
            )
        if self.stream is not None:
            steps = self._steps()
            steps.wait_stream(self.stream)
            # The plan after this one may reuse the memory of the last plan once the launched steps
            # have ended. Until then this object holds the plan.
            self.released, self.given = steps.record_event(), plan
        return plan

    def expect(self, epoch: int) -> None:
        """Make the plan of ``epoch`` ahead; best called when the steps before it are launched."""
        if not self.ahead:
            return
        with nullcontext() if self.stream is None else torch.cuda.stream(self.stream):
            if self.stream is not None and self.released is not None:
                self.stream.wait_event(self.released)
            self.expected = epoch, self._made(epoch)

    def _steps(self) -> torch.cuda.Stream:
        """The stream of the training steps."""
        return torch.cuda.current_stream(self.data.device)

    def _made(self, epoch: int) -> Plan:
        if self.dealt is not None:
            return self.dealt.plan(epoch)
        plan = self.batching.plan(self.data, seeded(self.order, self.seed, "order", epoch))
        return self.ranks.share(plan, span=self.batching.span_ranks)
