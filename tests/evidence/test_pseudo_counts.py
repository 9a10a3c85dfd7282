"""Properties of pseudo-counts, in float64. Shapes: N observations, G groups, K components."""

import pytest
import torch

from mlvae import Dirichlet, Groups, InputError
from mlvae.evidence import EVIDENCE_FROM, PseudoCounts
from mlvae.evidence.rules import (
    ACCUMULATIONS,
    COUNT_RULES,
    accumulated,
    evidence_of,
    prior_corrected,
    prior_product,
    with_prior,
)
from mlvae.posteriors import DiagonalGaussian
from mlvae.posteriors.dirichlet import EvidenceHead

PRIOR = torch.tensor([0.3, 1.0, 2.0, 0.98], dtype=torch.float64)
LABELS = torch.tensor([2, 0, 1, 0, 2, 4, 3, 2, 4])
GROUPS = Groups(LABELS)


@pytest.fixture
def counts():
    generator = torch.Generator().manual_seed(0)
    raw = 3 * torch.randn(len(LABELS), 4, generator=generator, dtype=torch.float64)
    return PseudoCounts(torch.nn.functional.softplus(raw), PRIOR)


def same(first, second, **tolerance):
    torch.testing.assert_close(first.counts, second.counts, **tolerance)


def test_the_posterior_is_the_prior_plus_the_counts_of_all_members(counts):
    q = counts.accumulate(GROUPS).posterior()
    for group in range(5):
        expected = PRIOR + counts.counts[torch.eq(LABELS, group)].sum(0)
        torch.testing.assert_close(q.concentration[group], expected)
    assert torch.equal(q.prior_concentration, PRIOR)


def test_it_is_the_posterior_of_bayes_rule(counts):
    """The density of the posterior is that of the prior times the likelihoods, up to a factor."""
    member = PseudoCounts(counts.counts[:3], PRIOR)
    q = member.accumulate(Groups.of([0, 0, 0])).posterior()
    z = Dirichlet(torch.ones(1, 4, dtype=torch.float64)).sample((6,))
    log_likelihood = (member.counts[:, None] * z[:, 0].log()).sum((0, 2))
    gap = q.log_prob(z)[:, 0] - q.prior_rows(1).log_prob(z)[:, 0] - log_likelihood
    torch.testing.assert_close(gap, gap[:1].expand(6), rtol=1e-9, atol=1e-9)


def test_draws_of_components_have_the_posterior_of_their_counts():
    """One-hot evidence is a draw of a component: the conjugate posterior of a multinomial."""
    one_hot = torch.eye(4, dtype=torch.float64)[[0, 0, 3, 0]]
    q = PseudoCounts(one_hot, PRIOR).accumulate(Groups.of([0] * 4)).posterior()
    torch.testing.assert_close(q.concentration[0], PRIOR + torch.tensor([3.0, 0.0, 0.0, 1.0]))


def test_the_order_of_the_members_has_no_effect(counts):
    order = torch.randperm(len(LABELS))
    shuffled = counts[order].accumulate(Groups(LABELS[order]))
    same(shuffled, counts.accumulate(GROUPS))


def test_parts_of_a_group_add_up(counts):
    whole = counts.accumulate(Groups(torch.zeros(9, dtype=torch.int64)))
    parts = [
        counts[rows].accumulate(Groups(torch.zeros(len(rows), dtype=torch.int64)))
        for rows in (torch.tensor([5, 1]), torch.tensor([0, 2, 3, 8]), torch.tensor([4, 6, 7]))
    ]
    same(sum(parts), whole)
    same(parts[2] + (parts[0] + parts[1]), whole)


def test_members_are_added_and_removed(counts):
    first, second = counts[[0]], counts[[3]]
    same((first + second) - second, first)
    assert torch.equal((first - first).counts, torch.zeros(1, 4).double())
    assert (first - (first + second)).counts.eq(0).all()


def test_leave_one_out_is_the_sum_of_the_others(counts):
    left = counts.leave_one_out(GROUPS)
    for i in range(len(LABELS)):
        others = torch.eq(LABELS, LABELS[i]) & (torch.arange(len(LABELS)) != i)
        torch.testing.assert_close(left.counts[i], counts.counts[others].sum(0))


