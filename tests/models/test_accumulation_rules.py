"""The Multi-Level VAE under every accumulation rule, from training to evaluation."""

import pytest
import torch

from mlvae import Batch, GroupedData, Groups, InputError
from mlvae.evaluation import accumulate_sets, importance_weighted_bound
from mlvae.evidence.rules import ACCUMULATIONS, EVIDENCE_RULES
from mlvae.posteriors import GroupMixture

LABELS = torch.tensor([2, 0, 1, 0, 2, 2, 2])
RULES = pytest.mark.parametrize("rule", ACCUMULATIONS)


@pytest.fixture
def batch():
    return Batch(torch.rand(7, 1, 8, 8, dtype=torch.float64), Groups.of(LABELS))


# Properties


@RULES
def test_both_content_draws_estimate_the_same_bound(small_model, batch, rule):
    # Copies of the groups are further groups, with noise of their own.
    copies = (batch.groups.index + 3 * torch.arange(1500)[:, None]).flatten()
    batch = Batch(batch.x.repeat(1500, 1, 1, 1), Groups(copies))
    estimates = {}
    for draw in ("observation", "group"):
        model = small_model(content_draw=draw, accumulation=rule).double()
        with torch.no_grad():  # distant contents, so that the draw matters
            model.encoder.heads.weight[:3] *= 20
            estimates[draw] = -model(batch).elbo.view(1500, 3).mean(1)
    means = [e.mean() for e in estimates.values()]
    error = torch.stack([e.var() / len(e) for e in estimates.values()]).sum().sqrt()
    assert abs(means[0] - means[1]) < 4 * error
    # The draws of a mixture for each observation are stratified, which reduces the variance.
    assert estimates["observation"].var() < estimates["group"].var()


@RULES
def test_the_content_kl_is_that_of_the_rule_once_per_group(small_model, batch, rule):
    model = small_model(accumulation=rule).double()
    content = ACCUMULATIONS[rule](model.encoder(batch.x)[0], batch.groups)
    objective = model(batch)
    torch.testing.assert_close(objective.per_group["content_kl"], content.kl())
    torch.testing.assert_close(objective.loss, -objective.elbo.mean())


# Behaviour


@RULES
@pytest.mark.parametrize("draw", ["observation", "group"])
def test_every_parameter_receives_gradient(small_model, batch, rule, draw):
    model = small_model(accumulation=rule, content_draw=draw).double()
    model(batch).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert model.encoder.heads.weight.grad[:6].abs().sum(1).all()


@RULES
def test_all_inference_methods_of_a_model_use_the_rule(small_model, batch, rule):
    model, x = small_model(accumulation=rule).double(), batch.x
    content = model.infer_content(x, LABELS)
    single = model.infer_content(x)
    members = model.encoder(x)[0]
    expected = ACCUMULATIONS[rule](members, Groups.of(LABELS))
    assert isinstance(content, GroupMixture) == (rule == "mixture")
    torch.testing.assert_close(content.mean, expected.mean)
    expected_single = ACCUMULATIONS[rule](members, Groups.singletons(7))
    torch.testing.assert_close(single.variance, expected_single.variance)
    styles = model.infer_style(x)
    decoded = model.decode(content[Groups.of(LABELS).index], styles)
    torch.testing.assert_close(model.reconstruct(x, LABELS), decoded)
    torch.testing.assert_close(model.decode(single, styles), model.swap(content_of=x, style_of=x))
    codes = accumulate_sets(single[torch.arange(7)], torch.tensor([[1, 3]]), accumulation=rule)
    assert codes.mean.shape == codes.sample_groups().shape == (1, 3)
    bound = importance_weighted_bound(model, GroupedData(x, LABELS), num_content=2, num_style=1)
    assert bound.shape == (3,) and bound.isfinite().all()


def test_the_importance_weighted_bound_of_a_mixture_increases_with_draws(small_model):
    # The proposal has the moments of the mixture. With wrong importance weights, the bound would
    # not increase.
    model = small_model(accumulation="mixture")
    with torch.no_grad():
        model.encoder.heads.weight[:3] *= 5
    data = GroupedData(torch.rand(40, 1, 8, 8), torch.arange(40) % 8)
    few, some, most = (
        importance_weighted_bound(model, data, num_content=k, num_style=8).mean()
        for k in (1, 20, 400)
    )
    assert few < some < most


# Bad input


@pytest.mark.parametrize("rule", sorted(set(ACCUMULATIONS) - set(EVIDENCE_RULES)))
def test_evidence_from_some_members_needs_an_additive_rule(small_model, rule):
    match = f"evidence_from=others .*product or prior_product.*{rule}"
    with pytest.raises(InputError, match=match):
        small_model(accumulation=rule, evidence_from="others")


def test_an_unknown_rule_is_refused(small_model):
    with pytest.raises(InputError, match=r"'prior_produkt'.*'prior_product'"):
        small_model(accumulation="prior_produkt")
