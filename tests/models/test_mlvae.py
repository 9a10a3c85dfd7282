import dataclasses
import math

import numpy as np
import pytest
import torch

import mlvae
from mlvae import Batch, DiagonalGaussian, Groups, InputError, Reports
from mlvae.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    DiscretisedLogistic,
    Gaussian,
    LearnedGaussian,
)
from mlvae.models import MLVAE, build
from mlvae.networks import MLP, Conv


def batch_of(labels, shape=(1, 8, 8), dtype=torch.float64):
    return Batch(torch.rand(len(labels), *shape, dtype=dtype), Groups.of(labels))


LABELS = torch.tensor([2, 0, 1, 0, 2, 2, 2])


class FixedNoise:
    """A replacement of torch.randn: returns the noise of a test, in the order of the draws."""

    def __init__(self, monkeypatch, *noise):
        self.noise = list(noise)
        monkeypatch.setattr(torch, "randn", self)

    def __call__(self, shape, **options):
        noise = self.noise.pop(0)
        assert tuple(shape) == tuple(noise.shape)
        return noise


def independent_bound(model, batch, content_noise, style_noise):
    """The group bounds of the paper by loops, variances and plain formulas."""
    encoder, decoder = model.encoder, model.decoder
    layer, heads = encoder.trunk[1], encoder.heads
    hidden = torch.tanh(batch.x.flatten(1) @ layer.weight.T + layer.bias)
    output = hidden @ heads.weight.T + heads.bias
    c_dim, s_dim = model.content_dim, model.style_dim
    c_mean, c_var = output[:, :c_dim], output[:, c_dim : 2 * c_dim].exp()
    s_mean, s_var = output[:, 2 * c_dim : 2 * c_dim + s_dim], output[:, 2 * c_dim + s_dim :].exp()
    bounds = []
    for group in range(batch.groups.num_groups):
        members = [i for i in range(len(batch.x)) if batch.groups.index[i] == group]
        variance = 1 / sum(1 / c_var[i] for i in members)
        mean = variance * sum(c_mean[i] / c_var[i] for i in members)
        bound = -0.5 * (variance + mean**2 - 1 - variance.log()).sum()
        for i in members:
            c = mean + variance.sqrt() * content_noise[i]
            s = s_mean[i] + s_var[i].sqrt() * style_noise[i]
            up, head = decoder.trunk[0], decoder.head
            out = head.weight @ torch.tanh(up.weight @ torch.cat((c, s)) + up.bias) + head.bias
            mu, log_var = out[:64], torch.tanh(out[64:])
            pixels = batch.x[i].flatten()
            for d in range(64):
                density = torch.exp(-((pixels[d] - mu[d]) ** 2) / (2 * log_var[d].exp()))
                bound = bound + torch.log(density / torch.sqrt(2 * math.pi * log_var[d].exp()))
            bound = bound - 0.5 * (s_var[i] + s_mean[i] ** 2 - 1 - s_var[i].log()).sum()
        bounds.append(bound)
    return torch.stack(bounds)


