"""MLVAE with several groupings: exact inference, equality with one grouping, and the methods."""

import math

import pytest
import torch

from mlvae import Batch, GroupedData, Groups, InputError
from mlvae.costs import Separation
from mlvae.data import Shuffled
from mlvae.likelihoods import Gaussian
from mlvae.models import MLVAE, build, traits
from mlvae.models.mlvae.nested import NestedPrior
from mlvae.networks import MLP
from mlvae.posteriors import DiagonalGaussian

SPEAKER, DIGIT = [0, 0, 1, 1, 1, 0, 2], [7, 8, 7, 8, 8, 7, 7]
DIMS = {"speaker": 2, "digit": 3}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def of_labels(dtype=torch.float64, features=4, **labels):
    torch.manual_seed(1)
    data = GroupedData(torch.randn(len(SPEAKER), features), groups=labels)
    batch = data.batch()
    return Batch.of(batch.x.to(dtype), batch.groupings)


def linear(dims=DIMS, style_dim=2, features=4, **options):
    """A model whose encoder and decoder are linear."""
    torch.manual_seed(0)
    options = {"network": MLP(hidden=()), "likelihood": Gaussian(std=0.7), **options}
    return MLVAE((features,), content_dim=dims, style_dim=style_dim, **options).double()


def small(dims=DIMS, **options):
    torch.manual_seed(0)
    options = {"style_dim": 2, "network": MLP(hidden=(6,)), "likelihood": Gaussian(), **options}
    return MLVAE((4,), content_dim=dims, **options)


# Exact inference in a linear-Gaussian model


class FixedNoise:
    """A replacement of torch.randn: returns the noise of a test, in the order of the draws."""

    def __init__(self, monkeypatch):
        self.noise = []
        monkeypatch.setattr(torch, "randn", self)

    def __call__(self, shape, **options):
        noise = self.noise.pop(0)
        assert tuple(shape) == tuple(noise.shape)
        return noise


def expected_bound(model, batch, monkeypatch):
    """The expectation of the bound over the noise, exact for quadratic log-likelihoods.

    The log-likelihood of an observation is quadratic in its D standard normal numbers. The mean
    over the 2 D points ±sqrt(D) along the axes has the same moments of order up to 2.
    """
    dims = [*model.contents.values(), model.style_dim]
    total = sum(dims)
    noise, bounds = FixedNoise(monkeypatch), []
    for axis in range(total):
        for sign in (-1, 1):
            point = torch.zeros(len(batch), total, dtype=torch.float64)
            point[:, axis] = sign * math.sqrt(total)
            noise.noise = list(point.split(dims, 1))
            bounds.append(model(batch).elbo.sum())
    return torch.stack(bounds).mean()


def factor(model, q):
    return q.mean.flatten(), q.variance.flatten()