def test_a_group_without_evidence_has_the_prior(counts):
    empty = Groups.unchecked(torch.tensor([0, 2, 2]), torch.tensor([1, 0, 2]))
    q = counts[:3].accumulate(empty).posterior()
    assert torch.equal(q.concentration[1], PRIOR)
    assert float(q.kl()[1]) == 0
    none = PseudoCounts.none(2, prior=PRIOR)
    assert torch.equal(none.posterior().concentration, PRIOR.expand(2, 4))
    same(counts[:2] + none, counts[:2])


def test_evidence_narrows_the_posterior_of_equal_members():
    e = PseudoCounts(torch.full((1, 4), 2.0), torch.ones(4))
    spread = [e[[0] * n].accumulate(Groups.of([0] * n)).posterior().variance for n in (1, 3, 50)]
    assert (spread[0] > spread[1]).all() and (spread[1] > spread[2]).all()


def test_the_evidence_of_posteriors_is_recovered(counts):
    posterior = counts.posterior()
    same(PseudoCounts.of(posterior), counts)
    same(evidence_of(posterior), counts)
    assert torch.equal(with_prior(counts).concentration, posterior.concentration)


@pytest.mark.parametrize("rule", COUNT_RULES)
def test_both_names_of_the_rule_add_the_evidence_of_posteriors(counts, rule):
    expected = counts.accumulate(GROUPS).posterior()
    q = accumulated(counts.posterior(), GROUPS, rule)
    assert isinstance(q, Dirichlet)
    torch.testing.assert_close(q.concentration, expected.concentration)
    direct = {"prior_product": prior_product, "prior_corrected": prior_corrected}[rule]
    torch.testing.assert_close(
        direct(counts.posterior(), GROUPS).concentration, expected.concentration
    )


@pytest.mark.parametrize("rule", sorted(ACCUMULATIONS.keys() - set(COUNT_RULES)))
def test_other_rules_have_the_gaussians_of_the_same_moments(counts, rule):
    q = accumulated(counts.posterior(), GROUPS, rule)
    expected = ACCUMULATIONS[rule](counts.posterior().moments(), GROUPS)
    torch.testing.assert_close(q.mean, expected.mean)
    assert isinstance(q.moments(), DiagonalGaussian)


@pytest.mark.parametrize("source", EVIDENCE_FROM)
def test_sources_of_evidence_leave_an_observation_alone_with_the_prior(counts, source):
    chosen = EVIDENCE_FROM[source](counts, GROUPS, torch.Generator().manual_seed(1))
    assert isinstance(chosen, PseudoCounts)
    alone = GROUPS.sizes[LABELS] == 1
    if source == "subset":
        assert chosen.counts.shape == (5, 4)
        assert (chosen.counts <= counts.accumulate(GROUPS).counts + 1e-12).all()
    else:
        assert chosen.counts.shape == (9, 4)
        assert torch.equal(chosen.posterior().concentration[alone], PRIOR.expand(2, 4))
        pairs = GROUPS.sizes[LABELS] == 2
        expected = counts.leave_one_out(GROUPS).counts[pairs]
        torch.testing.assert_close(chosen.counts[pairs], expected)


def test_a_head_of_evidence_has_no_negative_counts():
    raw = torch.tensor([[-200.0, 0.0, 5.0, 1e7]])
    q = EvidenceHead(0.5).from_raw(raw)
    e = PseudoCounts.of(q).counts
    assert (e >= 0).all() and e[0, 0] == 0 and e[0, 3] == 1e4
    torch.testing.assert_close(e[0, 1], torch.tensor(2.0).log())
    assert EvidenceHead(0.5).from_raw(raw.half()).mean.dtype == torch.float32


def test_a_hundred_thousand_members_are_finite_in_float32():
    raw = torch.randn(100_000, 5, requires_grad=True)
    q = prior_product(EvidenceHead(0.98).from_raw(raw), Groups.of([0] * 100_000))
    values = q.kl().sum() + q.sample_groups().square().sum()
    values.backward()
    assert values.isfinite() and raw.grad.isfinite().all()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda c: PseudoCounts(torch.ones(2, 3), torch.ones(4)), "components"),
        (lambda c: PseudoCounts.of(DiagonalGaussian(c.counts, c.counts)), "Dirichlet"),
        (lambda c: c + 1, "PseudoCounts"),
        (lambda c: c - c[:2], "shape"),
        (lambda c: c.only(torch.ones(2)), "mask"),
        (lambda c: accumulated(c.posterior(), GROUPS, "sum"), "sum"),
    ],
)
def test_bad_arguments_are_refused(counts, call, match):
    with pytest.raises(InputError, match=match):
        call(counts)
