"""Plans of epochs: the same whenever they are made."""

import pytest
import torch

from mlvae import InputError
from mlvae.data import Grouped, GroupedData, Shuffled
from mlvae.training.ranks import Ranks
from mlvae.training.seeding import seeded
from mlvae.training.speed.plans import Plans


def ragged():
    group = torch.arange(60) ** 2 % 7
    return GroupedData(torch.arange(60.0)[:, None], group)


def content(plan):
    return [(batch.x.flatten().tolist(), batch.groups.index.tolist()) for batch in plan]


@pytest.mark.parametrize("batching", [Shuffled(9), Grouped(3, 4, small_groups="keep")])
def test_a_plan_depends_on_seed_and_epoch_only_made_ahead_or_not(batching):
    data = ragged()
    now, ahead = (Plans(batching, data, seed=5, ahead=ahead) for ahead in (False, True))
    for epoch in range(3):
        expected = batching.plan(data, seeded(torch.Generator(), 5, "order", epoch))
        for plans in (now, ahead):
            assert content(plans.of(epoch)) == content(expected)
            plans.expect(epoch + 1)
    assert now.expected is None and ahead.expected[0] == 3


def test_a_plan_is_made_ahead_once():
    made = []

    class Counted(Shuffled):
        def plan(self, *args):
            made.append(True)
            return super().plan(*args)

    plans = Plans(Counted(9), ragged(), seed=0, ahead=True)
    plans.of(0)
    plans.expect(1)
    assert len(made) == 2
    plans.of(1)
    assert len(made) == 2 and plans.expected is None


def test_a_plan_of_another_epoch_than_the_expected_one_is_made_anew():
    plans = Plans(Shuffled(9), ragged(), seed=0, ahead=True)
    plans.expect(1)
    other = Plans(Shuffled(9), ragged(), seed=0)
    assert content(plans.of(4)) == content(other.of(4))
    assert content(plans.of(1)) == content(other.of(1))


def test_a_rank_has_its_share_of_each_batch():
    all_ranks = [Ranks(), Ranks(rank=0, count=2), Ranks(rank=1, count=2)]
    plans = [Plans(Shuffled(9), ragged(), seed=0, ranks=ranks).of(2) for ranks in all_ranks]
    for whole, *parts in zip(*plans, strict=True):
        seen = torch.cat([part.x for part in parts if part.groups.counts])
        assert sorted(seen.flatten().tolist()) == sorted(whole.x.flatten().tolist())


def test_on_a_cpu_no_plan_is_made_ahead():
    assert not Plans(Shuffled(9), ragged(), seed=0).ahead


@pytest.mark.parametrize("ahead", [False, True])
def test_groups_larger_than_the_model_takes_are_refused_in_every_plan(ahead):
    data, allowed = ragged(), Grouped(3, 2, small_groups="keep")
    plans = Plans(Grouped(3, 4, small_groups="keep"), data, seed=0, ahead=ahead, largest_group=2)
    for epoch in range(2):
        with pytest.raises(InputError, match=r"at most 2 .*of 4; .*batching.members=2"):
            plans.of(epoch)
        plans.expect(epoch + 1)
    plans = Plans(allowed, data, seed=0, ahead=ahead, largest_group=2)
    assert plans.of(0).largest_group() == 2