@pytest.mark.parametrize("draw", ["observation", "group"])
def test_the_objective_agrees_with_an_independent_evaluation(small_model, monkeypatch, draw):
    model = small_model(content_draw=draw, likelihood=LearnedGaussian()).double()
    batch = batch_of(LABELS)
    style_noise = torch.randn(7, 2, dtype=torch.float64)
    drawn = torch.randn(7 if draw == "observation" else 3, 3, dtype=torch.float64)
    content_noise = drawn if draw == "observation" else drawn[batch.groups.index]
    expected = independent_bound(model, batch, content_noise, style_noise)
    FixedNoise(monkeypatch, drawn, style_noise)
    objective = model(batch)
    torch.testing.assert_close(objective.elbo, expected)
    torch.testing.assert_close(objective.loss, -expected.mean())
    # The gradients of both are the same, for every parameter.
    ours = torch.autograd.grad(objective.loss, list(model.parameters()))
    theirs = torch.autograd.grad(-expected.mean(), list(model.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("draw", ["observation", "group"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("likelihood", [choice() for choice in LIKELIHOODS])
@pytest.mark.parametrize("network", [MLP(hidden=(16,)), Conv(widths=(8, 16))])
def test_every_parameter_receives_gradient(draw, shared, likelihood, network):
    # A widely copied port detaches the content heads from the accumulation, so they never learn.
    network = dataclasses.replace(network, shared=shared)
    model = MLVAE((1, 8, 8), network=network, likelihood=likelihood, content_draw=draw).double()
    model(batch_of(LABELS)).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
    heads = model.encoder.heads if shared else model.encoder.encoders[0].heads
    assert heads.weight.grad[:20].abs().sum(1).all(), "a row of the content head has no gradient"


def test_groups_in_any_order_in_the_batch_give_the_same_loss(small_model, monkeypatch):
    model = small_model().double()
    batch = batch_of(LABELS)
    content_noise, style_noise = torch.randn(7, 3).double(), torch.randn(7, 2).double()
    order = torch.randperm(7)
    renamed = torch.tensor([1, 2, 0])[batch.groups.index]  # another numbering of the groups
    FixedNoise(monkeypatch, content_noise, style_noise, content_noise[order], style_noise[order])
    loss = model(batch).loss
    other = model(Batch(batch.x[order], Groups(renamed[order]))).loss
    torch.testing.assert_close(loss, other)


def test_the_loss_of_a_batch_is_the_mean_of_its_groups_losses(small_model, monkeypatch):
    model = small_model().double()
    batch = batch_of(LABELS)
    content_noise, style_noise = torch.randn(7, 3).double(), torch.randn(7, 2).double()
    FixedNoise(monkeypatch, content_noise, style_noise)
    whole = model(batch).loss
    losses = []
    for group in range(3):
        members = batch.groups.index == group
        FixedNoise(monkeypatch, content_noise[members], style_noise[members])
        losses.append(model(Batch(batch.x[members], Groups.of(LABELS[members]))).loss)
    torch.testing.assert_close(whole, torch.stack(losses).mean())


def test_one_draw_per_group_is_shared_by_its_members(small_model, monkeypatch):
    model = small_model(content_draw="group")
    seen = []
    decode = model.decoder.forward
    monkeypatch.setattr(model.decoder, "forward", lambda z: seen.append(z) or decode(z))
    model(batch_of(LABELS, dtype=torch.float32))
    content = seen[0][:, :3]
    for group in range(3):
        assert len(content[Groups.of(LABELS).index == group].unique(dim=0)) == 1


def test_both_content_draws_estimate_the_same_bound(small_model):
    batch = batch_of(LABELS, dtype=torch.float32)
    # Copies of the groups are further groups, with noise of their own.
    copies = (batch.groups.index + 3 * torch.arange(2000)[:, None]).flatten()
    batch = Batch(batch.x.repeat(2000, 1, 1, 1), Groups(copies))
    estimates = {}
    for draw in ("observation", "group"):
        model = small_model(content_draw=draw)
        with torch.no_grad():
            estimates[draw] = -model(batch).elbo.view(2000, 3).mean(1)
    means = [e.mean() for e in estimates.values()]
    error = sum(e.var() / len(e) for e in estimates.values()).sqrt()
    assert abs(means[0] - means[1]) < 4 * error


@pytest.mark.parametrize("log_variance", [-80.0, 80.0])
@pytest.mark.parametrize("members", [1, 100_000])
def test_extreme_posteriors_leave_the_content_terms_finite(small_model, log_variance, members):
    model = small_model()
    with torch.no_grad():
        model.encoder.heads.weight.zero_()
        model.encoder.heads.bias[3:6] = log_variance
    x = torch.rand(members, 1, 8, 8)
    content = model.infer_content(x, torch.zeros(members, dtype=torch.int64))
    assert content.kl().isfinite().all()
    expected = torch.full((1, 3), log_variance - math.log(members))
    torch.testing.assert_close(content.log_variance, expected, rtol=1e-5, atol=1e-4)


def test_autocast_keeps_posteriors_and_terms_in_float32(small_model):
    model, batch = small_model(), batch_of(LABELS, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        objective = model(batch, generator=torch.Generator().manual_seed(0))
    exact = model(batch, generator=torch.Generator().manual_seed(0))
    terms = {**objective.per_observation, **objective.per_group}
    assert {term.dtype for term in terms.values()} == {torch.float32} and len(terms) == 3
    torch.testing.assert_close(objective.loss, exact.loss, rtol=0.02, atol=0)


def test_noise_comes_from_the_generator_alone(small_model):
    model, batch = small_model(), batch_of(LABELS, dtype=torch.float32)
    losses = []
    for seed in (1, 1, 2):
        torch.rand(seed)  # moves torch's own generator
        losses.append(model(batch, generator=torch.Generator().manual_seed(seed)).loss.item())
    assert losses[0] == losses[1] != losses[2]


# Methods for notebooks.


def test_content_is_inferred_for_each_group_and_without_groups_for_each_observation(small_model):
    model, x = small_model(), torch.rand(4, 1, 8, 8)
    single = model.infer_content(x)
    assert single.mean.shape == (4, 3)
    labels = ["b", "a", "b", "a"]
    pooled = model.infer_content(x, labels)
    assert pooled.mean.shape == (2, 3)
    # "a" sorts first: observations 1 and 3, by the product of normals.
    a = DiagonalGaussian(single.mean[[1, 3]], single.log_variance[[1, 3]])
    torch.testing.assert_close(1 / pooled.variance[0], (1 / a.variance).sum(0))
    for groups in (Groups.of(labels), np.array(labels)):
        assert torch.equal(model.infer_content(x, groups).mean, pooled.mean)


def test_images_may_be_bytes_or_arrays(small_model):
    model = small_model()
    image = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    expected = model.infer_style(torch.from_numpy(image).float() / 255).mean
    torch.testing.assert_close(model.infer_style(image).mean, expected)
    torch.testing.assert_close(model.infer_style(image.astype(np.float64) / 255).mean, expected)


def test_each_capacity_limits_the_kl_of_its_own_code(small_model):
    batch = Batch(torch.rand(5, 1, 8, 8), Groups.of([0, 1, 0, 1, 1]))
    model = small_model(content_capacity=0.7, style_capacity=0.2, content_kl_weight=3.0)
    assert (model.objective.content_capacity, model.objective.style_capacity) == (0.7, 0.2)
    objective = model(batch, generator=torch.Generator().manual_seed(0))
    terms = objective.per_observation
    content = (objective.per_group["content_kl"].sum() - 2 * 0.7).abs()
    style = (terms["style_kl"].sum() - 5 * 0.2).abs()
    expected = (3 * content + style - terms["log_likelihood"].sum()) / 2
    torch.testing.assert_close(objective.loss, expected)


def test_a_swap_of_an_observation_with_itself_is_its_reconstruction(small_model):
    model, x = small_model(), torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(model.swap(content_of=x, style_of=x), model.reconstruct(x))


def test_a_swap_takes_content_from_one_and_style_from_the_other(small_model):
    model, x = small_model(), torch.rand(4, 1, 8, 8)
    swapped = model.swap(content_of=x[:2], style_of=x[2:])
    expected = model.decode(model.infer_content(x[:2]).mean, model.infer_style(x[2:]).mean)
    torch.testing.assert_close(swapped, expected)
    assert swapped.shape == (2, 1, 8, 8) and not swapped.requires_grad
    one = model.swap(content_of=x[:1], style_of=x)
    torch.testing.assert_close(one[3:], model.swap(content_of=x[:1], style_of=x[3:]))


def test_reconstruction_with_groups_uses_the_content_of_the_group(small_model):
    model, x = small_model(), torch.rand(4, 1, 8, 8)
    content = model.infer_content(x, [0, 1, 0, 1])[torch.tensor([0, 1, 0, 1])]
    expected = model.decode(content, model.infer_style(x))
    torch.testing.assert_close(model.reconstruct(x, [0, 1, 0, 1]), expected)


@pytest.mark.parametrize(
    ("network", "likelihood"),
    [
        (
            MLP(hidden=(9, 8), activation="relu", shared=False, init="lecun"),
            LearnedGaussian(-2.0, 0.5),
        ),
        (
            Conv(widths=(8, 9), blocks=2, activation="relu", shared=False),
            DiscretisedLogistic(-5.0, -1.0, scope="channel"),
        ),
    ],
)
def test_a_model_is_rebuilt_from_its_config(network, likelihood):
    model = MLVAE(
        (3, 5, 4),
        content_dim=7,
        style_dim=2,
        network=network,
        likelihood=likelihood,
        content_draw="group",
        content_kl_weight=0.5,
        style_kl_weight=2.0,
    )
    again = build((3, 5, 4), model.config)
    names = {field.name for field in dataclasses.fields(MLVAE.Options)}
    assert again.config == model.config and set(again.config) - {"name"} == names
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, 3, 5, 4)
    assert torch.equal(again.reconstruct(x), model.reconstruct(x))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 4), (12,)])
def test_any_shape_of_observation_is_taken(shape):
    model = MLVAE(shape, network=MLP(hidden=(16,)), likelihood=Bernoulli())
    objective = model(batch_of(LABELS, shape, torch.float32))
    assert objective.loss.isfinite()
    assert model.reconstruct(torch.rand(2, *shape)).shape == (2, *shape)


def test_observations_of_many_types_are_accepted(small_model):
    model, x = small_model().eval(), torch.rand(4, 1, 8, 8)
    expected = model.infer_content(x).mean
    for same in (x.numpy(), x.double(), x[:, 0], x.numpy().astype(">f4"), x.numpy()[::-1][::-1]):
        torch.testing.assert_close(model.infer_content(same).mean, expected)
    images = (255 * x).byte()
    torch.testing.assert_close(
        model.infer_content(images).mean, model.infer_content(images / 255).mean
    )
    c, s = model.infer_content(x), model.infer_style(x)
    decoded = model.decode(c, s)
    with torch.no_grad():
        numbers = model.decode(c.mean.numpy(), s.mean.tolist())
    torch.testing.assert_close(numbers, decoded)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m.infer_style(x[:, :, :4]), r"\(N, 1, 8, 8\), not \(4, 1, 4, 8\)"),
        (lambda m, x: m.infer_style(x.repeat(1, 3, 1, 1)), r"not \(4, 3, 8, 8\)"),
        (lambda m, x: m.infer_style(x[0, 0]), r"not \(8, 8\)"),
        (lambda m, x: m.infer_style((255 * x).long()), "0 to 255 as uint8"),
        (lambda m, x: m.infer_content((255 * x).numpy().astype(object)), "object"),
        (lambda m, x: m.infer_content(255 * x), r"\[0, 1\]"),
        (lambda m, x: m.infer_content(x / 0), "x .*NaN"),
        (lambda m, x: m.infer_content([[1.0], [2.0, 3.0]]), "ragged"),
        (lambda m, x: m.infer_content(x, [0, 1]), "4 .*2"),
        (lambda m, x: m.decode(torch.zeros(4, 2), torch.zeros(4, 2)), r"content .*\(N, 3\)"),
        (lambda m, x: m.decode(torch.zeros(4, 3), torch.zeros(2)), r"style .*\(N, 2\)"),
        (lambda m, x: m.decode(torch.zeros(4, 3), torch.zeros(2, 2)), "4 and 2"),
        (lambda m, x: m.decode(["a"], torch.zeros(2, 2)), r"content .*\(N, 3\)"),
    ],
)
def test_arguments_of_wrong_shape_or_type_are_refused(small_model, call, message):
    with pytest.raises(InputError, match=message):
        call(small_model(), torch.rand(4, 1, 8, 8))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "MLVEA"}, "MLVEA.*'MLVAE'"),
        ({"name": "MLVAE", "content": 3}, "'content_dim'"),
        ({"name": "MLVAE", "content_dim": 0}, r"content_dim .*1.*0"),
        ({"name": "MLVAE", "style_dim": 2.5}, r"style_dim .*2\.5"),
        ({"name": "MLVAE", "accumulation": "sum"}, r"accumulation .*product.*sum"),
        ({"name": "MLVAE", "content_draw": "batch"}, r"content_draw .*observation, group.*batch"),
        ({"name": "MLVAE", "network": {"name": "CNN"}}, r"network.name .*MLP.*CNN"),
        ({"name": "MLVAE", "likelihood": {"name": "Gauss"}}, r"likelihood.name .*'Gaussian'"),
    ],
)
def test_an_invalid_config_is_refused(config, message):
    with pytest.raises(InputError, match=message):
        build((1, 8, 8), config)


