"""The compiled update is PyTorch's AdamW; a CPU runs the same code."""

import math
import os
import shutil
from copy import deepcopy

import pytest
import torch

from mlvae.training import Adam, Torch
from mlvae.training.players import Player, set_rates
from mlvae.training.speed.update import CompiledUpdate, Update, _one_minus_power, compilable
from mlvae.training.sums import RunningSums

COMPILER = shutil.which(os.environ.get("CXX", "g++"))
BACKENDS = [
    "aot_eager",
    pytest.param(
        "inductor",
        marks=[
            pytest.mark.skipif(COMPILER is None, reason="compiling takes a C++ compiler"),
            pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
        ],
    ),
]


class Updates:
    """Three parameters, one of which never has a gradient, and an update of them."""

    def __init__(self, recipe=Adam(), kind=Update, **options):  # noqa: B008 (frozen)
        torch.manual_seed(0)
        shapes = ((5, 4), (), (7,))
        self.parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
        self.player = Player("model", self.parameters, None, recipe)
        self.optimizer = self.player.optimizer
        for group in self.optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"])  # as on a CUDA device
        self.sums = RunningSums(torch.device("cpu"))
        self.update = kind([self.player], self.sums, **options)

    def step(self, number, gradient=None, loss=1.0):
        generator = torch.Generator().manual_seed(number)
        for p in self.parameters[:2]:
            p.grad = torch.randn(p.shape, generator=generator) * (1 + number)
        if gradient is not None:
            self.parameters[0].grad[1, 2] = gradient
        self.sums.number.fill_(number)
        values = {"loss": loss, "elbo": -1.0, "observations": 3.0, "groups": 2.0}
        units = {"loss": "group", "elbo": "group"}
        self.update({name: torch.tensor(value) for name, value in values.items()}, units)

    def everything(self):
        state = [self.optimizer.state[p] for p in self.parameters[:2]]
        return [
            *(p.detach().clone() for p in self.parameters),
            *(value.clone() for moments in state for value in moments.values()),
        ]


@pytest.fixture(autouse=True)
def fresh():
    """Reset the compiler's counters and caches."""
    torch._dynamo.reset()


CLIPPED = Adam(learning_rate=0.1, weight_decay=0.3, gradient_clip=2.0, betas=(0.5, 0.7), eps=0.1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("recipe", [Adam(learning_rate=0.1), CLIPPED], ids=["Adam", "clipped"])
def test_the_update_is_adamw_and_its_state_is_that_of_the_optimiser(recipe, backend):
    plain, compiled = Updates(recipe), Updates(recipe, CompiledUpdate, backend=backend)
    for number in range(6):
        for updates in (plain, compiled):
            set_rates(updates.optimizer, [0.1 / (1 + number)])
            updates.step(number)
    torch.testing.assert_close(compiled.everything(), plain.everything(), rtol=1e-5, atol=1e-6)
    assert compiled.sums.read() == pytest.approx(plain.sums.read(), rel=1e-6)
    # Each continues from the state of the other.
    compiled.optimizer.load_state_dict(deepcopy(plain.optimizer.state_dict()))
    plain.step(6)
    compiled.step(6)
    torch.testing.assert_close(compiled.everything(), plain.everything(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_resumed_update_continues_with_the_state_and_the_sums(backend):
    plain, before = Updates(), Updates()
    for number in range(4):
        plain.step(number)
        if number < 2:
            before.step(number)
    after = Updates(kind=CompiledUpdate, backend=backend)  # compiled from its first step on
    for ours, theirs in zip(after.parameters, before.parameters, strict=True):
        ours.data.copy_(theirs)
    after.optimizer.load_state_dict(deepcopy(before.optimizer.state_dict()))
    after.sums.load_state_dict(before.sums.state_dict())
    for number in (2, 3):
        after.step(number)
    torch.testing.assert_close(after.everything(), plain.everything(), rtol=1e-5, atol=1e-6)
    assert after.sums.read() == pytest.approx(plain.sums.read(), rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"gradient": float("nan")}, "gradient_norm is nan"),
        ({"gradient": float("inf")}, "gradient_norm is inf"),
        ({"loss": float("nan")}, "loss is nan"),
    ],
)
def test_a_step_that_is_not_finite_changes_nothing_and_is_named(wrong, named, backend):
    updates = Updates(Adam(gradient_clip=1.0), CompiledUpdate, backend=backend)
    for number in range(3):
        updates.step(number)
    before, values = updates.everything(), updates.sums.read()
    updates.step(3, **wrong)
    updates.step(4)  # updates stay off
    assert updates.sums.failure()[0] == 3 and named in updates.sums.failure()[1]
    torch.testing.assert_close(updates.everything(), before, rtol=0, atol=0)
    assert updates.sums.read() == values


@pytest.mark.parametrize("base", [0.0, 0.5, 0.9, 0.999, 1 - 1e-6])
@pytest.mark.parametrize("steps", [1, 2, 1000])
def test_one_minus_a_power_has_full_precision_in_float32(base, steps):
    exponent = torch.tensor([float(steps)])
    expected = -math.expm1(steps * math.log(base)) if base else 1.0
    assert _one_minus_power(base, exponent).item() == pytest.approx(expected, rel=2e-7)


OTHERS = {
    "amsgrad": Adam(amsgrad=True),
    "SGD": Torch("SGD"),
    "plain Adam": Torch("Adam", {"fused": True}),
    "NAdam": Torch("NAdam"),
    "maximize": Torch("AdamW", {"maximize": True, "fused": True}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_optimiser_with_another_formula_is_refused(name):
    player = Player("model", [torch.nn.Parameter(torch.ones(3))], ["a"], OTHERS[name])
    assert not compilable([player])
    with pytest.raises(ValueError, match="AdamW"):
        CompiledUpdate([player], RunningSums(torch.device("cpu")))


def test_several_parameter_groups_and_several_players_are_refused():
    a, b = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    groups = Player("model", [a, b], ["a.weight", "b.weight"], Adam(learning_rates={"a": 0.1}))
    pair = [Player("model", [a], ["a"], Adam()), Player("critic", [b], ["b"], Adam())]
    assert compilable(pair[:1]) and compilable(pair[1:])
    for players in ([groups], pair):
        assert not compilable(players)
        with pytest.raises(ValueError, match="AdamW"):
            CompiledUpdate(players, RunningSums(torch.device("cpu")))
