import json
import os
import shutil

import pytest
import torch
from torch import nn

import mlvae
from mlvae import Batch, Groups
from mlvae.data import Grouped
from mlvae.likelihoods import LearnedGaussian
from mlvae.networks import MLP, Conv
from mlvae.noise import HeldGenerator, normal, uniform
from mlvae.observations import as_floats
from mlvae.training.ranks import Ranks
from mlvae.training.speed.compiling import check_compile, compiled, compiled_alone
from mlvae.training.sums import forward_of

COMPILER = shutil.which(os.environ.get("CXX", "g++"))
SHARED = mlvae.costs.Separation(mmd=1.0)
LABELS = ([0, 0, 1, 1, 2, 2], [0, 1, 1], [0], [0, 0, 0, 1, 1, 1, 1])


@pytest.fixture(autouse=True)
def fresh():
    """What was compiled before does not count."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def totals_and_gradients(model, forward, batch, seed):
    model.zero_grad()
    passed = forward(batch, generator=torch.Generator().manual_seed(seed))
    passed.loss.backward()
    return passed.totals, [p.grad for p in model.parameters() if p.grad is not None]


def assert_as_eager(model, forward, all_labels):
    for seed, labels in enumerate(all_labels):
        batch = Batch(torch.rand(len(labels), 1, 8, 8), Groups.of(labels))
        totals, gradients = totals_and_gradients(model, forward_of(model), batch, seed)
        totals_too, gradients_too = totals_and_gradients(model, forward, batch, seed)
        torch.testing.assert_close(totals_too, totals, rtol=1e-5, atol=0)
        torch.testing.assert_close(gradients_too, gradients, rtol=1e-4, atol=1e-5)


# Properties


@pytest.mark.parametrize(
    "options",
    [
        {"evidence_from": "subset", "likelihood": LearnedGaussian()},
        {"evidence_from": "other_part", "separation": SHARED},
        {"network": Conv((4, 8)), "content_draw": "group"},
    ],
    ids=["subset", "other_part", "conv"],
)
def test_traced_in_one_piece_for_all_sizes_it_is_the_eager_model(small_model, options):
    model = small_model(**options).train()
    forward = compiled(model, backend="aot_eager")  # all of compiling but the machine's code
    assert_as_eager(model, forward, LABELS)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


def test_of_one_size_only_the_largest_batches_are_compiled(small_model, caplog):
    def said():
        return [record.getMessage() for record in caplog.records if record.name == "mlvae"]

    model = small_model().train()
    forward = compiled(model, one_size=True, backend="aot_eager")
    # A first batch of one runs eagerly in any case, and does not count.
    assert_as_eager(model, forward, ([0], [0, 0, 1, 1, 2, 2], [0, 1, 1], [0, 1, 1, 2, 2, 0]))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    # A run that goes on may begin with the last batch of an epoch: a larger one takes its place.
    assert_as_eager(model, forward, ([0, 1, 1, 2, 2, 0, 1], [0, 0, 1, 1, 2, 2]))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2 and not said()
    for _ in range(2):
        assert_as_eager(model, forward, ([0, 0, 0, 0, 1, 1, 1],))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert said() == [
        "batches of 7 observations differ in their number of groups; of them only those of 3 "
        "groups are compiled"
    ]


@pytest.mark.parametrize("options", [{}, {"content_draw": "group"}])
def test_with_the_evidence_of_a_batch_as_one_operation_it_is_the_eager_model(
    small_model, monkeypatch, options
):
    asked = []
    monkeypatch.setattr("mlvae.kernels.accumulation.worthwhile", lambda *_: not asked.append(1))
    model = small_model(**options).train()
    forward = compiled(model, one_size=True, backend="aot_eager")
    assert_as_eager(model, forward, ([0, 0, 1, 1, 2, 2],))
    assert asked


@pytest.mark.parametrize("layers", ["float32", "bfloat16"])
def test_with_layers_as_operations_it_is_the_model_under_autocast(small_model, layers):
    model = small_model(likelihood=LearnedGaussian()).train()
    forward = compiled(model, layers=layers, backend="aot_eager")
    rounding = {"float32": 1e-5, "bfloat16": 0.02}[layers]
    for n in (60, 37):  # of any size, by one piece of code
        batch = Batch(torch.rand(n, 1, 8, 8), Groups.of([i % 5 for i in range(n)]))
        with torch.autocast("cpu", torch.bfloat16, enabled=layers == "bfloat16"):
            totals, gradients = totals_and_gradients(model, forward_of(model), batch, 0)
            totals_too, gradients_too = totals_and_gradients(model, forward, batch, 0)
        torch.testing.assert_close(totals_too, totals, rtol=rounding / 10, atol=0)
        for mine, theirs in zip(gradients_too, gradients, strict=True):
            assert (mine - theirs).norm() <= rounding * theirs.norm()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_images_of_bytes_are_made_floats_within(small_model):
    model = small_model().train()
    x = torch.randint(256, (6, 1, 8, 8), dtype=torch.uint8)
    groups = Groups.of([0, 0, 1, 1, 2, 2])
    for forward in (forward_of(model), compiled(model, backend="aot_eager")):
        totals = [
            totals_and_gradients(model, forward, Batch(each, groups), 0)[0]
            for each in (x, as_floats(x))
        ]
        torch.testing.assert_close(*totals)


def test_draws_within_a_compiled_region_are_those_of_the_generator_in_order():
    held = HeldGenerator()

    def draw():
        first = normal((3, 2), generator=held)
        return first, uniform((4,), generator=held), normal((3, 2), generator=held)

    held.generator = torch.Generator().manual_seed(1)
    values = torch.compile(draw, backend="aot_eager", fullgraph=True)()
    plain = torch.Generator().manual_seed(1)
    assert torch.equal(values[0], torch.randn(3, 2, generator=plain))
    assert torch.equal(values[1], torch.rand(4, generator=plain))
    assert torch.equal(values[2], torch.randn(3, 2, generator=plain))


# Behaviour


@pytest.mark.skipif(COMPILER is None, reason="compiling a model takes a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
def test_a_compiled_training_is_the_eager_one_but_for_rounding(tmp_path):
    def run(name, **options):
        torch.manual_seed(0)
        model = mlvae.models.MLVAE(
            (1, 8, 8), content_dim=3, style_dim=2, network=MLP((8,)), evidence_from="subset"
        )
        data = mlvae.data.digits().train
        mlvae.train(
            model,
            data,
            run=tmp_path / name,
            batching=Grouped(groups=5, members=40),
            epochs=1,
            log_every=1,
            device="cpu",
            progress=False,
            **options,
        )
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines], mlvae.load(tmp_path / name)

    losses, model = run("eager")
    losses_too, model_too = run("compiled", compile=True)
    assert len(losses) > 5 and losses_too == pytest.approx(losses, rel=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert model_too.state_dict().keys() == model.state_dict().keys()


def test_as_many_functions_as_one_likes_are_compiled():
    def of(layer):
        return lambda x: layer(x)

    layers = [nn.Sequential(*[nn.Tanh()] * depth) for depth in range(1, 13)]
    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):  # of a code that they share
        for layer in layers:
            torch.compile(of(layer), backend="eager", fullgraph=True)(torch.zeros(()))
    for layer in layers:
        assert compiled_alone(of(layer), backend="eager")(torch.zeros(())) == 0


# Bad input


def test_without_a_compiler_nothing_is_written(monkeypatch, tmp_path, small_model):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(mlvae.InputError, match=r"needs a C\+\+ compiler.*no no-such-compiler"):
        mlvae.train(small_model(), mlvae.data.digits().test, run=tmp_path / "run", compile=True)
    assert not any(tmp_path.iterdir())


def test_ranks_are_told_that_they_cannot_and_other_values_are_refused():
    with pytest.raises(mlvae.InputError, match="compile is for one process"):
        check_compile(True, Ranks(count=2))
    with pytest.raises(mlvae.InputError, match="must be true or false, not 'yes'"):
        check_compile("yes")
    check_compile(False, Ranks(count=2))


def test_a_model_that_cannot_be_one_piece_does_not_run_eagerly_unnoticed():
    class Looks(nn.Module):
        def forward(self, batch, *, generator=None):
            return batch.x.sum() if batch.x.sum().item() > 0 else batch.x.mean()

    batch = Batch(torch.rand(2, 1, 2, 2), Groups.of([0, 1]))
    with pytest.raises(mlvae.InputError, match="this Looks cannot be compiled"):
        compiled(Looks(), backend="eager")(batch)
