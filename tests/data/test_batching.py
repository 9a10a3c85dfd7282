"""Batching: every observation once an epoch, in groups that mean what they say."""

import numpy as np
import pytest
import torch

from mlvae.data import Grouped, GroupedData, Shuffled
from mlvae.errors import InputError
from mlvae.groups import Groups

# How many observations each label has; of the batchings some divide them and some do not.
SIZES = [5, 1, 30, 3]
SHUFFLED = [Shuffled(1), Shuffled(4), Shuffled(1000)]
GROUPED = [
    Grouped(groups=5, members=4, small_groups="keep"),
    Grouped(groups=1000, members=2, small_groups="keep"),
    Grouped(groups=2, members=1000, small_groups="keep"),
]

each_batching = pytest.mark.parametrize("batching", SHUFFLED + GROUPED, ids=repr)
each_shuffled = pytest.mark.parametrize("batching", SHUFFLED, ids=repr)
each_grouped = pytest.mark.parametrize("batching", GROUPED, ids=repr)
# Where the sizes teach nothing new: one batching of each kind.
each_kind = pytest.mark.parametrize("batching", [Shuffled(4), Grouped(2, 3, "keep")], ids=repr)


def of_sizes(sizes):
    """Labels of these sizes, mixed up; observation i has the one feature i."""
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    mixed = torch.randperm(len(labels), generator=torch.Generator().manual_seed(99))
    return GroupedData(torch.arange(float(len(labels)))[:, None], labels[mixed])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbers(batch):
    """Which observations are in the batch."""
    return batch.x[:, 0].long()


def members(batch):
    """The observations in each group of the batch."""
    return [
        numbers(batch)[batch.groups.index == group].tolist()
        for group in range(batch.groups.num_groups)
    ]


def content(plan):
    """All that a model sees of an epoch."""
    return [(numbers(b).tolist(), b.groups.index.tolist(), b.groups.sizes.tolist()) for b in plan]


# Properties of every batching


@each_batching
def test_an_epoch_visits_every_observation_exactly_once(batching):
    data = of_sizes(SIZES)
    visited = torch.cat([numbers(batch) for batch in batching.plan(data, seeded())])
    assert sorted(visited.tolist()) == list(range(len(data)))


@each_batching
def test_there_are_num_batches_batches_in_every_epoch(batching):
    data, generator = of_sizes(SIZES), seeded()
    for _ in range(3):
        plan = batching.plan(data, generator)
        assert len(plan) == len(list(plan)) == batching.num_batches(data)


@each_batching
def test_group_sizes_equal_bincount_and_no_group_or_batch_is_empty(batching):
    for batch in batching.plan(of_sizes(SIZES), seeded()):
        # A plan skips the checks that Groups makes; made here, they must agree.
        checked = Groups(batch.groups.index, batch.groups.num_groups)
        assert torch.equal(batch.groups.sizes, checked.sizes)
        assert len(batch.x) == batch.groups.num_observations


@each_batching
def test_the_members_of_a_group_have_one_label(batching):
    data = of_sizes(SIZES)
    for batch in batching.plan(data, seeded()):
        for group in members(batch):
            assert len(data.groups.index[group].unique()) == 1


