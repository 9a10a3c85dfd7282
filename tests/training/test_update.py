"""The compiled update is PyTorch's AdamW; a CPU runs the same code."""

import os
import shutil
from copy import deepcopy

import pytest
import torch

from mlvae.training import Adam
from mlvae.training.speed.update import CompiledUpdate, Update
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
        self.optimizer = recipe.build(self.parameters)
        for group in self.optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"])  # as on a CUDA device
        self.sums = RunningSums(torch.device("cpu"))
        self.update = kind(
            self.optimizer,
            self.parameters,
            self.sums,
            gradient_clip=recipe.gradient_clip,
            **options,
        )

    def step(self, number, gradient=None, loss=1.0):
        generator = torch.Generator().manual_seed(number)
        for p in self.parameters[:2]:
            p.grad = torch.randn(p.shape, generator=generator) * (1 + number)
        if gradient is not None:
            self.parameters[0].grad[1, 2] = gradient
        self.sums.number.fill_(number)
        values = {"loss": loss, "elbo": -1.0, "observations": 3.0, "groups": 2.0}
        self.update({name: torch.tensor(value) for name, value in values.items()})

    def everything(self):
        state = [self.optimizer.state[p] for p in self.parameters[:2]]
        return [
            *(p.detach().clone() for p in self.parameters),
            *(values.clone() for of in state for values in of.values()),
        ]


@pytest.fixture(autouse=True)
def fresh():
    """What was compiled before does not count."""
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "recipe",
    [
        Adam(learning_rate=0.1),
        Adam(learning_rate=0.1, weight_decay=0.3, gradient_clip=2.0, betas=(0.5, 0.7), eps=0.1),
    ],
    ids=["adam", "adamw_clipped"],
)
def test_it_is_adamw_and_its_state_is_the_optimisers_own(recipe, backend):
    plain, compiled = Updates(recipe), Updates(recipe, CompiledUpdate, backend=backend)
    for number in range(6):
        for each in (plain, compiled):
            Adam.set_rate(each.optimizer, 0.1 / (1 + number))
            each.step(number)
    torch.testing.assert_close(compiled.everything(), plain.everything(), rtol=1e-5, atol=1e-6)
    assert compiled.sums.read() == pytest.approx(plain.sums.read(), rel=1e-6)
    # Either goes on where the other was.
    compiled.optimizer.load_state_dict(deepcopy(plain.optimizer.state_dict()))
    plain.step(6)
    compiled.step(6)
    torch.testing.assert_close(compiled.everything(), plain.everything(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_resumed_it_goes_on_with_the_state_and_the_sums(backend):
    plain, before = Updates(), Updates()
    for number in range(4):
        plain.step(number)
        if number < 2:
            before.step(number)
    after = Updates(kind=CompiledUpdate, backend=backend)  # compiled from its first step on
    for mine, theirs in zip(after.parameters, before.parameters, strict=True):
        mine.data.copy_(theirs)
    after.optimizer.load_state_dict(deepcopy(before.optimizer.state_dict()))
    after.sums.load_state_dict(before.sums.state_dict())
    for number in (2, 3):
        after.step(number)
    torch.testing.assert_close(after.everything(), plain.everything(), rtol=1e-5, atol=1e-6)
    assert after.sums.read() == pytest.approx(plain.sums.read(), rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"gradient": float("nan")}, "gradient_norm is nan"),
        ({"gradient": float("inf")}, "gradient_norm is inf"),
        ({"loss": float("nan")}, "loss is nan"),
    ],
)
def test_a_step_that_is_not_finite_changes_nothing_and_is_named(wrong, said, backend):
    updates = Updates(Adam(gradient_clip=1.0), CompiledUpdate, backend=backend)
    for number in range(3):
        updates.step(number)
    before, values = updates.everything(), updates.sums.read()
    updates.step(3, **wrong)
    updates.step(4)  # updates stay off
    assert updates.sums.failure()[0] == 3 and said in updates.sums.failure()[1]
    torch.testing.assert_close(updates.everything(), before, rtol=0, atol=0)
    assert updates.sums.read() == values