def exact_bound(model, batch):
    """log p(x) - KL(q || p(z | x)) of all latents z, with full covariance matrices.

    z has the content of every group of every grouping and the style of every observation.
    """
    x, std = batch.x, model.likelihood.std
    names = list(model.contents)
    posteriors, style = model.posteriors(x)
    groupings = {name: batch.groupings[model.grouping_of[name]] for name in names}
    q = {name: exact_product(posteriors[name], groupings[name]) for name in names}
    s = style(None)
    start, place = 0, {}
    for name in names:
        place[name] = start
        start += groupings[name].num_groups * model.contents[name]
    size = start + len(x) * model.style_dim
    # The map from z to x.
    width = sum(model.contents.values()) + model.style_dim
    origin = model.decoder(torch.zeros(1, width, dtype=x.dtype))[0, 0]
    columns = model.decoder(torch.eye(width, dtype=x.dtype))[:, 0] - origin
    matrix = torch.zeros(len(x), x.shape[1], size, dtype=x.dtype)
    for i in range(len(x)):
        begin = 0
        for name in names:
            dim, group = model.contents[name], int(groupings[name].index[i])
            own = place[name] + group * dim
            matrix[i, :, own : own + dim] = columns[begin : begin + dim].T
            begin += dim
        own = start + i * model.style_dim
        matrix[i, :, own : own + model.style_dim] = columns[begin:].T
    matrix = matrix.flatten(0, 1)
    # The prior of z.
    prior_mean, prior = torch.zeros(size, dtype=x.dtype), torch.eye(size, dtype=x.dtype)
    root, shift = torch.eye(size, dtype=x.dtype), torch.zeros(size, dtype=x.dtype)
    for upper, lower in zip(model.nested, model.nested[1:], strict=False):
        upper, lower = f"content_{upper}", f"content_{lower}"
        net = model.priors[lower]
        for group in range(groupings[lower].num_groups):
            member = int((groupings[lower].index == group).nonzero()[0])
            above = int(groupings[upper].index[member])
            rows = place[lower] + group * model.contents[lower]
            own = slice(rows, rows + model.contents[lower])
            source = place[upper] + above * model.contents[upper]
            of_upper = root[source : source + model.contents[upper]]
            root[own] = net.map.weight @ of_upper
            root[own, own] = (0.5 * net.log_variance).exp().diag()
            above_mean = shift[source : source + model.contents[upper]]
            shift[own] = net.map.weight @ above_mean + net.map.bias
    prior_mean, prior = shift, root @ root.T
    residual = (x - origin).flatten() - matrix @ prior_mean
    evidence = torch.distributions.MultivariateNormal(
        torch.zeros_like(residual),
        matrix @ prior @ matrix.T + std**2 * torch.eye(len(residual), dtype=x.dtype),
    ).log_prob(residual)
    precision = prior.inverse() + matrix.T @ matrix / std**2
    mean = prior_mean + precision.inverse() @ (matrix.T @ residual) / std**2
    parts = [factor(model, q[name]) for name in names] + [factor(model, s)]
    q_mean, q_var = (torch.cat(each) for each in zip(*parts, strict=True))
    error = q_mean - mean
    kl = 0.5 * (
        (precision.diagonal() * q_var).sum()
        + error @ precision @ error
        - size
        - precision.logdet()
        - q_var.log().sum()
    )
    return evidence - kl


def exact_product(posterior, groups):
    """The product of the members' Gaussians, by loops."""
    means, variances = [], []
    for group in range(groups.num_groups):
        members = (groups.index == group).nonzero()[:, 0]
        precision = (1 / posterior.variance[members]).sum(0)
        means.append((posterior.mean[members] / posterior.variance[members]).sum(0) / precision)
        variances.append(1 / precision)
    return DiagonalGaussian(torch.stack(means), torch.stack(variances).log())


@pytest.mark.parametrize(
    "digit", [DIGIT, [7, None, 7, 8, None, 7, 7]], ids=["crossed", "missing labels"]
)
@torch.no_grad()
def test_the_bound_of_two_groupings_is_that_of_exact_inference(monkeypatch, digit):
    model, batch = linear(), of_labels(speaker=SPEAKER, digit=digit)
    expected = exact_bound(model, batch)
    found = expected_bound(model, batch, monkeypatch)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-9)


@torch.no_grad()
def test_the_bound_with_a_nested_prior_is_that_of_exact_inference(monkeypatch):
    labels = {"study": [0, 0, 0, 1, 1, 1, 1], "donor": list("abbcdde")}
    options = {"nested": ["study", "donor", "visit"], "style_dim": 1}
    model = linear({"visit": 1, "donor": 2, "study": 3}, **options)
    for prior in model.priors.values():
        for parameter in prior.parameters():
            parameter.normal_(std=0.7)
    batch = of_labels(**labels, visit=[0, 1, 1, 2, 3, 4, 5])
    expected = exact_bound(model, batch)
    found = expected_bound(model, batch, monkeypatch)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-9)


@torch.no_grad()
def test_the_posteriors_of_two_groupings_are_products_of_all_members():
    model, batch = linear(), of_labels(speaker=SPEAKER, digit=DIGIT)
    each, _ = model.posteriors(batch.x)
    contents = model.infer_contents(batch.x, groups={"speaker": SPEAKER, "digit": DIGIT})
    codes = model.codes(batch)
    assert list(codes) == ["content_speaker", "content_digit", "style"]
    for name, q in contents.items():
        groups = batch.groupings[name]
        exact = exact_product(each[f"content_{name}"], groups)
        torch.testing.assert_close(q.mean, exact.mean)
        torch.testing.assert_close(q.variance, exact.variance)
        torch.testing.assert_close(codes[f"content_{name}"].mean, exact.mean[groups.index])


