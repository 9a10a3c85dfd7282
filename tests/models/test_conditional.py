"""The conditional VAE, whose content is looked up by the label of the group."""

import gc
import weakref
from dataclasses import fields, replace

import pytest
import torch

import mlvae
from mlvae import Batch, GroupedData, Groups, InputError, Reports
from mlvae.data import Grouped, Shuffled
from mlvae.grids import pictures
from mlvae.likelihoods import Gaussian
from mlvae.models import ConditionalVAE, build
from mlvae.networks import MLP, Conv

NAMES = ["ann", "bob", "eve"]
QUIET = Reports(progress=False)


class NameList(list):
    """A list that a weak reference can point to."""


def data(labels=("ann", "bob", "ann", "eve", "bob", "bob"), names=NAMES):
    x = torch.rand(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return GroupedData(x, list(labels)).labelled(names)


def small(**options):
    torch.manual_seed(0)
    options = {"content_dim": 3, "style_dim": 2, "network": MLP(hidden=(16,))} | options
    return ConditionalVAE((1, 8, 8), **{"group_names": NAMES, **options})


def drawn(model, batch):
    return model(batch, generator=torch.Generator().manual_seed(3))


# Properties


def test_the_bound_has_the_style_kl_alone():
    """Computed by hand in float64, from one draw of the styles."""
    model = small().double()
    batch = data().batch()
    batch = replace(batch, x=batch.x.double())
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
    assert list(objective.per_observation) == ["log_likelihood", "style_kl"]
    assert list(objective.per_group) == ["content_kl"]
    assert objective.per_group["content_kl"].tolist() == [0, 0, 0]


def test_the_bound_is_below_the_log_evidence_given_the_label():
    """In a linear Gaussian model log p(x | y) has a closed form."""
    model = ConditionalVAE(
        (4,), group_names=[0, 1], content_dim=2, style_dim=2, network=MLP(hidden=()),
        likelihood=Gaussian(0.5),
    ).double().eval()  # fmt: skip
    x = torch.rand(64, 4, dtype=torch.float64)
    batch = GroupedData(x.float(), [0, 1] * 32).labelled([0, 1]).batch()
    batch = replace(batch, x=x)
    weight, bias = model.decoder.head.weight, model.decoder.head.bias
    c = batch.groups.spread(model.infer_content(batch))
    mean, loading = c @ weight[:, :2].T + bias, weight[:, 2:]
    covariance = loading @ loading.T + 0.25 * torch.eye(4, dtype=torch.float64)
    evidence = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)
    copies = GroupedData(x.float().repeat(300, 1), [0, 1] * 32 * 300).labelled([0, 1]).batch()
    copies = replace(copies, x=x.repeat(300, 1))
    bound = model(copies, generator=torch.Generator().manual_seed(0)).elbo.sum() / 300
    assert bound < evidence.sum()
    # The mean importance weight p(x, s | y) / q(s | x, y) converges to p(x | y).
    style = model.infer_style(batch)
    with torch.no_grad():
        s = style.sample((2000,), generator=torch.Generator().manual_seed(0))
        latent = torch.cat((c.expand(2000, -1, -1), s), 2).flatten(0, 1)
        like = model.likelihood.log_prob(model.decoder(latent), x.repeat(2000, 1)).view(2000, -1)
        prior = torch.distributions.Normal(torch.zeros(2).double(), 1).log_prob(s).sum(2)
        weights = like + prior - style.log_prob(s)
    estimated = weights.logsumexp(0) - torch.tensor(2000.0).log()
    torch.testing.assert_close(estimated, evidence, atol=0.1, rtol=0)


@pytest.mark.parametrize("network", [MLP(hidden=(9,)), Conv(widths=(4, 8))])
def test_every_parameter_has_a_gradient_and_the_model_is_rebuilt(network):
    model = small(network=network, style_kl_weight=2.0)
    batch = data().batch()
    drawn(model, batch).loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    again = build((1, 8, 8), model.config)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config
    assert set(again.config) - {"name"} == {field.name for field in fields(ConditionalVAE.Options)}
    assert torch.equal(again.eval().reconstruct(batch), model.eval().reconstruct(batch))


