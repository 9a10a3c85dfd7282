"""Standardisation inside of a model: raw units outside, the same model inside, for every model."""

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch.distributions import AffineTransform, Normal, TransformedDistribution

import mlvae
from mlvae import Batch, GroupedData, InputError
from mlvae.data import Grouped, Shuffled, StoredImages
from mlvae.evaluation import Fidelity, Unseen, evaluate, importance_weighted_bound
from mlvae.likelihoods import Bernoulli, DiscretisedLogistic, Gaussian, LearnedGaussian
from mlvae.models import MODELS, Standardise, build, traits
from mlvae.networks import MLP
from mlvae.training.scale import PART, measure_scale

SHAPES = {"table": (5,), "signal": (3, 7), "image": (2, 4, 4)}
OPTIONS = {
    "MLVAE": [{}, {"style_given_content": True, "separation": mlvae.costs.Separation(swap=1.0)}],
    "VAE": [{}],
    "AdaVAE": [{}],
    "DirVAE": [{"sampler": "implicit"}],
    "ConditionalVAE": [{"group_names": range(4)}],
    "SVQVAE": [{"group_names": range(4), "likelihood": Gaussian()}],
}
CASES = [(name, options) for name, all_options in OPTIONS.items() for options in all_options]
every_model = pytest.mark.parametrize(("name", "options"), CASES, ids=str)
every_kind = pytest.mark.parametrize("kind", ["feature", "channel", "range"])
LABELS = [0, 1, 1, 2, 0, 2, 3, 3]
QUIET = mlvae.Reports(progress=False, pictures_every=None)


def test_every_model_of_the_library_has_a_case():
    assert OPTIONS.keys() == {
        name
        for name, model in MODELS.items()
        if "standardise" in {option.name for option in fields(model.Options)}
    }


def raw(shape, number=8, seed=0):
    """Values in units from 0.01 to 1000, far from 0."""
    random = np.random.default_rng(seed)
    units = 10 ** np.random.default_rng(9).uniform(-2, 3, shape)
    return (units * (random.normal(size=(number, *shape)) + 5)).astype(np.float32)


def built(name, shape, options, **more):
    torch.manual_seed(0)
    options = {"network": MLP((8,)), "likelihood": LearnedGaussian(), **options, **more}
    return MODELS[name](shape, **options)


def labelled(model, data):
    names = traits(model).group_names
    return data if names is None else data.labelled(names)


def pair(name, shape, options, kind):
    """A measured model with its raw batch, and the plain model with the standardised batch."""
    x = torch.from_numpy(raw(shape)).double()
    model = built(name, shape, options, standardise=kind)
    model.standardise.measure([x.float()])
    model = model.double()
    plain = built(name, shape, options).double()
    batch = labelled(plain, GroupedData(x.float(), LABELS)).batch()
    batch = Batch(x, batch.groups, batch.given)
    return model, batch, plain, Batch(model.standardise(x), batch.groups, batch.given)


def run_once(model, batch):
    return model(batch, generator=torch.Generator().manual_seed(0))


@every_kind
@every_model
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_model_of_raw_values_is_the_plain_model_of_standardised_ones(name, options, shape, kind):
    model, batch, plain, standardised = pair(name, shape, options, kind)
    volume = model.standardise.deviation.log().expand(shape).sum()
    for mode in (True, False):
        first = run_once(model.train(mode), batch)
        second = run_once(plain.train(mode), standardised)
        for term, values in second.per_observation.items():
            shift = volume if term == "log_likelihood" else 0
            torch.testing.assert_close(first.per_observation[term], values - shift)
        for term, values in second.per_group.items():
            torch.testing.assert_close(first.per_group[term], values)
    for code, q in plain.codes(standardised).items():
        torch.testing.assert_close(model.codes(batch)[code].mean, q.mean)
    codes = {code: q.mean for code, q in plain.codes(standardised).items()}
    decoded = model.standardise.restore(plain.decode(**codes))
    torch.testing.assert_close(model.decode(**codes), decoded)


def test_the_log_likelihood_is_that_of_the_raw_observation():
    x = torch.from_numpy(raw((4,), 50)).double()
    scale = Standardise("feature", (4,))
    scale.measure([x])
    scale = scale.double()
    mean = torch.randn(50, 4).double()
    inside = Normal(mean, 0.7)
    outside = TransformedDistribution(inside, [AffineTransform(scale.mean, scale.deviation)])
    found = scale.log_prob(Gaussian(0.7), mean[:, None], x)
    torch.testing.assert_close(found, outside.log_prob(x).sum(1))
    torch.testing.assert_close(scale.expected(Gaussian(0.7), mean[:, None]), scale.restore(mean))


