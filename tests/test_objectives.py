import pytest
import torch

from mlvae import Groups, InputError
from mlvae.objectives import ELBO, GroupELBO, Objective
from mlvae.training.sums import counted


def terms(n=12, g=3):
    groups = Groups.of(torch.arange(n) % g)
    return {
        "log_likelihood": torch.randn(n, dtype=torch.float64, requires_grad=True),
        "style_kl": torch.rand(n, dtype=torch.float64, requires_grad=True),
        "content_kl": torch.rand(g, dtype=torch.float64, requires_grad=True),
    }, groups


def test_the_loss_is_minus_the_mean_over_groups_of_the_bound():
    values, groups = terms()
    objective = GroupELBO().double()(**values, groups=groups)
    torch.testing.assert_close(objective.loss, -objective.elbo.mean())
    # The bound of a group: the sum of its members' terms minus one content KL.
    for group in range(3):
        members = groups.index == group
        expected = (values["log_likelihood"] - values["style_kl"])[members].sum()
        torch.testing.assert_close(objective.elbo[group], expected - values["content_kl"][group])


def test_the_content_kl_counts_once_per_group_of_any_size():
    values, groups = terms()
    GroupELBO().double()(**values, groups=groups).loss.backward()
    third = torch.full((3,), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(values["content_kl"].grad, third)
    torch.testing.assert_close(values["style_kl"].grad, third[groups.index])
    torch.testing.assert_close(values["log_likelihood"].grad, -third[groups.index])


@pytest.mark.parametrize("weight", ["content_kl_weight", "style_kl_weight"])
def test_a_weight_scales_its_term_of_the_loss_and_keeps_the_bound(weight):
    values, groups = terms()
    plain = GroupELBO().double()(**values, groups=groups)
    weighted = GroupELBO(**{weight: 3.0}).double()(**values, groups=groups)
    term = values[weight.removesuffix("_weight")].sum() / 3
    torch.testing.assert_close(weighted.loss, plain.loss + 2 * term)
    assert torch.equal(weighted.elbo, plain.elbo)


@pytest.mark.parametrize("name", ["content", "style"])
@pytest.mark.parametrize("capacity", [0.0, 0.2, 5.0])
def test_a_capacity_pulls_its_mean_kl_from_both_sides_and_keeps_the_bound(name, capacity):
    values, groups = terms()
    kl = values[f"{name}_kl"]
    plain = GroupELBO().double()(**values, groups=groups)
    limited = GroupELBO(**{f"{name}_capacity": capacity}).double()(**values, groups=groups)
    gap = (kl.mean() - capacity).abs() * len(kl)
    torch.testing.assert_close(limited.loss, plain.loss + (gap - kl.sum()) / 3)
    assert torch.equal(limited.elbo, plain.elbo)
    (gradient,) = torch.autograd.grad(limited.loss, kl)
    assert (gradient > 0).all() == (kl.mean() > capacity).item()


def test_a_warm_up_scales_both_kl_terms_and_only_in_training():
    values, groups = terms()
    objective = GroupELBO().double()
    objective.kl_scale.fill_(0.25)
    kl = (values["style_kl"].sum() + values["content_kl"].sum()) / 3
    whole = objective.eval()(**values, groups=groups).loss
    torch.testing.assert_close(objective.train()(**values, groups=groups).loss, whole - 0.75 * kl)
    assert objective.state_dict() == {}


def test_a_scale_of_the_style_kl_applies_in_training_only():
    values, groups = terms()
    objective = GroupELBO().double()
    plain = objective.eval()(**values, groups=groups).loss
    objective.style_scale.fill_(5.0)
    assert torch.equal(objective.eval()(**values, groups=groups).loss, plain)
    style = values["style_kl"].sum() / 3
    torch.testing.assert_close(objective.train()(**values, groups=groups).loss, plain + 4 * style)


@pytest.mark.parametrize("scale", [0.0, 0.25])
def test_a_warm_up_of_the_plain_bound_applies_in_training_only(scale):
    values, _ = terms()
    log_likelihood, kl = values["log_likelihood"], values["style_kl"]
    objective = ELBO(kl_weight=2.0).double()
    whole = objective(log_likelihood=log_likelihood, kl=kl).loss
    objective.kl_scale.fill_(scale)
    assert torch.equal(objective.eval()(log_likelihood=log_likelihood, kl=kl).loss, whole)
    in_training = objective.train()(log_likelihood=log_likelihood, kl=kl).loss
    torch.testing.assert_close(in_training, whole - 2 * (1 - scale) * kl.mean())
    assert objective.state_dict() == {}


@pytest.mark.parametrize("scale", ["kl_scale", "style_scale"])
def test_a_warm_up_does_not_change_the_reported_bound(scale):
    values, groups = terms()
    objective = GroupELBO().double().train()
    plain = objective(**values, groups=groups).elbo
    getattr(objective, scale).fill_(0.25)
    assert torch.equal(objective(**values, groups=groups).elbo, plain)


def test_every_term_is_summed_once_and_divided_by_its_own_unit():
    values, groups = terms()
    objective = GroupELBO().double()(**values, groups=groups)
    totals, units = counted(objective, groups)
    assert units == {
        "loss": "group",
        "elbo": "group",
        "log_likelihood": "observation",
        "style_kl": "observation",
        "content_kl": "group",
    }
    assert list(totals) == [*units, "observations", "groups"]
    torch.testing.assert_close(totals["elbo"], objective.elbo.sum())
    torch.testing.assert_close(totals["loss"], -totals["elbo"])
    torch.testing.assert_close(totals["style_kl"], values["style_kl"].sum().detach())
    assert (totals["observations"], totals["groups"]) == (12, 3)
    assert not any(total.requires_grad for total in totals.values())


@pytest.mark.parametrize("num_groups", [None, 3])
def test_a_further_cost_is_divided_by_the_count_of_the_loss(num_groups):
    loss = torch.tensor(2.0, requires_grad=True)
    objective = Objective({"model": loss, "critic": loss}, {}, 12, num_groups=num_groups)
    more = objective.plus(6 * loss, {"gap": torch.ones(12)}, {"cost": torch.ones(3)})
    assert more.loss.item() == 2 + 12 / objective.count
    assert more.losses["critic"] is loss and objective.loss.item() == 2
    assert (list(more.per_observation), list(more.per_group)) == (["gap"], ["cost"])
    assert more.count == (12 if num_groups is None else 3)


def test_the_plain_bound_is_a_mean_over_observations():
    values, _ = terms()
    log_likelihood, kl = values["log_likelihood"], values["style_kl"]
    objective = ELBO().double()(log_likelihood=log_likelihood, kl=kl)
    torch.testing.assert_close(objective.loss, (kl - log_likelihood).mean())
    torch.testing.assert_close(objective.loss, -objective.elbo.mean())
    beta = ELBO(kl_weight=4.0).double()
    loss = beta(log_likelihood=log_likelihood, kl=kl).loss
    torch.testing.assert_close(loss, objective.loss + 3 * kl.mean())
    beta.kl_scale.fill_(0.25)
    torch.testing.assert_close(beta(log_likelihood=log_likelihood, kl=kl).loss, objective.loss)


@pytest.mark.parametrize("build", [lambda w: GroupELBO(content_kl_weight=w),
                                   lambda w: GroupELBO(style_kl_weight=w),
                                   lambda w: ELBO(kl_weight=w)])  # fmt: skip
def test_a_negative_weight_is_refused(build):
    with pytest.raises(InputError, match=r"kl_weight .*0.*-1"):
        build(-1.0)
