"""The adaptive VAE: a pair shares its similar dimensions and keeps the others."""

import math
from dataclasses import fields

import pytest
import torch

from mlvae import (
    Adam,
    Batch,
    DiagonalGaussian,
    GroupedData,
    Groups,
    InputError,
    Reports,
    train,
)
from mlvae.data import Grouped, Shuffled
from mlvae.evaluation.measures.codes import representations
from mlvae.likelihoods import Bernoulli, LearnedGaussian
from mlvae.models import VAE, AdaVAE, build
from mlvae.models.ada import _check_pairs, shared_dimensions
from mlvae.networks import MLP
from mlvae.training.speed.plans import Plans

LABELS = torch.tensor([2, 0, 1, 0, 2, 1, 3])  # three interleaved pairs and one single observation
PAIRS = [(1, 3), (2, 5), (0, 4)]
AVERAGES = pytest.mark.parametrize("average", ["product", "mean"])


def small(**options):
    torch.manual_seed(0)
    options = {"latent_dim": 4, "network": MLP(hidden=(16,))} | options
    return AdaVAE((1, 8, 8), **options).double()


@pytest.fixture
def batch():
    return Batch(torch.rand(7, 1, 8, 8, dtype=torch.float64), Groups.of(LABELS))


def divergence(m1, v1, m2, v2):
    """KL(N(m1, v1) || N(m2, v2)) of one dimension in nats, by the textbook formula."""
    return math.log(math.sqrt(v2 / v1)) + (v1 + (m1 - m2) ** 2) / (2 * v2) - 0.5


def adapted(average, first, second):
    """The posteriors of a pair with the shared dimensions averaged: lists of (mean, variance)."""
    pairs = list(zip(first, second, strict=True))
    deltas = [divergence(*a, *b) for a, b in pairs]
    threshold = (max(deltas) + min(deltas)) / 2
    for d, ((m1, v1), (m2, v2)) in enumerate(pairs):
        if deltas[d] < threshold:
            if average == "product":
                variance = 1 / (1 / v1 + 1 / v2)
                common = (variance * (m1 / v1 + m2 / v2), variance)
            else:
                common = ((m1 + m2) / 2, (v1 + v2) / 2)
            pairs[d] = (common, common)
    return zip(*pairs, strict=True)


def as_pairs(q, row):
    return list(zip(q.mean[row].tolist(), q.variance[row].tolist(), strict=True))


# Properties


@AVERAGES
def test_a_pair_has_a_closed_form(average):
    # Divergences (2^2 + 1^2 - 1 - log 1) / 2 and so on: 2, 1/8, 0 and log 2 - 3/8.
    mean = torch.tensor([[2.0, 0.5, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]]).double()
    log_variance = torch.tensor([[1.0, 1.0, 1.0, 0.25], [1.0, 1.0, 1.0, 1.0]]).double().log()
    log_variance[0, 3] = math.log(0.25)
    q, groups = DiagonalGaussian(mean, log_variance), Groups.of([0, 0])
    assert shared_dimensions(q, groups).tolist() == [[False, True, True, True]] * 2
    result = small(average=average)._adapted(q, groups)
    assert torch.equal(result.mean[:, 0], mean[:, 0])
    half, third = (0.5, 0.2) if average == "product" else (1.0, 0.625)
    expected = torch.tensor([[1.0, half, half, third]]).double()
    torch.testing.assert_close(result.variance, expected.expand(2, 4))
    torch.testing.assert_close(result.mean[:, 1:], torch.tensor([[0.25, 1, 0]] * 2).double())


