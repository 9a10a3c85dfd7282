"""Small models for the tests of exports, and the clients that the documentation prints."""

import re
from pathlib import Path

import pytest

import mlvae
from mlvae.networks import MLP

PAGE = (Path(__file__).parents[2] / "docs/guide/export.md").read_text(encoding="utf-8")


def block(language):
    """The first block of code of the page in a language."""
    return re.search(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)[1]


@pytest.fixture(scope="session")
def client():
    """The client in Python, as printed."""
    pytest.importorskip("onnxruntime")
    exec(block("python"), scope := {})
    return scope["Contents"]


@pytest.fixture(scope="session")
def client_js():
    """The client in JavaScript, as printed."""
    return block("js")


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A model of images of odd size with prior_product, and the folder of its export."""
    pytest.importorskip("onnx")
    model = mlvae.models.MLVAE(
        (1, 9, 7),
        content_dim=3,
        style_dim=2,
        network=MLP((8,)),
        accumulation="prior_product",
        style_given_content=True,
    ).eval()
    return model, mlvae.export(model, tmp_path_factory.mktemp("export"))
