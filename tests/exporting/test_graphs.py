"""Graphs of every exportable model and network give the numbers of PyTorch.

The graphs of all cases are one module and become one file, because each call of the exporter takes
seconds. ``mlvae.export`` itself is tested in the other files of this folder.

Shapes: N observations.
"""

import numpy as np
import pytest
import torch
from torch import nn

from mlvae import Batch, Groups, InputError
from mlvae.exporting.graphs import Graph, graphs_of
from mlvae.exporting.onnx_files import write_graph
from mlvae.exporting.record import record_of
from mlvae.likelihoods import (
    ColumnScale,
    LearnedGaussian,
    MixedColumns,
    Multinomial,
    NegativeBinomial,
)
from mlvae.models import (
    DCEVAE,
    MLVAE,
    SVQVAE,
    VAE,
    VSAE,
    AdaVAE,
    ConditionalVAE,
    DirVAE,
    Roles,
    Rotations,
)
from mlvae.networks import MLP, Conv, Conv1d, ConvMLP, PlainConv, TopicMLP

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


@pytest.fixture(scope="module")
def built():
    """By name of a case: the model, its graphs and its codes."""
    found = {}
    for number, (name, build) in enumerate(CASES.items()):
        torch.manual_seed(number)
        model = build().eval()
        found[name] = model, *graphs_of(model)
    return found


def rows(graph, number, seed=0):
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
        elif name == "x":
            drawn = (9 * drawn).floor()  # counts too
        elif name == "size":
            drawn = 100 * drawn + 1
        found[name] = drawn
    return found


