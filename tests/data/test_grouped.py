"""Grouped observations: what is kept, what is given to a model, what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch

import mlvae
from mlvae.data import GroupedData
from mlvae.data.chosen import at_equal_distances
from mlvae.errors import InputError
from mlvae.groups import Groups

LABELS = {
    "integers": [-5, 10, -5, 2, 2, 2],
    "strings": ["bob", "ann", "bob", "eve", "ann", "bob"],
    "one group": ["a"] * 6,
    "groups of one": [5, 4, 3, 2, 1, 0],
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


def test_group_sizes_equal_bincount():
    data = numbered(LABELS["strings"])
    assert torch.equal(data.groups.sizes, torch.bincount(data.groups.index))
    assert data.groups.sizes.tolist() == [2, 3, 1]


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


@pytest.mark.parametrize("indices", [[5, 0, 3], [2, 2, 2, 4]])
def test_a_subset_keeps_names_and_the_order_asked_for(indices):
    labels = LABELS["strings"]
    subset = numbered(labels).subset(indices)
    assert numbers(subset.x) == indices
    assert names(subset) == [labels[i] for i in indices]


@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_a_mask_chooses_where_it_is_true(kind):
    # Taken for indices, it would be observations 0 and 1 over and over.
    mask = kind([False, True, True, False, False, True])
    subset = numbered(LABELS["strings"]).subset(mask)
    assert numbers(subset.x) == [1, 2, 5]
    assert names(subset) == ["ann", "bob", "bob"]


def test_a_subset_drops_groups_without_members_and_numbers_the_rest_without_gaps():
    subset = numbered(LABELS["strings"]).subset([3, 5, 0])
    assert subset.group_names == ["bob", "eve"]
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


BYTES, FLOATS = np.uint8, np.float64


@pytest.mark.parametrize(
    ("x", "kind", "shape"),
    [
        (np.zeros((4, 5, 6), BYTES), "auto", (1, 5, 6)),
        (np.zeros((4, 5, 6), BYTES), "image", (1, 5, 6)),
        (np.zeros((4, 3, 5, 6), BYTES), "auto", (3, 5, 6)),
        (np.zeros((4, 5, 6)), "image", (1, 5, 6)),
        (np.zeros((4, 2, 5, 6)), "image", (2, 5, 6)),
        (np.zeros((4, 1, 5, 6)), "auto", (1, 5, 6)),
    ],
    ids=str,
)
def test_images_have_a_channel(x, kind, shape):
    data = GroupedData(x, [0, 1, 0, 1], kind=kind)
    assert data.shape == shape
    assert data.batch().x.shape == (4, *shape)


@pytest.mark.parametrize("dtype", [BYTES, FLOATS])
@pytest.mark.parametrize("shape", [(7,), (5, 6), (1, 5, 6), (3, 5, 6), (28, 28, 1), (2, 3, 4, 5)])
def test_arrays_keep_their_shape(dtype, shape):
    data = GroupedData(np.zeros((4, *shape), dtype), [0, 1, 0, 1], kind="array")
    assert data.shape == shape
    assert data.batch().x.shape == (4, *shape)


@pytest.mark.parametrize("shape", [(7,), (5, 3), (100, 3), (2, 8, 8), (2, 3, 4, 5)])
def test_floats_without_image_channels_are_arrays_of_any_values(shape):
    x = np.random.default_rng(0).normal(0, 100, (4, *shape)).astype(np.float32)
    data = GroupedData(x, [0, 1, 0, 1])
    assert data.shape == shape
    assert np.array_equal(data.batch().x.numpy(), x)


def test_images_of_any_values_are_accepted_as_arrays():
    x = np.random.default_rng(0).normal(size=(4, 1, 5, 6)).astype(np.float32)
    assert np.array_equal(GroupedData(x, [0, 1, 0, 1], kind="array").batch().x.numpy(), x)


@pytest.mark.parametrize("dtype", [BYTES, FLOATS])
@pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 5)])
def test_images_have_two_or_three_axes(dtype, shape):
    with pytest.raises(InputError, match=r"\(N, height, width\) .* not \(4, "):
        GroupedData(np.zeros((4, *shape), dtype), [0, 1, 0, 1], kind="image")


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match=r"kind .*image.* not 'images'"):
        GroupedData(np.zeros((4, 7)), [0, 1, 0, 1], kind="images")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
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


@pytest.mark.parametrize(
    "change",
    [np.flip, lambda x: x.astype(">f4"), lambda x: np.broadcast_to(x[:1], x.shape)],
    ids=["backwards", "big-endian", "read-only"],
)
def test_arrays_need_not_lie_in_memory_as_torch_has_them(change):
    x = change(np.array([[0.5], [1.5], [2.5]], np.float32))
    assert GroupedData(x, [2, 0, 2]).x.tolist() == x.tolist()


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


@each_labelling
def test_labels_are_those_that_were_given_whatever_is_selected(labels):
    data = numbered(labels)
    assert isinstance(data.labels, np.ndarray) and data.labels.tolist() == list(labels)
    assert data.subset([3, 0]).labels.tolist() == [labels[3], labels[0]]


def test_names_follow_their_observations():
    names = pd.Index(["a.png", "b.png", "c.png", "d.png"])
    data = GroupedData(torch.arange(4.0)[:, None], ["x", "y", "x", "y"], names=names)
    assert data.names.tolist() == names.tolist()
    assert data.subset([2, 0]).names.tolist() == ["c.png", "a.png"]
    mask = torch.tensor([False, True, True, False])
    assert data.subset(mask).to("cpu").labelled(["x", "y"]).names.tolist() == ["b.png", "c.png"]
    for name, part in mlvae.data.split(data, validation=1, test=1):
        assert [names[i] for i in numbers(part.x)] == part.names.tolist(), name
    assert numbered([0, 1]).names is None


@pytest.mark.parametrize(
    ("names", "came"),
    [
        ("ab", "not 'ab'"),
        (["a"], r"\(1,\)"),
        ([["a", "b"]], r"\(1, 2\)"),
        (["a", None], "missing"),
        (np.array([0.0, np.nan]), "missing"),
    ],
)
def test_every_observation_has_one_name(names, came):
    with pytest.raises(InputError, match=f"names .* 2 .*{came}"):
        GroupedData(torch.zeros(2, 1), [0, 1], names=names)


def test_one_of_each_stops_at_the_limit():
    data = numbered(LABELS["strings"])
    for limit in (1, 3, 10):
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


@pytest.mark.parametrize(
    ("dtype", "came"),
    [
        (bool, "bool"),
        (object, "object"),
        ("U1", "<U1"),
        ("M8[s]", r"datetime64\[s\]"),
    ],
)
def test_other_kinds_of_elements_are_refused_by_name(dtype, came):
    with pytest.raises(InputError, match=rf"x must be uint8 images, .* not {came}[ ;]"):
        GroupedData(np.zeros((3, 2, 2), dtype), [0, 1, 1])


def test_a_tensor_of_other_elements_is_refused_by_name():
    with pytest.raises(InputError, match=r"x must be uint8 .*, not torch.bool; convert"):
        GroupedData(torch.zeros(3, 2, dtype=torch.bool), [0, 1, 1])


def test_rows_of_several_lengths_are_refused():
    with pytest.raises(InputError, match=r"x must be an array of shape \(N, ...\), not ragged: "):
        GroupedData([[1.0], [2.0, 3.0]], [0, 1])


@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (3, 0)])
def test_x_without_observations_or_features_is_refused(shape):
    with pytest.raises(
        InputError, match=r"x must have shape \(N, \.\.\.\) with N at.*not \("
    ) as e:
        GroupedData(np.zeros(shape), [0, 1, 1])
    assert str(e.value).endswith(f"not {shape}")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_last_is_refused_and_the_message_says_what_to_do(channels):
    x = np.zeros((3, 28, 28, channels), np.uint8)
    match = rf"shape \(3, 28, 28, {channels}\): images must be \(N, channels, height, width\)"
    with pytest.raises(InputError, match=rf"{match}; use numpy.moveaxis\(x, -1, -3\)"):
        GroupedData(x, [0, 1, 1])
    assert GroupedData(np.moveaxis(x, -1, 1), [0, 1, 1]).shape == (channels, 28, 28)


@pytest.mark.parametrize(("value", "shape"), [(np.nan, (4, 3)), (-np.inf, (4, 1, 2, 2))])
def test_a_value_that_is_not_finite_is_refused_with_its_row(value, shape):
    x = np.zeros(shape)
    x[2].flat[-1] = value
    with pytest.raises(InputError, match="must be finite in float32, but observation 2 has NaN"):
        GroupedData(x, [0, 1, 0, 1])


def test_a_value_that_float32_cannot_hold_is_refused():
    with pytest.raises(InputError, match=r"finite in float32, but observation 1 has .* bey"):
        GroupedData(np.array([[0.0], [1e39]]), [0, 1])


@pytest.mark.parametrize(
    ("shape", "kind", "low", "high", "came"),
    [
        ((2, 2, 2), "image", 0, 255, r"\[0, 255\]"),
        ((2, 1, 2, 2), "auto", -0.5, 1, r"\[-0.5, 1\]"),
        ((2, 3, 2, 2), "auto", 0, 1.5, r"\[0, 1.5\]"),
        ((2, 4, 2, 2), "image", -1, 1, r"\[-1, 1\]"),
    ],
)
def test_float_images_outside_the_unit_interval_are_refused_with_their_range_and_advice(
    shape, kind, low, high, came
):
    x = np.zeros(shape)
    x.flat[0], x.flat[-1] = low, high
    with pytest.raises(InputError, match=rf"\[0, 1\], not in {came}.* uint8.* kind='array'"):
        GroupedData(x, [0, 1], kind=kind)


@pytest.mark.parametrize("num_labels", [1, 5])
def test_one_label_for_each_observation_is_required(num_labels):
    with pytest.raises(
        InputError, match=f"label for each of the 4 observations, not {num_labels}"
    ):
        GroupedData(np.zeros((4, 2)), list(range(num_labels)))


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([0.0, torch.nan, 1.0]),
        np.array([0.0, np.nan, 1.0]),
        np.array(["2020", "NaT", "2021"], "M8[D]"),
        np.array(["ann", None, "bob"], object),
        ["ann", float("nan"), "bob"],
    ],
    ids=["tensor", "floats", "dates", "objects with None", "words with NaN"],
)
def test_missing_labels_are_refused(labels):
    # NumPy would make groups called "nan" and "None" of them.
    with pytest.raises(InputError, match=r"missing .*NaN"):
        GroupedData(np.zeros((3, 2)), labels)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(np.zeros, ()), (np.zeros, (0,)), (torch.zeros, (0,)), (torch.zeros, (3, 1))],
)
def test_labels_must_be_a_non_empty_list(kind, shape):
    with pytest.raises(InputError, match="must be a non-empty list of length N, not of") as e:
        GroupedData(np.zeros((3, 2)), kind(shape))
    assert str(e.value).endswith(f"not of shape {shape}")


@pytest.mark.parametrize("take", [GroupedData.subset, GroupedData.batch])
def test_a_subset_of_nothing_is_refused(take):
    data = numbered([0, 1, 1])
    with pytest.raises(InputError, match=r"\(3 observations .* must keep at least one .* none"):
        take(data, [])


def test_a_mask_without_true_is_refused():
    with pytest.raises(InputError, match="must keep at least one observation, not none"):
        numbered([0, 1, 1]).subset([False] * 3)


@pytest.mark.parametrize(
    ("indices", "came"),
    [
        ([True, False], r"torch.bool of shape \(2,\)"),
        ([1.0], r"torch.float64 of shape \(1,\)"),
        ([[0, 1]], r"torch.int64 of shape \(1, 2\)"),
    ],
    ids=["a short mask", "floats", "a matrix"],
)
def test_a_subset_takes_a_vector_of_indices_or_a_whole_mask(indices, came):
    match = rf"takes indices \(n,\) or a mask of 3 booleans, not {came}"
    with pytest.raises(InputError, match=match):
        numbered([0, 1, 1]).subset(indices)


# Known factors


def test_known_factors_follow_their_observations():
    data = GroupedData(np.zeros((4, 2)), ["b", "a", "b", "a"], {"light": [10, 20, 30, np.nan]})
    assert data.factors["light"].dtype == torch.float32
    assert data.subset([2, 0]).factors["light"].tolist() == [30, 10]
    assert data.to("cpu").factors["light"][:3].tolist() == [10, 20, 30]
    assert numbered([0, 1]).factors == {}


@pytest.mark.parametrize("values", [[1, 2], [[1], [2], [3]], 7.0])
def test_a_known_factor_has_a_number_for_each_observation(values):
    with pytest.raises(InputError, match="factor light must have a number for each of the 3 obs"):
        GroupedData(np.zeros((3, 2)), [0, 1, 1], {"light": values})


@pytest.mark.parametrize(
    "values", [["left", "right"], [None, "1"], [[1], [2, 3]], np.array([1j, 2])], ids=str
)
def test_a_known_factor_is_numbers(values):
    with pytest.raises(InputError, match=r"factor light .*\(2,\)"):
        GroupedData(np.zeros((2, 2)), [0, 1], {"light": values})


@pytest.mark.parametrize(
    "values",
    [
        [2**24, 2**24 + 1, 5],
        [2**24, 2**24 + 1, np.nan],
        np.array([2**24 + 1, 5, 2**24], np.float64),
        torch.tensor([2**24 + 1, 5, 2**24]),
        torch.tensor([5, 2**24 + 1, 2**24], dtype=torch.float64),
    ],
    ids=str,
)
def test_integer_factors_that_are_equal_in_float32_are_refused(values):
    with pytest.raises(InputError, match=r"factor donor .* 16777216 and 16777217 "):
        GroupedData(np.zeros((3, 2)), [0, 1, 1], {"donor": values})


def test_integers_beyond_float64_are_compared_exactly():
    with pytest.raises(InputError, match=f"factor donor .* {-(2**60) - 1} and {-(2**60)} "):
        GroupedData(np.zeros((2, 2)), [0, 1], {"donor": [-(2**60), -(2**60) - 1]})


@pytest.mark.parametrize(
    "values",
    [
        [2**24, 2**24 + 2, 5],
        [2**24 - 1, 2**24, -(2**24)],
        [2**24 + 1] * 3,  # one value
        [1e9 / 3, 1e9 / 3 + 1, np.nan],  # measurements, rounded as usual
        torch.tensor([1.5, 2.5, torch.nan], dtype=torch.bfloat16),
        torch.tensor([1.5, 2.5, 3.5], requires_grad=True),
        np.array([1, 2, 3], ">i4"),
        [True, False, True],
    ],
    ids=str,
)
def test_other_factors_are_rounded_to_float32(values):
    factor = GroupedData(np.zeros((3, 2)), [0, 1, 1], {"donor": values}).factors["donor"]
    assert factor.dtype == torch.float32 and not factor.requires_grad
    tensor = values if isinstance(values, torch.Tensor) else torch.tensor(np.array(values, "=f8"))
    np.testing.assert_array_equal(factor.numpy(), tensor.detach().float().numpy())


@pytest.mark.parametrize("values", [[1.0, np.inf], [1e39, 1.0], [-np.inf, 0.5]], ids=str)
def test_factors_are_finite_in_float32_or_unknown(values):
    with pytest.raises(InputError, match=r"factor light .*float32.*(-inf|inf|1e\+39)"):
        GroupedData(np.zeros((2, 2)), [0, 1], {"light": values})


@pytest.mark.parametrize("indices", [[-1], [0, 4]])
@pytest.mark.parametrize("method", ["subset", "batch", "singles"])
def test_an_index_of_no_observation_is_refused(method, indices):
    data = GroupedData(np.zeros((4, 2)), [0, 0, 1, 1])
    with pytest.raises(InputError, match=r"indices of .* must lie in \[0, 4\), not in"):
        getattr(data, method)(indices)


def test_a_slice_is_a_subset_and_words_are_none():
    data = GroupedData(np.arange(8.0).reshape(4, 2), [0, 0, 1, 1])
    assert torch.equal(data.subset(slice(1, 3)).x, data.x[1:3])
    with pytest.raises(InputError, match="must be integers, not 'abc'"):
        data.subset("abc")


def test_regrouped_data_have_the_same_observations():
    pixels = torch.arange(12, dtype=torch.uint8).reshape(3, 1, 2, 2)
    data = GroupedData(pixels, ["ann", "bob", "ann"], given={"size": [1.0, 2.0, 3.0]})
    other = data.regrouped(["right", "left", "left"])
    assert other.x.equal(data.x) and other.given["size"].tolist() == [1, 2, 3]
    assert other.labels.tolist() == ["right", "left", "left"]
    assert data.labels.tolist() == ["ann", "bob", "ann"]
    with pytest.raises(InputError, match=r"3 observations.*2"):
        data.regrouped(["right", "left"])


@pytest.mark.parametrize("length", [1, 100, 16_777_220, 33_554_436, 50_000_000])
def test_indices_at_equal_distances_end_at_the_last_observation(length):
    found = at_equal_distances(length, 64)
    assert len(found) == min(length, 64) and found[0] == 0 and found[-1] == length - 1
    assert len(found) == 1 or int(found.diff().min()) >= 1
