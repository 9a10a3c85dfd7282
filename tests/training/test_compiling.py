import json
import os
import shutil
from functools import partial

import pytest
import torch
from torch import nn

import mlvae
from mlvae import Adam, Batch, Groups, Reports, Speed, Torch
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
    """Reset the compiler's counters and caches."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def totals_and_gradients(model, forward, batch, seed):
    model.zero_grad()
    passed = forward(batch, generator=torch.Generator().manual_seed(seed))
    passed.losses["model"].backward()
    return passed.totals, [p.grad for p in model.parameters() if p.grad is not None]


def assert_as_eager(model, forward, all_labels):
    for seed, labels in enumerate(all_labels):
        batch = Batch(torch.rand(len(labels), 1, 8, 8), Groups.of(labels))
        totals, gradients = totals_and_gradients(model, forward_of(model), batch, seed)
        totals_too, gradients_too = totals_and_gradients(model, forward, batch, seed)
        torch.testing.assert_close(totals_too, totals, rtol=1e-5, atol=0)
        torch.testing.assert_close(gradients_too, gradients, rtol=1e-4, atol=1e-5)


# Properties


@pytest.mark.parametrize("options", [{"evidence_from": "subset"}, {"nested": ("a", "b")}])
def test_a_model_of_several_groupings_compiles_in_one_piece(options):
    torch.manual_seed(0)
    dims = {"a": 3, "b": 2}
    network = MLP(hidden=(8,))
    model = mlvae.models.MLVAE((1, 8, 8), content_dim=dims, network=network, **options)
    forward = compiled(model, backend="eager")
    for seed, labels in enumerate(LABELS):
        lower = [2 * label + place % 2 for place, label in enumerate(labels)]
        groupings = {"a": Groups.of(labels), "b": Groups.of(lower)}
        batch = Batch.of(torch.rand(len(labels), 1, 8, 8), groupings)
        totals, gradients = totals_and_gradients(model, forward_of(model), batch, seed)
        totals_too, gradients_too = totals_and_gradients(model, forward, batch, seed)
        torch.testing.assert_close(totals_too, totals, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradients_too, gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "options",
    [
        {"evidence_from": "subset", "likelihood": LearnedGaussian()},
        {"evidence_from": "other_part", "separation": SHARED},
        {"network": Conv((4, 8)), "content_draw": "group"},
    ],
    ids=["subset", "other_part", "conv"],
)
def test_one_compiled_piece_for_all_sizes_equals_the_eager_model(small_model, options):
    model = small_model(**options).train()
    forward = compiled(
        model, backend="aot_eager"
    )  # all of the compilation except for machine code
    assert_as_eager(model, forward, LABELS)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize(
    "options",
    [{"prior_update": "moments"}, {"sampler": "implicit", "kl": "dirichlet"}],
    ids=["approximate", "implicit"],
)
def test_a_latent_on_the_simplex_is_compiled_in_one_piece(options):
    torch.manual_seed(0)
    model = mlvae.models.DirVAE((1, 8, 8), latent_dim=4, network=MLP((16,)), **options).train()
    forward = compiled(model, backend="aot_eager")
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for seed, number in enumerate((6, 3)):
        batch = Batch(torch.rand(number, 1, 8, 8), Groups.singletons(number))
        model.load_state_dict(start)  # a step moves the prior
        totals, gradients = totals_and_gradients(model, forward_of(model), batch, seed)
        moved = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(start)
        totals_too, gradients_too = totals_and_gradients(model, forward, batch, seed)
        torch.testing.assert_close(totals_too, totals, rtol=1e-5, atol=0)
        torch.testing.assert_close(gradients_too, gradients, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.state_dict(), moved)
    assert not torch._dynamo.utils.counters["graph_break"]


def test_with_one_size_only_the_largest_batches_are_compiled(small_model, caplog):
    def logged():
        return [record.getMessage() for record in caplog.records if record.name == "mlvae"]

    model = small_model().train()
    forward = compiled(model, one_size=True, backend="aot_eager")
    # A first batch of one runs eagerly in any case, and does not count.
    assert_as_eager(model, forward, ([0], [0, 0, 1, 1, 2, 2], [0, 1, 1], [0, 1, 1, 2, 2, 0]))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    # A resumed run may begin with the last batch of an epoch: a larger one replaces it.
    assert_as_eager(model, forward, ([0, 1, 1, 2, 2, 0, 1], [0, 0, 1, 1, 2, 2]))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2 and not logged()
    for _ in range(2):
        assert_as_eager(model, forward, ([0, 0, 0, 0, 1, 1, 1],))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert logged() == [
        "batches of 7 observations differ in their number of groups; only those with 3 groups "
        "are compiled"
    ]


@pytest.mark.parametrize("options", [{}, {"content_draw": "group"}])
def test_with_evidence_as_one_operation_the_model_equals_the_eager_model(
    small_model, monkeypatch, options
):
    calls = []
    monkeypatch.setattr("mlvae.kernels.accumulation.worthwhile", lambda *_: not calls.append(1))
    model = small_model(**options).train()
    forward = compiled(model, one_size=True, backend="aot_eager")
    assert_as_eager(model, forward, ([0, 0, 1, 1, 2, 2],))
    assert calls


@pytest.mark.parametrize("layers", ["float32", "bfloat16"])
def test_with_layers_as_operations_the_model_equals_the_one_under_autocast(small_model, layers):
    model = small_model(likelihood=LearnedGaussian()).train()
    forward = compiled(model, layers=layers, backend="aot_eager")
    rounding = {"float32": 1e-5, "bfloat16": 0.02}[layers]
    for n in (60, 37):  # one piece of code for all sizes
        batch = Batch(torch.rand(n, 1, 8, 8), Groups.of([i % 5 for i in range(n)]))
        with torch.autocast("cpu", torch.bfloat16, enabled=layers == "bfloat16"):
            totals, gradients = totals_and_gradients(model, forward_of(model), batch, 0)
            totals_too, gradients_too = totals_and_gradients(model, forward, batch, 0)
        torch.testing.assert_close(totals_too, totals, rtol=rounding / 10, atol=0)
        for ours, theirs in zip(gradients_too, gradients, strict=True):
            assert (ours - theirs).norm() <= rounding * theirs.norm()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_uint8_images_become_floats_inside_the_compiled_function(small_model):
    model = small_model().train()
    x = torch.randint(256, (6, 1, 8, 8), dtype=torch.uint8)
    groups = Groups.of([0, 0, 1, 1, 2, 2])
    for forward in (forward_of(model), compiled(model, backend="aot_eager")):
        totals = [
            totals_and_gradients(model, forward, Batch(images, groups), 0)[0]
            for images in (x, as_floats(x))
        ]
        torch.testing.assert_close(*totals)


def test_draws_in_a_compiled_region_are_those_of_the_generator_in_order():
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


@pytest.mark.no_cover
@pytest.mark.skipif(COMPILER is None, reason="compiling a model takes a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
def test_a_compiled_training_equals_the_eager_one_up_to_rounding(tmp_path):
    def run(name, compile):
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
            speed=Speed(compile=compile),
            reports=Reports(log_every=1, progress=False),
            device="cpu",
        )
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines], mlvae.load(tmp_path / name)

    losses, model = run("eager", False)
    losses_too, model_too = run("compiled", True)
    assert len(losses) > 5 and losses_too == pytest.approx(losses, rel=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert model_too.state_dict().keys() == model.state_dict().keys()


@pytest.mark.skipif(COMPILER is None, reason="training compiled needs a C++ compiler")
@pytest.mark.parametrize(
    "recipe", [Torch("SGD", learning_rate=0.01), Adam(amsgrad=True, learning_rate=0.1)], ids=str
)
def test_a_compiled_training_uses_the_formula_of_its_optimiser(
    small_model, tmp_path, monkeypatch, recipe
):
    monkeypatch.setattr("mlvae.training.step.compiled", partial(compiled, backend="eager"))
    weights = {}
    for compile in (False, True):
        model = small_model()
        mlvae.train(
            model,
            mlvae.data.digits().test,
            run=tmp_path / str(compile),
            batching=Grouped(groups=5, members=10, small_groups="keep"),
            optimizer=recipe,
            epochs=2,
            speed=Speed(compile=compile),
            reports=Reports(progress=False),
            device="cpu",
        )
        weights[compile] = [p.detach() for p in model.parameters()]
    for eager, compiled_too in zip(weights[False], weights[True], strict=True):
        torch.testing.assert_close(compiled_too, eager, rtol=1e-3, atol=1e-4)


def test_any_number_of_functions_is_compiled():
    def function(layer):
        return lambda x: layer(x)

    layers = [nn.Sequential(*[nn.Tanh()] * depth) for depth in range(1, 13)]
    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):  # they share a code object
        for layer in layers:
            torch.compile(function(layer), backend="eager", fullgraph=True)(torch.zeros(()))
    for layer in layers:
        assert compiled_alone(function(layer), backend="eager")(torch.zeros(())) == 0


# Bad input


def test_without_a_compiler_nothing_is_written(monkeypatch, tmp_path, small_model):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(mlvae.InputError, match=r"trainer.speed.compile .*no-such-compiler"):
        data, speed = mlvae.data.digits().test, Speed(compile=True)
        mlvae.train(small_model(), data, run=tmp_path / "run", speed=speed)
    assert not any(tmp_path.iterdir())


def test_compilation_with_several_ranks_and_other_values_are_refused():
    with pytest.raises(mlvae.InputError, match=r"trainer.speed.compile .*2 ranks"):
        check_compile(True, Ranks(count=2))
    with pytest.raises(mlvae.InputError, match=r"trainer.speed.compile .*'yes'"):
        Speed(compile="yes")
    check_compile(False, Ranks(count=2))


def test_a_model_that_cannot_be_compiled_in_one_piece_is_an_error():
    class Looks(nn.Module):
        def forward(self, batch, *, generator=None):
            return batch.x.sum() if batch.x.sum().item() > 0 else batch.x.mean()

    batch = Batch(torch.rand(2, 1, 2, 2), Groups.of([0, 1]))
    with pytest.raises(mlvae.InputError, match=r"Looks .*trainer.speed.compile"):
        compiled(Looks(), backend="eager")(batch)
