import math

import pytest
import torch

from mlvae import Adam, Batch, Groups
from mlvae.training.step import TrainingStep
from mlvae.training.sums import averages


def batches(n=3):
    labels = [torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 1]), torch.tensor([0])]
    return [Batch(torch.rand(len(i), 1, 8, 8), Groups.of(i)) for i in labels[:n]]


def step_of(model, recipe=None, **options):
    return TrainingStep(model, (recipe or Adam()).build(model.parameters()), **options)


def test_a_step_is_plain_adam_on_the_loss(small_model):
    model, reference = small_model(), small_model()
    step = step_of(model)
    adam = torch.optim.Adam(reference.parameters(), lr=1e-3)
    for i, batch in enumerate(batches()):
        step(batch, i, torch.Generator().manual_seed(i))
        adam.zero_grad()
        reference(batch, generator=torch.Generator().manual_seed(i)).loss.backward()
        adam.step()
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_averages_are_totals_over_observations_and_over_groups(small_model):
    model = small_model()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    step = step_of(model, Adam(learning_rate=1e-30))  # the model stays as it is
    objectives = []
    for i, batch in enumerate(batches()):
        step(batch, i, torch.Generator().manual_seed(i))
        objectives.append(model(batch, generator=torch.Generator().manual_seed(i)))
    values = step.sums.read()
    style_kl = torch.cat([o.terms["style_kl"] for o in objectives])
    content_kl = torch.cat([o.terms["content_kl"] for o in objectives])
    elbo = torch.cat([o.elbo for o in objectives])
    assert values["style_kl_per_observation"] == pytest.approx(style_kl.mean().item(), rel=1e-5)
    assert values["content_kl_per_group"] == pytest.approx(content_kl.mean().item(), rel=1e-5)
    assert values["elbo_per_group"] == pytest.approx(elbo.mean().item(), rel=1e-5)
    assert values["elbo_per_observation"] == pytest.approx(elbo.sum().item() / 10, rel=1e-5)
    assert values["loss"] == pytest.approx(-elbo.mean().item(), rel=1e-5)


def test_clipping_bounds_the_norm_of_the_whole_gradient(small_model):
    model = small_model()
    step = step_of(model, gradient_clip=0.5)
    step(batches()[0], 0)
    norms = [p.grad.norm() for p in model.parameters()]
    assert torch.stack(norms).norm().item() == pytest.approx(0.5, rel=1e-4)
    assert step.sums.read()["gradient_norm"] > 0.5  # what is reported is the norm before clipping


def test_a_step_that_is_not_finite_changes_nothing_and_is_named(small_model):
    model = small_model()
    step = step_of(model)
    step(batches()[0], 0, torch.Generator().manual_seed(0))
    assert step.sums.failure() is None
    before = {name: value.clone() for name, value in model.state_dict().items()}
    values = step.sums.read()
    bad = batches()[0]
    bad.x[0] = math.nan
    step(bad, 1)
    step(batches()[0], 2)  # updates stay off once something was not finite
    number, what = step.sums.failure()
    assert number == 1 and "log_likelihood is nan" in what and "loss" not in what
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert step.sums.totals.tolist()[0] == pytest.approx(values["loss"] * 3)


def test_a_gradient_that_is_not_finite_counts_although_the_loss_is(small_model):
    class Kink(torch.nn.Module):
        """sqrt at zero: a finite value with an infinite gradient."""

        def __init__(self):
            super().__init__()
            self.inner = small_model()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, batch, generator=None):
            objective = self.inner(batch, generator=generator)
            return type(objective)(
                objective.loss + self.weight.sqrt(), objective.elbo, objective.terms, 6, 3
            )

    step = step_of(Kink())
    step(batches()[0], 7)
    assert step.sums.failure() == (7, "gradient_norm is inf")


@pytest.mark.parametrize(("precision", "within"), [("float32", "medium"), ("tf32", "high")])
def test_tf32_is_set_for_the_step_alone_and_nothing_else_is_overruled(
    small_model, precision, within
):
    model, seen, before = small_model(), [], torch.get_float32_matmul_precision()
    step = step_of(model, precision=precision)
    model.register_forward_pre_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
    for parameter in model.parameters():
        parameter.register_hook(lambda _: seen.append(torch.get_float32_matmul_precision()))
    torch.set_float32_matmul_precision("medium")  # somebody's own choice
    try:
        step(batches()[0], 0)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert len(seen) > 2 and set(seen) == {within}


def test_sums_go_on_after_a_checkpoint(small_model):
    whole, first, second = (step_of(small_model()) for _ in range(3))
    for i, batch in enumerate(batches()):
        whole(batch, i, torch.Generator().manual_seed(i))
    first(batches()[0], 0, torch.Generator().manual_seed(0))
    second.sums.load_state_dict(first.sums.state_dict())
    assert second.sums.read() == first.sums.read()
    second.sums.reset()
    second.sums.load_state_dict(second.sums.state_dict())
    assert not second.sums.totals.any()
    third = step_of(small_model())
    third.sums.load_state_dict(step_of(small_model()).sums.state_dict())
    assert third.sums.totals is None  # nothing was ever summed


def test_the_loss_average_is_per_group():
    values = averages({"loss": 12.0, "kl": 6.0}, num_observations=3, num_groups=2)
    assert values == {"loss": 6.0, "kl_per_observation": 2.0, "kl_per_group": 3.0}
