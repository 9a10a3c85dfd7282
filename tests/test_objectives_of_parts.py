"""The content KL of parts of groups: the sum over an epoch, and whether it is a bound."""

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch

from mlvae import Batch, DiagonalGaussian, GroupedData, Groups, InputError
from mlvae.data import Grouped, Shuffled
from mlvae.data.sharing import share
from mlvae.objectives import GroupELBO

SIZES = [5, 1, 30, 3]
BATCHINGS = [
    Shuffled(4),
    Shuffled(1000),
    Grouped(groups=5, members=4, small_groups="keep"),
    Grouped(groups=2, members=1000, small_groups="keep"),
]


def ragged():
    labels = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
    return GroupedData(torch.arange(float(len(labels)))[:, None], labels.flip(0))


def plan(batching):
    return batching.plan(ragged(), torch.Generator().manual_seed(0))


def terms():
    """Terms of each observation and of each group of the data, in nats, with gradients."""
    n, g = sum(SIZES), len(SIZES)
    return {
        "log_likelihood": torch.randn(n, dtype=torch.float64, requires_grad=True),
        "style_kl": torch.rand(n, dtype=torch.float64, requires_grad=True),
        "content_kl": torch.rand(g, dtype=torch.float64, requires_grad=True),
    }


def objective_of_batch(objective, values, batch):
    """The objective of a batch, with terms that do not depend on the batches."""
    rows = batch.x[:, 0].long()
    return objective(
        log_likelihood=values["log_likelihood"][rows],
        style_kl=values["style_kl"][rows],
        content_kl=values["content_kl"][batch.groups.origin.number],
        groups=batch.groups,
    )


def total(objective, values, batches):
    """The loss times the number of groups, summed over batches."""
    parts = [objective_of_batch(objective, values, batch) for batch in batches]
    return sum(part.loss * part.num_groups for part in parts)


def linear(x, members):
    """Terms under p(c) = N(0, 1), p(x_i | c) = N(c, 1), and the exact posterior of ``members``.

    Returns:
        E[log p(x_i | c)] of every observation (N,), and the content KL (1,).
    """
    precision = 1 + len(members)
    mean = x[list(members)].sum() / precision
    log_variance = torch.full((1,), -math.log(precision), dtype=x.dtype)
    q = DiagonalGaussian(mean[None, None], log_variance[None])
    t = -0.5 * (math.log(2 * math.pi) + (x - mean).square() + q.variance[0])
    return t, q.kl()


# Properties


@pytest.mark.parametrize("batching", BATCHINGS, ids=repr)
def test_an_epoch_of_parts_adds_up_to_the_bounds_of_all_groups_of_the_data(batching):
    values, groups = terms(), ragged().groups
    result = total(GroupELBO(batch_groups="parts").double(), values, plan(batching))
    t = values["log_likelihood"] - values["style_kl"]
    bounds = groups.sum(t) - values["content_kl"]
    torch.testing.assert_close(result, -bounds.sum())
    # The gradients too: every observation counts once and every group has one content KL.
    ours = torch.autograd.grad(result, list(values.values()))
    theirs = torch.autograd.grad(-bounds.sum(), list(values.values()))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("span", [False, True])
def test_the_losses_of_shares_add_up_to_that_of_the_batch(span, monkeypatch):
    # Only reports need the sums over ranks of spanning shares; the loss does not.
    monkeypatch.setattr("mlvae.groups.shares.sum_over_ranks", lambda values: values)
    values, objective = terms(), GroupELBO(batch_groups="parts").double()
    whole = plan(BATCHINGS[2])
    shares = [share(whole, rank=rank, ranks=3, span=span) for rank in range(3)]
    counted = [batch for part in shares for batch in part if batch.groups.counts]
    expected = total(objective, values, whole)
    torch.testing.assert_close(total(objective, values, counted), expected)


@pytest.mark.parametrize("capacity", [None, 0.3])
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_groups_with_all_members_in_the_batch_are_whole(capacity, weight):
    values, batch = terms(), ragged().batch()
    options = {"content_kl_weight": weight, "content_capacity": capacity}
    parts, whole = (
        objective_of_batch(GroupELBO(**options, batch_groups=name).double(), values, batch)
        for name in ("parts", "whole")
    )
    torch.testing.assert_close(parts.loss, whole.loss)