# The nested prior


def test_the_expected_kl_of_a_nested_prior_is_the_mean_over_the_upper_content():
    torch.manual_seed(0)
    prior = NestedPrior(2, 3).double()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    lower, upper = (
        DiagonalGaussian(torch.randn(4, d).double(), torch.randn(4, d).double()) for d in (3, 2)
    )
    # The KL is quadratic in the upper content: four points have its exact mean.
    points = [
        upper.mean + upper.std * sign * math.sqrt(2) * torch.eye(2).double()[axis]
        for axis in range(2)
        for sign in (-1, 1)
    ]
    expected = torch.stack([lower.kl(prior.given(point)) for point in points]).mean(0)
    torch.testing.assert_close(prior.kl(lower, upper), expected)


def test_training_learns_the_map_of_a_nested_prior():
    model = small({"study": 2, "donor": 2}, nested=("study", "donor"))
    batch = of_labels(torch.float32, study=[0, 0, 0, 0, 1, 1, 1], donor=list("aabbccd"))
    model.train()(batch, generator=seeded()).loss.backward()
    prior = model.priors["content_donor"]
    assert all(p.grad.abs().max() > 0 for p in (prior.map.weight, prior.log_variance))


def test_groups_that_are_not_nested_are_refused():
    model = small({"study": 2, "donor": 2}, nested=("study", "donor"))
    batch = of_labels(torch.float32, study=[0, 1, 0, 0, 1, 1, 1], donor=list("aabbccd"))
    with pytest.raises(InputError, match="nested"):
        model(batch)


# One grouping


def step(model, batch):
    objective = model.train()(batch, generator=seeded())
    objective.loss.backward()
    return objective, {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"evidence_from": "subset", "content_draw": "group"},
        {"evidence_from": "others", "style_given_content": True},
        {"accumulation": "mixture"},
        {"batch_groups": "parts", "separation": Separation(mmd=1.0, content_critic=2.0)},
    ],
)
def test_one_named_grouping_is_the_model_of_one_content_bit_for_bit(options):
    batch = of_labels(torch.float32, speaker=SPEAKER)
    one, gradients = step(small(3, **options), batch)
    named, same = step(small({"speaker": 3}, **options), batch)
    assert torch.equal(one.loss, named.loss) and torch.equal(one.elbo, named.elbo)
    assert gradients.keys() == same.keys()
    assert all(torch.equal(gradients[name], same[name]) for name in gradients)


def test_a_further_grouping_without_evidence_leaves_the_bound_of_the_first():
    # The head of the digit has the prior as its product, and the decoder ignores it.
    model, batch = linear(), of_labels(speaker=SPEAKER, digit=[None] * 7)
    one = linear(2)
    with torch.no_grad():
        widths = [6, 4, 4]  # digit, speaker, style: in the order of their names
        for name in ("weight", "bias"):
            mine, theirs = getattr(model.encoder.heads, name), getattr(one.encoder.heads, name)
            mine[: widths[0]] = 0
            theirs.copy_(mine[widths[0] :])
        model.decoder.head.weight[:, :3] = 0
        one.decoder.head.weight.copy_(model.decoder.head.weight[:, 3:])
        one.decoder.head.bias.copy_(model.decoder.head.bias)
        several = model.eval()(batch, generator=seeded())
        digits = several.per_grouping["digit"].terms["content_kl"]
        speakers = several.per_grouping["speaker"].terms["content_kl"]
        first = one.eval()(batch, generator=seeded())
    assert torch.equal(digits, torch.zeros(7).double())
    torch.testing.assert_close(speakers, first.per_group["content_kl"])


