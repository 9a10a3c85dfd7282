"""Several players: disjoint parameters, each with a loss and an optimiser of its own."""

import json
import math
import os
import shutil
import signal
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

import mlvae
from mlvae import Adam, Batch, Diverged, InputError, Objective, Reports, Speed, Torch
from mlvae.data import Shuffled
from mlvae.training import step
from mlvae.training.checkpoint import read_checkpoint
from mlvae.training.loop import training_step
from mlvae.training.players import players_of
from mlvae.training.speed.compiling import compiled
from mlvae.training.step import StepParts

INDUCTOR = pytest.param(
    "inductor",
    marks=[
        pytest.mark.skipif(
            shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler"
        ),
        pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    ],
)


class Critical(nn.Module):
    """A VAE whose codes fool a critic, and the critic, which guesses the group from the codes."""

    def __init__(self, shape=(1, 8, 8), groups=10):
        super().__init__()
        torch.manual_seed(0)
        self.vae = mlvae.models.VAE(shape, latent_dim=3, network=mlvae.networks.MLP((16,)))
        self.critic = nn.Linear(3, groups)
        self.shape = shape
        self.config = {"name": "Critical"}

    @property
    def players(self):
        return {"model": [*self.vae.parameters()], "critic": [*self.critic.parameters()]}

    def forward(self, batch, *, generator=None):
        objective = self.vae(batch, generator=generator)
        codes = self.vae.encoder(batch.x)[0].mean
        number = batch.groups.origin.number[batch.groups.index]
        fooled = -nn.functional.cross_entropy(self.critic(codes), number)
        guess = nn.functional.cross_entropy(self.critic(codes.detach()), number)
        losses = {"model": objective.loss + fooled, "critic": guess}
        return replace(objective, losses=losses, scalars={"guess": guess.detach()})


def batch_of(digits, first=0, n=60):
    return digits.train.batch(range(first, first + n))


def noise(number):
    return torch.Generator().manual_seed(number)


def gradients(loss, parameters):
    return torch.autograd.grad(loss, parameters, retain_graph=True)


# Properties


@pytest.mark.parametrize("order", [("model", "critic"), ("critic", "model")])
def test_both_gradients_are_computed_before_either_player_moves(digits, monkeypatch, order):
    model = Critical()
    sets = model.players
    monkeypatch.setattr(Critical, "players", {name: sets[name] for name in order})
    batch = batch_of(digits)
    losses = model(batch, generator=noise(0)).losses
    expected = {name: gradients(losses[name], sets[name]) for name in order}
    before = {name: [p.detach().clone() for p in sets[name]] for name in order}
    parts = StepParts(model, Torch("SGD", learning_rate=0.5))
    assert [player.name for player in parts.players] == list(order)
    training_step(parts, batch, noise(0))
    for name in order:
        for p, gradient, start in zip(sets[name], expected[name], before[name], strict=True):
            assert torch.equal(p.grad, gradient)
            assert torch.equal(p, start - 0.5 * gradient)


def test_each_parameter_receives_the_gradient_of_its_own_loss_only(digits):
    model, batch = Critical(), batch_of(digits)
    training_step(StepParts(model, Adam()), batch, noise(0))
    critic = [*model.critic.parameters()]
    received = [p.grad.clone() for p in critic]
    reference = Critical()
    losses = reference(batch, generator=noise(0)).losses
    critic = [*reference.critic.parameters()]
    expected, other = (gradients(losses[n], critic) for n in ("critic", "model"))
    assert all(map(torch.equal, received, expected))
    # The model's loss depends on the critic too, and would add to its gradient.
    assert all(gradient.abs().max() > 1e-4 for gradient in other)


def test_two_players_train_as_a_plain_loop_with_two_optimisers(digits):
    model, reference = Critical(), Critical()
    recipes = {
        "model": Adam(0.01, gradient_clip=1.0, schedule="step", decay_steps=2),
        "critic": Torch("SGD", {"momentum": 0.9}, learning_rate=0.1, gradient_clip=0.1),
    }
    parts = StepParts(model, recipes)
    adam = torch.optim.Adam(reference.vae.parameters(), lr=0.01)
    sgd = torch.optim.SGD(reference.critic.parameters(), lr=0.1, momentum=0.9)
    sums = {"gradient_norm": 0.0, "gradient_norm_critic": 0.0}
    for number in range(4):
        batch = batch_of(digits, 60 * number)
        training_step(parts, batch, noise(number))
        losses = reference(batch, generator=noise(number)).losses
        for name, parameters, clip in (
            ("model", [*reference.vae.parameters()], 1.0),
            ("critic", [*reference.critic.parameters()], 0.1),
        ):
            for p, gradient in zip(parameters, gradients(losses[name], parameters), strict=True):
                p.grad = gradient
            norm = nn.utils.clip_grad_norm_(parameters, clip)
            assert norm > clip  # so that the clip of each player matters
            sums["gradient_norm" if name == "model" else "gradient_norm_critic"] += norm.item() / 4
        adam.step()
        sgd.step()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    values = parts.sums.read()
    assert {name: values[name] for name in sums} == pytest.approx(sums, rel=1e-4)