@pytest.mark.parametrize("capacity", [None, 0.0, 0.3, 5.0])
def test_parts_of_equal_size_are_a_weight_of_the_content_kl(capacity):
    # Two of eight members of each of three groups: the same as content_kl_weight=1/4.
    data = GroupedData(torch.zeros(24, 1), torch.arange(24) % 3)
    groups = data.batch(range(6)).groups
    values = {
        "log_likelihood": torch.randn(6, dtype=torch.float64),
        "style_kl": torch.rand(6, dtype=torch.float64),
        "content_kl": torch.rand(3, dtype=torch.float64),
    }
    parts = GroupELBO(batch_groups="parts", content_capacity=capacity).double()
    by_hand = GroupELBO(content_kl_weight=0.25, content_capacity=capacity).double()
    expected = by_hand(**values, groups=groups)
    torch.testing.assert_close(parts(**values, groups=groups).loss, expected.loss)


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_the_mean_over_all_parts_is_the_bound_of_the_group_if_the_posterior_is_the_same(m):
    torch.manual_seed(1)
    x = torch.randn(5, dtype=torch.float64)
    t, kl = linear(x, (0, 3))  # any posterior, the same for every part
    data, objective = GroupedData(x[:, None], [0] * 5), GroupELBO(batch_groups="parts").double()
    estimates = []
    for members in combinations(range(5), m):
        groups = data.batch(list(members)).groups
        zero = torch.zeros(m, dtype=torch.float64)
        part = t[list(members)]
        loss = objective(log_likelihood=part, style_kl=zero, content_kl=kl, groups=groups).loss
        estimates.append(-loss * 5 / m)
    torch.testing.assert_close(torch.stack(estimates).mean(), t.sum() - kl[0])


def test_the_posterior_of_a_part_fits_its_own_members_so_the_sum_over_parts_is_not_a_bound():
    x = torch.tensor([-3.0, 3.0] * 3, dtype=torch.float64)
    n = len(x)
    prior = torch.distributions.MultivariateNormal(x.new_zeros(n), torch.eye(n).double() + 1)
    log_evidence = prior.log_prob(x)
    for m in range(1, n + 1):
        estimates, bounds, of_parts = [], [], []
        for members in combinations(range(n), m):
            t, kl = linear(x, members)
            part = t[list(members)].sum()
            estimates.append(n / m * part - kl)
            bounds.append(t.sum() - kl)
            cov = torch.eye(m).double() + 1
            of_part = torch.distributions.MultivariateNormal(x.new_zeros(m), cov)
            of_parts.append(part - kl - of_part.log_prob(x[list(members)]))
        estimate, bound = torch.stack(estimates).mean(), torch.stack(bounds).mean()
        assert bound <= log_evidence + 1e-9
        # Here the exact posterior of a part makes "whole" as tight as can be: a bound on the part.
        torch.testing.assert_close(torch.cat(of_parts), torch.zeros(len(of_parts)).double())
        if m == n:
            torch.testing.assert_close(estimate, bound)
        else:
            assert estimate > bound
        assert (estimate > log_evidence + 1e-9) == (m < n)


# Behaviour


@pytest.mark.parametrize("batching", BATCHINGS, ids=repr)
def test_evaluation_and_the_bound_are_those_of_whole_groups(batching):
    values = terms()
    parts, whole = GroupELBO(batch_groups="parts").double(), GroupELBO().double()
    for batch in plan(batching):
        expected = objective_of_batch(whole, values, batch)
        assert torch.equal(objective_of_batch(parts.train(), values, batch).elbo, expected.elbo)
        assert torch.equal(objective_of_batch(parts.eval(), values, batch).loss, expected.loss)


def test_by_default_an_origin_changes_no_bit():
    values = terms()
    for batch in plan(BATCHINGS[0]):
        plain = replace(batch, groups=Groups.unchecked(batch.groups.index, batch.groups.sizes))
        rows, number = batch.x[:, 0].long(), batch.groups.origin.number
        expected = GroupELBO().double()(
            log_likelihood=values["log_likelihood"][rows],
            style_kl=values["style_kl"][rows],
            content_kl=values["content_kl"][number],
            groups=plain.groups,
        )
        assert torch.equal(
            objective_of_batch(GroupELBO().double(), values, batch).loss, expected.loss
        )


@pytest.mark.parametrize("evidence_from", ["all", "subset", "others"])
def test_a_model_is_trained_on_parts_with_any_evidence(small_model, evidence_from):
    data = GroupedData(torch.rand(12, 1, 8, 8), [0] * 9 + [1] * 3)
    batch = data.batch([0, 1, 2, 9, 10, 11])
    values = []
    for name in ("whole", "parts"):
        model = small_model(evidence_from=evidence_from, batch_groups=name)
        values.append(model(batch, generator=torch.Generator().manual_seed(0)))
    whole, parts = values
    # Group 0 has three of its nine members in the batch, group 1 all of its three.
    saved = 2 / 3 * whole.per_group["content_kl"][0] / 2
    torch.testing.assert_close(parts.loss, whole.loss - saved)
    parts.loss.backward()
    assert all(p.grad is not None for p in model.parameters())


# Bad input


def test_parts_without_an_origin_are_refused_in_training(small_model):
    model = small_model(batch_groups="parts")
    batch = Batch(torch.rand(4, 1, 8, 8), Groups.of([0, 0, 1, 1]))
    with pytest.raises(InputError, match=r"batch_groups=parts .*batch_groups=whole"):
        model(batch)
    assert model.eval()(batch).loss.isfinite()


def test_a_misspelt_choice_is_refused():
    with pytest.raises(InputError, match=r"batch_groups .*whole, parts.*'part'"):
        GroupELBO(batch_groups="part")