@pytest.mark.parametrize("shape", [(), (1, 0, 8), (1, 8.0, 8)])
def test_an_invalid_shape_is_refused(shape):
    with pytest.raises(InputError, match="shape"):
        MLVAE(shape)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "mlp"}, r"network .*MLP.*'mlp'"),
        ({"network": MLP}, r"network .*MLP"),
        ({"likelihood": "gaussian"}, r"likelihood .*Bernoulli.*'gaussian'"),
        ({"likelihood": Gaussian}, r"likelihood .*Bernoulli"),
        ({"separation": None}, r"separation .*None"),
    ],
)
def test_parts_are_objects_not_names_or_classes(options, message):
    with pytest.raises(InputError, match=message):
        MLVAE((4,), **options)
    for shape in (28, None, "abc", ()):
        with pytest.raises(InputError, match=r"shape .*\(1, 28"):
            MLVAE(shape)


def test_latents_of_other_types_are_decoded(small_model):
    model = small_model()
    c, s = torch.ones(2, 3), torch.ones(2, 2)
    with torch.no_grad():
        expected = model.decode(c, s)
        torch.testing.assert_close(model.decode(c.double(), s.long()), expected)
        half = small_model().bfloat16()
        x = torch.rand(2, 1, 8, 8)
        assert half.swap(x, x).shape == x.shape


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("rule", ["product", "mixture"])
def test_the_style_given_the_posterior_of_a_group_is_refused_with_the_fix(
    small_model, rule, conditional
):
    model = small_model(style_given_content=conditional, accumulation=rule)
    x, groups = torch.rand(4, 1, 8, 8), Groups.of([1, 0, 1, 1])
    content = model.infer_content(x, groups)
    for wrong in (content, content.mean):
        with pytest.raises(InputError, match=r"content .*4 .*2.* content\[groups.index\]"):
            model.infer_style(x, wrong)
    assert model.infer_style(x, content[groups.index]).mean.shape == (4, 2)


class Doubled(MLVAE):
    """A subclass that differs from its parent in `decode`."""

    def decode(self, content, style):
        return 2 * super().decode(content, style)


def test_a_subclass_is_not_loaded_as_its_parent(digits, tmp_path):
    model = Doubled((1, 8, 8), network=MLP((8,)))
    mlvae.train(model, digits.test, run=tmp_path, epochs=1, reports=Reports(progress=False))
    with pytest.raises(InputError, match=r"Doubled.*load\(run, model=\)"):
        mlvae.load(tmp_path)
    again = mlvae.load(tmp_path, model=Doubled((1, 8, 8), network=MLP((8,))))
    x = digits.test.x[:3]
    assert torch.equal(again.reconstruct(x), model.reconstruct(x))
