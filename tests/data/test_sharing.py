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
    return GroupedData(torch.rand(53, *shape, generator=generator), labels)


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
        for x, mine in batches:
            assert torch.equal(x, whole.x[mine.rows])
            number = mine.index + mine.first_group
            assert torch.equal(number, whole.groups.index[mine.rows])
            sizes = whole.groups.sizes[mine.first_group :][: mine.num_groups]
            assert torch.equal(mine.sizes, sizes)
        counted = torch.cat([mine.rows for _, mine in batches if mine.counts])
        assert sorted(counted.tolist()) == list(range(len(whole.x)))
        groups = sum(mine.num_groups for _, mine in batches if mine.counts_groups)
        assert groups == whole.groups.num_groups


@each_batching
@each_count
def test_a_share_without_spanning_has_whole_groups_and_at_least_one(batching, ranks):
    for part in shares(planned(batching), ranks):
        for x, mine in part:
            assert torch.equal(Groups(mine.index, mine.num_groups).sizes, mine.sizes)
            assert len(x) and mine.num_groups


@each_batching
@each_count
def test_whole_groups_are_as_balanced_as_their_sizes_let_them_be(batching, ranks):
    for whole, *batches in zip(planned(batching), *shares(planned(batching), ranks), strict=True):
        fair, largest = len(whole.x) / ranks, int(whole.groups.sizes.max())
        for x, mine in batches:
            assert not mine.counts or abs(len(x) - fair) <= largest


@each_batching
@each_count
def test_spanning_shares_differ_by_one_observation_at_most(batching, ranks):
    for batches in zip(*shares(planned(batching), ranks, span=True), strict=True):
        numbers = [len(x) for x, _ in batches]
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
        for whole, (_, mine) in zip(plan, part, strict=True):
            seed = torch.Generator().manual_seed(8)
            expected = chosen(whole.groups, seed)
            got = chosen(mine, mine.generator(seed.manual_seed(8)))
            if isinstance(got, tuple):  # members, by their places in the whole batch
                assert torch.equal(mine.rows[got[1]], expected[1][mine.rows])
            else:
                assert torch.equal(got, expected[mine.rows])


@each_count
@pytest.mark.parametrize("method", ["sample", "sample_each"])
def test_a_mixture_draws_as_in_the_whole_batch(ranks, method):
    plan = planned(BATCHINGS[0])
    for part in shares(plan, ranks):
        for whole, (x, mine) in zip(plan, part, strict=True):
            seed = torch.Generator().manual_seed(8)
            mixture = GroupMixture(DiagonalGaussian(whole.x, whole.x), whole.groups)
            expected = getattr(mixture, method)(generator=seed)
            groups = slice(mine.first_group, mine.first_group + mine.num_groups)
            generator = mine.generator(seed.manual_seed(8))
            got = getattr(GroupMixture(DiagonalGaussian(x, x), mine), method)(generator=generator)
            assert torch.equal(got, expected[groups if method == "sample" else mine.rows])


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


def test_groups_that_are_nowhere_shared_count_once_as_they_are():
    values = torch.rand(2, 3)
    assert Groups.of([0, 1, 1]).once(values) is values


def test_only_the_observations_of_the_share_are_read():
    plan = planned(Shuffled(16))
    read = []

    class Counting:
        def __getattr__(self, name):
            return getattr(plan.data, name)

        def kept(self, indices):
            read.append(len(indices))
            return plan.data.kept(indices)

    part = share(plan, rank=0, ranks=2, span=True)
    object.__setattr__(part, "data", Counting())
    list(part)
    assert read == [8, 8, 8, 3]
