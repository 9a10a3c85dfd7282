"""Parts dealt to hands: every observation once an epoch, batches of one size, mixed parts."""

from functools import partial

import numpy as np
import pytest
import torch

from mlvae.data import ArrayFile, Grouped, GroupedData, JoinedRows, Part, PartedData, Shuffled
from mlvae.data.dealing import bounds_of_hand, deal
from mlvae.data.parted import joined
from mlvae.errors import InputError
from mlvae.training.dealt import Dealt

SIZES = [[3, 1, 8], [5, 5], [2, 9, 1, 1], [13], [4, 4, 4], [1, 6]]


def data_of(part):
    """Observations whose values are their part and their number."""
    sizes = torch.tensor(SIZES[part])
    labels = [f"{part}-{group}" for group in range(len(sizes))]
    index = torch.arange(len(sizes)).repeat_interleave(sizes)
    x = torch.stack((torch.full_like(index, part), torch.arange(len(index))), 1).float()
    return GroupedData(x, [labels[group] for group in index.tolist()])


def parted(hands=None):
    return PartedData([Part.of(partial(data_of, part)) for part in range(len(SIZES))], hands=hands)


TOTAL = sum(map(sum, SIZES))
BATCHINGS = [Shuffled(12), Grouped(groups=6, members=3, small_groups="keep")]


def pairs(x):
    return [tuple(row) for row in x.int().tolist()]


@pytest.mark.parametrize("hands", [1, 2, 3])
@pytest.mark.parametrize("batching", BATCHINGS, ids=str)
def test_every_observation_is_in_one_batch_of_an_epoch(batching, hands):
    dealt = Dealt(parted(hands), batching, seed=0)
    for epoch in range(3):
        plan = dealt.plan(epoch)
        batches = list(plan)
        assert len(batches) == dealt.num_batches
        rows = [pair for batch in batches for pair in pairs(batch.x)]
        assert len(rows) == len(set(rows)) == TOTAL
        pieces = [
            batch.groups.num_groups if isinstance(batching, Grouped) else len(batch)
            for batch in batches
        ]
        assert max(pieces) <= batching.pieces and max(pieces) - min(pieces) <= 1


@pytest.mark.parametrize("batching", BATCHINGS, ids=str)
def test_a_group_of_a_batch_has_members_of_one_group(batching):
    batches = list(Dealt(parted(3), batching, seed=0).plan(0))
    labels = {}
    for part in range(len(SIZES)):
        data = data_of(part)
        labels |= dict(zip(pairs(data.x), data.labels.tolist(), strict=True))
    for batch in batches:
        index, sizes = batch.groups.index, batch.groups.sizes
        assert torch.equal(torch.bincount(index, minlength=len(sizes)), sizes)
        names = batch.groups.origin.names
        for pair, group in zip(pairs(batch.x), index.tolist(), strict=True):
            assert names[int(batch.groups.origin.number[group])] == labels[pair]
        of_label = [int(size) for size in batch.groups.origin.sizes]
        assert all(size <= whole for size, whole in zip(sizes.tolist(), of_label, strict=True))
    if isinstance(batching, Grouped):
        assert max(int(batch.groups.sizes.max()) for batch in batches) == 3


def test_parts_are_mixed_between_epochs_and_repeatable():
    dealt = Dealt(parted(2), Shuffled(12), seed=0)
    deals = [dealt.parts(epoch) for epoch in range(6)]
    assert all(sorted(part for hand in deal for part in hand) == list(range(6)) for deal in deals)
    together = [frozenset(map(frozenset, deal)) for deal in deals]
    assert len(set(together)) > 1
    again = Dealt(parted(2), Shuffled(12), seed=0)
    assert again.parts(4) == deals[4]
    assert torch.equal(dealt.plan(4).order, again.plan(4).order)
    other = Dealt(parted(2), Shuffled(12), seed=1)
    assert [other.parts(epoch) for epoch in range(6)] != deals