@every_kind
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_measured_values_are_the_moments_of_all_parts(shape, kind):
    x = raw(shape, 101)
    scale = Standardise(kind, shape)
    scale.measure(torch.from_numpy(x).split([1, 40, 60]))
    if kind == "range":
        z = scale(torch.from_numpy(x))
        torch.testing.assert_close((z.min(), z.max()), (torch.tensor(-1.0), torch.tensor(1.0)))
        assert scale.mean.numel() == scale.deviation.numel() == 1
        return
    axes = (0,) if kind == "feature" else (0, *range(2, x.ndim))
    wide = x.astype(np.float64)
    np.testing.assert_allclose(scale.mean.flatten(), wide.mean(axes).flatten(), rtol=1e-6)
    np.testing.assert_allclose(scale.deviation.flatten(), wide.std(axes).flatten(), rtol=1e-6)
    z = scale(torch.from_numpy(x)).double()
    assert z.mean(axes).abs().max() < 1e-5 and (z.std(axes, correction=0) - 1).abs().max() < 1e-5


def test_a_large_offset_does_not_hide_the_deviation():
    x = torch.tensor([[2.0**23], [2.0**23 + 1]]).repeat(5000, 1)
    scale = Standardise("feature", (1,))
    scale.measure(x.split(7))
    assert scale.deviation.item() == 0.5


def test_a_constant_feature_has_the_deviation_1():
    x = torch.tensor([[0.1, 7.0], [0.1, 8.0], [0.1, 9.0]])
    scale = Standardise("feature", (2,))
    scale.measure(x.split(1))
    assert scale.deviation[0] == 1 and scale(x)[:, 0].abs().max() < 1e-6
    torch.testing.assert_close(scale.restore(scale(x)), x)


def test_a_deviation_beyond_the_range_of_float32_is_refused():
    with pytest.raises(InputError, match="standardise=feature"):
        Standardise("feature", (1,)).measure([torch.tensor([[0.0], [1e-39]])])


@pytest.mark.parametrize("likelihood", [Bernoulli(), DiscretisedLogistic()], ids=repr)
@pytest.mark.parametrize("name", OPTIONS)
def test_a_likelihood_of_bits_is_refused(name, likelihood):
    options = OPTIONS[name][0]
    with pytest.raises(InputError, match=f"standardise=feature.*{type(likelihood).__name__}"):
        built(name, (5,), options, likelihood=likelihood, standardise="feature")
    if name == "SVQVAE" and likelihood.outputs > 1:
        return  # it takes likelihoods of one parameter
    assert built(name, (5,), options, likelihood=likelihood).standardise.kind is None


@dataclass(frozen=True)
class Laplace:
    """A density of a user's own."""

    outputs: ClassVar[int] = 1
    scope: ClassVar[str] = "element"
    real: ClassVar[bool] = True

    def log_prob(self, parameters, x):
        return torch.distributions.Laplace(parameters[:, 0], 1).log_prob(x).flatten(1).sum(1)

    def mean(self, parameters):
        return parameters[:, 0]

    def check(self, x):
        pass


def test_a_density_of_your_own_may_be_standardised():
    model = built("VAE", (5,), {}, likelihood=Laplace(), standardise="feature")
    assert model.standardise.kind == "feature"


@pytest.mark.parametrize("kind", ["features", True, 1])
def test_another_kind_is_refused(kind):
    with pytest.raises(InputError, match="standardise"):
        built("MLVAE", (5,), {}, standardise=kind)


@every_model
def test_without_the_option_a_model_has_no_buffers_of_it(name, options):
    model = built(name, (5,), options)
    assert not any("standardise" in key for key in model.state_dict())
    x = torch.rand(3, 5)
    assert model.standardise(x) is x and model.standardise.restore(x) is x


# Training, saving and loading


