"""The VAE that is told the group of every observation."""

import pytest
import torch

import mlvae
from mlvae import Batch, GroupedData, Groups, InputError
from mlvae.data import Grouped, Shuffled
from mlvae.grids import pictures
from mlvae.likelihoods import Gaussian
from mlvae.models import ConditionalVAE, build
from mlvae.networks import MLP, Conv

NAMES = ["ann", "bob", "eve"]


def data(labels=("ann", "bob", "ann", "eve", "bob", "bob")):
    x = torch.rand(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return GroupedData(x, list(labels))


def small(**options):
    torch.manual_seed(0)
    options = {"content_dim": 3, "style_dim": 2, "network": MLP(hidden=(16,))} | options
    return ConditionalVAE((1, 8, 8), **{"group_names": NAMES, **options})


def drawn(model, batch):
    return model(batch, generator=torch.Generator().manual_seed(3))


# Properties


def test_the_bound_is_the_style_s_alone_given_the_label():
    """Put together by hand, in float64, from one draw of the styles."""
    model = small().double()
    batch = data().batch()
    batch = batch._replace(x=batch.x.double())
    objective = drawn(model, batch)
    c = model.content.weight[[0, 1, 0, 2, 1, 1]]  # sorted labels are numbered as NAMES
    style = model.encoder(batch.x, c)
    s = style.sample(generator=torch.Generator().manual_seed(3))
    reconstruction = model.likelihood.log_prob(model.decoder(torch.cat((c, s), 1)), batch.x)
    prior = torch.distributions.Normal(torch.zeros(2).double(), 1)
    posterior = torch.distributions.Normal(style.mean, style.std)
    kl = torch.distributions.kl_divergence(posterior, prior).sum(1)
    bound = torch.zeros(3).double().index_add(0, batch.groups.index, reconstruction - kl)
    torch.testing.assert_close(objective.elbo, bound)
    torch.testing.assert_close(objective.loss, -bound.mean())
    assert list(objective.terms) == ["log_likelihood", "style_kl", "content_kl"]
    assert objective.terms["content_kl"].tolist() == [0, 0, 0]


def test_the_bound_is_one_on_the_evidence_given_the_label():
    """Linear and Gaussian, log p(x | y) is in closed form, and what styles are weighed for."""
    model = ConditionalVAE(
        (4,), group_names=[0, 1], content_dim=2, style_dim=2, network=MLP(hidden=()),
        likelihood=Gaussian(0.5),
    ).double().eval()  # fmt: skip
    x = torch.rand(64, 4, dtype=torch.float64)
    batch = GroupedData(x.float(), [0, 1] * 32).batch()
    batch = batch._replace(x=x)
    weight, bias = model.decoder.head.weight, model.decoder.head.bias
    c = batch.groups.spread(model.infer_content(batch))
    mean, loading = c @ weight[:, :2].T + bias, weight[:, 2:]
    covariance = loading @ loading.T + 0.25 * torch.eye(4, dtype=torch.float64)
    evidence = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)
    draws = [model(batch, generator=torch.Generator().manual_seed(i)) for i in range(300)]
    bound = torch.stack([d.elbo.sum() for d in draws]).mean()
    assert bound < evidence.sum()
    # Importance-weighted, p(x, s | y) / q(s | x, y), many draws come to it.
    style = model.infer_style(batch)
    weights = []
    for i in range(2000):
        s = style.sample(generator=torch.Generator().manual_seed(i))
        like = model.likelihood.log_prob(model.decoder(torch.cat((c, s), 1)), x)
        prior = torch.distributions.Normal(torch.zeros(2).double(), 1).log_prob(s).sum(1)
        weights.append(like + prior - style.log_prob(s))
    estimated = torch.stack(weights).logsumexp(0) - torch.tensor(2000.0).log()
    torch.testing.assert_close(estimated, evidence, atol=0.1, rtol=0)


@pytest.mark.parametrize("network", [MLP(hidden=(9,)), Conv(widths=(4, 8))])
def test_every_parameter_learns_and_the_model_is_rebuilt(network):
    model = small(network=network, style_kl_weight=2.0)
    batch = data().batch()
    drawn(model, batch).loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    again = build((1, 8, 8), model.config)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config
    assert set(again.config) - {"name"} == set(ConditionalVAE.OPTIONS)
    assert torch.equal(again.eval().reconstruct(batch), model.eval().reconstruct(batch))


