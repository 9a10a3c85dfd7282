"""Methods of models take arrays, sources and grouped data alike."""

import re

import numpy as np
import pytest
import torch

from mlvae import GroupedData, InputError
from mlvae.data import StoredImages
from mlvae.models import MLVAE, VAE, inputs
from mlvae.networks import MLP

LABELS = ["b", "a", "b", "c", "a", "b"]


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4), dtype=np.uint8)


@pytest.fixture
def forms(images, tmp_path):
    """The same images as an array, in a file, as some rows of a file, and with their groups."""
    twice = np.concatenate([images, images[::-1]])
    twice.tofile(tmp_path / "images.u8")
    stored = StoredImages(tmp_path / "images.u8", twice.shape)
    data = GroupedData(stored, [*LABELS, *LABELS[::-1]]).subset(range(6))
    images.tofile(tmp_path / "once.u8")
    once = StoredImages(tmp_path / "once.u8", images.shape)
    return {"array": images, "rows": data.x, "file": once, "data": data}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MLVAE((1, 4, 4), content_dim=3, style_dim=2, network=MLP((5,))).eval()


@pytest.mark.parametrize("form", ["rows", "file", "data"])
def test_every_form_has_the_codes_of_the_array(forms, form, model, images):
    x = forms[form]
    vae = VAE((1, 4, 4), latent_dim=2, network=MLP((5,))).eval()
    assert torch.equal(model.infer_style(x).mean, model.infer_style(images).mean)
    assert torch.equal(model.swap(x, images), model.swap(images, x))
    assert torch.equal(model.swap(x, x), model.reconstruct(images))
    assert torch.equal(vae.infer(x).mean, vae.infer(images).mean)
    assert torch.equal(vae.reconstruct(x), vae.reconstruct(images))
    if form != "data":
        grouped = model.infer_content(images, LABELS).mean
        assert torch.equal(model.infer_content(x).mean, model.infer_content(images).mean)
        assert torch.equal(model.infer_content(x, LABELS).mean, grouped)


def test_grouped_data_have_their_groups(forms, model, images):
    data = forms["data"]
    content = model.infer_content(data)
    assert torch.equal(content.mean, model.infer_content(images, LABELS).mean)
    assert data.group_names == ["a", "b", "c"] and len(content) == 3
    assert torch.equal(model.reconstruct(data), model.reconstruct(images, LABELS))
    for call in (model.infer_content, model.reconstruct):
        with pytest.raises(InputError, match="groups must be None"):
            call(data, LABELS)


@pytest.mark.parametrize(
    ("shape", "advice"), [((4, 4, 3), "read_images"), ((4, 5), ""), ((6, 1, 4, 5), "")]
)
def test_the_message_has_the_shape_that_was_given(model, shape, advice):
    with pytest.raises(InputError, match=rf"\(N, 1, 4, 4\), not {re.escape(str(shape))}") as error:
        model.infer_style(np.zeros(shape, np.uint8) if len(shape) > 2 else np.zeros(shape))
    assert ("read_images" in str(error.value)) == bool(advice)


def test_a_source_that_is_too_large_to_be_read_at_once_is_refused(forms, model, monkeypatch):
    monkeypatch.setattr(inputs, "MOST_ELEMENTS", 5 * 16)
    for x in (forms["rows"], forms["data"], forms["file"]):
        with pytest.raises(InputError, match=r"6 observations .*mlvae\.encode.* 5 "):
            model.infer_style(x)
    assert model.infer_style(forms["data"].subset(range(5))).mean.shape == (5, 2)
    assert model.infer_style(forms["array"]).mean.shape == (6, 2)  # it is in memory already
