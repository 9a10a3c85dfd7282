"""Models of counts: known sizes, integers, and refused data."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import mlvae
from mlvae import Batch, GroupedData, InputError
from mlvae.evaluation import importance_weighted_bound
from mlvae.likelihoods import Gaussian, NegativeBinomial, Poisson
from mlvae.models import MLVAE, VAE, AdaVAE, ConditionalVAE
from mlvae.networks import MLP

LABELS = ["a", "b", "a", "c", "b", "b"]
SEEDED = torch.Generator().manual_seed(0)
X = torch.poisson(4 * torch.rand(6, 5, generator=SEEDED), generator=SEEDED)
LIKELIHOODS = [Poisson(), NegativeBinomial(total=50.0)]
every_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)


def build(kind=MLVAE, likelihood=LIKELIHOODS[0], **options):
    torch.manual_seed(0)
    options = {"group_names": ["a", "b", "c"]} if kind is ConditionalVAE else options
    return kind((5,), likelihood=likelihood, network=MLP(hidden=(8,)), **options).eval()


def objective(model, batch):
    return model(batch, generator=torch.Generator().manual_seed(1)).elbo


@every_likelihood
def test_decoded_counts_have_the_total_of_an_option_or_of_the_observation(likelihood):
    model, vae = build(likelihood=likelihood), build(VAE, likelihood)
    content, style = model.infer_content(X), model.infer_style(X)
    sums = model.decode(content, style).sum(1)
    torch.testing.assert_close(sums, torch.full((6,), likelihood.total))
    for size in (7.0, [7.0] * 6, torch.full((6,), 7), np.full(6, 7.0)):
        sums = model.decode(content, style, size=size).sum(1)
        torch.testing.assert_close(sums, torch.full((6,), 7.0))
        torch.testing.assert_close(vae.decode(vae.infer(X), size=size).sum(1), sums)
    torch.testing.assert_close(model.reconstruct(X, LABELS).sum(1), X.sum(1))
    torch.testing.assert_close(vae.reconstruct(X).sum(1), X.sum(1))
    torch.testing.assert_close(model.swap(X, X.flip(0)).sum(1), X.flip(0).sum(1))
    torch.testing.assert_close(model.swap(X, X[:1]).sum(1), X[:1].sum(1).expand(6))


def test_a_conditional_vae_decodes_the_total_of_the_observation():
    model = build(ConditionalVAE)
    batch = GroupedData(X, LABELS).labelled(model.group_names).batch()
    torch.testing.assert_close(model.reconstruct(batch).sum(1), X.sum(1))
    sums = model.decode(model.content.weight, model.infer_style(batch)[:3], size=3).sum(1)
    torch.testing.assert_close(sums, torch.full((3,), 3.0))


def test_only_likelihoods_of_counts_have_a_size():
    model = build(likelihood=Gaussian())
    with pytest.raises(InputError, match=r"size .*Gaussian"):
        model.decode(torch.zeros(2, 10), torch.zeros(2, 10), size=3.0)
    with pytest.raises(InputError, match=r"size .*\(2,\)"):
        build().decode(torch.zeros(2, 10), torch.zeros(2, 10), size=[1.0, 2.0, 3.0])
    with pytest.raises(InputError, match=r"size .*'many'"):
        build().decode(torch.zeros(2, 10), torch.zeros(2, 10), size="many")


@every_likelihood
@pytest.mark.parametrize("kind", [MLVAE, VAE, AdaVAE, ConditionalVAE])
def test_a_given_size_takes_the_place_of_the_sum_in_every_model(kind, likelihood):
    model = build(kind, likelihood)
    data = GroupedData(X, LABELS)
    if kind is ConditionalVAE:
        data = data.labelled(model.group_names)
    batch, total = data.batch(), X.sum(1)
    for size, same in ((total, True), (2 * total, False)):
        given = replace(batch, given={**batch.given, "size": size})
        close = torch.allclose(objective(model, given), objective(model, batch))
        assert close == same


@pytest.mark.parametrize("kind", [MLVAE, VAE])
def test_the_importance_weighted_bound_uses_the_given_size(kind):
    model, total = build(kind), X.sum(1)
    plain = importance_weighted_bound(model, GroupedData(X, LABELS))
    same = GroupedData(X, LABELS, given={"size": total})
    other = GroupedData(X, LABELS, given={"size": 2 * total})
    torch.testing.assert_close(importance_weighted_bound(model, same), plain)
    assert not torch.allclose(importance_weighted_bound(model, other), plain)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.int32, np.int64, np.float64])
def test_counts_of_any_integer_type_are_the_same(dtype):
    model = build()
    whole = X.numpy().astype(dtype)
    content = model.infer_content(whole, LABELS).mean
    torch.testing.assert_close(content, model.infer_content(X, LABELS).mean)
    data = GroupedData(whole, LABELS, kind="array")
    assert data.x.dtype == torch.float32 and torch.equal(data.x, X)
    torch.testing.assert_close(model.reconstruct(whole), model.reconstruct(X))


def test_numbers_that_are_no_counts_are_refused():
    model = build()
    with pytest.raises(InputError, match=r"column 0 of observation 0 has 0\.5"):
        model.infer_content(torch.full((2, 5), 0.5))


@pytest.mark.parametrize(
    ("x", "given", "match"),
    [
        (X / 3, {}, "column .*[36]$|has 0[.]|has 1[.]"),
        (X - 1, {}, "column .* -1"),
        (X, {"size": torch.zeros(6)}, "size .* 0"),
        (X, {"size": torch.ones(6, 2)}, r"size .* \(6, 2\)"),
    ],
)
def test_a_training_refuses_data_that_are_no_counts(x, given, match, tmp_path):
    with pytest.raises(InputError, match=match):
        mlvae.train(build(), GroupedData(x, LABELS, given=given), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_uint8_images_are_no_counts_for_a_training(tmp_path):
    images = GroupedData(np.ones((6, 1, 2, 2), np.uint8), LABELS)
    model = MLVAE((1, 2, 2), likelihood=Poisson(), network=MLP(hidden=(8,)))
    with pytest.raises(InputError, match=r"Poisson .*uint8 .*kind='array'"):
        mlvae.train(model, images, run=tmp_path / "run")


def test_a_resumed_training_of_given_sizes_ends_as_an_uninterrupted_one(tmp_path):
    data = GroupedData(X, LABELS, given={"size": X.sum(1) + 3})
    states = []
    for epochs in ((2, 4), (4,)):
        for number, last in enumerate(epochs):
            model = build(likelihood=NegativeBinomial())
            run = tmp_path / str(len(epochs))
            reports = mlvae.Reports(progress=False)
            mlvae.train(model, data, run=run, epochs=last, resume=number > 0, reports=reports)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    loaded = mlvae.load(run)
    assert loaded.likelihood == NegativeBinomial()
    torch.testing.assert_close(loaded.reconstruct(X), model.reconstruct(X))


def test_models_learn_shares_from_counts_better_than_equal_shares(tmp_path):
    # Two kinds of groups with different shares, and sizes that differ by a factor of ten.
    generator = torch.Generator().manual_seed(0)
    shares = torch.tensor([[0.6, 0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 0.6]])
    labels = torch.arange(300) % 30
    size = torch.randint(20, 200, (300, 1), generator=generator)
    x = torch.poisson(size * shares[labels % 2], generator=generator)
    model = build(content_dim=2, style_dim=1).train()
    mlvae.train(
        model,
        GroupedData(x, labels),
        run=tmp_path / "run",
        epochs=60,
        batching=mlvae.data.Shuffled(50),
        optimizer=mlvae.Adam(learning_rate=0.01),
        reports=mlvae.Reports(progress=False),
    )
    decoded = model.reconstruct(x, labels) / x.sum(1, keepdim=True)
    assert (decoded - shares[labels % 2]).abs().mean() < 0.02
    kind = model.infer_content(x, labels).mean
    gap = (kind[0::2].mean(0) - kind[1::2].mean(0)).norm()
    assert gap > 5 * kind[0::2].std(0).norm()


def test_a_batch_of_uint8_vectors_may_be_counts_or_grey_levels_and_is_refused():
    for call in (
        lambda x: Batch.ungrouped(x),
        lambda x: GroupedData(x, [0, 1]),
        lambda x: build(likelihood=Gaussian()).infer_content(x),
    ):
        with pytest.raises(InputError, match=r"uint8 .*\(2, 5\).*x / 255.*kind='array'"):
            call(np.ones((2, 5), np.uint8))


def test_integers_that_float32_lacks_are_refused():
    for dtype, value in ((np.int32, 2**24 + 1), (np.uint64, 2**63 + 1), (np.int64, -(2**24) - 1)):
        with pytest.raises(InputError, match=str(value)):
            GroupedData(np.array([[value], [1]], dtype), [0, 1])
    kept = GroupedData(np.array([[2**24], [2**24 + 2]]), [0, 1]).x
    assert kept.tolist() == [[2**24], [2**24 + 2]]
