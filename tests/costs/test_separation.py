"""Every separation cost changes the loss by its weight, and nothing without a weight."""

from dataclasses import replace

import pytest
import torch

from mlvae import Batch, Groups, InputError
from mlvae.costs import Separation
from mlvae.models import build

COSTS = ("moments", "mmd", "pair_critic", "content_critic", "swap")
PER_GROUP = {"moments": "moment_gap", "mmd": "mmd"}
LABELS = [0, 1, 0, 2, 1, 1, 1]


@pytest.fixture
def batch():
    return Batch(torch.rand(7, 1, 8, 8, dtype=torch.float64), Groups.of(LABELS))


def only(cost, weight):
    """The options with one cost."""
    return replace(Separation(), **{cost: weight})


def trained_one_step(model, batch):
    """The objective and the gradients by name, with the same noise in each call."""
    model = model.double().train()
    objective = model(batch, generator=torch.Generator().manual_seed(0))
    objective.loss.backward()
    return objective, {name: p.grad for name, p in model.named_parameters()}


# Properties


def test_without_weights_the_loss_is_that_of_the_bound_bit_for_bit(small_model, batch):
    plain, gradients = trained_one_step(small_model(), batch)
    unweighted, same = trained_one_step(small_model(separation=Separation()), batch)
    assert torch.equal(plain.loss, unweighted.loss)
    assert list(plain.per_observation) == list(unweighted.per_observation)
    assert list(plain.per_group) == list(unweighted.per_group)
    assert gradients.keys() == same.keys()
    assert all(torch.equal(gradients[name], same[name]) for name in gradients)


@pytest.mark.parametrize("cost", COSTS)
def test_a_cost_adds_its_weighted_term_to_the_loss_and_keeps_the_bound(small_model, batch, cost):
    plain, _ = trained_one_step(small_model(), batch)
    objective, _ = trained_one_step(small_model(separation=only(cost, 2.5)), batch)
    if cost in PER_GROUP:  # the cost of each member of the group
        term = batch.groups.spread(objective.per_group[PER_GROUP[cost]])
    else:
        term = objective.per_observation[cost]
    torch.testing.assert_close(objective.elbo, plain.elbo, rtol=0, atol=0)
    if "critic" in cost:  # the loss of the critic, with weight 1
        added = (2 * torch.log(torch.tensor(2.0)) - term).sum()
    else:
        added = 2.5 * term.sum()
    torch.testing.assert_close(objective.loss, plain.loss + added / 3)


@pytest.mark.parametrize("cost", COSTS)
def test_the_encoder_gradient_of_a_cost_is_proportional_to_its_weight(small_model, batch, cost):
    _, plain = trained_one_step(small_model(), batch)
    differences = []
    for weight in (1.0, 3.0):
        _, gradients = trained_one_step(small_model(separation=only(cost, weight)), batch)
        differences.append(gradients["encoder.heads.weight"] - plain["encoder.heads.weight"])
    assert differences[0].abs().max() > 1e-9
    torch.testing.assert_close(differences[1], 3 * differences[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("cost", COSTS)
def test_in_evaluation_a_cost_is_not_added(small_model, batch, cost):
    losses = [
        model.double().eval()(batch, generator=torch.Generator().manual_seed(0)).loss
        for model in (small_model(), small_model(separation=only(cost, 2.5)))
    ]
    assert torch.equal(*losses)


# Behaviour


def test_a_model_with_costs_is_rebuilt_from_its_config(small_model):
    model = small_model(separation=Separation(content_critic=2.0, width=16))
    again = build((1, 8, 8), model.config)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config


# Bad input


def test_a_negative_weight_is_refused():
    with pytest.raises(InputError, match=r"separation.mmd .*-1"):
        Separation(mmd=-1.0)
