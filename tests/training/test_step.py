"""One training step: gradients, sums over batches, and steps that are not finite."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mlvae import Adam, Batch, Groups, Speed
from mlvae.objectives import Objective
from mlvae.training.loop import training_step
from mlvae.training.step import StepParts
from mlvae.training.sums import averages


def batches(n=3):
    labels = [torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 1]), torch.tensor([0])]
    return [Batch(torch.rand(len(i), 1, 8, 8), Groups.of(i)) for i in labels[:n]]


def take(parts, batch, number):
    """Step ``number``, whose noise has the seed ``number``."""
    parts.sums.number.fill_(number)
    training_step(parts, batch, torch.Generator().manual_seed(number))


def test_a_step_is_plain_adam_on_the_loss(small_model):
    model, reference = small_model(), small_model()
    parts = StepParts(model, Adam())
    adam = torch.optim.Adam(reference.parameters(), lr=1e-3)
    for i, batch in enumerate(batches()):
        take(parts, batch, i)
        adam.zero_grad()
        reference(batch, generator=torch.Generator().manual_seed(i)).loss.backward()
        adam.step()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_averages_are_totals_over_observations_or_over_groups(small_model):
    model = small_model()
    parts = StepParts(model, Adam(learning_rate=1e-30))  # the model stays as it is
    objectives = []
    for i, batch in enumerate(batches()):
        take(parts, batch, i)
        objectives.append(model(batch, generator=torch.Generator().manual_seed(i)))
    values = parts.sums.read()
    style_kl = torch.cat([o.per_observation["style_kl"] for o in objectives])
    content_kl = torch.cat([o.per_group["content_kl"] for o in objectives])
    elbo = torch.cat([o.elbo for o in objectives])
    assert values["style_kl_per_observation"] == pytest.approx(style_kl.mean().item(), rel=1e-5)
    assert values["content_kl_per_group"] == pytest.approx(content_kl.mean().item(), rel=1e-5)
    assert values["elbo_per_group"] == pytest.approx(elbo.mean().item(), rel=1e-5)
    assert values["elbo_per_observation"] == pytest.approx(elbo.sum().item() / 10, rel=1e-5)
    assert values["loss"] == pytest.approx(-elbo.mean().item(), rel=1e-5)
    assert not {"style_kl_per_group", "content_kl_per_observation"} & values.keys()


def test_clipping_bounds_the_norm_of_the_whole_gradient(small_model):
    model = small_model()
    parts = StepParts(model, Adam(gradient_clip=0.5))
    take(parts, batches()[0], 0)
    norms = [p.grad.norm() for p in model.parameters()]
    assert torch.stack(norms).norm().item() == pytest.approx(0.5, rel=1e-4)
    assert parts.sums.read()["gradient_norm"] > 0.5  # the norm before clipping is reported


def test_a_step_that_is_not_finite_changes_nothing_and_is_named(small_model):
    model = small_model()
    parts = StepParts(model, Adam())
    take(parts, batches()[0], 0)
    assert parts.sums.failure() is None
    before = {name: value.clone() for name, value in model.state_dict().items()}
    values = parts.sums.read()
    bad = batches()[0]
    bad.x[0] = math.nan
    take(parts, bad, 1)
    take(parts, batches()[0], 2)  # updates stay off after a step that was not finite
    number, what = parts.sums.failure()
    assert number == 1 and "log_likelihood is nan" in what and "loss" not in what
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert parts.sums.totals.tolist()[0] == pytest.approx(values["loss"] * 3)


class Kink(nn.Module):
    """sqrt at zero: a finite value with an infinite gradient."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, batch, generator=None):
        objective = self.inner(batch, generator=generator)
        return replace(objective, losses={"model": objective.loss + self.weight.sqrt()})


def test_a_gradient_that_is_not_finite_counts_although_the_loss_is(small_model):
    parts = StepParts(Kink(small_model()), Adam())
    take(parts, batches()[0], 7)
    assert parts.sums.failure() == (7, "gradient_norm is inf")


@pytest.mark.parametrize(("precision", "within"), [("float32", "medium"), ("tf32", "high")])
def test_tf32_is_set_for_the_step_only_and_a_setting_of_the_user_stays(
    small_model, precision, within
):
    model, seen, before = small_model(), [], torch.get_float32_matmul_precision()
    parts = StepParts(model, Adam(), speed=Speed(precision))
    model.register_forward_pre_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
    for parameter in model.parameters():
        parameter.register_hook(lambda _: seen.append(torch.get_float32_matmul_precision()))
    torch.set_float32_matmul_precision("medium")  # the user's setting
    try:
        take(parts, batches()[0], 0)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert len(seen) > 2 and set(seen) == {within}