@each_kind
def test_the_same_seed_gives_the_same_plan_and_another_seed_another(batching):
    data = of_sizes(SIZES)
    first, again, other = (content(batching.plan(data, seeded(seed))) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@each_kind
def test_the_next_epoch_of_the_same_generator_is_another(batching):
    data, generator = of_sizes(SIZES), seeded()
    first, second = (content(batching.plan(data, generator)) for _ in range(2))
    assert first != second


@each_kind
def test_all_randomness_comes_from_the_generator_given(batching):
    data, before = of_sizes(SIZES), torch.get_rng_state()
    list(batching.plan(data, seeded()))
    assert torch.equal(torch.get_rng_state(), before)


# Shuffled


@each_shuffled
def test_shuffled_groups_are_exactly_the_labels_present(batching):
    data = of_sizes(SIZES)
    for batch in batching.plan(data, seeded()):
        present, index, counts = data.groups.index[numbers(batch)].unique(
            return_inverse=True, return_counts=True
        )
        assert batch.groups.num_groups == len(present)
        assert torch.equal(batch.groups.index, index)
        assert torch.equal(batch.groups.sizes, counts)


@each_shuffled
def test_shuffled_batches_are_full_but_the_last_which_has_the_rest(batching):
    data = of_sizes(SIZES)
    *full, last = [len(batch.x) for batch in batching.plan(data, seeded())]
    assert all(size == batching.batch_size for size in full)
    assert last == len(data) - batching.batch_size * len(full)
    assert last <= batching.batch_size


def test_shuffled_puts_every_observation_in_the_first_batch_equally_often():
    data, generator, counts = of_sizes([1, 7]), seeded(), torch.zeros(8)
    for _ in range(400):
        counts[numbers(Shuffled(2).plan(data, generator)[0])] += 1
    # Binomial(400, 1/4): mean 100, standard deviation 8.7; five of them either way.
    assert counts.min() > 100 - 5 * 8.7
    assert counts.max() < 100 + 5 * 8.7


# Grouped


@each_grouped
def test_each_label_is_cut_into_groups_of_members_and_one_with_the_rest(batching):
    data = of_sizes(SIZES)
    cuts = {label: [] for label in range(len(SIZES))}
    for batch in batching.plan(data, seeded()):
        for group in members(batch):
            cuts[int(data.groups.index[group[0]])].append(len(group))
    for label, size in enumerate(SIZES):
        whole, rest = divmod(size, batching.members)
        expected = [batching.members] * whole + [rest] * (rest > 0)
        assert sorted(cuts[label], reverse=True) == expected


@each_grouped
def test_grouped_batches_have_their_number_of_groups_but_the_last_which_has_the_rest(batching):
    *full, last = [b.groups.num_groups for b in batching.plan(of_sizes(SIZES), seeded())]
    assert all(groups == batching.groups for groups in full)
    assert 1 <= last <= batching.groups
    assert sum(full) + last == sum(-(-size // batching.members) for size in SIZES)


def test_several_groups_of_one_label_in_a_batch_stay_apart():
    # One label only: every batch must have several of its groups, each accumulated by itself.
    plan = Grouped(groups=3, members=2).plan(of_sizes([12]), seeded())
    assert [batch.groups.sizes.tolist() for batch in plan] == [[2, 2, 2], [2, 2, 2]]


def test_a_group_of_one_member_is_an_observation_by_itself():
    for batch in Grouped(groups=4, members=1).plan(of_sizes(SIZES), seeded()):
        assert sorted(batch.groups.index.tolist()) == list(range(len(batch.x)))


def test_groups_are_cut_at_random_within_a_label():
    # Four observations make two pairs in three ways, each as likely as the others.
    data, generator, counts = of_sizes([4]), seeded(), {1: 0, 2: 0, 3: 0}
    for _ in range(450):
        pairs = members(Grouped(groups=2, members=2).plan(data, generator)[0])
        (with_zero,) = (pair for pair in pairs if 0 in pair)
        counts[max(with_zero)] += 1
    # Binomial(450, 1/3): mean 150, standard deviation 10; five of them either way.
    assert all(100 < count < 200 for count in counts.values()), counts


def test_groups_are_shuffled_over_the_batches():
    # Label 0 has one group of four: it comes first a quarter of the time.
    data, generator, times = of_sizes([2, 6]), seeded(), 0
    for _ in range(400):
        first = Grouped(groups=1, members=2).plan(data, generator)[0]
        times += int(data.groups.index[numbers(first)[0]]) == 0
    assert 100 - 5 * 8.7 < times < 100 + 5 * 8.7


def test_the_ragged_group_may_be_in_any_batch():
    # Were it always last, the last steps of an epoch would see only small groups.
    data, generator = of_sizes([7]), seeded()
    batching = Grouped(groups=1, members=2)
    where = {[len(b.x) for b in batching.plan(data, generator)].index(1) for _ in range(100)}
    assert where == {0, 1, 2, 3}


# Behaviour


@each_kind
def test_a_batch_larger_than_the_data_is_the_data(batching):
    data = of_sizes([1])
    (batch,) = batching.plan(data, seeded())
    assert numbers(batch).tolist() == [0]
    assert batch.groups.sizes.tolist() == [1]


@each_kind
def test_bytes_become_floats_in_the_unit_interval_batch_by_batch(batching):
    images = np.random.default_rng(0).integers(0, 256, (9, 2, 3), dtype=np.uint8)
    data = GroupedData(images, [0, 1, 2] * 3)
    for batch in batching.plan(data, seeded()):
        assert batch.x.dtype == torch.float32
        assert batch.x.shape[1:] == (1, 2, 3)
        assert 0 <= batch.x.min() <= batch.x.max() <= 1


@each_kind
def test_a_plan_can_be_read_by_number_in_any_order_and_again(batching):
    plan = batching.plan(of_sizes(SIZES), seeded())
    in_order = content(plan)
    backwards = [content([plan[batch]])[0] for batch in reversed(range(len(plan)))]
    assert backwards[::-1] == in_order == content(plan)


@each_kind
def test_a_plan_counts_from_its_end_as_a_list_does_and_ends_at_both(batching):
    plan = batching.plan(of_sizes(SIZES), seeded())
    assert [content([plan[i - len(plan)]])[0] for i in range(len(plan))] == content(plan)
    for outside in (len(plan), -len(plan) - 1):
        with pytest.raises(IndexError):
            plan[outside]


def test_a_block_has_batches_of_one_form_only():
    plan = Shuffled(4).plan(GroupedData(torch.rand(15, 2), [0] * 15), seeded())
    assert len(plan.block(0, 3)) == 3 and plan.block(0, 1).order.shape == (1, 4)
    assert plan.block(0, 4) is None  # the last batch is smaller
    assert plan.block(3, 2) is None  # the epoch has fewer left
    # Batches of equal sizes with different numbers of groups.
    assert Shuffled(2).plan(of_sizes([3, 1]), seeded()).block(0, 2) is None


def test_a_block_is_copied_into_the_memory_of_another_of_its_form():
    data = of_sizes([6, 6])
    first, second = (Grouped(2, 3).plan(data, seeded(seed)).block(0, 2) for seed in (0, 1))
    assert first.form == second.form and not torch.equal(first.order, second.order)
    copy = first.clone()
    memory = [copy.order.data_ptr(), *(values.data_ptr() for values in copy.groups)]
    copy.copy_(second)
    assert [copy.order.data_ptr(), *(v.data_ptr() for v in copy.groups)] == memory
    assert torch.equal(copy.order, second.order)
    for values, others in zip(copy.groups, second.groups, strict=True):
        assert torch.equal(values, others)
    assert not torch.equal(first.order, copy.order)
    assert first.form != Grouped(2, 2).plan(data, seeded()).block(0, 2).form


def test_the_largest_group_of_a_plan_is_that_of_its_batches():
    data = of_sizes([7, 2, 1])
    assert Grouped(2, 3, "keep").plan(data, seeded()).largest_group() == 3
    assert Shuffled(10).plan(data, seeded()).largest_group() == 7


def test_a_plan_equals_itself_alone():
    # It holds tensors: comparing their values would be ambiguous, and slow.
    data = of_sizes([5, 3])
    plan, same = (Shuffled(4).plan(data, seeded()) for _ in range(2))
    assert plan == plan
    assert plan != same
    assert len({plan, same}) == 2


def test_a_label_of_exactly_the_number_of_members_is_large_enough():
    data = of_sizes([4, 6])
    assert Grouped(groups=2, members=4).num_batches(data) == 2


def test_small_groups_can_be_kept_at_their_own_size():
    plan = Grouped(groups=10, members=5, small_groups="keep").plan(of_sizes([2, 5]), seeded())
    assert sorted(plan[0].groups.sizes.tolist()) == [2, 5]


def test_evaluation_keeps_the_small_groups_that_training_refuses():
    # Few observations of a group may have been drawn for validation.
    data, batching = of_sizes([2, 5]), Grouped(groups=10, members=5)
    plan = batching.for_evaluation().plan(data, seeded())
    assert sorted(plan[0].groups.sizes.tolist()) == [2, 5]
    # The batching that training has stays as it was.
    assert batching == Grouped(groups=10, members=5, small_groups="error")


@each_kind
def test_evaluation_batches_like_training_where_training_takes_any_data(batching):
    assert batching.for_evaluation() == batching


# Bad input


@pytest.mark.parametrize("call", ["num_batches", "plan"])
def test_more_members_than_a_group_has_is_refused_with_the_group_and_the_way_out(call):
    data = GroupedData(torch.zeros(7, 1), ["ann", "bob", "ann", "eve", "ann", "eve", "bob"])
    batching = Grouped(groups=2, members=3)
    arguments = (data,) if call == "num_batches" else (data, seeded())
    match = "batching.members=3 must not exceed .* but group 'bob' has 2; .*small_groups=keep"
    with pytest.raises(InputError, match=match):
        getattr(batching, call)(*arguments)


@pytest.mark.parametrize(
    ("batching", "name"), [(Shuffled, "batch_size"), (Grouped, "groups"), (Grouped, "members")]
)
def test_a_size_must_be_a_positive_integer(batching, name):
    with pytest.raises(
        InputError, match=f"batching.{name} must be an integer of at least 1, not 0"
    ):
        batching(**{name: 0})


def test_a_misspelt_choice_is_refused_with_the_nearest():
    match = r"small_groups must be one of error, keep, not 'kept' \(did you mean 'keep'\?\)"
    with pytest.raises(InputError, match=match):
        Grouped(small_groups="kept")
