"""Recipes of optimisers: schedules in closed form, and PyTorch's own updates."""

import math

import pytest
import torch
from torch import nn

import mlvae
from mlvae import Adam, InputError, Reports, Torch
from mlvae.training.players import Player, set_rates
from mlvae.training.speed.update import Update
from mlvae.training.sums import RunningSums

SCHEDULES = pytest.mark.parametrize(
    "recipe", [lambda **o: Adam(**o), lambda **o: Torch("SGD", **o)], ids=["Adam", "SGD"]
)


def rates(recipe, steps, total):
    return [recipe.rates(step, total)[0] for step in steps]


@SCHEDULES
def test_a_constant_rate_is_constant_and_a_cosine_falls_to_zero(recipe):
    assert set(rates(recipe(learning_rate=0.1), range(100), 100)) == {0.1}
    cosine = recipe(learning_rate=0.1, schedule="cosine")
    expected = [0.1, 0.05 * (1 + 0.5**0.5), 0.05, 0.0]
    assert rates(cosine, (0, 25, 50, 100), 100) == pytest.approx(expected)
    values = rates(cosine, range(101), 100)
    assert values == sorted(values, reverse=True)


@SCHEDULES
def test_a_warm_up_rises_linearly_to_the_rate_and_the_schedule_begins_after_it(recipe):
    cosine = recipe(learning_rate=0.1, warmup_steps=10, schedule="cosine")
    assert rates(cosine, (0, 4, 9, 10), 110) == pytest.approx([0.01, 0.05, 0.1, 0.1])
    assert rates(cosine, (60,), 110) == pytest.approx([0.05])
    step = recipe(learning_rate=0.8, warmup_steps=2, schedule="step", decay_steps=3)
    assert rates(step, (0, 1, 2, 4, 5, 8), 20) == pytest.approx([0.4, 0.8, 0.8, 0.8, 0.08, 0.008])


@SCHEDULES
def test_steps_multiply_the_rate_by_the_factor_at_each_interval(recipe):
    step = recipe(learning_rate=0.8, schedule="step", decay_steps=4, decay_factor=0.5)
    expected = [0.8] * 4 + [0.4] * 4 + [0.2] * 4
    assert rates(step, range(12), 12) == pytest.approx(expected)


@SCHEDULES
def test_a_schedule_multiplies_the_rate_of_every_group(recipe):
    groups = {"encoder": 0.4, "decoder": 0.2}
    step = recipe(
        learning_rate=0.8, schedule="step", decay_steps=5, decay_factor=0.5, learning_rates=groups
    )
    assert step.rates(0, 20) == pytest.approx([0.8, 0.4, 0.2])
    assert step.rates(11, 20) == pytest.approx([0.2, 0.1, 0.05])
    warm = recipe(learning_rate=0.8, warmup_steps=4, learning_rates=groups)
    assert warm.rates(1, 20) == pytest.approx([0.4, 0.2, 0.1])


def test_only_a_constant_rate_without_warm_up_is_steady():
    assert Adam().steady() and Torch("SGD").steady()
    for options in ({"schedule": "cosine"}, {"schedule": "step"}, {"warmup_steps": 1}):
        assert not Adam(**options).steady() and not Torch("SGD", **options).steady()


def assert_equal_updates(recipe, reference, steps=6):
    """The recipe's optimiser moves parameters as ``reference`` of PyTorch does."""
    start = torch.randn(9)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    pairs = (ours, recipe.build([ours])), (theirs, reference([theirs]))
    for number in range(steps):
        for parameter, optimizer in pairs:
            optimizer.zero_grad()
            (parameter.pow(4).sum() / (1 + number)).backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)
    assert not torch.equal(ours, start)


def test_without_weight_decay_the_update_is_adam():
    assert_equal_updates(Adam(0.1), lambda p: torch.optim.Adam(p, lr=0.1))


def test_amsgrad_is_that_of_pytorch():
    options = {"weight_decay": 0.3, "betas": (0.5, 0.7)}
    assert_equal_updates(
        Adam(0.1, amsgrad=True, **options),
        lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True, **options),
    )
    with pytest.raises(AssertionError):  # the largest average so far matters here
        assert_equal_updates(
            Adam(0.1, amsgrad=True, **options),
            lambda p: torch.optim.AdamW(p, lr=0.1, **options),
        )


TORCH = [
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adagrad", {"lr_decay": 0.1}),
    ("RMSprop", {"alpha": 0.5}),
    ("NAdam", {"betas": (0.5, 0.9)}),
    ("AdamW", {"fused": True, "weight_decay": 0.2}),
]


