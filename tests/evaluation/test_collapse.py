"""Collapse: known activities, known neighbours, and the message."""

import math

import pytest
import torch
from torch import nn

from mlvae import DiagonalGaussian, Dirichlet, GroupedData, InputError, Point
from mlvae.data import Splits
from mlvae.evaluation import Collapse, Subject
from mlvae.evaluation.measures.activity import activity, column_norms
from mlvae.evaluation.measures.neighbour_error import neighbour_errors
from mlvae.models import MLVAE, VAE, DirVAE
from mlvae.networks import MLP, Conv

QUICK = Collapse(neighbours=(1, 3), most=50)


def data(number=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(number) % 3
    x = 0.1 * torch.rand(number, 1, 4, 4, generator=generator)
    x[:, 0, 0, :3] += 0.8 * nn.functional.one_hot(label, 3)
    return GroupedData(x, label)


def subject_of(model):
    return Subject(model.eval(), Splits(data(), test=data(30, 1)))


# Activity


def test_the_kl_and_the_shares_of_gaussians_are_those_of_their_formulas():
    mean = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    q = DiagonalGaussian(mean, torch.tensor([[-2.0, 0.0]]).expand(2, 2))
    found = activity(q)
    expected = 0.5 * (math.exp(-2) - 1 + 2 + 1)
    assert found.kl == pytest.approx(expected)
    torch.testing.assert_close(found.by_dimension, torch.tensor([expected, 0.0]).double())
    torch.testing.assert_close(found.share, torch.tensor([1.0, 0.0]).double())
    assert found.active == 1 and not found.collapsed


def test_the_shares_of_a_dirichlet_are_of_the_variance_of_its_prior():
    a = torch.tensor([[9.0, 1.0, 1.0], [1.0, 9.0, 1.0]])
    found = activity(Dirichlet(a, 0.5))
    prior = 1 / 3 * 2 / 3 / 2.5
    shares = torch.tensor([(8 / 22) ** 2, (8 / 22) ** 2, 0.0]) / prior
    torch.testing.assert_close(found.share, shares.double())
    assert found.kl == pytest.approx(float(Dirichlet(a, 0.5).kl().mean()))
    assert found.active == 2 and float(found.by_dimension.sum()) >= found.kl


def test_the_prior_for_every_observation_is_a_collapse():
    for q in (DiagonalGaussian.prior(5, 3, like=torch.zeros(1)), Dirichlet(torch.ones(5, 3))):
        found = activity(q)
        assert found.collapsed and found.active == 0 and found.kl == 0


@pytest.mark.parametrize("hidden", [(8,), ()])
def test_the_norms_are_those_of_the_columns_that_read_the_codes(hidden):
    model = MLVAE((1, 4, 4), content_dim=2, style_dim=3, network=MLP(hidden))
    norms = column_norms(model, {"content": 2, "style": 3})
    first = model.decoder.trunk[0] if hidden else model.decoder.head
    torch.testing.assert_close(norms["content"], first.weight[:, :2].double().norm(dim=0))
    torch.testing.assert_close(norms["style"], first.weight[:, 2:].double().norm(dim=0))


def test_a_model_without_such_a_layer_has_no_norms():
    assert column_norms(nn.Linear(2, 2), {"latent": 2}) == {}
    model = VAE((1, 4, 4), latent_dim=2, network=Conv((8,)))
    assert column_norms(model, {"latent": 3}) == {}
    assert column_norms(model, {"latent": 2})["latent"].shape == (2,)


# Neighbours


def test_the_neighbours_are_those_of_scikit_learn():
    from sklearn.neighbors import KNeighborsClassifier

    generator = torch.Generator().manual_seed(0)
    x, test = (torch.randn(n, 4, generator=generator) for n in (200, 60))
    y, truth = ((z[:, 0] > 0).long() for z in (x, test))
    found = neighbour_errors(x, y, test, truth, [1, 3, 5])
    for k, wrong in found.items():  # an odd k has no ties of two labels
        known = KNeighborsClassifier(k).fit(x.numpy(), y.numpy()).predict(test.numpy())
        assert torch.equal(wrong, torch.from_numpy(known) != truth)


def test_of_equally_frequent_labels_the_nearest_counts():
    codes, labels = torch.tensor([[0.0], [1.0], [1.2], [5.0]]), torch.tensor([2, 1, 0, 0])
    test = torch.tensor([[0.9], [0.2]])
    found = neighbour_errors(codes, labels, test, torch.tensor([1, 2]), [2, 3])
    assert not found[2].any() and not found[3].any()


def test_small_differences_of_codes_far_from_zero_are_seen():
    label = torch.arange(40) % 2
    codes = 1000 + 0.001 * label[:, None].double()
    assert not neighbour_errors(codes, label, codes, label, [3])[3].any()


# The question


def test_a_collapsed_code_is_named_with_what_helps():
    model = DirVAE((1, 4, 4), latent_dim=4, network=MLP((8,)), prior_alpha=1.0)
    with torch.no_grad():
        model.encoder.heads.weight.zero_()
        model.encoder.heads.bias.fill_(math.log(math.e - 1))  # softplus 1: the prior
    answer = QUICK.ask(subject_of(model))
    (record,) = answer.metrics["records"]
    assert record["collapsed"] and record["kl"] < 1e-6 and record["active"] == 0
    assert "collapsed" in answer.summary[0] and "batch_norm" in answer.summary[0]


def test_an_active_code_has_its_kl_and_its_controls():
    model = DirVAE((1, 4, 4), latent_dim=4, network=MLP((8,)))
    with torch.no_grad():
        model.encoder.heads.weight.mul_(200)
    answer = QUICK.ask(subject_of(model))
    (record,) = answer.metrics["records"]
    assert not record["collapsed"] and record["dimensions"] == 4
    assert record["least_norm"] > 0 and len(record["kl_by_dimension"]) == 4
    codes = {(r["code"], r["k"]) for r in answer.metrics["neighbours"]}
    assert codes == {(c, k) for c in ("latent", "untrained", "pca") for k in (1, 3)}
    pca = [r["error"].mean for r in answer.metrics["neighbours"] if r["code"] == "pca"]
    assert pca == [0, 0]  # the groups are far apart
    assert [figure.name for figure in answer.figures] == ["collapse"]
    assert len(answer.tables) == 2


def test_every_code_of_a_model_is_measured():
    model = MLVAE((1, 4, 4), content_dim=2, style_dim=2, network=MLP((8,)))
    answer = QUICK.ask(subject_of(model))
    assert [record["code"] for record in answer.metrics["records"]] == ["content", "style"]


def test_points_have_no_kl_and_are_no_error():
    class Points(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def codes(self, batch):
            return {"latent": Point(self.weight * batch.x.flatten(1)[:, :3])}

        def decode(self, latent):
            return latent

    answer = QUICK.ask(subject_of(Points()))
    assert answer.metrics["records"] == [] and len(answer.tables) == 1
    assert any("no KL" in text for text in answer.summary)


def test_options_out_of_range_are_refused():
    for options in ({"neighbours": ()}, {"neighbours": (0,)}, {"most": 0}):
        with pytest.raises(InputError, match=r"evaluation\.collapse"):
            Collapse(**options)
