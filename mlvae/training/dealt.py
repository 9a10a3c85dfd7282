"""Data in parts, dealt to the ranks anew in each epoch.

Each rank opens the parts of its hands only, and holds their group index and their plan. The
batches are those of :mod:`mlvae.data.dealing`: they depend on the number of hands, not on the
number of ranks. So a run may be resumed with any number of ranks up to the number of hands, and
has the same batches and the same noise; sums differ in their order.
"""

from __future__ import annotations

from pathlib import Path

import torch

from mlvae.data import Grouped, Plan, Shuffled
from mlvae.data.dealing import DealtPlan, bounds_of_hand, deal, num_batches, side_by_side
from mlvae.data.parted import PartedData, joined
from mlvae.errors import InputError
from mlvae.models.protocol import traits
from mlvae.training.checkpoint import read_state
from mlvae.training.ranks import Ranks
from mlvae.training.seeding import seeded

__all__ = ["Dealt", "check_unlabelled", "hands_of"]


class Dealt:
    """The plans of one rank for data in parts.

    Args:
        data: the training data.
        batching: makes the plans.
        seed: seed of the order of observations and of the deal of parts.
        ranks: the processes that train together.
        hands: number of hands; None: that of the data, or the number of ranks.

    Raises:
        InputError: if there are more ranks than hands, or more hands than parts, or if a group is
            to span ranks.
    """

    def __init__(
        self,
        data: PartedData,
        batching: Shuffled | Grouped,
        *,
        seed: int,
        ranks: Ranks = Ranks(),
        hands: int | None = None,
    ) -> None:
        self.data, self.batching, self.seed, self.ranks = data, batching, seed, ranks
        self.hands = hands or data.hands or ranks.count
        self._check()
        self.pieces = [batching.num_pieces(part.sizes, part.counts) for part in data.parts]
        self.num_batches = num_batches(sum(self.pieces), batching.pieces)
        self.order = torch.Generator(ranks.device)

    def fingerprint(self) -> dict[str, object]:
        """Counts of the data, and the hands, by which a resumed training recognises its data."""
        return self.data.fingerprint() | {"hands": self.hands}

    @property
    def own(self) -> range:
        """The hands of this rank."""
        rank, ranks = self.ranks.rank, self.ranks.count
        return range(rank * self.hands // ranks, (rank + 1) * self.hands // ranks)

    def parts(self, epoch: int) -> list[list[int]]:
        """The parts of each hand in ``epoch``, the same on all ranks."""
        generator = seeded(torch.Generator(), self.seed, "parts", epoch)
        return deal(len(self.data.parts), self.hands, generator)

    def plan(self, epoch: int) -> Plan:
        """This rank's slices of the batches of ``epoch``. A collective."""
        plan = self.slices(epoch)
        return self._share(plan) if self.ranks.several else plan

    def slices(self, epoch: int) -> Plan:
        """This rank's slices of the batches of ``epoch``, as batches of their own."""
        dealt = self.parts(epoch)
        pieces = [sum(self.pieces[part] for part in parts) for parts in dealt]
        plans = []
        for hand in self.own:
            opened = [self.data.parts[part].opened() for part in dealt[hand]]
            data = joined(opened, same_labels=False).to(self.ranks.device)
            generator = seeded(self.order, self.seed, f"order of hand {hand}", epoch)
            bounds = bounds_of_hand(pieces, hand, self.batching.pieces)
            plans.append(self.batching.plan_between(bounds, data, generator))
        return side_by_side(plans, joined([plan.data for plan in plans], same_labels=False))

    def _share(self, plan: Plan) -> DealtPlan:
        """The plan with the sizes of the whole batches, which the ranks exchange."""
        table = torch.zeros(self.ranks.count, 2, len(plan), dtype=torch.int64)
        table[self.ranks.rank, 0] = torch.tensor(plan.rows).diff()
        table[self.ranks.rank, 1] = torch.tensor(plan.first).diff()
        table = self.ranks.sum(table)
        before, total = table[: self.ranks.rank].sum(0).tolist(), table.sum(0).tolist()
        return DealtPlan(
            **vars(plan),
            rank=self.ranks.rank,
            start_row=before[0],
            num_rows=total[0],
            start_group=before[1],
            num_groups=total[1],
        )

    def _check(self) -> None:
        parts, ranks = len(self.data.parts), self.ranks.count
        if self.batching.span_ranks:
            raise InputError(
                "batching.span_ranks must be false with data in parts, whose groups lie on one "
                "rank; a group larger than a part is cut"
            )
        if self.hands > parts:
            raise InputError(
                f"{self.hands} hands need as many parts, not {parts}; prepare the collection with "
                f"dataset.parts={self.hands} or more, or start fewer processes"
            )
        if ranks > self.hands:
            raise InputError(
                f"{ranks} processes need as many hands of parts, but this training has "
                f"{self.hands}; start {self.hands} or fewer, or a new run with more hands"
            )


def check_unlabelled(model: object) -> None:
    """Raise :class:`InputError` if a model needs the number of each group in all data."""
    if "label" in traits(model).needs:
        raise InputError(
            f"a {type(model).__name__} needs the label of each observation among all groups, "
            "which data in parts do not number; use the data whole, as dataset.parts=null"
        )


def hands_of(run: Path) -> int | None:
    """The hands of the run that is resumed; None if its data were whole."""
    found = read_state(run / "checkpoint.pt").get("fixed", {}).get("data", {})
    hands = found.get("hands") if isinstance(found, dict) else None
    return hands if type(hands) is int and hands > 0 else None