def test_labels_have_the_same_content_in_data_with_fewer_groups():
    model, whole = small(), data()
    few = whole.subset([1, 3, 4])  # bob and eve are its groups 0 and 1
    expected = model.content.weight[[1, 2]]
    for batch in (few.batch(), whole.batch([1, 3, 4])):
        assert torch.equal(model.infer_content(batch), expected)
    single = model.infer_style(whole.singles([4, 3, 1]))
    torch.testing.assert_close(single.mean[[2, 1, 0]], model.infer_style(few.batch()).mean)


def test_labels_have_the_same_content_in_data_with_another_order_of_groups():
    # Strings are sorted as "10", "2", "30" by the data, and in another order by the model.
    model = small(group_names=["30", "2", "10"])
    labels = ["2", "10", "30", "2"]
    texts = data(labels, names=model.group_names)
    assert texts.group_names == ["10", "2", "30"]
    content = model.codes(texts.batch())["content"].mean
    assert torch.equal(content, model.content.weight[[1, 2, 0, 1]])
    for rows in ([3, 1], [2], [0, 1, 2]):
        part = texts.subset(rows)
        assert torch.equal(model.codes(part.batch())["content"].mean, content[rows])
        assert torch.equal(model.codes(texts.singles(rows))["content"].mean, content[rows])


def test_the_model_keeps_no_reference_to_the_data_that_it_sees(tmp_path):
    def state(model):
        return {name: id(value) for name, value in vars(model).items()}

    model = small()
    before = state(model)
    references = []
    for _ in range(3):
        some = data()
        names = weakref.ref(labels := NameList(some.group_names))
        some.group_names = labels
        batch = some.batch()
        drawn(model, batch), model.codes(batch), model.reconstruct(batch)
        del some, batch, labels
        gc.collect()
        references.append(names)
    assert state(model) == before
    assert all(names() is None for names in references)


@pytest.mark.parametrize("batching", [Shuffled(4), Grouped(2, 2, "keep")], ids=repr)
def test_the_style_of_an_observation_does_not_depend_on_its_batch(batching):
    model, whole = small(), data()
    everything = model.infer_style(whole.batch()).mean
    for batch in batching.plan(whole, torch.Generator().manual_seed(0)):
        own = [int((whole.x == x).flatten(1).all(1).nonzero()) for x in batch.x]
        torch.testing.assert_close(model.infer_style(batch).mean, everything[own])


def test_a_swap_has_the_label_of_one_observation_and_the_style_of_another():
    model, whole = small(), data()
    a, b = whole.singles([0, 3]), whole.singles([1, 2])
    style = model.encoder(
        b.x, model.content.weight[[1, 0]]
    )  # given the label of its own observation
    expected = model.decode(model.content.weight[[0, 2]], style)
    assert torch.equal(model.swap(content_of=a, style_of=b), expected)
    assert torch.equal(model.reconstruct(a), model.swap(a, a))
    assert not torch.equal(model.swap(a, b), model.reconstruct(b))


# Behaviour


@pytest.mark.parametrize("batching", [Shuffled(64), Grouped(4, 8, "keep")], ids=repr)
def test_the_model_is_trained_pictured_and_loaded(digits, tmp_path, batching):
    model = build(
        (1, 8, 8),
        {"name": "ConditionalVAE", "network": {"name": "MLP", "hidden": [32]}},
        group_names=digits.train.group_names,
    )
    result = mlvae.train(
        model, digits.train, validation=digits.validation, batching=batching, epochs=2,
        run=tmp_path / "run", device="cpu", reports=QUIET,
    )  # fmt: skip
    assert result.metrics["train/content_kl_per_group"] == 0
    again = mlvae.load(tmp_path / "run")
    test = digits.test.labelled(model.group_names)
    batch = test.batch(range(20))
    assert torch.equal(again.reconstruct(batch), model.reconstruct(batch))
    assert set(pictures(again, test)) == {"reconstructions", "swaps"}


