"""Data in several groupings: labels, parts of the data, batches, files."""

import numpy as np
import pytest
import torch

from mlvae import Batch, GroupedData, Groups, InputError
from mlvae.data import Grouped, Shuffled, arrays, split, table
from mlvae.data.sharing import share

SPEAKERS = ["ann", "bob", "eve"]


def crossed(times=4, shape=(2,), digits=5):
    """Every speaker with every digit, ``times`` times; x has the number of the observation."""
    pairs = [(s, d) for s in SPEAKERS for d in range(digits) for _ in range(times)]
    x = torch.arange(float(len(pairs))).view(-1, *[1] * len(shape)).expand(-1, *shape).clone()
    speaker, digit = zip(*pairs, strict=True)
    return GroupedData(x, groups={"speaker": list(speaker), "digit": list(digit)})


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbers(batch):
    return batch.x[:, 0].long()


def assert_labels(data, batch):
    """Observations of a batch share a group of it only if they share a group of the data."""
    for name, groups in batch.groupings.items():
        whole = data.groupings[name]
        label = whole.groups.index[numbers(batch)]
        assert torch.equal(groups.origin.number[groups.index], label)
        assert torch.equal(torch.bincount(groups.index, minlength=groups.num_groups), groups.sizes)
        assert torch.equal(groups.origin.sizes[groups.index], whole.groups.sizes[label])
        assert groups.origin.names == whole.names


# Labels


def test_the_first_grouping_is_the_primary_one():
    data = crossed()
    assert list(data.groupings) == ["speaker", "digit"] and data.grouping == "speaker"
    assert data.group_names == SPEAKERS and data.groupings["digit"].names == list(range(5))
    assert torch.equal(data.groups.index, data.groupings["speaker"].groups.index)


def test_one_grouping_without_a_name_is_called_group():
    data = GroupedData(torch.zeros(3, 2), ["a", "b", "a"])
    assert list(data.groupings) == list(data.batch().groupings) == ["group"]
    named = GroupedData(torch.zeros(3, 2), groups={"speaker": ["a", "b", "a"]})
    assert list(named.batch().groupings) == ["speaker"]
    assert torch.equal(named.groups.index, data.groups.index)


@pytest.mark.parametrize(
    "labels",
    [
        ["bob", None, "ann", None, "bob"],
        np.array(["bob", None, "ann", float("nan"), "bob"], dtype=object),
        np.array([2.0, np.nan, 1.0, np.nan, 2.0]),
        torch.tensor([2.0, torch.nan, 1.0, torch.nan, 2.0]),
        np.ma.array([2, 5, 1, 5, 2], mask=[0, 1, 0, 1, 0]),
    ],
)
def test_an_observation_without_a_label_is_a_group_of_its_own(labels):
    data = GroupedData(torch.zeros(5, 2), groups={"speaker": labels, "digit": [7, 7, 8, 8, 8]})
    assert data.groups.index.tolist() == [1, 2, 0, 3, 1]
    assert data.group_names[2:] == [None, None]
    assert data.groupings["speaker"].labelled.tolist() == [True, False, True, False, True]


def test_all_labels_of_a_grouping_may_be_missing():
    data = GroupedData(torch.zeros(3, 2), groups={"a": [1, 1, 2], "b": [None] * 3})
    assert data.groupings["b"].groups.sizes.tolist() == [1, 1, 1]


def test_wrong_groupings_are_refused():
    x = torch.zeros(3, 2)
    wrong = [
        {"groups": {}},
        {"groups": {"style": [1, 2, 3]}},
        {"groups": {"my speaker": [1, 2, 3]}},
        {"groups": {"speaker": [1, 2]}},
        {"groups": {"speaker": [1, "1", 2]}},
        {"groups": {"speaker": "abc"}},
        {"groups": {"speaker": [[1], [2], [None]]}},
        {"groups": [1, 2, 3]},
        {"group": [1, 2, 3], "groups": {"speaker": [1, 2, 3]}},
        {},
    ]
    for options in wrong:
        with pytest.raises(InputError, match="group"):
            GroupedData(x, **options)


# Parts


def test_a_subset_has_all_groupings_without_empty_groups():
    data = crossed()
    some = data.subset([0, 1, 25, 59])
    assert some.group_names == ["ann", "bob", "eve"]
    assert some.groupings["digit"].names == [0, 1, 4]
    assert some.groupings["digit"].labels.tolist() == [0, 0, 1, 4]


