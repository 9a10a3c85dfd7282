"""Grouped observations: what is kept, what is given to a model, what is refused."""

import numpy as np
import pytest
import torch

from mlvae.data import GroupedData
from mlvae.errors import InputError
from mlvae.groups import Groups

LABELS = {
    "integers": [3, 1, 3, 3, 0, 1],
    "negative integers": [-5, 10, -5, 2, 2, 2],
    "strings": ["bob", "ann", "bob", "eve", "ann", "bob"],
    "one group": ["a"] * 6,
    "groups of one": [5, 4, 3, 2, 1, 0],
    "one large group": [1, 1, 1, 1, 1, 0],
}


def numbered(labels):
    """Data whose observation i has the one feature i, so that it is known wherever it turns up."""
    return GroupedData(np.arange(len(labels), dtype=np.float32)[:, None], labels)


def numbers(x):
    return x[:, 0].long().tolist()


def names(data):
    """The label of each observation, through its group."""
    return [data.group_names[group] for group in data.groups.index.tolist()]


each_labelling = pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())


# Properties


@each_labelling
def test_every_observation_keeps_its_label_and_its_place(labels):
    data = numbered(labels)
    assert names(data) == labels
    assert numbers(data.x) == list(range(len(labels)))


@each_labelling
def test_group_sizes_equal_bincount(labels):
    data = numbered(labels)
    assert torch.equal(data.groups.sizes, torch.bincount(data.groups.index))
    assert int(data.groups.sizes.sum()) == len(data) == len(labels)


@each_labelling
def test_groups_are_numbered_in_sorted_order_of_their_labels(labels):
    assert numbered(labels).group_names == sorted(set(labels))


def test_all_256_grey_levels_become_x_over_255_within_float32_rounding():
    levels = torch.arange(256)
    data = GroupedData(levels.to(torch.uint8).view(256, 1, 1), [0] * 256)
    values = data.batch().x.flatten()
    assert values.dtype == torch.float32
    # One unit in the last place; black and white are exact, so that nothing leaves [0, 1].
    torch.testing.assert_close(
        values.double(), levels.double() / 255, rtol=torch.finfo(torch.float32).eps, atol=0
    )
    assert values[0] == 0
    assert values[255] == 1
    # No two levels fall together: the bytes can be had back.
    assert torch.equal((values * 255).round().long(), levels)


@each_labelling
@pytest.mark.parametrize("indices", [[0], [5, 0, 3], [2, 2, 2, 4], [0, 1, 2, 3, 4, 5]])
def test_a_subset_keeps_names_and_the_order_asked_for(labels, indices):
    subset = numbered(labels).subset(indices)
    assert numbers(subset.x) == indices
    assert names(subset) == [labels[i] for i in indices]


@each_labelling
def test_a_subset_drops_groups_without_members_and_numbers_the_rest_without_gaps(labels):
    subset = numbered(labels).subset([5, 0])
    assert subset.group_names == sorted({labels[5], labels[0]})
    # Groups itself raises if a number is skipped.
    assert torch.equal(Groups(subset.groups.index).sizes, subset.groups.sizes)


def test_a_subset_of_a_subset_is_the_subset_of_the_composed_indices():
    data = numbered(LABELS["strings"])
    outer, inner = torch.tensor([5, 3, 0, 1]), torch.tensor([2, 0])
    twice, once = data.subset(outer).subset(inner), data.subset(outer[inner])
    assert numbers(twice.x) == numbers(once.x) == [0, 5]
    assert names(twice) == names(once)


@each_labelling
def test_one_of_each_is_the_first_member_of_every_group_in_group_order(labels):
    data = numbered(labels)
    expected = [labels.index(name) for name in data.group_names]
    assert data.one_of_each().tolist() == expected


# Behaviour


def test_bytes_stay_bytes_until_they_are_batched():
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
    data = GroupedData(images, [0, 0, 1, 1])
    assert data.x.dtype == torch.uint8
    assert data.observations(torch.tensor([2])).dtype == torch.float32
    assert np.array_equal(data.x.numpy(), images)


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (np.zeros((4, 5, 6), np.uint8), (1, 5, 6)),
        (np.zeros((4, 3, 5, 6), np.uint8), (3, 5, 6)),
        (np.zeros((4, 5, 6)), (1, 5, 6)),
        (np.zeros((4, 1, 5, 6)), (1, 5, 6)),
        (np.zeros((4, 7)), (7,)),
    ],
    ids=["grey bytes", "colour bytes", "grey floats", "floats with a channel", "features"],
)
def test_grey_images_are_given_their_channel(x, shape):
    data = GroupedData(x, [0, 1, 0, 1])
    assert data.shape == shape
    assert data.batch().x.shape == (4, *shape)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_of_any_width_are_kept_as_float32(dtype):
    x = torch.tensor([[0.25, -3.0], [1.5, 1000.0]], dtype=dtype)
    data = GroupedData(x, [0, 1])
    assert data.x.dtype == torch.float32
    assert torch.equal(data.x, x.float())


def test_features_may_have_any_finite_value():
    x = torch.tensor([[-1e30, 0.0], [1e30, 7.0]])
    assert torch.equal(GroupedData(x, [0, 1]).batch().x, x)


def test_the_ends_of_the_unit_interval_are_allowed_in_float_images():
    x = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    assert torch.equal(GroupedData(x, [0, 1]).batch().x, x)


def test_arrays_tensors_and_lists_give_the_same_data():
    x, labels = np.array([[0.5], [1.5], [2.5]], np.float32), [2, 0, 2]
    for same_x, same_labels in (
        (torch.from_numpy(x), torch.tensor(labels)),
        (x.tolist(), np.array(labels, np.uint8)),
        (x, tuple(labels)),
    ):
        data = GroupedData(same_x, same_labels)
        assert torch.equal(data.x, torch.from_numpy(x))
        assert names(data) == labels