def data_for(model, number=40, seed=1, shape=(5,)):
    return GroupedData(raw(shape, number, seed), np.arange(number) // 2 % 4)


def fit(model, run, epochs=2, **options):
    pairs = traits(model).largest_group is not None
    return mlvae.train(
        model,
        data_for(model),
        validation=data_for(model, 12, 2),
        run=run,
        epochs=epochs,
        batching=Grouped(groups=4, members=2) if pairs else Shuffled(8),
        device="cpu",
        reports=QUIET,
        **options,
    )


@every_model
def test_training_measures_the_training_rows_and_a_run_keeps_the_values(name, options, tmp_path):
    model = built(name, (5,), options, standardise="feature")
    result = fit(model, tmp_path / "run")
    x = data_for(model).x.double()
    torch.testing.assert_close(model.standardise.mean, x.mean(0).float())
    torch.testing.assert_close(model.standardise.deviation, x.std(0, correction=0).float())
    assert model.standardise.measured and result.finished
    test = labelled(model, data_for(model, 8, 3)).batch()
    loaded = mlvae.load(tmp_path / "run")
    assert loaded.options.standardise == "feature"
    for code, q in model.codes(test).items():
        torch.testing.assert_close(loaded.codes(test)[code].mean, q.mean, rtol=0, atol=0)
    again = build((5,), model.config)
    assert again.options == model.options and again.standardise.to_measure

    # A resumed run ends as one that was not interrupted.
    resumed = built(name, (5,), options, standardise="feature")
    fit(resumed, tmp_path / "run", 3, resume=True)
    whole = built(name, (5,), options, standardise="feature")
    fit(whole, tmp_path / "whole", 3)
    for key, values in whole.state_dict().items():
        assert torch.equal(values, resumed.state_dict()[key]), key


def test_a_model_that_is_trained_again_keeps_its_scale(tmp_path):
    model = built("MLVAE", (5,), {}, standardise="feature")
    fit(model, tmp_path / "first")
    before = model.standardise.mean.clone()
    other = GroupedData(100 * raw((5,), 20, 7), np.arange(20) % 4)
    mlvae.train(model, other, run=tmp_path / "second", epochs=1, device="cpu", reports=QUIET)
    assert torch.equal(model.standardise.mean, before)


def test_units_of_the_table_do_not_change_the_training(tmp_path):
    """With units that are powers of two, all numbers inside are the same bit for bit."""
    units = 2.0 ** np.array([-10, -3, 0, 4, 12])
    losses = []
    for number, unit in enumerate((1.0, units)):
        model = built("MLVAE", (5,), {}, standardise="feature")
        values = GroupedData(raw((5,), 40) * unit, np.arange(40) % 4)
        result = mlvae.train(
            model, values, run=tmp_path / str(number), epochs=3, device="cpu", reports=QUIET
        )
        losses.append(result.metrics["train/log_likelihood_per_observation"])
    assert losses[1] == pytest.approx(losses[0] - np.log(units).sum(), rel=1e-5)


def test_a_standardised_training_has_no_advice_on_columns(tmp_path, caplog):
    fit(built("MLVAE", (5,), {}, standardise="feature"), tmp_path / "run")
    assert "columns of x" not in caplog.text
    fit(built("MLVAE", (5,), {}), tmp_path / "other")
    assert "standardise='feature'" in caplog.text


def test_images_on_the_disk_are_measured_in_parts(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    images.tofile(tmp_path / "images.raw")
    data = GroupedData(StoredImages(tmp_path / "images.raw", images.shape), np.arange(50) % 5)
    model = built("MLVAE", (3, 4, 4), {}, standardise="channel")
    measure_scale(model, data)
    expected = (images / 255).mean((0, 2, 3))
    np.testing.assert_allclose(model.standardise.mean.flatten(), expected, rtol=1e-5)
    assert PART >= 2**20


def test_compiled_steps_are_the_eager_steps():
    from mlvae.training.speed.compiling import compiled
    from mlvae.training.sums import forward_of

    model, batch, *_ = pair("MLVAE", (5,), {}, "feature")
    model, batch = model.float(), Batch(batch.x.float(), batch.groups)
    passed = compiled(model, backend="eager")(batch, generator=torch.Generator().manual_seed(0))
    eager = forward_of(model)(batch, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(passed.losses["model"], eager.losses["model"])


# Evaluation


@pytest.mark.parametrize("name", ["MLVAE", "VAE"])
def test_the_importance_weighted_bound_is_in_nats_of_the_raw_observation(name):
    model, batch, plain, standardised = pair(name, (5,), {}, "feature")
    data = GroupedData(batch.x.float(), LABELS)
    inside = GroupedData(standardised.x.float(), LABELS)
    options = {"num_content": 4, "num_style": 2}
    bounds = importance_weighted_bound(model.float(), data, **options)
    others = importance_weighted_bound(plain.float(), inside, **options)
    volume = float(model.standardise.deviation.double().log().sum())
    sizes = data.groups.sizes if name == "MLVAE" else torch.ones(len(bounds))
    torch.testing.assert_close(bounds, others - sizes * volume, rtol=1e-4, atol=1e-3)


def test_controls_see_standardised_observations(tmp_path):
    """In raw units the column of noise in a large unit would decide every control."""
    random = np.random.default_rng(0)
    donor = np.repeat(np.arange(12), 30)
    known = random.normal(size=(12, 4))[donor] + 0.1 * random.normal(size=(len(donor), 4))
    noise = 1e4 * random.normal(size=(len(donor), 1))
    data = GroupedData(np.hstack([known, noise]), donor)
    splits = mlvae.data.split(data, test=60, unseen_groups=[8, 9, 10, 11])
    model = built("MLVAE", (5,), {}, standardise="feature", content_dim=3, style_dim=1)
    mlvae.train(model, splits.train, run=tmp_path / "run", epochs=2, device="cpu", reports=QUIET)
    questions = [Unseen(shots=(1,), galleries=5), Fidelity(epochs=10, swaps=100, seeds=1)]
    found: Any = evaluate(
        model, splits, tmp_path / "report", questions=questions, progress=False, workers=1
    )
    accuracy = {
        (record["code"], record["distance"]): record["accuracy"]["mean"]
        for record in found["unseen"]["identification"]
    }
    distance = next(iter(accuracy))[1]
    assert accuracy["raw", distance] > 0.6  # 0.25 is chance
    assert accuracy["pca", distance] > 0.4
    real = {record["read"]: record["accuracy"]["mean"] for record in found["fidelity"]["records"]}
    assert real["real"] > 0.5  # 0.125 is chance
    assert math.isfinite(accuracy["untrained", distance])