@pytest.mark.parametrize(("name", "options"), TORCH, ids=str)
def test_an_optimiser_of_pytorch_moves_as_without_a_recipe(name, options):
    kind = getattr(torch.optim, name)
    for by in (name, kind):
        recipe = Torch(by, options, learning_rate=0.05)
        assert_equal_updates(recipe, lambda p: kind(p, lr=0.05, **options))


class Scaled(nn.Module):
    """A VAE without noise of its own: trained by a plain loop below."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(5, 3), nn.Linear(3, 5)

    def forward(self, batch, *, generator=None):
        error = (self.decoder(self.encoder(batch.x).tanh()) - batch.x).square().sum(1)
        return mlvae.Objective(
            {"model": error.mean()}, {"error": error}, num_observations=len(error)
        )


def trained(recipe, run, **options):
    """The model, trained on ten observations in one batch, eight times."""
    x = torch.randn(10, 5, generator=torch.Generator().manual_seed(0))
    model = Scaled()
    mlvae.train(
        model,
        mlvae.GroupedData(x, [0, 1] * 5),
        run=run,
        optimizer=recipe,
        epochs=8,
        device="cpu",
        reports=Reports(progress=False),
        **options,
    )
    return model, x


def plain_loop(optimizer, rate, x, *, clip=None):
    """The same model, trained by a loop in plain PyTorch."""
    model = Scaled()
    optimizer = optimizer(model)
    for step in range(8):
        for group, value in zip(optimizer.param_groups, rate(step), strict=True):
            group["lr"] = value
        optimizer.zero_grad()
        model(mlvae.Batch.ungrouped(x)).loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return model


def assert_equal_models(ours, theirs):
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), TORCH[:4], ids=str)
def test_a_training_with_an_optimiser_of_pytorch_is_the_plain_loop(tmp_path, name, options):
    recipe = Torch(
        name, options, learning_rate=0.02, schedule="cosine", warmup_steps=2, gradient_clip=1.0
    )
    ours, x = trained(recipe, tmp_path)
    kind = getattr(torch.optim, name)

    def rate(step):
        if step < 2:
            return [0.02 * (step + 1) / 2]
        return [0.01 * (1 + math.cos(math.pi * (step - 2) / 6))]

    theirs = plain_loop(lambda m: kind(m.parameters(), lr=1.0, **options), rate, x, clip=1.0)
    assert_equal_models(ours, theirs)


@pytest.mark.parametrize("steps_per_graph", [1, 2])
@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_parameter_groups_have_their_own_rates(tmp_path, schedule, steps_per_graph):
    recipe = Adam(
        0.01,
        schedule=schedule,
        decay_steps=3,
        learning_rates={"decoder": 0.1, "encoder.bias": 0.5},
    )
    speed = mlvae.Speed(steps_per_graph=steps_per_graph)
    ours, x = trained(recipe, tmp_path, speed=speed)

    def optimizer(model):
        groups = [model.encoder.weight], [*model.decoder.parameters()], [model.encoder.bias]
        return torch.optim.Adam([{"params": group} for group in groups], lr=1.0)

    def rate(step):
        factor = 0.1 ** (step // 3) if schedule == "step" else 1
        return [0.01 * factor, 0.1 * factor, 0.5 * factor]

    assert_equal_models(ours, plain_loop(optimizer, rate, x))


def test_the_longest_matching_prefix_decides_the_group():
    names = ["encoder.weight", "encoder.bias", "encoders.weight", "decoder.weight"]
    parameters = [nn.Parameter(torch.zeros(n + 1)) for n in range(4)]
    recipe = Adam(learning_rates={"encoder": 0.1, "encoder.bias": 0.2})
    groups = recipe.build(parameters, names).param_groups
    assert [[len(p) for p in group["params"]] for group in groups] == [[3, 4], [1], [2]]
    assert [group["lr"] for group in groups] == [1e-3, 0.1, 0.2]


def test_all_parameters_may_have_a_rate_of_their_own(tmp_path):
    ours, x = trained(Adam(0.5, learning_rates={"encoder": 0.02, "decoder": 0.03}), tmp_path)

    def optimizer(model):
        groups = model.encoder.parameters(), model.decoder.parameters()
        return torch.optim.Adam([{"params": [*group]} for group in groups], lr=1.0)

    assert_equal_models(ours, plain_loop(optimizer, lambda step: [0.02, 0.03], x))


def test_set_rates_writes_tensors_in_place():
    parameter = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.AdamW([parameter], lr=torch.tensor(0.1), fused=True)
    tensor = optimizer.param_groups[0]["lr"]
    set_rates(optimizer, [0.25])
    assert optimizer.param_groups[0]["lr"] is tensor and tensor == 0.25
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    set_rates(optimizer, [torch.tensor(0.25)])
    assert optimizer.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize(
    "recipe", [Torch("SGD"), Torch("Adagrad"), Torch("AdamW", {"fused": True})]
)
def test_a_step_is_taken_only_if_it_is_good(recipe):
    parameter = nn.Parameter(torch.ones(3))
    player = Player("model", [parameter], ["a"], recipe)
    sums = RunningSums(torch.device("cpu"))
    update = Update([player], sums)  # gives the verdict of the sums to fused optimisers
    assert player.fused == (recipe.optimizer == "AdamW")

    def step(loss):
        parameter.grad = torch.ones(3)
        totals = {"loss": torch.tensor(loss), "observations": torch.ones(()), "groups": update.one}
        update(totals, {"loss": "observation"})
        return parameter.detach().clone()

    first = step(1.0)
    assert not torch.equal(first, torch.ones(3))
    assert torch.equal(step(math.inf), first) and torch.equal(step(1.0), first)
    assert sums.failure()[1] == "loss is inf"


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "optimizer.learning_rate .*, not 0.0"),
        ({"learning_rate": "fast"}, "optimizer.learning_rate .*, not 'fast'"),
        ({"betas": (0.9,)}, "optimizer.betas .*0.9"),
        ({"betas": (0.9, 1.0)}, "optimizer.betas .*, not 1.0"),
        ({"eps": 0}, "optimizer.eps .*, not 0"),
        ({"weight_decay": -1}, "optimizer.weight_decay .*, not -1"),
        ({"amsgrad": 1}, "optimizer.amsgrad .*, not 1"),
        ({"schedule": "linear"}, "optimizer.schedule .*constant, cosine, step"),
        ({"warmup_steps": -1}, "optimizer.warmup_steps .*, not -1"),
        ({"decay_steps": 0}, "optimizer.decay_steps .*, not 0"),
        ({"decay_factor": 0}, "optimizer.decay_factor .*, not 0"),
        ({"gradient_clip": 0}, "optimizer.gradient_clip .*, not 0"),
        ({"learning_rates": [0.1]}, r"optimizer.learning_rates .*, not \[0.1\]"),
        ({"learning_rates": {"encoder": -1}}, "optimizer.learning_rates.encoder .*, not -1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Adam(**options)


@pytest.mark.parametrize("prefix", ["code", "encode", "encoder.weigh", "Encoder", ""])
@pytest.mark.parametrize("recipe", [Adam, lambda **o: Torch("SGD", **o)], ids=["Adam", "SGD"])
def test_a_prefix_that_matches_no_parameter_is_refused(tmp_path, recipe, prefix):
    with pytest.raises(InputError, match=f"optimizer.learning_rates.{prefix} .*encoder.weight"):
        trained(recipe(learning_rates={prefix: 0.1}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Own(torch.optim.SGD):
    """An optimiser of one's own."""