@pytest.mark.parametrize("seed", range(4))
def test_slices_of_all_hands_are_batches_of_one_size(seed):
    generator = torch.Generator().manual_seed(seed)
    pieces = torch.randint(50, 90, (5,), generator=generator).tolist()
    bounds = torch.tensor([bounds_of_hand(pieces, hand, 23) for hand in range(5)])
    assert (bounds[:, 0] == 0).all() and bounds[:, -1].tolist() == pieces
    slices = bounds.diff()
    assert (slices >= 1).all()
    batches = slices.sum(0)
    assert len(batches) == -(-sum(pieces) // 23)
    assert int(batches.max()) <= 23 and int(batches.max() - batches.min()) <= 1


def test_a_deal_differs_by_one_part_at_most():
    hands = deal(11, 4, torch.Generator().manual_seed(0))
    assert sorted(map(len, hands)) == [2, 3, 3, 3]


def test_an_epoch_of_billions_keeps_exact_bounds():
    pieces = [46_875_001] * 63
    bounds = bounds_of_hand(pieces, 62, 640_000)
    assert bounds[-1] == pieces[-1]
    slices = torch.tensor(bounds).diff()
    assert int(slices.max() - slices.min()) <= 2
    with pytest.raises(InputError, match="3,000,000,000"):
        bounds_of_hand([3_000_000_000, 1], 0, 1000)


def test_a_rank_opens_the_parts_of_its_hands_alone():
    from mlvae.training.ranks import Ranks

    opened = []

    def opening(part):
        opened.append(part)
        return data_of(part)

    parts = [
        Part(partial(opening, number), each.sizes, each.counts)
        for number, each in enumerate(parted().parts)
    ]
    data = PartedData(parts, hands=3)
    dealt = Dealt(data, Shuffled(12), seed=0, ranks=Ranks(rank=1, count=3))
    dealt.slices(0)
    assert sorted(opened) == sorted(dealt.parts(0)[1]) and len(opened) == 2
    assert len(data) == TOTAL and len(opened) == 2
    assert len(data.labels) == TOTAL and len(opened) == 2 + len(parts)  # joined at first use


def test_parted_data_are_grouped_data_for_everything_else():
    data = parted()
    whole = GroupedData(
        torch.cat([data_of(part).x for part in range(len(SIZES))]),
        np.concatenate([data_of(part).labels for part in range(len(SIZES))]),
    )
    assert data.group_names == whole.group_names and data.shape == (2,)
    assert torch.equal(data.batch().x, whole.batch().x)
    assert torch.equal(data.groups.index, whole.groups.index)
    subset = data.subset([0, 5])
    assert type(subset) is GroupedData and len(subset) == 2
    assert str(data) == f"PartedData({TOTAL} observations in 6 parts)"


def test_groups_of_equal_labels_are_joined_or_kept_apart():
    two = [GroupedData(torch.zeros(3, 2), ["b", name, name], {"f": [1, 2, 3]}) for name in "ac"]
    same, apart = (joined(two, same_labels=same) for same in (True, False))
    assert same.group_names == ["a", "b", "c"] and same.groups.sizes.tolist() == [2, 2, 2]
    assert same.labels.tolist() == ["b", "a", "a", "b", "c", "c"]
    assert apart.group_names == ["a", "b", "b", "c"]
    assert apart.factors["f"].tolist() == [1, 2, 3, 1, 2, 3]


def test_joined_rows_are_the_rows_of_their_sources(tmp_path):
    arrays = [
        np.random.default_rng(i).random((n, 3)).astype(np.float32) for i, n in enumerate((4, 1, 5))
    ]
    for number, array in enumerate(arrays):
        np.save(tmp_path / f"{number}.npy", array)
    rows = JoinedRows([ArrayFile(tmp_path / f"{number}.npy") for number in range(3)])
    indices = torch.tensor([9, 0, 4, 3, 9, 5])
    expected = np.concatenate(arrays)[indices]
    rows.expect(indices)
    assert np.array_equal(rows.index_select(0, indices), expected)
    assert np.array_equal(rows.index_select(0, torch.tensor([4])), np.concatenate(arrays)[[4]])
    assert rows.index_select(0, torch.tensor([], dtype=torch.int64)).shape == (0, 3)
    assert rows.to("cpu") is rows and len(rows) == 10
    np.save(tmp_path / "wide.npy", np.zeros((2, 4), np.float32))
    with pytest.raises(InputError, match="one shape"):
        JoinedRows([rows, ArrayFile(tmp_path / "wide.npy")])
    with pytest.raises(InputError, match="at least one source"):
        JoinedRows([])


# Bad input


@pytest.mark.parametrize(
    ("hands", "batching", "match"),
    [
        (7, Shuffled(12), "hands=7 .*6 parts"),
        (6, Shuffled(4), r"batching\.batch_size"),
        (2, Shuffled(12, span_ranks=True), r"batching\.span_ranks"),
        (2, Grouped(groups=6, members=3), r"batching\.members=3"),
    ],
    ids=str,
)
def test_what_cannot_be_dealt_is_refused(hands, batching, match):
    with pytest.raises(InputError, match=match):
        Dealt(parted(hands), batching, seed=0).plan(0)


def test_more_ranks_than_hands_or_parts_are_refused():
    from mlvae.training.ranks import Ranks

    with pytest.raises(InputError, match=r"dataset\.parts=7"):
        Dealt(parted(), Shuffled(12), seed=0, ranks=Ranks(count=7))
    with pytest.raises(InputError, match=r"4 processes .*3 or fewer"):
        Dealt(parted(3), Shuffled(12), seed=0, ranks=Ranks(count=4))


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="at least one Part"):
        PartedData([])
    with pytest.raises(InputError, match="a function"):
        Part.of(data_of(0))
    changed = Part(partial(data_of, 0), torch.tensor([2]), torch.tensor([1]))
    with pytest.raises(InputError, match="12"):
        PartedData([changed]).whole()
    given = GroupedData(torch.zeros(2, 2), [0, 1], given={"a": torch.zeros(2)})
    with pytest.raises(InputError, match="same given"):
        joined([given, GroupedData(torch.zeros(2, 2), [0, 1])], same_labels=True)
    several = GroupedData(torch.zeros(2, 2), groups={"speaker": [0, 1], "digit": [7, 7]})
    with pytest.raises(InputError, match="several"):
        joined([several], same_labels=True)
