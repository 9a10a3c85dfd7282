"""The measurements of speed by the command benchmark, each at a small size."""

import json
import re
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import mlvae
from mlvae.commands.benchmark import command
from mlvae.commands.benchmarks import codebook, rotations
from mlvae.data import torus
from mlvae.models import Rotations
from mlvae.networks import MLP
from mlvae.training import Adam
from mlvae.training.loop import training_step
from mlvae.training.step import StepParts

#: The commands are not counted by coverage, and other tests reach the lines of the library.
pytestmark = pytest.mark.no_cover

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads():
    """Restores the number of threads."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def benchmark(monkeypatch, tmp_path, capsys):
    """A function that runs the script in ``tmp_path``; returns its output and its result."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        names = ["benchmark.py", *arguments, "--json", "result.json"]
        monkeypatch.setattr(sys, "argv", [str(name) for name in names])
        command()
        return capsys.readouterr().out, json.loads((tmp_path / "result.json").read_text())

    return run


def tiny(number):
    """The tiny version of a recipe, and its data."""
    from mlvae.commands.benchmarks.recipes import RECIPES, small

    recipe = small(RECIPES[number])
    return recipe, recipe.data()[0]


# Properties


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_operations_of_an_mlp_step_are_those_of_the_closed_form(precision):
    from mlvae.commands.benchmarks.floor import operations, step_products
    from mlvae.commands.benchmarks.recipes import AUTHOR

    recipe = replace(AUTHOR, images=300)
    layers = [(784, 500), (500, 2 * (10 + 10)), (10 + 10, 500), (500, 2 * 784)]
    forward = sum(2 * 256 * inputs * outputs for inputs, outputs in layers)
    # Two more products per layer, for the gradients of weight and input; pixels need no gradient.
    expected = 3 * forward - 2 * 256 * 784 * 500
    products = step_products(recipe, recipe.data()[0], precision)
    assert operations(products) == expected
    assert sum(products.values()) == 4 + 4 + 3
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    assert {a.dtype for p in products for a in p.arguments if hasattr(a, "dtype")} == {dtype}


@pytest.mark.parametrize("number", [0, 3])
def test_the_operations_equal_pytorchs_count_and_those_of_the_common_way(number):
    from mlvae.commands.benchmarks.common import CommonModel
    from mlvae.commands.benchmarks.floor import operations, step_products
    from mlvae.commands.benchmarks.products import products_of

    recipe, data = tiny(number)
    products = step_products(recipe, data, "float32")
    batch = recipe.batching.plan(data, torch.Generator())[0]
    model = recipe.model()
    with FlopCounterMode(display=False) as counter:
        training_step(StepParts(model, Adam()), batch, torch.Generator())
    assert operations(products) == counter.get_total_flops() > 0
    common = CommonModel(recipe)
    assert operations(
        products_of(lambda: common(batch.x, batch.groups.index).backward())
    ) == operations(products)


def test_a_product_is_measured_in_the_form_of_the_step():
    from mlvae.commands.benchmarks.floor import step_products
    from mlvae.commands.benchmarks.products import Like, products_of

    products = step_products(*tiny(3), "bfloat16")
    assert {p.function.overloadpacket.__name__ for p in products} == {
        "mm",
        "addmm",
        "convolution",
        "convolution_backward",
    }
    for product in products:
        call = product.call(CPU)
        ((again, count),) = products_of(call).items()
        assert count == 1 and again.name == product.name
        assert again.operations == product.operations
        likes, others = ([a for a in p.arguments if isinstance(a, Like)] for p in (product, again))
        assert likes == others  # shape, stride and precision


def test_a_like_tensor_has_the_shape_strides_and_type_of_transposed_and_expanded_tensors():
    from mlvae.commands.benchmarks.products import Like

    for tensor in (torch.ones(3, 4).t(), torch.ones(1, 5).bfloat16().expand(7, 5)):
        made = Like(tuple(tensor.shape), tensor.stride(), tensor.dtype).make(CPU)
        assert made.shape == tensor.shape and made.stride() == tensor.stride()
        assert made.dtype == tensor.dtype


def test_traffic_is_that_of_adam_and_of_the_batch():
    from mlvae.commands.benchmarks.floor import traffic

    recipe, data = tiny(0)
    model = recipe.model()
    parts = StepParts(model, Adam())
    batch = recipe.batching.plan(data, torch.Generator())[0]
    training_step(parts, batch, torch.Generator())
    moved = 0
    for parameter, state in parts.players[0].optimizer.state.items():
        moments = [t for t in state.values() if t.shape == parameter.shape]
        read, written = [parameter, parameter.grad, *moments], [parameter, *moments]
        moved += sum(t.nbytes for t in read + written)
    moved += batch.x.numel() + batch.x.nbytes
    number = sum(p.numel() for p in model.parameters())
    assert traffic(number, batch.x.numel()) == moved