def test_a_swap_is_nearest_to_the_mean_image_of_the_group_of_its_label(digits, tmp_path):
    torch.manual_seed(0)
    model = ConditionalVAE((1, 8, 8), group_names=range(10), style_dim=2, network=MLP((64,)))
    run = tmp_path / "run"
    mlvae.train(model, digits.train, epochs=30, run=run, device="cpu", reports=QUIET)
    x = digits.train.observations(torch.arange(len(digits.train)))
    centre = digits.train.groups.sum(x) / digits.train.groups.sizes.view(-1, 1, 1, 1)
    rows = torch.arange(10).repeat_interleave(18)
    test = digits.test.labelled(range(10))
    first = test.one_of_each()
    content, style = test.singles(first[rows]), test.singles(range(180))
    swaps = model.swap(content, style).flatten(1)
    nearest = torch.cdist(swaps, centre.flatten(1)).argmin(1)
    assert (nearest == rows).float().mean() > 0.9


def test_the_weight_of_the_style_kl_changes_the_loss_and_keeps_the_bound():
    batch = data().labelled(small().group_names).batch()
    plain, weighted = (
        model(batch, generator=torch.Generator().manual_seed(0))
        for model in (small(), small(style_kl_weight=3.0))
    )
    kl = plain.per_observation["style_kl"].sum() / batch.groups.num_groups
    assert kl > 1e-3 and torch.equal(weighted.elbo, plain.elbo)
    torch.testing.assert_close(weighted.loss, plain.loss + 2 * kl)


# Bad input


def test_groups_outside_the_training_data_are_refused(tmp_path):
    model, seen = small(), data()
    unseen = GroupedData(torch.rand(4, 1, 8, 8), ["ann", "zoe", "bob", "eve"])
    for call in (
        lambda: unseen.labelled(model.group_names),
        lambda: mlvae.train(model, unseen, run=tmp_path / "run", device="cpu"),
        lambda: mlvae.train(model, seen, validation=unseen, run=tmp_path / "run", device="cpu"),
    ):
        with pytest.raises(InputError, match=r"3 groups .*'zoe'.* MLVAE"):
            call()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["forward", "codes", "infer_content", "infer_style"])
def test_a_batch_without_labels_is_refused(method):
    batch = Batch(torch.rand(4, 1, 8, 8), Groups.of([0, 0, 1, 1]))
    with pytest.raises(InputError, match=r"given\['label'\].*labelled\(model.group_names\)"):
        getattr(small(), method)(batch)


@pytest.mark.parametrize("label", [-1, 3, 100])
@pytest.mark.parametrize("method", ["codes", "infer_content", "infer_style"])
def test_a_label_beyond_the_known_groups_is_refused(method, label):
    batch = Batch(torch.rand(1, 1, 8, 8), Groups.of([0]), {"label": torch.tensor([label])})
    with pytest.raises(InputError, match=rf"given\['label'\] .*\[0, 3\).*not be {label}"):
        getattr(small(), method)(batch)


@pytest.mark.parametrize("names", [None, [], "ann", ["ann", "ann"]])
def test_group_names_must_be_different_labels(names):
    with pytest.raises(InputError, match=r"model.group_names .*data.group_names"):
        small(group_names=names)
    with pytest.raises(InputError, match=r"model.group_names .*data.group_names"):
        build((1, 8, 8), {"name": "ConditionalVAE"}, group_names=names)


# Two groupings

LABELS = {"who": NAMES, "what": [7, 8]}


def two_groupings():
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    groups = {"who": ["ann", "bob", "ann", "eve", "bob", "bob"], "what": [8, 7, 7, 8, 8, 7]}
    return GroupedData(x, groups=groups)


