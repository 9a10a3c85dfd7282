"""The groups of a batch have the numbers and sizes of their groups in the data set."""

import pytest
import torch

from mlvae import Batch, GroupedData, Groups
from mlvae.data import Grouped, GroupWarp, Shuffled
from mlvae.data.sharing import share

SIZES = [5, 1, 30, 3]
BATCHINGS = [
    Shuffled(4),
    Shuffled(1000),
    Grouped(groups=5, members=4, small_groups="keep"),
    Grouped(groups=2, members=1000, small_groups="keep"),
]
every_batching = pytest.mark.parametrize("batching", BATCHINGS, ids=repr)


def ragged(shape=(1, 1, 1)):
    """Groups of the sizes SIZES in random order; all elements of observation i are i."""
    labels = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
    mixed = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(9))]
    x = torch.arange(len(labels)).to(torch.uint8).view(-1, *[1] * len(shape))
    return GroupedData(x.expand(-1, *shape), [f"group {label}" for label in mixed.tolist()])


def origin_of(groups):
    """The origin of groups that have one."""
    assert groups.origin is not None
    return groups.origin


def agrees(batch, data):
    """Whether the origin of a batch agrees with the groups of its observations in the data."""
    number = data.groups.index[(batch.x.flatten(1)[:, 0] * 255).round().long()]
    origin = origin_of(batch.groups)
    same = torch.equal(batch.groups.spread(origin.number), number)
    return same and torch.equal(batch.groups.spread(origin.sizes), data.groups.sizes[number])


# Properties


@every_batching
def test_batches_have_the_number_and_size_of_the_group_of_every_observation(batching):
    data = ragged()
    for batch in batching.plan(data, torch.Generator().manual_seed(0)):
        assert agrees(batch, data)
        assert len(origin_of(batch.groups).number) == batch.groups.num_groups
        assert origin_of(batch.groups).names is data.group_names


@every_batching
@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("span", [False, True])
def test_shares_of_batches_have_the_number_and_size_of_every_group(batching, ranks, span):
    data = ragged()
    plan = batching.plan(data, torch.Generator().manual_seed(0))
    for rank in range(ranks):
        for batch in share(plan, rank=rank, ranks=ranks, span=span):
            assert len(origin_of(batch.groups).number) == batch.groups.num_groups
            assert agrees(batch, data)


@pytest.mark.parametrize("indices", [None, [7, 3, 20, 3], torch.arange(39) % 2 == 0])
def test_a_batch_of_selected_observations_has_group_sizes_of_the_whole_data_set(indices):
    data = ragged()
    batch = data.batch(indices)
    assert agrees(batch, data)
    checked = Groups(batch.groups.index)  # with the checks that a batch omits
    assert torch.equal(checked.sizes, batch.groups.sizes)


@pytest.mark.parametrize("rows", [None, torch.tensor([2, 0, 0])])
def test_single_observations_of_a_batch_keep_the_group_that_they_are_parts_of(rows):
    data = ragged()
    singles = data.batch([7, 3, 20]).singles(rows)
    assert singles.groups.num_groups == len(singles)
    assert agrees(singles, data)


def test_the_parts_of_a_group_in_an_epoch_add_up_to_the_group():
    data = ragged()
    for batching in BATCHINGS:
        total = torch.zeros(len(SIZES), dtype=torch.int64)
        for batch in batching.plan(data, torch.Generator().manual_seed(0)):
            total.index_add_(0, origin_of(batch.groups).number, batch.groups.sizes)
        assert torch.equal(total, data.groups.sizes)


# Behaviour


def test_an_origin_survives_moves_copies_and_warps():
    data = ragged((1, 4, 4))
    batch = data.batch([0, 5, 9])
    assert origin_of(batch.groups.to("meta")).sizes.device.type == "meta"
    assert GroupWarp()(batch).groups.origin is batch.groups.origin
    other = GroupedData(data.x, data.groups.index.flip(0)).batch([0, 5, 9])
    copy = other.groups.clone()
    address = origin_of(copy).number.data_ptr()
    copy.copy_(batch.groups)
    assert agrees(Batch(batch.x, copy), data)
    assert origin_of(copy).number.data_ptr() == address  # a CUDA graph reads fixed addresses
    assert copy.index is not batch.groups.index


def test_groups_without_an_origin_are_copied_without_one():
    groups, other = Groups.of([0, 1, 1]), Groups.of([0, 0, 1])
    assert groups.origin is None and Groups.singletons(3).origin is None
    copy = groups.clone()
    copy.copy_(other)
    assert copy.index.tolist() == [0, 0, 1] and copy.sizes.tolist() == [2, 1]
    assert copy.origin is None and groups.to("cpu").origin is None
