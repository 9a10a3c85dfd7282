import math

import numpy as np
import pytest
import torch

from mlvae import Groups, InputError


def ragged():
    """Groups of 1 to 40 members in random order."""
    index = torch.repeat_interleave(torch.arange(5), torch.tensor([1, 40, 3, 7, 2]))
    return Groups(index[torch.randperm(len(index))])


def test_sum_and_max_agree_with_a_loop():
    groups = ragged()
    values = torch.randn(groups.num_observations, 4, 3, dtype=torch.float64)
    members = [values[groups.index == group] for group in range(groups.num_groups)]
    torch.testing.assert_close(groups.sum(values), torch.stack([m.sum(0) for m in members]))
    assert torch.equal(groups.max(values), torch.stack([m.amax(0) for m in members]))
    assert groups.sizes.tolist() == [len(m) for m in members]


@pytest.mark.parametrize("shift", [0.0, 500.0, -500.0])
def test_logsumexp_agrees_with_a_loop_and_does_not_overflow(shift):
    groups = ragged()
    values = shift + torch.randn(groups.num_observations, 4, dtype=torch.float64)
    values.requires_grad_()
    expected = [values[groups.index == group].logsumexp(0) for group in range(5)]
    result = groups.logsumexp(values)
    torch.testing.assert_close(result, torch.stack(expected))
    (gradient,) = torch.autograd.grad(result.square().sum(), values)
    (reference,) = torch.autograd.grad(torch.stack(expected).square().sum(), values)
    torch.testing.assert_close(gradient, reference)


def test_spread_undoes_a_sum_over_equal_values():
    groups = ragged()
    ones = torch.ones(groups.num_observations, 2)
    assert torch.equal(groups.spread(groups.sum(ones))[:, 0], groups.sizes[groups.index].float())


def test_singletons_are_groups_of_one():
    groups = Groups.singletons(4)
    values = torch.randn(4, 2)
    assert torch.equal(groups.sum(values), values) and groups.sizes.tolist() == [1] * 4


@pytest.mark.parametrize(
    "labels",
    [
        ["ann", "bob", "ann"],
        np.array(["ann", "bob", "ann"]),
        np.array(["ann", "bob", "ann"], dtype=object),
        torch.tensor([7, 9, 7]),
        np.array([0.5, 1.5, 0.5]),
        (3, 8, 3),
    ],
)
def test_any_labels_are_numbered_in_sorted_order(labels):
    groups = Groups.of(labels)
    assert groups.index.tolist() == [0, 1, 0] and groups.index.dtype == torch.int64
    assert Groups.of(groups) is groups


def test_groups_can_be_printed_and_moved():
    assert repr(ragged()) == "Groups(53 observations in 5 groups)"
    assert ragged().to("meta").index.device.type == "meta"


@pytest.mark.parametrize(
    ("index", "num_groups", "message"),
    [
        (torch.tensor([0, 2]), None, "group 1 of 3"),
        (torch.tensor([0, 1]), 3, "group 2 of 3"),
        (torch.tensor([0, 3]), 2, r"\[0, 2\).*\[0, 3\]"),
        (torch.tensor([-1, 0]), None, r"\[-1, 0\]"),
        (torch.tensor([0.0, 1.0]), None, "float32"),
        (torch.tensor([True, False]), None, "torch.bool"),
        (torch.zeros(2, 2, dtype=torch.int64), None, r"\(2, 2\)"),
        (torch.tensor([], dtype=torch.int64), None, "group index"),
    ],
)
def test_an_index_that_is_not_a_partition_is_refused(index, num_groups, message):
    with pytest.raises(InputError, match=message):
        Groups(index, num_groups)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], r"\(0,\)"),
        (torch.tensor([], dtype=torch.int64), r"\(0,\)"),
        ([[1, 2]], r"\(1, 2\)"),
        ([1.0, float("nan")], "NaN"),
        (torch.tensor([float("nan")]), "NaN"),
    ],
)
def test_invalid_labels_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        Groups.of(labels)


def copied(index, number):
    """Groups that are repeated: each copy is drawn by itself."""
    return Groups((index + 3 * torch.arange(number)[:, None]).flatten())


def test_a_random_subset_has_a_log_uniform_size_and_uniform_members():
    groups = copied(torch.arange(3).repeat_interleave(torch.tensor([1, 3, 5])), 20_000)
    generator = torch.Generator().manual_seed(0)
    masks = groups.random_subset(generator=generator).view(20_000, 9)
    assert masks[:, 0].all()  # the only member of its group
    for members in (torch.arange(1, 4), torch.arange(4, 9)):
        n = len(members)
        size = masks[:, members].sum(1)
        for m in range(1, n + 1):
            expected = math.log((m + 1) / m) / math.log(n + 1)
            assert abs(float((size == m).double().mean()) - expected) < 0.015
        share = masks[:, members].double().mean(0)
        assert float(share.max() - share.min()) < 0.02
        assert size.min() == 1 and size.max() == n


def test_a_proper_random_subset_leaves_out_at_least_one_member_of_a_group_of_several():
    groups = copied(torch.arange(3).repeat_interleave(torch.tensor([1, 2, 5])), 10_000)
    generator = torch.Generator().manual_seed(0)
    masks = groups.random_subset(generator=generator, proper=True).view(10_000, 8)
    assert masks[:, 0].all()  # the only member of its group
    assert (masks[:, 1:3].sum(1) == 1).all()
    size = masks[:, 3:].sum(1)
    for m in range(1, 5):  # log-uniform on 1 to n - 1 = 4
        expected = math.log((m + 1) / m) / math.log(5)
        assert abs(float((size == m).double().mean()) - expected) < 0.02
    assert size.min() == 1 and size.max() == 4


def test_fellow_members_are_uniform_over_the_other_members_of_the_group():
    labels = torch.tensor([0, 1, 0, 2, 1, 1, 1])
    groups = Groups(labels)
    counts = torch.zeros(7, 7)
    for _ in range(300):
        fellow = groups.fellow_members()
        assert torch.equal(labels[fellow], labels)
        assert sorted(fellow.tolist()) == list(range(7))
        counts[torch.arange(7), fellow] += 1
    # Only the observation in the group of one is its own fellow.
    assert counts.diagonal().tolist() == 3 * [0] + [300] + 3 * [0]
    assert (counts[1][[4, 5, 6]] - 100).abs().max() < 40


@pytest.mark.parametrize(
    "labels",
    [[1, "1", 2, "2"], [2**63, 2**63 + 1, -1, 0], [2**53, 2**53 + 1, 0.5, 0], ["a", "a\0", "b"]],
)
def test_different_labels_are_refused_if_they_would_become_equal(labels):
    with pytest.raises(InputError, match="group labels"):
        Groups.of(labels)


def test_masked_labels_are_missing():
    with pytest.raises(InputError, match="group labels"):
        Groups.of(np.ma.array([0, 0, 1], mask=[True, False, False]))
    assert Groups.of(np.ma.array([0, 0, 1])).num_groups == 2
