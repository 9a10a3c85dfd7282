"""The shares of a batch: together they are the batch, and each is a batch of its own."""

import pytest
import torch

from mlvae import DiagonalGaussian, Groups
from mlvae.data import Grouped, GroupedData, GroupWarp, Shuffled
from mlvae.data.sharing import share
from mlvae.posteriors import GroupMixture

# The last batch of the second has one group, of which all but one rank have nothing.
BATCHINGS = [Shuffled(16), Grouped(3, 4, "keep"), Grouped(100, 2, "keep"), Shuffled(1)]
each_batching = pytest.mark.parametrize("batching", BATCHINGS, ids=repr)
each_count = pytest.mark.parametrize("ranks", [1, 2, 3, 7])
each_span = pytest.mark.parametrize("span", [False, True])


def data(shape=(2,)):
    labels = torch.repeat_interleave(torch.arange(5), torch.tensor([7, 1, 12, 3, 30]))
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(53, *shape, generator=generator)
    return GroupedData(x, labels, given={"mask": torch.arange(53) % 3 > 0})


def planned(batching, shape=(2,)):
    return batching.plan(data(shape), torch.Generator().manual_seed(1))


def shares(plan, ranks, span=False):
    return [share(plan, rank=rank, ranks=ranks, span=span) for rank in range(ranks)]


# Properties


@each_batching
@each_count
@each_span
def test_shares_are_rows_of_the_batch_and_count_each_observation_and_group_once(
    batching, ranks, span
):
    plan = planned(batching)
    parts = shares(plan, ranks, span)
    assert all(len(part) == len(plan) for part in parts)
    for whole, *batches in zip(plan, *parts, strict=True):
        owned = [batch.groups for batch in batches]
        for batch, groups in zip(batches, owned, strict=True):
            assert torch.equal(batch.x, whole.x[groups.rows])
            assert torch.equal(batch.given["mask"], whole.given["mask"][groups.rows])
            number = groups.index + groups.first_group
            assert torch.equal(number, whole.groups.index[groups.rows])
            sizes = whole.groups.sizes[groups.first_group :][: groups.num_groups]
            assert torch.equal(groups.sizes, sizes)
        counted = torch.cat([groups.rows for groups in owned if groups.counts])
        assert sorted(counted.tolist()) == list(range(len(whole.x)))
        groups = sum(groups.num_groups for groups in owned if groups.counts_groups)
        assert groups == whole.groups.num_groups


@each_batching
@each_count
def test_a_share_without_spanning_has_whole_groups_and_at_least_one(batching, ranks):
    for part in shares(planned(batching), ranks):
        for batch in part:
            groups = batch.groups
            assert torch.equal(Groups(groups.index, groups.num_groups).sizes, groups.sizes)
            assert len(batch.x) and groups.num_groups


@each_batching
@each_count
def test_shares_of_whole_groups_differ_by_the_largest_group_at_most(batching, ranks):
    for whole, *batches in zip(planned(batching), *shares(planned(batching), ranks), strict=True):
        fair, largest = len(whole.x) / ranks, int(whole.groups.sizes.max())
        for batch in batches:
            assert not batch.groups.counts or abs(len(batch.x) - fair) <= largest


@each_batching
@each_count
def test_spanning_shares_differ_by_one_observation_at_most(batching, ranks):
    for batches in zip(*shares(planned(batching), ranks, span=True), strict=True):
        numbers = [len(batch.x) for batch in batches]
        assert max(numbers) - min(numbers) <= 1


@each_count
@pytest.mark.parametrize(
    "chosen",
    [
        lambda groups, g: groups.random_subset(generator=g),
        lambda groups, g: groups.random_subset(generator=g, proper=True),
        lambda groups, g: (groups.index, groups.fellow_members(generator=g)),
    ],
)
def test_members_are_chosen_as_in_the_whole_batch(ranks, chosen):
    plan = planned(BATCHINGS[0])
    for part in shares(plan, ranks):
        for whole, batch in zip(plan, part, strict=True):
            groups, seed = batch.groups, torch.Generator().manual_seed(8)
            expected = chosen(whole.groups, seed)
            got = chosen(groups, groups.generator(seed.manual_seed(8)))
            if isinstance(got, tuple):  # members, by their places in the whole batch
                assert torch.equal(groups.rows[got[1]], expected[1][groups.rows])
            else:
                assert torch.equal(got, expected[groups.rows])


@each_count
@pytest.mark.parametrize("unit", ["group", "member"])
def test_a_mixture_draws_as_in_the_whole_batch(ranks, unit):
    def drawn(batch, generator):
        mixture = GroupMixture(DiagonalGaussian(batch.x, batch.x), batch.groups)
        if unit == "group":
            return mixture.sample_groups(generator=generator)
        return mixture.sample_members(batch.groups, generator=generator)

    plan = planned(BATCHINGS[0])
    for part in shares(plan, ranks):
        for whole, batch in zip(plan, part, strict=True):
            groups, seed = batch.groups, torch.Generator().manual_seed(8)
            expected = drawn(whole, seed)
            own = slice(groups.first_group, groups.first_group + groups.num_groups)
            got = drawn(batch, groups.generator(seed.manual_seed(8)))
            assert torch.equal(got, expected[own if unit == "group" else groups.rows])


@each_count
@each_span
def test_images_are_warped_as_in_the_whole_batch(ranks, span):
    warp, plan = GroupWarp(), planned(Grouped(3, 4, "keep"), shape=(1, 8, 8))
    for part in shares(plan, ranks, span):
        for whole, batch in zip(plan, part, strict=True):
            seed = torch.Generator().manual_seed(8)
            expected = warp(whole, generator=seed).x[batch.groups.rows]
            generator = batch.groups.generator(seed.manual_seed(8))
            torch.testing.assert_close(warp(batch, generator=generator).x, expected)


# Behaviour


def test_groups_of_one_process_count_once_without_a_change():
    values = torch.rand(2, 3)
    groups = Groups.of([0, 1, 1])
    for reduced in (groups.count_once, groups.all_reduce, groups.rank_share):
        assert reduced(values) is values


@pytest.mark.parametrize(
    ("sizes", "expected"), [([6, 2], [[6], [2]]), ([2, 6], [[2], [6]]), ([3, 2, 3], [[3], [2, 3]])]
)
def test_the_middle_of_a_group_decides_its_rank(sizes, expected):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    plan = Shuffled(8).plan(GroupedData(torch.zeros(8, 2), labels), None)
    shares = [share(plan, rank=rank, ranks=2)[0].groups for rank in (0, 1)]
    assert [groups.sizes.tolist() for groups in shares] == expected
    assert all(groups.counts for groups in shares)


def test_only_the_observations_of_the_share_are_read():
    plan = planned(Shuffled(16))
    read = []

    class Counting:
        def __getattr__(self, name):
            return getattr(plan.data, name)

        def gathered(self, indices, groups, further):
            read.append(len(indices))
            return plan.data.gathered(indices, groups, further)

    part = share(plan, rank=0, ranks=2, span=True)
    object.__setattr__(part, "data", Counting())
    list(part)
    assert read == [8, 8, 8, 3]
