"""Warnings about trainings that learn little, and their absence where a training is sound."""

import pytest
import torch

import mlvae
from mlvae import GroupedData
from mlvae.likelihoods import Bernoulli, Gaussian
from mlvae.networks import MLP
from mlvae.training.advice import (
    advice_on_collapse,
    advice_on_kl,
    advice_on_scale,
    advice_on_steps,
)


def advice(caplog, *words):
    """The warnings of the library that have one of these words."""
    found = [r.getMessage() for r in caplog.records if r.name == "mlvae"]
    return [text for text in found if any(word in text for word in words)]


def fit(data, tmp_path, *, likelihood, steps, **options):
    torch.manual_seed(0)
    model = mlvae.models.MLVAE(
        data.shape, content_dim=2, style_dim=2, network=MLP((32,)), likelihood=likelihood
    )
    mlvae.train(
        model,
        data,
        run=tmp_path / "run",
        epochs=steps,
        batching=mlvae.data.Shuffled(len(data)),
        optimizer=mlvae.Adam(0.01),
        reports=mlvae.Reports(log_every=100, progress=False),
        device="cpu",
        **options,
    )
    return model


@pytest.fixture
def clusters():
    """Observations (60, 6), standardised, in 6 groups that differ."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(60) % 6
    centres = torch.randn(6, 6, generator=generator)
    x = centres[groups] + 0.3 * torch.randn(60, 6, generator=generator)
    return GroupedData((x - x.mean(0)) / x.std(0), groups)


@pytest.mark.parametrize("steps, warned", [(40, True), (60, True), (299, True), (300, False)])
def test_few_steps_are_reported_with_the_options_that_give_more(steps, warned):
    text = advice_on_steps(steps, 1)
    assert (text is not None) == warned
    if text is not None:
        assert "trainer.epochs" in text and "batching.batch_size" in text and str(steps) in text


@pytest.mark.parametrize(
    "shape, bound, warned",
    [
        ((3, 128), -742_171.0, True),  # gait sensors, std=0.1
        ((765,), -289_777.0, True),  # counts of genes
        ((1, 28, 28), -543.0, False),  # the first bound of MNIST
        ((6,), -6 * 51.0, False),  # standardised values, std=0.1
        ((6,), 6 * 101.0, True),
    ],
)
def test_the_scale_is_judged_by_the_first_bound_per_element(shape, bound, warned):
    text = advice_on_scale({"elbo_per_observation": bound}, shape)
    assert (text is not None) == warned
    if text is not None:
        assert f"{bound:,.0f}" in text and "standardise" in text
    assert advice_on_scale({"loss": 1e9}, shape) is None  # a model without a bound


@pytest.mark.no_cover
def test_a_sound_training_has_no_warning(clusters, tmp_path, caplog):
    fit(clusters, tmp_path, likelihood=Gaussian(std=0.3), steps=400)
    assert advice(caplog, "") == []


def test_values_in_raw_units_are_reported_once_at_the_start(clusters, tmp_path, caplog):
    raw = GroupedData(50 * clusters.x + 1000, clusters.groups.index)
    fit(raw, tmp_path, likelihood=Gaussian(std=0.1), steps=2)
    (text,) = advice(caplog, "standardise")
    assert "learned_gaussian" in text
    caplog.clear()
    fit_again = {"resume": True}
    fit(raw, tmp_path, likelihood=Gaussian(std=0.1), steps=3, **fit_again)
    assert advice(caplog, "standardise") == []


def test_a_collapsed_model_is_reported_at_the_end(clusters, tmp_path, caplog):
    # With noise of standard deviation 20 the codes are worth less than their cost.
    model = fit(clusters, tmp_path, likelihood=Gaussian(std=20.0), steps=400)
    (text,) = advice(caplog, "reconstructions", "KL")
    assert "reconstructions" in text and "trainer.warmup.kl_steps" in text
    assert not model.training


def test_images_that_are_all_decoded_alike_are_reported(tmp_path, caplog):
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    data = GroupedData(images, torch.arange(40) % 4)
    fit(data, tmp_path, likelihood=Bernoulli(), steps=30)
    assert len(advice(caplog, "reconstructions")) == 1


def test_equal_observations_are_no_collapse():
    data = GroupedData(torch.full((8, 3), 0.5), [0, 1] * 4)
    model = mlvae.models.MLVAE((3,))
    assert advice_on_collapse(model, data) is None
    assert advice_on_collapse(model, data.subset([0])) is None
    assert advice_on_collapse(torch.nn.Linear(3, 3), data) is None


def test_the_check_of_a_model_leaves_its_mode_and_draws_no_number(clusters):
    model = mlvae.models.MLVAE(clusters.shape, likelihood=Gaussian()).train()
    before = torch.get_rng_state()
    advice_on_collapse(model, clusters)
    assert model.training and torch.equal(torch.get_rng_state(), before)


def test_a_kl_of_nearly_zero_is_reported_with_its_code():
    metrics = {
        "train/style_kl_per_observation": 0.01,
        "train/content_kl_per_group": 12.0,
        "train/log_likelihood_per_observation": 0.0,
    }
    (text,) = advice_on_kl(metrics)
    assert "style" in text and "0.010" in text
    assert advice_on_kl(metrics | {"validation/style_kl_per_observation": 0.3}) == []
    looked_up = metrics | {"validation/content_kl_per_group": 0.0}
    assert len(advice_on_kl(looked_up)) == 2
    assert len(advice_on_kl(looked_up, given=["content_speaker", "content_digit"])) == 1
    (text,) = advice_on_kl({"validation/kl_per_observation": 0.001})
    assert "latent" in text