def test_labels_are_known_by_name_however_the_data_numbers_them():
    model, whole = small(), data()
    few = whole.subset([1, 3, 4])  # bob and eve are its groups 0 and 1
    expected = model.content.weight[[1, 2]]
    for batch in (few.batch(), whole.batch([1, 3, 4])):
        assert torch.equal(model.infer_content(batch), expected)
    alone = model.infer_style(whole.singles([4, 3, 1]))
    torch.testing.assert_close(alone.mean[[2, 1, 0]], model.infer_style(few.batch()).mean)


@pytest.mark.parametrize("batching", [Shuffled(4), Grouped(2, 2, "keep")], ids=repr)
def test_the_style_of_an_observation_does_not_depend_on_its_batch(batching):
    model, whole = small(), data()
    everything = model.infer_style(whole.batch()).mean
    for batch in batching.plan(whole, torch.Generator().manual_seed(0)):
        own = [int((whole.x == x).flatten(1).all(1).nonzero()) for x in batch.x]
        torch.testing.assert_close(model.infer_style(batch).mean, everything[own])


def test_a_swap_has_the_label_of_the_one_and_the_style_of_the_other():
    model, whole = small(), data()
    a, b = whole.singles([0, 3]), whole.singles([1, 2])
    style = model.encoder(b.x, model.content.weight[[1, 0]])  # given its own label
    expected = model.decode(model.content.weight[[0, 2]], style)
    assert torch.equal(model.swap(content_of=a, style_of=b), expected)
    assert torch.equal(model.reconstruct(a), model.swap(a, a))
    assert not torch.equal(model.swap(a, b), model.reconstruct(b))


# Behaviour


@pytest.mark.parametrize("batching", [Shuffled(64), Grouped(4, 8, "keep")], ids=repr)
def test_it_trains_draws_its_pictures_and_comes_back(digits, tmp_path, batching):
    model = build(
        (1, 8, 8),
        {"name": "ConditionalVAE", "network": {"name": "MLP", "hidden": [32]}},
        group_names=digits.train.group_names,
    )
    result = mlvae.train(
        model, digits.train, validation=digits.validation, batching=batching, epochs=2,
        run=tmp_path / "run", device="cpu", progress=False,
    )  # fmt: skip
    assert result.metrics["train/content_kl_per_group"] == 0
    again = mlvae.load(tmp_path / "run")
    batch = digits.test.batch(range(20))
    assert torch.equal(again.reconstruct(batch), model.reconstruct(batch))
    assert set(pictures(again, digits.test)) == {"reconstructions", "swaps"}


def test_a_swap_is_nearest_to_the_mean_image_of_the_group_it_is_told(digits, tmp_path):
    torch.manual_seed(0)
    model = ConditionalVAE((1, 8, 8), group_names=range(10), style_dim=2, network=MLP((64,)))
    mlvae.train(model, digits.train, epochs=30, run=tmp_path / "run", device="cpu", progress=False)
    x = digits.train.observations(torch.arange(len(digits.train)))
    centre = digits.train.groups.sum(x) / digits.train.groups.sizes.view(-1, 1, 1, 1)
    rows = torch.arange(10).repeat_interleave(18)
    first = digits.test.one_of_each()
    content, style = digits.test.singles(first[rows]), digits.test.singles(range(180))
    swaps = model.swap(content, style).flatten(1)
    nearest = torch.cdist(swaps, centre.flatten(1)).argmin(1)
    assert (nearest == rows).float().mean() > 0.9


# Bad input


def test_groups_it_was_not_trained_on_are_refused_in_one_line(tmp_path):
    model, seen = small(), data()
    unseen = data(["ann", "zoe", "bob", "eve"])
    match = "knows only those it was trained on: 'zoe' is none of its 3; .* MLVAE"
    for call in (
        lambda: model(unseen.batch()),
        lambda: model.infer_style(unseen.singles([0])),
        lambda: mlvae.train(model, unseen, run=tmp_path / "run", device="cpu"),
        lambda: mlvae.train(model, seen, validation=unseen, run=tmp_path / "run", device="cpu"),
    ):
        with pytest.raises(InputError, match=match):
            call()
    assert not (tmp_path / "run").exists()


def test_groups_of_nobody_knows_where_are_refused():
    batch = Batch(torch.rand(4, 1, 8, 8), Groups.of([0, 0, 1, 1]))
    with pytest.raises(InputError, match="must be told which groups these are; take batches from"):
        small()(batch)


@pytest.mark.parametrize("names", [None, [], "ann", ["ann", "ann"]])
def test_group_names_must_be_different_labels(names):
    with pytest.raises(InputError, match=r"model.group_names must be the different labels"):
        small(group_names=names)
    with pytest.raises(InputError, match=r"model.group_names must be the different labels"):
        build((1, 8, 8), {"name": "ConditionalVAE"}, group_names=names)
