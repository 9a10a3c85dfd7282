"""Columns of very different scale have advice, and the first step has advice that can help."""

import numpy as np
import pytest
import torch

import mlvae
from mlvae import Diverged, GroupedData
from mlvae.likelihoods import Gaussian
from mlvae.networks import MLP
from mlvae.training.advice import advice_on_columns

NORMAL = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).double()
SCALES = {
    "income, age and a rate": (torch.tensor([3e4, 10.0, 1e-3]), torch.tensor([5e4, 40.0, 0.01])),
    "a column of counts": (torch.tensor([1.0, 1e4, 1.0]), torch.tensor([0.0, 1e5, 0.0])),
    "times in seconds": (torch.tensor([1.0, 1.0, 1e7]), torch.tensor([0.0, 0.0, 1.7e9])),
    "a tiny column": (torch.tensor([1.0, 1.0, 1e-6]), torch.tensor([0.0, 0.0, 0.0])),
    "an offset": (torch.tensor([1.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 1e6])),
    "sizes of float32": (torch.tensor([1e19, 1e19, 1e19]), torch.tensor([0.0, 0.0, 0.0])),
}
FINE = {
    "standardised": NORMAL,
    "of the same kind": NORMAL * torch.tensor([1.0, 100.0, 30.0]) + 50,
    "a constant column": NORMAL * torch.tensor([1.0, 0.0, 1.0]) + 3,
    "fractions": NORMAL.sigmoid() * torch.tensor([1.0, 1e-5, 1.0]),
    "all constant": torch.ones(200, 3),
    "sequences": NORMAL[:, None].repeat(1, 20, 1),
}


def data_of(x):
    return GroupedData(x, np.arange(len(x)) % 20)


@pytest.mark.parametrize(("scale", "offset"), SCALES.values(), ids=SCALES)
def test_columns_of_very_different_scale_have_advice(scale, offset):
    text = advice_on_columns(data_of(NORMAL * scale + offset))
    assert "standardise" in text and "\n" not in text
    assert advice_on_columns(data_of((NORMAL - NORMAL.mean(0)) / NORMAL.std(0))) is None


@pytest.mark.parametrize("x", FINE.values(), ids=FINE)
def test_columns_of_one_scale_have_no_advice(x):
    assert advice_on_columns(data_of(x)) is None


def test_images_have_no_advice(digits):
    assert advice_on_columns(digits.train) is None
    floats = digits.train.observations(torch.arange(100))
    assert advice_on_columns(data_of(floats)) is None


def fit(x, run, **options):
    model = mlvae.models.MLVAE((3,), network=MLP((4,)), **options)
    reports = mlvae.Reports(progress=False)
    return mlvae.train(model, data_of(x), run=run, epochs=1, reports=reports, device="cpu")


@pytest.mark.parametrize("std", [1e-3, 1e-10, 1.0])
def test_a_first_step_that_is_not_finite_has_advice_that_can_help(tmp_path, std):
    x = 1e19 * NORMAL
    with pytest.raises(Diverged, match="standardise") as raised:
        fit(x, tmp_path / "run", likelihood=Gaussian(std=std))
    text = str(raised.value)
    assert "step 0" in text and "learning_rate" not in text and "gradient_clip" not in text


def test_a_first_step_of_data_of_a_usual_scale_names_the_likelihood(tmp_path):
    with pytest.raises(Diverged, match=r"likelihood\.std") as raised:
        fit(NORMAL, tmp_path / "run", likelihood=Gaussian(std=1e-21))
    assert "learning_rate" not in str(raised.value)


@pytest.mark.parametrize(("scale", "advised"), [(1e4, True), (2.0, False)])
def test_the_advice_is_logged_before_the_training(tmp_path, caplog, scale, advised):
    fit(NORMAL * torch.tensor([1.0, scale, 1.0]), tmp_path / "run", likelihood=Gaussian())
    assert ("standardise each" in caplog.text) == advised
