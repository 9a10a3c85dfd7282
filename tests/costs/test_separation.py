"""Every separation cost changes the loss by its weight, and nothing without a weight."""

from dataclasses import replace

import pytest
import torch

from mlvae import Batch, DiagonalGaussian, Groups, InputError
from mlvae.costs import Separation
from mlvae.costs.matching import moment_gap, squared_mmd
from mlvae.costs.separation import Separators
from mlvae.models import build
from mlvae.models.mlvae import bound
from mlvae.objectives import Objective

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


# Formulas of one cost, from the draws that the cost receives


def separators(cost, weight):
    return Separators(only(cost, weight), content_dim=3, style_dim=2).double()


def empty_objective():
    return Objective(
        {"model": torch.zeros((), dtype=torch.float64)}, {}, len(LABELS), num_groups=3
    )


def recognise(content, style):
    """A posterior that depends on both codes."""
    return DiagonalGaussian(
        content.sin() + style.sum(1, keepdim=True), 0.3 * content + style[:, :1]
    )


def no_style():
    raise AssertionError("only the information critic needs the style of evaluation")


def codes():
    n = len(LABELS)
    c = torch.randn(n, 3, dtype=torch.float64, requires_grad=True)
    s = torch.randn(n, 2, dtype=torch.float64, requires_grad=True)
    return c, s


def test_moments_and_mmd_have_the_weight_of_the_size_of_their_group():
    (c, s), groups = codes(), Groups.of(LABELS)
    prior = torch.randn(s.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = {
        "moments": (groups.sizes * moment_gap(s, groups)).sum(),
        "mmd": (groups.sizes * squared_mmd(s, prior, groups)).sum(),
    }
    assert len(set(groups.sizes.tolist())) > 1
    for cost, total in expected.items():
        objective = separators(cost, 2.5)(
            empty_objective(),
            c,
            s,
            groups,
            recognise=recognise,
            style=no_style,
            generator=torch.Generator().manual_seed(3),
        )
        torch.testing.assert_close(objective.loss, 2.5 * total / 3)


def swap_cost(c, s, seed=3):
    return separators("swap", 2.5)(
        empty_objective(),
        c,
        s,
        Groups.of(LABELS),
        recognise=recognise,
        style=no_style,
        generator=torch.Generator().manual_seed(seed),
    )


def test_the_swap_cost_decodes_each_content_with_the_style_of_a_random_observation():
    c, s = codes()
    order = torch.rand(len(s), generator=torch.Generator().manual_seed(3)).argsort()
    expected = -recognise(c, s[order]).log_prob(c)
    objective = swap_cost(c, s)
    torch.testing.assert_close(objective.per_observation["swap"], expected)
    torch.testing.assert_close(objective.loss, 2.5 * expected.sum() / 3)
    own = -recognise(c, s).log_prob(c)
    assert (expected - own).abs().max() > 0.1


def test_the_gradient_of_the_swap_cost_reaches_content_and_style():
    # Finite differences see both places of the content: the decoded one and the density's value.
    assert torch.autograd.gradcheck(lambda c, s: swap_cost(c, s).loss, codes())


@pytest.mark.parametrize("accumulation", ["product", "prior_product"])
def test_the_swap_cost_has_the_posterior_that_the_model_infers(small_model, accumulation):
    model = small_model(accumulation=accumulation, separation=only("swap", 1.0)).double()
    content, style = (torch.randn(5, d, dtype=torch.float64) for d in (3, 2))
    expected = model.infer_content(model.decode(content, style))
    found = bound.recognise(model, content, style)
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.log_variance, expected.log_variance)


# Bad input


def test_a_negative_weight_is_refused():
    with pytest.raises(InputError, match=r"separation.mmd .*-1"):
        Separation(mmd=-1.0)