@pytest.mark.parametrize(("images", "groups"), [(100, 1), (100, 100), (1000, 37), (12_345, 100)])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_zipf_sizes_are_positive_decrease_and_add_up(images, groups, exponent):
    from mlvae.commands.benchmarks.growth import zipf_sizes

    sizes = zipf_sizes(images, groups, exponent)
    assert len(sizes) == groups and sizes.sum() == images and sizes.min() >= 1
    assert (sizes.diff() <= 0).all()
    if exponent == 0:
        assert sizes.max() - sizes.min() <= 1
    elif images >= 10 * groups > 10:
        assert (sizes[0] - 1) / (sizes[1] - 1) == pytest.approx(2.0**exponent, rel=0.05)


def test_a_time_is_the_mean_of_calls_without_the_first_two():
    from mlvae.commands.benchmarks.machine import timed

    calls = []

    def work():
        calls.append(1)
        time.sleep(0.25 if len(calls) <= 2 else 0.01)

    assert 0.01 <= timed(work, CPU, seconds=0) < 0.2
    assert len(calls) == 3
    timed(work, CPU, seconds=0.1)
    assert 3 + 2 < len(calls) <= 3 + 2 + 10


# Behaviour


def test_a_setting_ends_with_its_block():
    from mlvae.commands.benchmarks.machine import setting

    def now():
        conv = torch.backends.cudnn.allow_tf32
        return torch.get_num_threads(), torch.get_float32_matmul_precision(), conv

    before = now()
    with setting(threads=2, precision="tf32"):
        assert now() == (2, "high", True)
        with setting():
            assert now() == (2, "highest", False)
    assert now() == before


def test_all_measurements_of_speed_print_tables_and_write_json_and_a_figure(benchmark, tmp_path):
    # One call instead of six.
    out, result = benchmark("all", "--quick", "--threads", 1, "--figure", "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    names = ["training", "limit", "growth", "kernels", "encoding", "codebook"]
    assert list(result) == [*names, "groupings", "rotations", "topics", "tables"]
    for measurement in result.values():
        facts = {"device", "bf16_instructions", "threads", "torch", "python", "date"}
        assert facts < measurement.keys()
    for words in (
        "times the common way",
        "part of the floor",
        "times the first",
        "calls a step",
        "plain loop",
        "times the loops",
        "times the documents per second",
        "step time of one",
        "train one epoch",
        "IterativeImputer",
    ):
        assert words in out
    assert min(map(min, result["training"]["images_per_second"].values())) > 0
    assert min(map(min, result["codebook"]["images_per_second"].values())) > 0
    assert_limit(result["limit"])
    assert_growth(result["growth"])
    for profile in result["kernels"]["profiles"]:
        parts = [row["part_of_all"] for row in profile["rows"]]
        assert sum(parts) == pytest.approx(1) and parts[:-1] == sorted(parts[:-1], reverse=True)


def test_the_plain_loop_of_the_codebook_has_the_loss_and_the_gradients_of_the_library():
    torch.manual_seed(0)
    plain, model = codebook.PlainModel(), codebook.Published().model()
    names = ("weight", "bias")
    layers = [
        (plain.encoder[0], model.encoder.trunk[0]),
        (plain.encoder[2], model.encoder.trunk[2]),
        (plain.decoder[1], model.decoder.trunk[1]),
        (plain.decoder[3], model.decoder.head),
    ]
    with torch.no_grad():
        plain.codebook.weight.copy_(model.codebook)
        for first, second in layers:
            for name in names:
                getattr(first, name).copy_(getattr(second, name))
    data = mlvae.GroupedData(torch.rand(20, 1, 28, 28), torch.arange(20) % 10)
    batch = data.labelled(range(10)).batch()
    loss, own = plain(2 * batch.x - 1, batch.given["label"]), model(batch).loss
    torch.testing.assert_close(loss, own)
    loss.backward(), own.backward()
    pairs = [(getattr(a, n).grad, getattr(b, n).grad) for a, b in layers for n in names]
    for first, second in [*pairs, (plain.codebook.weight.grad, model.codebook.grad)]:
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-6)