def two_contents(**options):
    return small(**{"group_names": LABELS, "content_dim": {"who": 3, "what": 2}} | options)


def test_each_grouping_has_a_vector_for_each_label():
    model = two_contents()
    data = two_groupings()
    batch = data.labelled(model.group_names).batch()
    codes = model.codes(batch)
    who, what = model.content["content_who"].weight, model.content["content_what"].weight
    assert list(codes) == ["content_who", "content_what", "style"]
    assert torch.equal(codes["content_who"].mean, who[[0, 1, 0, 2, 1, 1]])
    assert torch.equal(codes["content_what"].mean, what[[1, 0, 0, 1, 1, 0]])
    means = {name: code.mean for name, code in codes.items()}
    expected = model.decode(**means)
    assert torch.equal(expected, model.reconstruct(batch))
    style = means.pop("style")
    by_grouping = {name.removeprefix("content_"): values for name, values in means.items()}
    assert torch.equal(expected, model.decode(contents=by_grouping, style=style))
    assert mlvae.models.traits(model).grouping_of == {"content_who": "who", "content_what": "what"}
    with pytest.raises(InputError, match="content_what"):
        model.decode(content_who=means["content_who"], style=style)
    with pytest.raises(InputError, match="content_who, content_what"):
        model.infer_content(batch)


def test_the_bound_of_two_groupings_is_that_of_one_with_both_vectors():
    """A model of the pairs of labels, whose vectors are both vectors side by side."""
    data = two_groupings()
    model = two_contents()
    pairs = [f"{a}{b}" for a in NAMES for b in (7, 8)]
    joint = small(group_names=pairs, content_dim=5)
    who, what = (table.weight.detach() for table in model.content.values())
    with torch.no_grad():
        joint.content.weight.copy_(torch.cat((who.repeat_interleave(2, 0), what.repeat(3, 1)), 1))
    joint.encoder.load_state_dict(model.encoder.state_dict())
    joint.decoder.load_state_dict(model.decoder.state_dict())
    both = drawn(model, data.labelled(model.group_names).batch())
    labels = [f"{a}{b}" for a, b in zip(*(g.labels for g in data.groupings.values()), strict=True)]
    one = drawn(joint, GroupedData(data.x, labels).labelled(pairs).batch())
    for name, values in both.per_observation.items():
        torch.testing.assert_close(values, one.per_observation[name])


def test_the_labels_of_a_config_are_those_of_the_training_data():
    config = {"name": "ConditionalVAE", "content_dim": {"what": 2, "who": 3}, "group_names": None}
    model = build((1, 8, 8), config, data=two_groupings())
    assert model.group_names == {"what": (7, 8), "who": ("ann", "bob", "eve")}
    again = build((1, 8, 8), model.config)
    assert again.group_names == model.group_names
    with pytest.raises(InputError, match=r"model\.content_dim"):
        build((1, 8, 8), config | {"content_dim": {"where": 2}}, data=two_groupings())


@pytest.mark.parametrize(
    "options",
    [
        {"group_names": NAMES},
        {"content_dim": 3},
        {"content_dim": {"who": 3}},
        {"content_dim": {"what": 2, "who": 3}},
        {"content_dim": {"who": 3, "what": 0}},
        {"group_names": {"who": NAMES, "what": [7, 7]}},
    ],
)
def test_labels_and_dimensions_must_have_the_same_groupings(options):
    with pytest.raises(InputError, match=r"content_dim|group_names"):
        two_contents(**options)


def test_two_groupings_need_a_column_of_labels_for_each():
    model, data = two_contents(), two_groupings()
    with pytest.raises(InputError, match="label"):
        model.codes(data.labelled(NAMES).batch())
    with pytest.raises(InputError, match="eve"):
        data.labelled({"who": NAMES[:2], "what": [7, 8]})
    with pytest.raises(InputError, match="where"):
        data.labelled({"where": NAMES})