# Several groupings


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"evidence_from": "subset"},
        {"evidence_from": "fellow", "style_given_content": True},
        {"separation": Separation(contents=1.0, content_critic=1.0, pair_critic=1.0)},
    ],
)
def test_the_order_of_the_groupings_does_not_matter(options):
    batch = of_labels(torch.float32, speaker=SPEAKER, digit=DIGIT)
    turned = of_labels(torch.float32, digit=DIGIT, speaker=SPEAKER)
    assert torch.equal(batch.x, turned.x)
    one, gradients = step(small(DIMS, **options), batch)
    other, same = step(small({"digit": 3, "speaker": 2}, **options), turned)
    torch.testing.assert_close(one.loss, other.loss)
    torch.testing.assert_close(one.elbo, other.elbo)
    assert all(torch.allclose(gradients[name], same[name], atol=1e-6) for name in gradients)


@pytest.mark.parametrize("evidence_from", ["all", "subset", "others"])
@pytest.mark.parametrize("accumulation", ["product", "prior_product"])
def test_groups_without_members_have_no_part_in_the_bound(evidence_from, accumulation):
    data = GroupedData(torch.randn(40, 4), groups={"a": [0, 1] * 20, "b": list(range(8)) * 5})
    model = small({"a": 2, "b": 2}, accumulation=accumulation, evidence_from=evidence_from)
    plan = Shuffled(9).plan(data, seeded())
    padded = next(b for b in plan if int(b.groupings["b"].sizes.min()) == 0)
    exact = Batch.of(padded.x, {"a": padded.groups, "b": Groups(padded.groupings["b"].index)})
    # Random subsets draw a number for each group, so only their objective's form is compared.
    if evidence_from == "subset":
        model.eval()
    found, gradients = step_of(model, padded)
    expected, same = step_of(model, exact)
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(found.elbo, expected.elbo)
    terms = found.per_grouping["b"], expected.per_grouping["b"]
    assert terms[0].num_groups == terms[1].num_groups
    torch.testing.assert_close(*(each.terms["content_kl"].sum() for each in terms))
    assert all(torch.allclose(gradients[n], same[n], atol=1e-6) for n in gradients)


def step_of(model, batch):
    model.zero_grad()
    objective = model(batch, generator=seeded())
    objective.loss.backward()
    return objective, {name: p.grad.clone() for name, p in model.named_parameters()}


def test_weights_capacities_and_parts_change_the_loss_by_their_formulas():
    data = GroupedData(torch.randn(8, 4), groups={"a": [0, 1] * 4, "b": [0, 0, 1, 1] * 2})
    batch = data.batch([0, 1, 2])
    plain = small({"a": 2, "b": 2}).train()(batch, generator=seeded())
    kl = {name: each.terms["content_kl"] for name, each in plain.per_grouping.items()}

    def difference(**options):
        model = small({"a": 2, "b": 2}, **options).train()
        return 3 * (model(batch, generator=seeded()).loss - plain.loss)

    total = sum(each.sum() for each in kl.values())
    torch.testing.assert_close(difference(content_kl_weight=3.0), 2 * total)
    gap = sum((each.sum() - 2 * 5.0).abs() for each in kl.values())
    torch.testing.assert_close(difference(content_capacity=5.0), gap - total)
    share = {name: torch.tensor([2.0, 1.0]) / 4 for name in kl}  # of four members each
    parts = sum((share[name] * kl[name]).sum() for name in kl)
    torch.testing.assert_close(difference(batch_groups="parts"), parts - total)


def test_the_critics_of_contents_give_no_gradient_to_the_content_they_read():
    batch = of_labels(torch.float32, speaker=SPEAKER, digit=DIGIT)
    model = small(separation=Separation(contents=5.0))
    objective, gradients = step(model, batch)
    _, plain = step(small(), batch)
    assert {"contents_speaker", "contents_digit"} <= objective.per_observation.keys()
    changed = (gradients["encoder.heads.weight"] - plain["encoder.heads.weight"]).abs()
    assert changed[:10].max() > 1e-6  # both contents
    assert changed[10:].max() < 1e-6  # the style
    nested = {"separation": Separation(contents=1.0), "nested": ("a", "b")}
    torch.manual_seed(0)
    model = small({"a": 2, "b": 2, "c": 2}, **nested)
    assert model.separators.apart == {"a": ["c"], "b": ["c"], "c": ["a", "b"]}