def test_the_loss_of_each_player_is_reported(digits):
    model, batch = Critical(), batch_of(digits)
    parts = StepParts(model, Adam())
    losses = model(batch, generator=noise(0)).losses
    training_step(parts, batch, noise(0))
    values = parts.sums.read()
    assert values["loss"] == pytest.approx(losses["model"].item())
    assert values["loss_critic"] == pytest.approx(losses["critic"].item())
    assert values["guess"] == pytest.approx(losses["critic"].item())


@pytest.mark.parametrize("backend", ["eager", "aot_eager", INDUCTOR])
def test_a_compiled_model_with_two_players_is_the_eager_one(digits, monkeypatch, backend):
    torch._dynamo.reset()
    monkeypatch.setattr(step, "compiled", partial(compiled, backend=backend))
    eager, fast = Critical(), Critical()
    parts = (StepParts(eager, Adam(0.01)), StepParts(fast, Adam(0.01), speed=Speed(compile=True)))
    for number in range(3):
        for one in parts:
            training_step(one, batch_of(digits, 60 * number), noise(number))
    assert parts[1].sums.read() == pytest.approx(parts[0].sums.read(), rel=1e-4)
    for ours, theirs in zip(fast.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


# Behaviour


def fit(model, digits, run, **options):
    return mlvae.train(
        model,
        digits.train,
        run=run,
        batching=Shuffled(100),
        reports=Reports(log_every=4, progress=False),
        device="cpu",
        config={"seed": 0},
        **{"epochs": 2, **options},
    )


RECIPES = {
    "model": Adam(0.003, schedule="cosine", gradient_clip=50.0),
    "critic": Torch("SGD", {"momentum": 0.9}, learning_rate=0.05, warmup_steps=9),
}


def same(a, b):
    """Whether two nested states are equal to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a.dtype == b.dtype and torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("steps_per_graph", [1, 5])
def test_a_run_with_two_players_is_resumed_bit_for_bit(digits, tmp_path, steps_per_graph):
    speed = Speed(steps_per_graph=steps_per_graph)
    fit(Critical(), digits, tmp_path / "whole", optimizer=RECIPES)
    model, calls = Critical(), []

    def interrupt(model, inputs, output):
        calls.append(1)
        if len(calls) == 17:
            os.kill(os.getpid(), signal.SIGTERM)

    model.register_forward_hook(interrupt)
    run = tmp_path / "parts"
    assert not fit(model, digits, run, optimizer=RECIPES, speed=speed).finished
    assert read_checkpoint(run / "checkpoint.pt")["optimizers"].keys() == {"model", "critic"}
    fit(Critical(), digits, run, optimizer=RECIPES, speed=speed, resume=True)
    whole, parts = (read_checkpoint(r / "checkpoint.pt") for r in (tmp_path / "whole", run))
    assert same(whole, parts)


def test_a_run_with_other_players_is_not_resumed(digits, tmp_path):
    fit(Critical(), digits, tmp_path, epochs=1)

    class Alone(Critical):
        players = None

    with pytest.raises(InputError, match=r"players model, critic, not model"):
        fit(Alone(), digits, tmp_path, resume=True)


@pytest.mark.parametrize("player", ["model", "critic"])
def test_a_player_that_is_not_finite_stops_both(digits, tmp_path, player):
    good = Critical()
    fit(good, digits, tmp_path / "good", optimizer=RECIPES, epochs=1, seed=0)

    class Kink(Critical):
        """From the fourth step on, the gradient of one player is infinite."""

        calls = 0

        def forward(self, batch, *, generator=None):
            objective = super().forward(batch, generator=generator)
            Kink.calls += self.training
            if Kink.calls != 4:
                return objective
            weight = self.players[player][0]
            kink = (weight.sum() - weight.sum().detach()).abs().sqrt()
            losses = {**objective.losses, player: objective.losses[player] + kink}
            return replace(objective, losses=losses)

    name = "gradient_norm" if player == "model" else "gradient_norm_critic"
    with pytest.raises(Diverged, match=rf"step 3 .*{name} is (nan|inf)"):
        fit(Kink(), digits, tmp_path / "run", optimizer=RECIPES, epochs=1)
    saved = read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert saved["step"] == 3
    assert all(tensor.isfinite().all() for tensor in saved["model"].values())
    fit(Critical(), digits, tmp_path / "run", optimizer=RECIPES, epochs=1, resume=True)
    end = read_checkpoint(tmp_path / "run" / "checkpoint.pt")["model"]
    assert all(torch.equal(value, end[name]) for name, value in good.state_dict().items())


def test_metrics_of_players_are_lines_of_the_run(digits, tmp_path):
    fit(Critical(), digits, tmp_path, optimizer=RECIPES, epochs=1)
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    names = {"loss", "loss_critic", "gradient_norm", "gradient_norm_critic", "guess"}
    assert names < line.keys() and all(math.isfinite(line[name]) for name in names)
    assert line["learning_rate"] == RECIPES["model"].rates(14, 15)[0]


def test_one_recipe_is_for_all_players_and_a_model_without_players_has_one():
    model = Critical()
    players = players_of(model, Adam(0.5))
    assert [player.name for player in players] == ["model", "critic"]
    assert {player.recipe.learning_rate for player in players} == {0.5}
    (alone,) = players_of(nn.Linear(2, 2), {"model": Adam(0.25)})
    assert alone.name == "model" and alone.recipe.learning_rate == 0.25


def test_frozen_parameters_are_of_no_player():
    model = Critical()
    frozen = model.critic.bias.requires_grad_(False)
    critic = players_of(model, Adam())[1]
    assert all(p is not frozen for p in critic.parameters) and len(critic.parameters) == 1


def test_learning_rates_are_by_names_in_the_model():
    model = Critical()
    recipes = {"model": Adam(), "critic": Adam(learning_rates={"critic.bias": 0.3})}
    critic = players_of(model, recipes)[1]
    assert [group["lr"] for group in critic.optimizer.param_groups] == [1e-3, 0.3]
    assert critic.optimizer.param_groups[1]["params"] == [model.critic.bias]


# Bad input


def stated(sets):
    """A model with two layers that states ``sets`` of layers as players."""

    class Stated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.frozen = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
            self.frozen.requires_grad_(False)

        @property
        def players(self):
            other = nn.Linear(1, 1)
            layers = {"a": self.a, "b": self.b, "frozen": self.frozen, "other": other}
            return {
                name: [p for layer in names for p in layers[layer].parameters()]
                for name, names in sets.items()
            }

    return Stated()


@pytest.mark.parametrize(
    ("sets", "recipe", "message"),
    [
        (
            {"model": "a", "critic": "b"},
            {"model": Adam()},
            "optimizer .*model, critic, not .*model",
        ),
        ({"model": "ab"}, {"model": Adam(), "critic": Adam()}, "optimizer .*model, not .*critic"),
        ({"model": "ab"}, {}, "optimizer .*model"),
        ({"model": "ab", "critic": "b"}, Adam(), "Stated .*b.weight"),
        ({"model": ["a", "b", "other"]}, Adam(), "Stated .*another module"),
        ({"model": "a"}, Adam(), "Stated .*b.weight"),
        ({"model": "ab", "critic": ["frozen"]}, Adam(), "critic of Stated"),
        ({"model": "ab", "critic": ""}, Adam(), "critic of Stated"),
    ],
    ids=str,
)
def test_players_that_do_not_fit_the_model_or_the_recipes_are_refused(sets, recipe, message):
    with pytest.raises(InputError, match=message) as error:
        players_of(stated(sets), recipe)
    assert "\n" not in str(error.value)


def test_an_optimiser_that_is_no_recipe_is_refused_for_each_player(digits, tmp_path):
    with pytest.raises(InputError, match=r"optimizer .*Adam\(...\).*0.1"):
        fit(Critical(), digits, tmp_path / "run", optimizer={"model": Adam(), "critic": 0.1})
    assert not (tmp_path / "run").exists()


class Other(Critical):
    """Returns the losses of the players ``losses``."""

    def __init__(self, losses):
        super().__init__()
        self.losses = losses

    def forward(self, batch, *, generator=None):
        objective = super().forward(batch, generator=generator)
        return replace(objective, losses=dict.fromkeys(self.losses, objective.loss))


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (["model"], r"'critic', 'model'\], not .*\['model'\]"),
        (["model", "critic", "third"], r"'critic', 'model'\], not .*'third'"),
    ],
)
def test_losses_that_are_not_those_of_the_players_are_refused(digits, losses, message):
    with pytest.raises(InputError, match=message):
        training_step(StepParts(Other(losses), Adam()), batch_of(digits), noise(0))


def test_a_loss_of_a_player_that_the_model_does_not_state_is_refused(digits):
    class Unstated(Critical):
        players = None

    with pytest.raises(InputError, match=r"\['model'\], not .*'critic', 'model'.*players"):
        training_step(StepParts(Unstated(), Adam()), batch_of(digits), noise(0))


def test_losses_of_players_may_have_no_common_graph():
    x = torch.rand(12, 4)

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(4, 1), nn.Linear(4, 1)

        @property
        def players(self):
            return {"model": [*self.a.parameters()], "critic": [*self.b.parameters()]}

        def forward(self, batch, *, generator=None):
            errors = {"a": self.a(batch.x)[:, 0] ** 2, "b": self.b(batch.x)[:, 0] ** 2}
            losses = {"model": errors["a"].mean(), "critic": errors["b"].mean()}
            return Objective(losses, errors, num_observations=len(batch.x))

    model = Tiny()
    parts = StepParts(model, Torch("SGD", learning_rate=0.1))
    start = model.b.weight.detach().clone()
    error = (x @ model.b.weight[0] + model.b.bias).square().mean()
    (gradient,) = torch.autograd.grad(error, [model.b.weight])
    training_step(parts, Batch.ungrouped(x), noise(0))
    torch.testing.assert_close(model.b.weight, start - 0.1 * gradient)