def test_every_graph_gives_the_numbers_of_pytorch_in_batches_of_any_size(built, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    graphs = [(case, graph) for case, (_, graphs, _) in built.items() for graph in graphs]
    inputs, outputs = {}, []
    for case, graph in graphs:
        inputs |= {f"{case}_{graph.name}_{name}": value for name, value in graph.inputs.items()}
        outputs += [f"{case}_{graph.name}_{name}_out" for name in graph.outputs]
    whole = Graph("all", All([graph for _, graph in graphs]), inputs, outputs)
    write_graph(whole, tmp_path / "all.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "all.onnx", providers=["CPUExecutionProvider"]
    )
    assert len(outputs) == len(session.get_outputs()) > 40
    for number in range(1, 11):
        given, expected = {}, []
        for case, graph in graphs:
            values = rows(graph, number, seed=number)
            given |= {f"{case}_{graph.name}_{n}": value.numpy() for n, value in values.items()}
            with torch.no_grad():
                expected += graph.module(*values.values())
        found = session.run(None, given)
        for name, one, other in zip(outputs, found, expected, strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-5, err_msg=name)
    assert str(tmp_path.parent) not in (tmp_path / "all.onnx").read_bytes().decode("latin-1")
    assert b"mlvae/" not in (tmp_path / "all.onnx").read_bytes()  # no paths of this machine


def summed(code, columns, index, groups):
    """The mean of the posterior of each group, by sums as the page of the guide has them."""
    sums = [groups.sum(column.double()) for column in columns]
    if code.kind == "means":
        return sums[0] / groups.sizes[:, None]
    prior = torch.as_tensor(code.prior, dtype=torch.float64)
    if code.kind == "counts":
        return (prior + sums[0]) / (prior + sums[0]).sum(1, keepdim=True)
    return sums[1] / (prior + sums[0])


SHARED = ["product", "prior_product", "prior_corrected", "mean", "simplex", "given"]


@pytest.mark.parametrize("case", SHARED)
def test_sums_over_ragged_groups_are_the_contents_of_the_model(case, built):
    model, (encoder, *_), codes = built[case]
    groups = Groups([0, 1, 0, 0, 2, 1, 0])
    inputs = rows(encoder, 7)
    columns = dict(zip(encoder.outputs, encoder.module(*inputs.values()), strict=True))
    code = next(code for code in codes if code.grouping == "group")
    found = summed(code, [columns[name] for name in code.columns], groups.index, groups)
    expected = model.infer_content(inputs["x"], groups)
    torch.testing.assert_close(found.float(), expected.mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_columns_are_those_of_the_codes_of_the_model(case, built):
    model, graphs, codes = built[case]
    encoder = graphs[0]
    inputs = rows(encoder, 5)
    x = inputs["x"] / 255 if inputs["x"].dtype == torch.uint8 else inputs["x"]
    given = {"observed": inputs["observed"]} if "observed" in inputs else {}
    if case == "codebook":
        given = {"label": torch.zeros(5, dtype=torch.int64)}
    expected = model.codes(Batch(x, Groups.singletons(5), given))
    columns = dict(zip(encoder.outputs, encoder.module(*inputs.values()), strict=True))
    for code in codes:
        if code.kind in ("gaussian", "point") and code.columns[0] in columns:
            mean = columns[code.columns[0]]
            torch.testing.assert_close(mean, expected[code.name].mean)
        elif code.kind == "dirichlet":
            torch.testing.assert_close(columns[code.columns[0]], expected[code.name].concentration)
    names = {"codebook": ["latent"], "causes": ["caused", "rest"]}.get(case)
    assert [code.name for code in codes] == (names or list(expected))


def test_the_decoder_of_a_codebook_takes_codes_of_groups_alone(built):
    model, (_, decoder), codes = built["codebook"]
    assert list(decoder.inputs) == ["content"]
    record = record_of(model, built["codebook"][1], codes)
    assert record["known_groups"]["names"] == ["ann", "bob"]
    found = decoder.module(torch.tensor(record["known_groups"]["codes"]))[0]
    torch.testing.assert_close(found, model.decode(model.code_of(["ann", "bob"])))


def test_the_decoder_of_counts_takes_the_size_of_each_observation(built):
    model, (_, decoder), _ = built["counts"]
    z, size = torch.randn(3, 3), torch.tensor([10.0, 20.0, 30.0])
    expected = decoder.module(z, size)[0]
    torch.testing.assert_close(expected.sum(1), size)
    torch.testing.assert_close(expected, model.decode(z, size=size))


def test_the_decoder_of_causes_takes_the_intervention(built):
    model, (_, decoder), _ = built["causes"]
    caused, rest, a = torch.randn(2, 4), torch.randn(2, 3), torch.tensor([0.0, 1.0])
    found = decoder.module(caused, rest, a)[0]
    torch.testing.assert_close(found, model.decode(caused, rest, a))
    assert found[:, -1].tolist() == [0.0, 1.0]  # the last column is the intervention


def test_the_scale_of_training_is_within_the_graphs(built):
    model, (encoder, _), codes = built["mean"]
    model.standardise.measure([torch.randn(9, 7) * 50 + 300])
    graphs, _ = graphs_of(model)
    x = torch.randn(4, 7) * 50 + 300
    found = graphs[0].module(x)[encoder.outputs.index("style_mean")]
    torch.testing.assert_close(found, model.infer_style(x).mean)
    assert record_of(model, graphs, codes)["scaling"]["kind"] == "feature"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: MLVAE(IMAGE, network=SMALL, accumulation="mixture"), "accumulation=mixture"),
        (lambda: ConditionalVAE(IMAGE, group_names=("a", "b"), network=SMALL), "label"),
        (lambda: Rotations((4, 12), network=SMALL), "action"),
        (lambda: nn.Linear(2, 2), "codes"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(build, words):
    with pytest.raises(InputError, match=words) as error:
        graphs_of(build())
    assert "\n" not in str(error.value)


def test_images_of_bytes_are_refused_for_a_model_of_vectors():
    with pytest.raises(InputError, match="dtype=uint8"):
        graphs_of(MLVAE((7,), network=SMALL), "uint8")
    with pytest.raises(InputError, match="float32"):
        graphs_of(MLVAE(IMAGE, network=SMALL), "float16")


def test_a_content_that_is_no_accumulation_of_the_members_is_refused():
    class Largest(MLVAE):
        def codes(self, batch):
            found = super().codes(batch)
            if batch.groups.num_groups == 1:
                found["content"].mean.add_(1.0)
            return found

    with pytest.raises(InputError, match="pooling"):
        graphs_of(Largest(IMAGE, network=SMALL))


def test_the_model_and_the_random_numbers_of_the_user_stay_as_they_are():
    model = MLVAE(IMAGE, network=MLP((8,), batch_norm=True)).train()
    before = torch.random.get_rng_state()
    graphs, _ = graphs_of(model)
    assert model.training and not graphs[0].module.model.training
    assert torch.random.get_rng_state().equal(before)
