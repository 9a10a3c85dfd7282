"""Small models of every kind, their graphs, and the clients that the documentation prints."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mlvae
from mlvae.exporting.graphs import Graph, graphs_of
from mlvae.exporting.onnx_files import write_graph
from mlvae.likelihoods import (
    ColumnScale,
    LearnedGaussian,
    MixedColumns,
    Multinomial,
    NegativeBinomial,
)
from mlvae.models import DCEVAE, MLVAE, SVQVAE, VAE, VSAE, AdaVAE, DirVAE, Roles
from mlvae.networks import MLP, Conv, Conv1d, ConvMLP, PlainConv, TopicMLP

PAGE = (Path(__file__).parents[2] / "docs/guide/export.md").read_text(encoding="utf-8")

COLUMNS = MixedColumns(
    (
        ColumnScale("income", mean=3.0, deviation=2.0),
        ColumnScale("weight", "positive"),
        ColumnScale("grade", "ordinal", levels=3),
        ColumnScale("colour", "categorical", levels=3),
        ColumnScale("visits", "count", mean=1.0, deviation=0.7),
        ColumnScale("smokes", "binary"),
    )
)
ROLES = Roles("smokes", "income", ("colour",))
SMALL = MLP((8,))
IMAGE = (1, 9, 7)
DIMS = {"content_dim": 3, "style_dim": 2}

#: Every exportable model and every network at least once, with odd sizes.
CASES = {
    "product": lambda: MLVAE(IMAGE, **DIMS, network=Conv((8, 16))),
    "prior_product": lambda: MLVAE(
        IMAGE, **DIMS, network=ConvMLP((8,), hidden=(8,)), accumulation="prior_product"
    ),
    "prior_corrected": lambda: MLVAE(
        (3, 25),
        **DIMS,
        network=Conv1d((8, 16)),
        accumulation="prior_corrected",
        likelihood=LearnedGaussian(),
        standardise="channel",
    ),
    "mean": lambda: MLVAE(
        (7,),
        **DIMS,
        network=SMALL,
        accumulation="mean",
        likelihood=LearnedGaussian(scope="channel"),
        standardise="feature",
    ),
    "simplex": lambda: MLVAE(
        IMAGE,
        **DIMS,
        network=SMALL,
        content_family="dirichlet",
        accumulation="prior_product",
        content_alpha=0.5,
    ),
    "given": lambda: MLVAE(IMAGE, **DIMS, network=SMALL, style_given_content=True),
    "groupings": lambda: MLVAE(
        (7,),
        content_dim={"speaker": 3, "digit": 4},
        style_dim=2,
        network=SMALL,
        likelihood=LearnedGaussian(),
        style_given_content=True,
    ),
    "cells": lambda: MLVAE(
        (10,),
        **DIMS,
        network=SMALL,
        likelihood=COLUMNS,
        cells="evidence",
        accumulation="prior_product",
        style_given_content=True,
    ),
    "counts": lambda: VAE((12,), latent_dim=3, network=SMALL, likelihood=NegativeBinomial()),
    "pairs": lambda: AdaVAE(
        (1, 7, 7), latent_dim=3, network=PlainConv((8, 8), (3, 3), (2, 2), (3, 3), (2, 2))
    ),
    "topics": lambda: DirVAE(
        (12,), latent_dim=3, network=TopicMLP((8,)), likelihood=Multinomial()
    ),
    "codebook": lambda: SVQVAE(IMAGE, group_names=("ann", "bob"), latent_dim=3, network=SMALL),
    "missing": lambda: VSAE((10,), likelihood=COLUMNS, network=SMALL),
    "causes": lambda: DCEVAE((10,), likelihood=COLUMNS, roles=ROLES, network=SMALL),
}


class All(nn.Module):
    """Several graphs side by side."""

    def __init__(self, graphs):
        super().__init__()
        self.parts = nn.ModuleList(graph.module for graph in graphs)
        self.counts = [len(graph.inputs) for graph in graphs]

    def forward(self, *inputs):
        """All outputs, in the order of the graphs."""
        found, place = [], 0
        for part, count in zip(self.parts, self.counts, strict=True):
            found += part(*inputs[place : place + count])
            place += count
        return tuple(found)


@pytest.fixture(scope="session")
def built():
    """By name of a case: the model, its graphs and its codes."""
    found = {}
    for number, (name, build) in enumerate(CASES.items()):
        torch.manual_seed(number)
        model = build().eval()
        found[name] = model, *graphs_of(model)
    return found


@pytest.fixture(scope="session")
def rows():
    """A function that makes inputs of a graph with another number of rows."""
    return _rows


def _rows(graph, number, seed=0):
    """Inputs of a graph with another number of rows: random where the example is of floats."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, value in graph.inputs.items():
        drawn = torch.rand(number, *value.shape[1:], generator=generator)
        if value.dtype == torch.uint8:
            drawn = (255 * drawn).to(torch.uint8)
        elif value.dtype == torch.bool:
            drawn = drawn > 0.3
        elif name == "intervention":
            drawn = drawn.round()
        elif name == "x" and "observed" in graph.inputs:
            drawn = COLUMNS.sample(torch.zeros(number, 2, 10), generator=generator)
        elif name == "x":
            drawn = (9 * drawn).floor()  # counts too
        elif name in ("content", "latent"):
            drawn = drawn / drawn.sum(1, keepdim=True)  # shares, for codes on the simplex
        elif name == "size":
            drawn = 100 * drawn + 1
        found[name] = drawn
    return found


@pytest.fixture
def compare(built, tmp_path):
    """A function that compares the graphs of some cases in ONNX Runtime with PyTorch.

    The graphs become one file, because each call of the exporter takes seconds.
    """
    onnxruntime = pytest.importorskip("onnxruntime")

    def run(cases):
        graphs = [(case, graph) for case in cases for graph in built[case][1]]
        inputs, outputs = {}, []
        for case, graph in graphs:
            name = f"{case}_{graph.name}"
            inputs |= {f"{name}_{key}": value for key, value in graph.inputs.items()}
            outputs += [f"{name}_{key}_out" for key in graph.outputs]
        path = tmp_path / "all.onnx"
        write_graph(Graph("all", All([graph for _, graph in graphs]), inputs, outputs), path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for number in range(1, 11):
            given, expected = {}, []
            for case, graph in graphs:
                values = _rows(graph, number, seed=number)
                name = f"{case}_{graph.name}"
                given |= {f"{name}_{key}": value.numpy() for key, value in values.items()}
                with torch.no_grad():
                    expected += graph.module(*values.values())
            found = session.run(None, given)
            for name, one, other in zip(outputs, found, expected, strict=True):
                np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-5, err_msg=name)
        return path

    return run


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
    torch.manual_seed(0)
    options = {"accumulation": "prior_product", "style_given_content": True}
    model = MLVAE(IMAGE, **DIMS, network=SMALL, **options).eval()
    return model, mlvae.export(model, tmp_path_factory.mktemp("export"))