# Methods


def test_contents_may_be_given_by_grouping_or_by_code():
    model = small().eval()
    x = torch.randn(6, 4)
    c = {"speaker": torch.randn(6, 2), "digit": torch.randn(1, 3)}
    s = torch.randn(6, 2)
    by_grouping = model.decode(contents=c, style=s)
    by_code = model.decode(content_speaker=c["speaker"], content_digit=c["digit"], style=s)
    assert torch.equal(by_grouping, by_code)
    swapped = model.swap(speaker_of=x[:1], digit_of=x, style_of=x)
    found = model.infer_contents(x)
    one = found["speaker"].mean[:1]
    expected = model.decode(
        contents={"speaker": one, "digit": found["digit"]}, style=model.infer_style(x)
    )
    torch.testing.assert_close(swapped, expected)


def test_a_reconstruction_has_the_contents_of_all_groups():
    model = small(style_given_content=True).eval()
    data = GroupedData(torch.randn(7, 4), groups={"speaker": SPEAKER, "digit": DIGIT})
    codes = model.codes(data.batch())
    expected = model.decode(**{name: q.mean for name, q in codes.items()})
    torch.testing.assert_close(model.reconstruct(data), expected)
    labels = {"digit": DIGIT, "speaker": SPEAKER}
    torch.testing.assert_close(model.reconstruct(data.x, labels), expected)


def test_traits_name_the_grouping_of_each_content():
    stated = traits(small())
    assert stated.grouping_of == {"content_speaker": "speaker", "content_digit": "digit"}
    assert stated.group_codes == {"content_speaker", "content_digit"}
    assert traits(small(3)).grouping_of == {"content": "group"}
    assert not stated.importance_weighted and traits(small(3)).importance_weighted


def test_a_model_of_several_groupings_is_rebuilt_from_its_config():
    model = small({"study": 2, "donor": 3}, nested=("study", "donor"))
    again = build((4,), model.config)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config and "study" in repr(model)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"content_dim": {}}, "content_dim"),
        ({"content_dim": {"speaker": 0}}, "content_dim.speaker"),
        ({"content_dim": {"style": 3}}, "grouping"),
        ({"content_dim": 3, "nested": ("a", "b")}, "nested"),
        ({"content_dim": {"a": 2, "b": 2}, "nested": ("a",)}, "nested"),
        ({"content_dim": {"a": 2, "b": 2}, "nested": ("a", "c")}, "nested"),
        (
            {"content_dim": {"a": 2, "b": 2}, "nested": ("a", "b"), "accumulation": "mixture"},
            "nested",
        ),
        ({"content_dim": 3, "separation": Separation(contents=1.0)}, "contents"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, option):
    with pytest.raises(InputError, match=option):
        MLVAE((4,), **options)


def test_wrong_arguments_are_refused():
    model, x = small(), torch.randn(3, 4)
    c, d, s = torch.zeros(3, 2), torch.zeros(3, 3), torch.zeros(3, 2)
    calls = [
        lambda: model.decode(c, s),
        lambda: model.decode(content_speaker=c, style=s),
        lambda: model.decode(content_speaker=c, content_digit=d),
        lambda: model.decode(contents={"room": c}, style=s),
        lambda: model.decode(contents={"speaker": c, "digit": d}, content_digit=d, style=s),
        lambda: model.swap(x, x),
        lambda: model.swap(speaker_of=x, style_of=x),
        lambda: model.infer_content(x),
        lambda: model.infer_contents(x, groups=[0, 1, 1]),
        lambda: model.infer_contents(x, groups={"room": [0, 1, 1]}),
        lambda: model.infer_contents(x, groups={"speaker": [0, 1]}),
        lambda: model(Batch(x, Groups.of([0, 0, 1]))),
        lambda: small({"digit": 2})(of_labels(torch.float32, speaker=SPEAKER, digit=DIGIT)),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()