def test_sums_continue_after_a_checkpoint(small_model):
    first, second = (StepParts(small_model(), Adam()) for _ in range(2))
    data = batches()
    take(first, data[0], 0)
    take(second, data[1], 0)
    second.sums.load_state_dict(first.sums.state_dict())
    assert second.sums.read() == first.sums.read()
    second.sums.reset()
    second.sums.load_state_dict(second.sums.state_dict())
    assert not second.sums.totals.any()
    third = StepParts(small_model(), Adam())
    third.sums.load_state_dict(StepParts(small_model(), Adam()).sums.state_dict())
    assert third.sums.totals is None  # nothing was summed yet


def test_sums_of_a_checkpoint_in_another_order_are_sorted_by_name(small_model):
    first, second = (StepParts(small_model(), Adam()) for _ in range(2))
    data = batches()
    for parts in (first, second):
        take(parts, data[0], 0)
    saved = first.sums.state_dict()
    turned = {"names": saved["names"][::-1], "sums": saved["sums"].flip(0)}
    second.sums.load_state_dict(turned)
    for parts in (first, second):
        take(parts, data[1], 1)
    assert second.sums.read() == first.sums.read()
    assert second.sums.names == first.sums.names != turned["names"]


def test_a_loss_is_per_unit_of_its_mean_and_a_term_per_its_own_unit():
    totals = {"loss": 12.0, "elbo": -9.0, "kl": 6.0, "content_kl": 8.0, "gap": 1.5}
    counts = {"observations": 3.0, "groups": 2.0}
    units = {"loss": "group", "elbo": "group", "kl": "observation", "content_kl": "group"}
    assert averages(totals | counts, {**units, "gap": "batch"}) == {
        "loss": 6.0,
        "elbo_per_observation": -3.0,
        "elbo_per_group": -4.5,
        "kl_per_observation": 2.0,
        "content_kl_per_group": 4.0,
        "gap": 0.5,
    }


class Constant(nn.Module):
    """An objective with a value of the whole batch, which differs between batches."""

    def __init__(self, values):
        super().__init__()
        self.weight, self.values = nn.Parameter(torch.ones(())), list(values)

    def forward(self, batch, *, generator=None):
        n = len(batch.x)
        return Objective(
            losses={"model": self.weight**2},
            per_observation={"error": torch.full((n,), 2.0)},
            scalars={"entanglement": torch.tensor(self.values.pop(0))},
            num_observations=n,
        )


def test_a_scalar_of_a_batch_is_reported_as_it_is():
    parts = StepParts(Constant([0.5]), Adam())
    x = torch.rand(100, 3)
    take(parts, Batch(x, Groups.of([i % 10 for i in range(100)])), 0)
    values = parts.sums.read()
    assert values["entanglement"] == 0.5 and values["error_per_observation"] == 2.0
    assert not [name for name in values if name.startswith("entanglement_")]


def test_scalars_of_batches_are_averaged_with_the_observations_as_weights():
    parts = StepParts(Constant([0.5, 2.0]), Adam())
    for number, n in enumerate((30, 10)):
        take(parts, Batch.ungrouped(torch.rand(n, 3)), number)
    assert parts.sums.read()["entanglement"] == pytest.approx((30 * 0.5 + 10 * 2.0) / 40)


class Normalised(nn.Module):
    """A model with batch normalisation before its output."""

    def __init__(self):
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 1)

    def forward(self, batch, *, generator=None):
        error = self.head(self.norm(batch.x))[:, 0].square()
        return Objective({"model": error.mean()}, {"error": error}, num_observations=len(error))


def test_buffers_are_those_of_the_last_good_step():
    model = Normalised()
    parts = StepParts(model, Adam())
    x = torch.randn(6, 4)
    for number in range(3):
        take(parts, Batch.ungrouped(x + number), number)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert before["norm.num_batches_tracked"] == 3
    bad = x.clone()
    bad[2, 1] = math.inf
    take(parts, Batch.ungrouped(bad), 3)
    take(parts, Batch.ungrouped(x), 4)
    assert parts.sums.failure()[0] == 3
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_buffers_change_in_good_steps_as_without_a_guard():
    model, reference = Normalised(), Normalised()
    reference.load_state_dict(model.state_dict())
    parts = StepParts(model, Adam())
    for number in range(3):
        x = torch.randn(6, 4)
        take(parts, Batch.ungrouped(x), number)
        reference.norm(x)
    for ours, theirs in zip(model.buffers(), reference.buffers(), strict=True):
        assert torch.equal(ours, theirs)