def test_labels_may_be_a_column_of_objects():
    # As a table gives them.
    data = numbered(np.array(["bob", "ann", "bob"], dtype=object))
    assert names(data) == ["bob", "ann", "bob"]


def test_the_whole_batch_has_every_observation_in_order():
    data = numbered(LABELS["strings"])
    batch = data.batch()
    assert numbers(batch.x) == list(range(6))
    assert torch.equal(batch.groups.index, data.groups.index)


def test_a_batch_of_some_has_the_groups_of_these_alone():
    data = numbered(LABELS["strings"])
    batch = data.batch([3, 1, 4])  # eve, ann, ann
    assert numbers(batch.x) == [3, 1, 4]
    assert batch.groups.index.tolist() == [1, 0, 0]
    assert batch.groups.sizes.tolist() == [2, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_changing_a_batch_does_not_change_the_data(dtype):
    data = GroupedData(np.ones((3, 2, 2), dtype), [0, 1, 1])
    data.batch().x.zero_()
    data.observations(torch.tensor([0, 1, 2])).zero_()
    assert torch.equal(data.x, torch.ones_like(data.x))


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_one_of_each_stops_at_the_limit(limit):
    data = numbered(LABELS["strings"])
    assert data.one_of_each(limit).tolist() == [1, 0, 3][:limit]


def test_moving_keeps_observations_groups_and_names():
    data = numbered(LABELS["strings"])
    moved = data.to("cpu")
    assert moved.device == torch.device("cpu")
    assert torch.equal(moved.x, data.x)
    assert names(moved) == names(data)


def test_it_says_how_much_there_is():
    data = GroupedData(np.zeros((4, 28, 28), np.uint8), ["ann", "bob", "ann", "bob"])
    assert repr(data) == "GroupedData(4 observations of shape (1, 28, 28) in 2 groups)"


# Bad input


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16, np.bool_, np.complex64])
def test_other_numbers_are_refused_by_name(dtype):
    came = torch.as_tensor(np.zeros(1, dtype)).dtype
    with pytest.raises(InputError, match=f"x must be uint8 images or floats, not {came}; convert"):
        GroupedData(np.zeros((3, 2, 2), dtype), [0, 1, 1])


@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (3, 0), (0, 1, 4, 4)])
def test_x_without_observations_or_features_is_refused(shape):
    with pytest.raises(
        InputError, match=r"x must have shape \(N, \.\.\.\) with N at.*not \("
    ) as e:
        GroupedData(np.zeros(shape), [0, 1, 1])
    assert str(e.value).endswith(f"not {shape}")


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_last_is_refused_and_the_message_says_what_to_do(channels, dtype):
    x = np.zeros((3, 28, 28, channels), dtype)
    match = rf"shape \(3, 28, 28, {channels}\): images must be \(N, channels, height, width\)"
    with pytest.raises(InputError, match=rf"{match}; use x.transpose\(0, 3, 1, 2\)"):
        GroupedData(x, [0, 1, 1])
    assert GroupedData(x.transpose(0, 3, 1, 2), [0, 1, 1]).shape == (channels, 28, 28)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(4, 3), (4, 1, 2, 2)])
def test_a_value_that_is_not_finite_is_refused_with_its_row(value, shape):
    x = np.zeros(shape)
    x[2].flat[-1] = value
    with pytest.raises(InputError, match="must be finite, but observation 2 has NaN or an inf"):
        GroupedData(x, [0, 1, 0, 1])


def test_a_value_that_float32_cannot_hold_is_refused():
    with pytest.raises(InputError, match="must be finite, but observation 1 has"):
        GroupedData(np.array([[0.0], [1e39]]), [0, 1])


@pytest.mark.parametrize(
    ("low", "high", "came"),
    [(0, 255, r"\[0, 255\]"), (-1, 1, r"\[-1, 1\]"), (0, 1.5, r"\[0, 1.5\]")],
)
@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 1, 2, 2)])
def test_float_images_outside_the_unit_interval_are_refused_with_their_range(
    low, high, came, shape
):
    x = np.zeros(shape)
    x.flat[0], x.flat[-1] = low, high
    with pytest.raises(InputError, match=rf"must lie in \[0, 1\], not in {came}; give 0 to 255 a"):
        GroupedData(x, [0, 1])


@pytest.mark.parametrize("num_labels", [1, 3, 5])
def test_one_label_for_each_observation_is_required(num_labels):
    with pytest.raises(
        InputError, match=f"label for each of the 4 observations, not {num_labels}"
    ):
        GroupedData(np.zeros((4, 2)), list(range(num_labels)))


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_nan_labels_are_refused(kind):
    with pytest.raises(InputError, match="group labels have NaN; give every observation a group"):
        GroupedData(np.zeros((3, 2)), kind([0.0, float("nan"), 1.0]))


@pytest.mark.parametrize("kind", [np.zeros, torch.zeros])
@pytest.mark.parametrize("shape", [(), (0,), (3, 1)])
def test_labels_must_be_a_non_empty_list(kind, shape):
    with pytest.raises(InputError, match="must be a non-empty list of length N, not of") as e:
        GroupedData(np.zeros((3, 2)), kind(shape))
    assert str(e.value).endswith(f"not of shape {shape}")


@pytest.mark.parametrize("take", [GroupedData.subset, GroupedData.batch])
def test_a_subset_of_nothing_is_refused(take):
    data = numbered([0, 1, 1])
    with pytest.raises(InputError, match=r"\(3 observations .* must keep at least one .* none"):
        take(data, [])