@AVERAGES
def test_every_pair_is_averaged_by_the_formula_and_single_observations_stay(average, batch):
    latent = DiagonalGaussian(*torch.randn(2, 7, 4, dtype=torch.float64))
    result = small(average=average)._adapted(latent, batch.groups)
    for i, j in PAIRS:
        for row, expected in zip(
            (i, j), adapted(average, as_pairs(latent, i), as_pairs(latent, j)), strict=True
        ):
            torch.testing.assert_close(
                torch.tensor(as_pairs(result, row)), torch.tensor(list(expected))
            )
    assert torch.equal(result.mean[6], latent.mean[6])
    assert torch.equal(result.log_variance[6], latent.log_variance[6])


def test_one_dimension_or_more_is_shared_and_one_or_more_is_not_unless_all_divergences_are_equal():
    q = DiagonalGaussian(*torch.randn(2, 100, 5))
    count = shared_dimensions(q, Groups.of(torch.arange(100) // 2)).sum(1)
    assert (count >= 1).all() and (count <= 4).all() and len(count.unique()) > 1
    equal = DiagonalGaussian(torch.tensor([[0.0] * 5, [1.0] * 5]), torch.zeros(2, 5))
    assert not shared_dimensions(equal, Groups.of([0, 0])).any()
    twins = DiagonalGaussian(torch.ones(2, 5), torch.zeros(2, 5))
    assert not shared_dimensions(twins, Groups.of([0, 0])).any()


def test_the_threshold_is_half_way_between_the_smallest_and_the_largest_divergence():
    # Divergences 0, 0, 0.9 and 2: their mean 0.725 would not share the third dimension.
    mean = torch.tensor([[0.0, 0.0, math.sqrt(1.8), 2.0], [0.0] * 4]).double()
    q = DiagonalGaussian(mean, torch.zeros_like(mean))
    shared = shared_dimensions(q, Groups.of([0, 0]))
    assert shared.tolist() == [[True, True, True, False]] * 2


def test_the_shared_dimensions_of_a_pair_do_not_depend_on_other_pairs():
    q = DiagonalGaussian(*torch.randn(2, 40, 5, dtype=torch.float64))
    labels = torch.arange(40) // 2
    shared = shared_dimensions(q, Groups.of(labels))
    assert torch.equal(shared[::2], shared[1::2])
    pairs = torch.randperm(20)  # keeps the first observation of each pair
    order = torch.stack((2 * pairs, 2 * pairs + 1)).flatten()
    assert torch.equal(shared_dimensions(q[order], Groups.of(labels[order])), shared[order])


@AVERAGES
def test_the_objective_agrees_with_an_independent_evaluation(average, batch, monkeypatch):
    model = small(average=average, likelihood=LearnedGaussian(), kl_weight=3.0)
    (latent,) = model.encoder(batch.x)
    posteriors = [as_pairs(latent, i) for i in range(7)]
    for i, j in PAIRS:
        posteriors[i], posteriors[j] = adapted(average, posteriors[i], posteriors[j])
    noise = torch.randn(7, 4, dtype=torch.float64)
    bounds, losses = [0.0] * 4, [0.0] * 4
    for i, posterior in enumerate(posteriors):
        mean, variance = torch.tensor(posterior, dtype=torch.float64).T
        out = model.decoder((mean + variance.sqrt() * noise[i])[None])[0]
        log_var, error = out[1].tanh(), batch.x[i] - out[0]
        density = (
            torch.exp(-(error**2) / (2 * log_var.exp())) / (2 * math.pi * log_var.exp()).sqrt()
        )
        kl = sum(divergence(m, v, 0.0, 1.0) for m, v in posterior)
        bounds[LABELS[i]] += density.log().sum() - kl
        losses[LABELS[i]] += 3 * kl - density.log().sum()
    monkeypatch.setattr(torch, "randn", lambda shape, **options: noise)
    objective = model(batch)
    torch.testing.assert_close(objective.elbo, torch.stack(bounds).detach())
    torch.testing.assert_close(objective.loss, torch.stack(losses).mean())
    assert (objective.num_observations, objective.num_groups) == (7, 4)


def test_in_evaluation_the_model_is_the_plain_vae_for_any_groups(batch):
    model = small().eval()
    vae = VAE((1, 8, 8), latent_dim=4, network=MLP(hidden=(16,))).double().eval()
    vae.load_state_dict(model.state_dict())
    plain = vae(batch, generator=torch.Generator().manual_seed(0))
    for labels in (LABELS, [0] * 7):
        groups = Groups.of(labels)
        objective = model(Batch(batch.x, groups), generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(objective.elbo, groups.sum(plain.elbo))
        torch.testing.assert_close(objective.loss, -objective.elbo.mean())


# Behaviour


@AVERAGES
def test_every_parameter_receives_a_gradient_even_from_distant_posteriors(average, batch):
    model = small(average=average).float()
    with torch.no_grad():
        model.encoder.heads.bias[4:6] = torch.tensor([-80.0, 80.0])
        model.encoder.heads.weight[4:6] *= 1e-3
    objective = model(Batch(batch.x.float(), batch.groups))
    objective.per_observation["kl"].log().sum().backward()
    for name, parameter in model.encoder.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name
    model = small(average=average)
    model(batch).loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


@AVERAGES
def test_training_on_pairs_raises_the_bound_of_single_observations(average, digits, tmp_path):
    model = AdaVAE((1, 8, 8), latent_dim=4, network=MLP(hidden=(32,)), average=average)
    result = train(
        model,
        digits.train,
        validation=digits.validation,
        run=tmp_path / "run",
        batching=Grouped(groups=64, members=2),
        optimizer=Adam(learning_rate=1e-2),
        epochs=10,
        reports=Reports(progress=False),
        device="cpu",
    )
    # The mean image is the best reconstruction without a latent.
    x = digits.train.batch().x
    grey = x.mean(0).clamp(1e-3, 1 - 1e-3).logit().expand(len(x), 1, 1, 8, 8)
    mean_image = Bernoulli().log_prob(grey, x).mean()
    assert result.finished
    assert result.metrics["validation/elbo_per_observation"] > mean_image + 0.5


def test_the_model_has_the_codes_and_methods_of_a_vae(digits):
    model = small().float()
    data = GroupedData(digits.test.x[:6], [0, 0, 0, 1, 1, 1])
    x = data.observations(torch.arange(6))
    assert set(representations(model, data)) == {"latent"}
    assert model.infer(x).mean.shape == (6, 4)
    torch.testing.assert_close(model.reconstruct(x), model.decode(model.infer(x)))


def test_a_model_is_rebuilt_from_its_config():
    model = small(average="mean", kl_weight=2.0)
    again = build((1, 8, 8), model.config)
    assert isinstance(again, AdaVAE) and again.config == model.config
    assert set(again.config) - {"name"} == {field.name for field in fields(AdaVAE.Options)}


# Bad input


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0, 1, 2]])
def test_groups_of_more_than_two_are_refused_in_training(labels):
    batch = Batch(torch.rand(len(labels), 1, 8, 8).double(), Groups.of(labels))
    with pytest.raises(InputError, match=r"at most 2 .*[34].*batching.members=2"):
        small()(batch)


def test_group_sizes_on_another_device_are_checked_once_per_epoch_instead_of_per_batch(tmp_path):
    # A meta tensor has no values, so reading it would raise.
    index, sizes = (torch.zeros(k, dtype=torch.int64, device="meta") for k in (9, 4))
    _check_pairs(Groups.unchecked(index, sizes))
    data = GroupedData(torch.rand(4, 1, 8, 8), [0, 0, 0, 1])  # the mean size is 2
    with pytest.raises(InputError, match=r"at most 2 .*3.*batching.members=2"):
        Plans(Shuffled(4), data, seed=0, largest_group=AdaVAE.largest_group).of(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average": "products"}, "average .*'product'"),
        ({"latent_dim": 0}, r"latent_dim .*1.*0"),
        ({"kl_weight": -1.0}, r"kl_weight .*0.*-1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        small(**options)
