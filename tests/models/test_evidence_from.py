"""Whose evidence the content is inferred from: all, a random subset, or the others."""

import pytest
import torch

from mlvae import Batch, DiagonalGaussian, Groups, InputError
from mlvae.accumulation import product

LABELS = torch.tensor([0, 1, 0, 2, 1, 1, 1])


@pytest.fixture
def batch():
    return Batch(torch.rand(7, 1, 8, 8, dtype=torch.float64), Groups.of(LABELS))


def content_of(model, batch):
    """What the model infers while training, from members whose posteriors are known."""
    each = model.encoder(batch.x)[0]
    return each, model._content(each, batch.groups, torch.Generator().manual_seed(0))


def test_from_a_subset_it_is_the_product_of_its_members(small_model, batch):
    model = small_model(evidence_from="subset").double()
    each, content = content_of(model, batch)
    chosen = batch.groups.random_subset(generator=torch.Generator().manual_seed(0))
    assert 3 <= int(chosen.sum()) < 7
    rows = chosen.nonzero()[:, 0]
    expected = product(each[rows], Groups.of(LABELS[rows]))
    torch.testing.assert_close(content.mean, expected.mean)
    torch.testing.assert_close(content.log_variance, expected.log_variance)


def test_from_others_it_is_the_product_of_all_but_oneself(small_model, batch):
    model = small_model(evidence_from="others").double()
    each, content = content_of(model, batch)
    assert content.mean.shape == (7, 3)
    for i in range(7):
        others = [j for j in range(7) if LABELS[j] == LABELS[i] and j != i]
        if others:
            expected = product(each[others], Groups.of([0] * len(others)))
        else:  # alone: the prior
            expected = DiagonalGaussian(*torch.zeros(2, 1, 3, dtype=torch.float64))
        torch.testing.assert_close(content.mean[i], expected.mean[0])
        torch.testing.assert_close(content.log_variance[i], expected.log_variance[0])


def test_from_the_other_part_it_is_the_product_of_the_members_there(small_model, batch):
    model = small_model(evidence_from="other_part").double()
    each, content = content_of(model, batch)
    inside = batch.groups.random_subset(generator=torch.Generator().manual_seed(0), proper=True)
    for i in range(6):
        there = [j for j in range(7) if LABELS[j] == LABELS[i] and inside[j] != inside[i]]
        if there:
            expected = product(each[there], Groups.of([0] * len(there)))
            torch.testing.assert_close(content.mean[i], expected.mean[0])
            torch.testing.assert_close(content.log_variance[i], expected.log_variance[0])
        else:
            assert LABELS[i] == 2  # alone: the prior
            assert not content.mean[i].any() and not content.log_variance[i].any()


def test_from_a_fellow_it_is_that_of_one_other_member(small_model, batch):
    model = small_model(evidence_from="fellow").double()
    each, content = content_of(model, batch)
    fellow = batch.groups.fellow_members(generator=torch.Generator().manual_seed(0))
    alone = LABELS == 2
    torch.testing.assert_close(content.mean[~alone], each.mean[fellow][~alone])
    torch.testing.assert_close(content.log_variance[~alone], each.log_variance[fellow][~alone])
    assert not content.mean[alone].any() and not content.log_variance[alone].any()


@pytest.mark.parametrize("choice", ["subset", "others", "other_part", "fellow"])
def test_with_the_prior_as_an_expert_no_content_is_wider_than_it(small_model, batch, choice):
    contents = []
    for rule in ("product", "prior_product"):
        model = small_model(evidence_from=choice, accumulation=rule).double()
        contents.append(content_of(model, batch)[1])
    without, with_it = contents
    has_evidence = without.mean.any(1)
    assert has_evidence.any()
    precision = 1 / without.variance[has_evidence]
    torch.testing.assert_close(1 / with_it.variance[has_evidence], precision + 1)
    mean = without.mean[has_evidence] * precision / (precision + 1)
    torch.testing.assert_close(with_it.mean[has_evidence], mean)


@pytest.mark.parametrize("choice", ["others", "other_part", "fellow"])
def test_from_others_the_content_kl_is_a_mean_over_members(small_model, batch, choice):
    model = small_model(evidence_from=choice).double()
    _, content = content_of(model, batch)
    kl = model(batch, generator=torch.Generator().manual_seed(0)).terms["content_kl"]
    expected = [content.kl()[group == LABELS].mean() for group in range(3)]
    torch.testing.assert_close(kl, torch.stack(expected))
    assert kl[2] == 0  # a group of one has the prior


def test_in_evaluation_all_evidence_counts_whatever_the_training(small_model, batch):
    losses = []
    for choice in ("all", "subset", "others", "other_part", "fellow"):
        model = small_model(evidence_from=choice).double().eval()
        losses.append(model(batch, generator=torch.Generator().manual_seed(0)).loss.item())
    assert len(set(losses)) == 1


@pytest.mark.parametrize("choice", ["subset", "others", "other_part", "fellow"])
def test_gradient_reaches_every_parameter_and_is_finite(small_model, batch, choice):
    model = small_model(evidence_from=choice).double()
    for _ in range(3):
        model(batch).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_a_choice_that_does_not_fit_the_others_is_refused(small_model):
    with pytest.raises(InputError, match="evidence_from must be one of all, subset, others"):
        small_model(evidence_from="some")
    with pytest.raises(InputError, match="it needs content_draw=observation"):
        small_model(evidence_from="others", content_draw="group")
    assert small_model(evidence_from="others").config["evidence_from"] == "others"
