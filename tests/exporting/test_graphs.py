"""The graphs of every exportable model: their numbers, and what is refused.

Most tests compute the modules of the graphs, which become files. The test of files is of a few
models; ``pytest tests/exporting/check_every_graph.py`` is of all, and takes a minute.

Shapes: N observations.
"""

import pytest
import torch
from torch import nn

from mlvae import Batch, Groups, InputError
from mlvae.exporting.graphs import graphs_of
from mlvae.exporting.record import record_of
from mlvae.models import MLVAE, ConditionalVAE, Rotations
from mlvae.networks import MLP

IMAGE = (1, 9, 7)
SMALL = MLP((8,))


def test_files_give_the_numbers_of_pytorch_in_batches_of_any_size(compare):
    path = compare(["prior_corrected", "cells"])
    content = path.read_bytes()
    assert str(path.parent).encode() not in content
    assert b"mlvae/" not in content  # no paths of this machine


def summed(code, columns, index, groups):
    """The mean of the posterior of each group, by sums as the page of the guide has them."""
    sums = [groups.sum(column.double()) for column in columns]
    if code.kind == "means":
        return sums[0] / groups.sizes[:, None]
    prior = torch.as_tensor(code.prior, dtype=torch.float64)
    if code.kind == "counts":
        return (prior + sums[0]) / (prior + sums[0]).sum(1, keepdim=True)
    return sums[1] / (prior + sums[0])


CASES = [
    "product",
    "prior_product",
    "prior_corrected",
    "mean",
    "simplex",
    "given",
    "groupings",
    "cells",
    "counts",
    "pairs",
    "topics",
    "codebook",
    "missing",
    "causes",
]
SHARED = ["product", "prior_product", "prior_corrected", "mean", "simplex", "given"]


@pytest.mark.parametrize("case", SHARED)
def test_sums_over_ragged_groups_are_the_contents_of_the_model(case, built, rows):
    model, (encoder, *_), codes = built[case]
    groups = Groups([0, 1, 0, 0, 2, 1, 0])
    inputs = rows(encoder, 7)
    columns = dict(zip(encoder.outputs, encoder.module(*inputs.values()), strict=True))
    code = next(code for code in codes if code.grouping == "group")
    found = summed(code, [columns[name] for name in code.columns], groups.index, groups)
    expected = model.infer_content(inputs["x"], groups)
    torch.testing.assert_close(found.float(), expected.mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_columns_are_those_of_the_codes_of_the_model(case, built, rows):
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


def test_each_content_is_added_over_the_groups_of_its_own_grouping(built, rows):
    model, (encoder, style, decoder), codes = built["groupings"]
    labels = {"speaker": [0, 1, 0, 0, 1], "digit": [7, 7, 8, 7, 8]}
    inputs = rows(encoder, 5)
    columns = dict(zip(encoder.outputs, encoder.module(*inputs.values()), strict=True))
    expected = model.infer_contents(inputs["x"], groups=labels)
    shared = {code.grouping: code for code in codes if code.grouping is not None}
    assert {name: code.name for name, code in shared.items()} == {
        "speaker": "content_speaker",
        "digit": "content_digit",
    }
    contents = {}
    for name, code in shared.items():
        groups = Groups.of(labels[name])
        values = [columns[column] for column in code.columns]
        found = summed(code, values, groups.index, groups).float()
        torch.testing.assert_close(found, expected[name].mean, rtol=1e-5, atol=1e-5)
        contents[name] = found[groups.index]
    given = [
        inputs["x"],
        *(contents[name.removeprefix("content_")] for name in list(style.inputs)[1:]),
    ]
    q = model.infer_style(inputs["x"], contents=contents)
    torch.testing.assert_close(style.module(*given)[0], q.mean)
    latents = [
        q.mean if name == "style" else contents[name.removeprefix("content_")]
        for name in decoder.inputs
    ]
    torch.testing.assert_close(
        decoder.module(*latents)[0], model.decode(contents=contents, style=q.mean)
    )


def test_contents_and_styles_of_rows_with_missing_cells(built, rows):
    model, (encoder, style, _), codes = built["cells"]
    groups, inputs = Groups([0, 1, 0, 0]), rows(encoder, 4)
    assert list(inputs) == ["x", "observed"]
    columns = dict(zip(encoder.outputs, encoder.module(*inputs.values()), strict=True))
    (code,) = [code for code in codes if code.grouping is not None]
    found = summed(code, [columns[name] for name in code.columns], groups.index, groups).float()
    expected = model.codes(Batch(inputs["x"], groups, {"observed": inputs["observed"]}))
    torch.testing.assert_close(found[groups.index], expected["content"].mean)
    mean = style.module(*inputs.values(), found[groups.index])[0]
    torch.testing.assert_close(mean, expected["style"].mean)


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
