"""The training options that infer the content from a part of the evidence."""

import pytest
import torch

from mlvae import Batch, DiagonalGaussian, Groups, InputError
from mlvae.evidence.rules import product
from mlvae.models.mlvae import bound

LABELS = torch.tensor([0, 1, 0, 2, 1, 1, 1])


@pytest.fixture
def batch():
    return Batch(torch.rand(7, 1, 8, 8, dtype=torch.float64), Groups.of(LABELS))


def content_of(model, batch):
    """The posteriors of the members, and the content that the model infers in training."""
    members = model.encoder(batch.x)[0]
    return members, bound.content_of(
        model, members, batch.groups, torch.Generator().manual_seed(0)
    )


def test_subset_is_the_product_of_a_random_subset(small_model, batch):
    model = small_model(evidence_from="subset").double()
    members, content = content_of(model, batch)
    chosen = batch.groups.random_subset(generator=torch.Generator().manual_seed(0))
    assert 3 <= int(chosen.sum()) < 7
    rows = chosen.nonzero()[:, 0]
    expected = product(members[rows], Groups.of(LABELS[rows]))
    torch.testing.assert_close(content.mean, expected.mean)
    torch.testing.assert_close(content.log_variance, expected.log_variance)


def test_others_is_the_product_of_all_other_members(small_model, batch):
    model = small_model(evidence_from="others").double()
    members, content = content_of(model, batch)
    assert content.mean.shape == (7, 3)
    for i in range(7):
        others = [j for j in range(7) if LABELS[j] == LABELS[i] and j != i]
        if others:
            expected = product(members[others], Groups.of([0] * len(others)))
        else:  # a group of one has the prior
            expected = DiagonalGaussian(*torch.zeros(2, 1, 3, dtype=torch.float64))
        torch.testing.assert_close(content.mean[i], expected.mean[0])
        torch.testing.assert_close(content.log_variance[i], expected.log_variance[0])


def test_other_part_is_the_product_of_the_members_of_the_other_part(small_model, batch):
    model = small_model(evidence_from="other_part").double()
    members, content = content_of(model, batch)
    inside = batch.groups.random_subset(generator=torch.Generator().manual_seed(0), proper=True)
    for i in range(6):
        other_part = [j for j in range(7) if LABELS[j] == LABELS[i] and inside[j] != inside[i]]
        if other_part:
            expected = product(members[other_part], Groups.of([0] * len(other_part)))
            torch.testing.assert_close(content.mean[i], expected.mean[0])
            torch.testing.assert_close(content.log_variance[i], expected.log_variance[0])
        else:
            assert LABELS[i] == 2  # a group of one has the prior
            assert not content.mean[i].any() and not content.log_variance[i].any()


def test_fellow_is_the_posterior_of_one_other_member(small_model, batch):
    model = small_model(evidence_from="fellow").double()
    members, content = content_of(model, batch)
    fellow = batch.groups.fellow_members(generator=torch.Generator().manual_seed(0))
    single = LABELS == 2
    torch.testing.assert_close(content.mean[~single], members.mean[fellow][~single])
    torch.testing.assert_close(
        content.log_variance[~single], members.log_variance[fellow][~single]
    )
    assert not content.mean[single].any() and not content.log_variance[single].any()


@pytest.mark.parametrize("choice", ["subset", "others", "other_part", "fellow"])
def test_prior_product_adds_the_precision_of_the_prior(small_model, batch, choice):
    contents = []
    for rule in ("product", "prior_product"):
        model = small_model(evidence_from=choice, accumulation=rule).double()
        contents.append(content_of(model, batch)[1])
    product_content, prior_content = contents
    has_evidence = product_content.mean.any(1)
    assert has_evidence.any()
    precision = 1 / product_content.variance[has_evidence]
    torch.testing.assert_close(1 / prior_content.variance[has_evidence], precision + 1)
    mean = product_content.mean[has_evidence] * precision / (precision + 1)
    torch.testing.assert_close(prior_content.mean[has_evidence], mean)


@pytest.mark.parametrize("choice", ["others", "other_part", "fellow"])
def test_the_content_kl_of_per_observation_contents_is_a_mean_over_members(
    small_model, batch, choice
):
    model = small_model(evidence_from=choice).double()
    _, content = content_of(model, batch)
    kl = model(batch, generator=torch.Generator().manual_seed(0)).per_group["content_kl"]
    expected = [content.kl()[group == LABELS].mean() for group in range(3)]
    torch.testing.assert_close(kl, torch.stack(expected))
    assert kl[2] == 0  # a group of one has the prior


def test_evaluation_uses_all_evidence_with_every_option(small_model, batch):
    losses = []
    for choice in ("all", "subset", "others", "other_part", "fellow"):
        model = small_model(evidence_from=choice).double().eval()
        losses.append(model(batch, generator=torch.Generator().manual_seed(0)).loss.item())
    assert len(set(losses)) == 1


@pytest.mark.parametrize("choice", ["subset", "others", "other_part", "fellow"])
def test_every_parameter_has_a_finite_gradient(small_model, batch, choice):
    model = small_model(evidence_from=choice).double()
    for _ in range(3):
        model(batch).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_an_unknown_option_and_a_contradiction_are_refused(small_model):
    with pytest.raises(InputError, match=r"evidence_from .*all, subset, others.*'some'"):
        small_model(evidence_from="some")
    with pytest.raises(InputError, match="content_draw=observation"):
        small_model(evidence_from="others", content_draw="group")
    assert small_model(evidence_from="others").config["evidence_from"] == "others"