def test_splits_and_copies_keep_all_groupings():
    data = crossed()
    for _, part in split(data, by="groups", test=1):
        digit = part.groupings["digit"]
        assert digit.labels.tolist() == [int(v) // 4 % 5 for v in part.x[:, 0]]
    assert list(data.to("cpu").groupings) == ["speaker", "digit"]
    assert list(data.labelled(SPEAKERS).groupings) == ["speaker", "digit"]


def test_regrouped_changes_the_first_grouping_or_the_order_or_all():
    data = crossed()
    assert list(data.regrouped("digit").groupings) == ["digit", "speaker"]
    assert data.regrouped("digit").group_names == list(range(5))
    halves = data.regrouped([0, 1] * 30)
    assert list(halves.groupings) == ["speaker", "digit"] and halves.group_names == [0, 1]
    assert list(data.regrouped({"room": [0, 1] * 30}).groupings) == ["room"]
    with pytest.raises(InputError, match="grouping"):
        data.regrouped("room")


def test_the_fingerprint_depends_on_every_grouping():
    data = crossed()
    one = GroupedData(data.x, data.labels)
    assert "groupings" not in one.fingerprint()
    labels = {name: each.labels for name, each in data.groupings.items()}
    changed = data.regrouped({**labels, "digit": np.roll(labels["digit"], 1)})
    assert changed.fingerprint() != data.fingerprint()
    renamed = data.regrouped({**labels, "digit": [f"d{d}" for d in labels["digit"]]})
    assert renamed.fingerprint() != data.fingerprint()


# Batches


def test_a_batch_of_some_observations_has_all_groupings():
    data = crossed()
    for rows in (None, [3, 59, 4, 20]):
        batch = data.batch(rows)
        assert_labels(data, batch)
        assert all(int(groups.sizes.min()) > 0 for groups in batch.groupings.values())
    alone = data.singles([3, 59])
    assert [groups.num_groups for groups in alone.groupings.values()] == [2, 2]
    assert alone.groupings["digit"].origin.number.tolist() == [0, 4]


def test_a_batch_moves_copies_and_compares_with_all_its_groupings():
    data = crossed()
    first, second = data.batch([0, 1, 20]), data.batch([24, 28, 44])
    assert first.form != second.form  # one digit and two
    copied = data.batch([40, 44, 20]).clone()
    copied.copy_(second)
    for name, groups in copied.groupings.items():
        assert torch.equal(groups.index, second.groupings[name].index)
    assert list(first.to("cpu").groupings) == list(first.singles().groupings)


def test_a_batch_of_groups_by_name_is_checked():
    groupings = {"speaker": Groups.of([0, 0, 1]), "digit": Groups.of([7, 8, 8])}
    batch = Batch.of(torch.zeros(3, 2), groupings)
    assert batch.groups is groupings["speaker"] and list(batch.groupings) == list(groupings)
    with pytest.raises(InputError, match="groupings"):
        Batch.of(torch.zeros(3, 2), {})
    with pytest.raises(InputError, match="further_groups"):
        Batch.of(torch.zeros(3, 2), {**groupings, "digit": Groups.of([7, 8])})


@pytest.mark.parametrize(
    "batching",
    [
        Shuffled(7),
        Grouped(3, 4),
        Grouped(2, 3, by="digit"),
        Grouped(2, 3, small_groups="keep", by=("speaker", "digit")),
        Grouped(2, 3, small_groups="keep", within="digit"),
        Grouped(3, 4, by="digit", within="speaker"),
    ],
)
def test_every_batching_keeps_the_labels_of_all_groupings(batching):
    data = crossed()
    plan = batching.plan(data, seeded())
    assert len(plan) == batching.num_batches(data)
    seen = torch.cat([numbers(batch) for batch in plan])
    assert sorted(seen.tolist()) == list(range(len(data)))
    for number, batch in enumerate(plan):
        assert_labels(data, batch)
        assert int(batch.groups.sizes.min()) > 0
        block = plan.block(number, 1)
        assert block is not None
        same = block.batch(0, data)
        assert same.form == batch.form
        for name, groups in batch.groupings.items():
            assert torch.equal(same.groupings[name].index, groups.index)
            assert torch.equal(same.groupings[name].sizes, groups.sizes)


def test_further_groupings_of_batches_of_one_length_have_one_form():
    data = crossed(digits=9)  # fewer digits in most batches than 9
    plan = Shuffled(5).plan(data, seeded())
    counts = {batch.groupings["digit"].num_groups for batch in plan if len(batch) == 5}
    assert counts == {5}  # at most one of each observation
    assert any(int(batch.groupings["digit"].sizes.min()) == 0 for batch in plan)


def test_grouped_batches_are_cut_by_the_chosen_grouping_or_by_a_product():
    data = crossed(times=6)
    for batch in Grouped(2, 3, by="digit").plan(data, seeded()):
        assert batch.groupings["digit"].sizes.tolist() == [3, 3]
    by_both = Grouped(2, 3, by=("speaker", "digit"))
    for batch in by_both.plan(data, seeded()):
        index = torch.stack([groups.index for groups in batch.groupings.values()])
        pairs, sizes = index.unique(dim=1, return_counts=True)
        assert pairs.shape[1] <= 2 and set(sizes.tolist()) <= {3, 6}
    with pytest.raises(InputError, match="by"):
        Grouped(2, 3, by="room").plan(data, seeded())
    with pytest.raises(InputError, match="members"):
        Grouped(2, 7, by=("speaker", "digit")).plan(data, seeded())


def drawings(characters=(3, 5, 2), drawers=4):
    """Alphabets of some characters, each drawn once by each drawer of the alphabet."""
    rows = [
        (alphabet, f"{alphabet}{c}", f"{alphabet}-{d}")
        for alphabet, number in zip("abc", characters, strict=True)
        for c in range(number)
        for d in range(drawers)
    ]
    x = torch.arange(float(len(rows)))[:, None].repeat(1, 2)
    alphabet, character, drawer = map(list, zip(*rows, strict=True))
    return GroupedData(x, groups={"character": character, "drawer": drawer, "alphabet": alphabet})


def test_a_batch_within_a_grouping_has_one_group_of_it_and_the_rest_is_its_last():
    data, batching = drawings(), Grouped(groups=2, members=4, within="alphabet")
    plan = batching.plan(data, seeded())
    assert len(plan) == batching.num_batches(data) == 2 + 3 + 1
    sizes = {"a": [], "b": [], "c": []}
    for batch in plan:
        alphabet = batch.groupings["alphabet"]
        (name,) = [alphabet.origin.names[i] for i in alphabet.origin.number[alphabet.sizes > 0]]
        sizes[name].append(batch.groups.num_groups)
        # Every character of the batch with every drawer of its alphabet.
        drawer = batch.groupings["drawer"]
        pairs = torch.stack((batch.groups.index, drawer.index)).unique(dim=1)
        assert pairs.shape[1] == len(batch) == 4 * batch.groups.num_groups
        assert int((drawer.sizes > 0).sum()) == 4
    assert {name: sorted(each) for name, each in sizes.items()} == {
        "a": [1, 2],
        "b": [1, 2, 2],
        "c": [2],
    }


def test_batches_within_a_grouping_are_in_random_order():
    data, batching = drawings(), Grouped(groups=2, members=4, within="alphabet")
    orders, firsts = set(), set()
    for seed in range(20):
        plan = batching.plan(data, seeded(seed))
        alphabets = [data.groupings["alphabet"].labels[int(numbers(b)[0])] for b in plan]
        orders.add(tuple(alphabets))
        firsts.add(int(numbers(plan[0])[0]))
    assert len(orders) > 10 and len(firsts) > 5
    same = [numbers(batch).tolist() for batch in batching.plan(data, seeded(3))]
    assert same == [numbers(batch).tolist() for batch in batching.plan(data, seeded(3))]


def test_a_group_that_lies_in_several_groups_of_another_is_divided():
    data = crossed(times=6)
    for batch in Grouped(2, 3, by="digit", within="speaker").plan(data, seeded()):
        assert int((batch.groupings["speaker"].sizes > 0).sum()) == 1
        assert batch.groupings["digit"].sizes.tolist() == [3, 3]
    with pytest.raises(InputError, match="members"):
        Grouped(2, 7, by="digit", within="speaker").plan(data, seeded())


def test_a_grouping_that_batches_lie_within_must_exist_and_label_all():
    with pytest.raises(InputError, match="within"):
        Grouped(2, 3, within="room").plan(crossed(), seeded())
    labels = {"speaker": ["ann", "bob"] * 3, "room": ["x", None, "x", "y", "y", "x"]}
    data = GroupedData(torch.zeros(6, 2), groups=labels)
    with pytest.raises(InputError, match=r"within.*room"):
        Grouped(1, 2, within="room").num_batches(data)
    with pytest.raises(InputError, match=r"within=room.*parts"):
        Grouped(1, 2, within="room").num_pieces(torch.tensor([4]), torch.tensor([2]))


@pytest.mark.parametrize("span", [False, True])
@pytest.mark.parametrize("ranks", [2, 5])
def test_shares_of_a_batch_have_the_whole_groups_of_further_groupings(span, ranks):
    data = crossed()
    plan = Shuffled(7).plan(data, seeded(1))
    parts = [share(plan, rank=rank, ranks=ranks, span=span) for rank in range(ranks)]
    for whole, *batches in zip(plan, *parts, strict=True):
        digits = [batch.groupings["digit"] for batch in batches]
        assert sum(each.counts_groups for each in digits) == 1
        for batch, each in zip(batches, digits, strict=True):
            assert torch.equal(each.index, whole.groupings["digit"].index[batch.groups.rows])
            assert torch.equal(each.sizes, whole.groupings["digit"].sizes)
            assert each.counts or not each.counts_groups  # a rank that borrows counts nothing
            assert each.counts == batch.groups.counts


# Files


def test_a_file_of_arrays_has_an_array_of_labels_for_each_grouping(tmp_path):
    file = tmp_path / "mine.npz"
    x, speaker, digit = np.zeros((6, 3), np.float32), ["a", "b"] * 3, [1, 1, 2, 2, 3, 3]
    np.savez(file, x=x, group_speaker=speaker, group_digit=digit)
    data = arrays(file, validation=0, test=0).train
    assert list(data.groupings) == ["speaker", "digit"]
    data = arrays(file, group=["digit", "speaker"], validation=0, test=0).train
    assert list(data.groupings) == ["digit", "speaker"] and data.group_names == [1, 2, 3]
    for wrong in (["digit", "room"], [], [1]):
        with pytest.raises(InputError, match="group"):
            arrays(file, group=wrong)


def test_columns_of_a_table_are_groupings(tmp_path):
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("narwhals")
    frame = pandas.DataFrame(
        {"speaker": ["a", "b", None, "b"], "digit": [1, 1, 2, 2], "loud": [0.1, 0.2, 0.3, 0.4]}
    )
    data = GroupedData.from_frame(frame, group=["speaker", "digit"])
    assert data.feature_names == ["loud"]
    assert data.group_names == ["a", "b", None] and data.groupings["digit"].names == [1, 2]
    again = GroupedData.from_frame(frame.drop(columns="loud").assign(loud=1.0), like=data)
    assert list(again.groupings) == ["speaker", "digit"]
    assert data.columns.of_plain(data.columns.plain()) == data.columns
    # A list of labels is still a label of each row.
    assert GroupedData.from_frame(frame[["loud"]], group=["x", "y", "x", "y"]).group_names == [
        "x",
        "y",
    ]
    with pytest.raises(InputError, match="group"):
        GroupedData.from_frame(frame, group=["speaker", "room"])
    pytest.importorskip("pyarrow")
    frame.to_csv(tmp_path / "mine.csv", index=False)
    splits = table(tmp_path / "mine.csv", group=["speaker", "digit"], validation=0, test=0)
    assert list(splits.train.groupings) == ["speaker", "digit"]
    assert splits.train.group_names == ["a", "b", None]


def test_columns_of_an_anndata_are_groupings():
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    obs = pandas.DataFrame({"donor": ["a", "b", "a"], "type": ["T", None, "B"]}, index=list("xyz"))
    adata = anndata.AnnData(np.ones((3, 4), np.float32), obs=obs)
    data = GroupedData.from_anndata(adata, group=["donor", "type"])
    assert data.group_names == ["a", "b"] and data.groupings["type"].names == ["B", "T", None]