def test_a_class_with_the_interface_of_pytorch_is_accepted(tmp_path):
    ours, x = trained(Torch(Own, {"momentum": 0.5}, learning_rate=0.01), tmp_path)
    theirs = plain_loop(
        lambda m: torch.optim.SGD(m.parameters(), lr=1.0, momentum=0.5), lambda step: [0.01], x
    )
    assert_equal_models(ours, theirs)


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        ("LBFGS", {}, "optimizer.optimizer .*'LBFGS'"),
        (torch.optim.LBFGS, {}, "optimizer.optimizer .*LBFGS"),
        ("Adamm", {}, "optimizer.optimizer .*'Adamm'"),
        ("lr_scheduler", {}, "optimizer.optimizer .*'lr_scheduler'"),
        ("Optimizer", {}, "optimizer.optimizer .*'Optimizer'"),
        (torch.optim.Optimizer, {}, "optimizer.optimizer .*Optimizer"),
        (nn.Linear, {}, "optimizer.optimizer .*Linear"),
        (3, {}, "optimizer.optimizer .*3"),
        ("SGD", {"momentun": 0.9}, "SGD .*momentum.*'momentun'"),
        ("SGD", {"lr": 0.9}, "SGD .*'lr'"),
        ("SGD", {"params": []}, "SGD .*'params'"),
        ("SGD", [0.9], r"optimizer.options .*\[0.9\]"),
        ("SGD", {"momentum": -1.0}, "SGD.*-1.0"),
        ("SGD", {"momentum": "much"}, "SGD"),
    ],
    ids=str,
)
def test_an_impossible_optimiser_is_refused_in_one_line(tmp_path, optimizer, options, message):
    with pytest.raises(InputError, match=message) as error:
        trained(Torch(optimizer, options), tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()