def assert_limit(result):
    """Four recipes have three variants each; ratios equal the quotients of their columns."""
    rows = result["rows"]
    assert len(rows) == 4 * 3 and len({row["configuration"] for row in rows}) == 4
    for row in rows:
        sizes = {name: values[0] for name, values in row.items() if isinstance(values, list)}
        assert all(len(row[name]) == 1 and size > 0 for name, size in sizes.items())
        assert row["threads"] == 1
        assert sizes["floor"] > sizes["of_it_products"]
        for part, whole in (
            ("part_of_the_floor", "floor"),
            ("part_of_the_products", "of_it_products"),
            ("part_of_the_peak", "floor_at_peak"),
        ):
            assert sizes[part] == pytest.approx(sizes[whole] / sizes["step"])
        if row["way"] == "common way":
            assert sizes["times_the_common_way"] == 1
    assert {(row["precision"], row["threads"]) for row in result["best"]} == {
        ("float32", 1),
        ("bfloat16", 1),
    }
    for recipe in {row["configuration"] for row in rows}:
        products = [row for row in result["products"] if row["configuration"] == recipe]
        for way in ("float32", "bfloat16"):
            parts = [row["part_of_the_operations"] for row in products if row["way"] == way]
            assert sum(parts) == pytest.approx(1)


def assert_growth(result):
    """Every curve begins at one and has the growth of its operations."""
    assert list(result["curves"]) == [
        "batch",
        "groups",
        "raggedness",
        "content",
        "images",
        "images_grouped",
    ]
    for rows in result["curves"].values():
        assert len(rows) == 2 and rows[0]["times_the_first"] == [1]
        assert min(row["nanoseconds_per_image"][0] for row in rows) > 0
    for name in ("batch", "groups", "raggedness"):  # these do not change the products of an image
        growths = [row["operations_times_the_first"] for row in result["curves"][name]]
        assert growths == pytest.approx([1, 1])
    assert result["curves"]["content"][1]["operations_times_the_first"] > 1


def test_a_cpu_is_measured_with_one_thread_and_with_all():
    from mlvae.commands.benchmarks.limit import limit
    from mlvae.commands.benchmarks.recipes import AUTHOR

    torch.set_num_threads(2)
    result = limit(CPU, rounds=2, seconds=0, quick=True, compile=False, recipes=[AUTHOR])
    assert [(row["way"], row["threads"]) for row in result["rows"]] == [
        (way, threads) for threads in (1, 2) for way in ("float32", "bfloat16", "common way")
    ]
    assert all(len(row["part_of_the_floor"]) == 2 for row in result["rows"])
    assert torch.get_num_threads() == 2


def test_the_full_curves_reach_a_hundred_thousand_groups_and_a_million_images():
    from mlvae.commands.benchmarks.growth import CURVES, MANY

    assert max(CURVES["groups"].values) == MANY == 100_000 and min(CURVES["groups"].values) == 1
    assert max(CURVES["images"].values) == 1_000_000


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["limit", "--rounds", 0], "--rounds .* 1, not 0"),
        (["growth", "--seconds", -1], "--seconds .* 0, not -1"),
        (["limit", "--threads", 0], "--threads .* 1, not 0"),
        (["limit", "--figure", "a.png"], "--figure .*growth or all, not limit"),
        (["grouping", "--quick"], "--quick .*grouping"),
        pytest.param(
            ["all", "--device", "cuda"],
            "(?i)cuda",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
        (["training", "--root", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_reported_in_one_line(monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, arguments)])
    with pytest.raises(SystemExit, match=r"^error: ") as end:
        command()
    assert re.search(message, end.value.code) and "\n" not in end.value.code


def test_the_loops_of_rotations_have_the_loss_of_the_library():
    data = torus(size=(3, 4), trajectories=5, steps=3, validation=0, test=0).train
    torch.manual_seed(0)
    model = Rotations(data.shape, network=MLP((8,)))
    torch.testing.assert_close(
        rotations.looped_loss(model, data.batch()), model(data.batch()).loss
    )


def test_an_exported_encoder_is_measured_beside_pytorch(benchmark):
    pytest.importorskip("onnxruntime")
    out, result = benchmark("export", "--quick", "--rounds", 1, "--seconds", 0, "--device", "cpu")
    assert [row["way"] for row in result["rows"]] == ["PyTorch", "ONNX Runtime"]
    assert all(row["per_second"][0] > 0 for row in result["rows"])
    assert "ONNX Runtime" in out and result["onnxruntime"] in out
