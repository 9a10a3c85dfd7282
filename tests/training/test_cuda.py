"""What is different on a CUDA device: run wherever there is one."""

import pytest
import torch

import mlvae
from mlvae import Adam
from mlvae.data import Grouped, Shuffled, StoredImages
from mlvae.likelihoods import Bernoulli, LearnedGaussian
from mlvae.training.seeding import seeded
from mlvae.training.step import TrainingStep
from mlvae.training.validation import evaluate_bound

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("batching", [Shuffled(100), Grouped(groups=4, members=16)])
def test_a_step_never_waits_for_the_device(small_model, digits, batching):
    data, model = digits.train.to("cuda"), small_model().cuda()
    step = TrainingStep(model, Adam(gradient_clip=1.0).build(model.parameters()))
    order, noise = torch.Generator("cuda"), torch.Generator("cuda")
    plan = batching.plan(data, seeded(order, 0, "order"))
    step(plan[0], 0, seeded(noise, 0, "noise", 0))  # allocations of the first step may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        for i in range(1, len(plan)):
            step(plan[i], i, seeded(noise, 0, "noise", i))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert step.failure() is None


def test_a_step_that_is_not_finite_is_found_steps_later(small_model, digits):
    data, model = digits.train.to("cuda"), small_model().cuda()
    step = TrainingStep(model, Adam().build(model.parameters()))
    batch = data.batch(range(100))
    step(batch, 0)
    before = [p.clone() for p in model.parameters()]
    bad = data.batch(range(100))
    bad.x[0] = float("nan")
    for i, each in enumerate((bad, batch, batch), start=1):
        step(each, i)
    assert step.failure()[0] == 1
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_training_on_the_device_reaches_what_the_cpu_reaches(digits, tmp_path):
    losses = {}
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = mlvae.models.MLVAE(digits.train.shape)
        result = mlvae.train(
            model, digits.train, run=tmp_path / device, device=device, epochs=30, progress=False
        )
        model = mlvae.load(result.run)
        losses[device] = evaluate_bound(model, digits.validation, Shuffled(60))["loss"]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.05)


def test_a_run_moves_between_devices(small_model, digits, tmp_path):
    options = {"run": tmp_path, "progress": False}
    mlvae.train(small_model(), digits.train, device="cuda", epochs=1, **options)
    mlvae.train(small_model(), digits.train, device="cpu", epochs=2, resume=True, **options)
    mlvae.train(small_model(), digits.train, device="cuda", epochs=3, resume=True, **options)
    model = mlvae.load(tmp_path, device="cuda")
    assert model.infer_style(digits.test.x[:3]).mean.device.type == "cuda"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("batching", [Shuffled(100), Grouped(groups=4, members=16)])
@pytest.mark.parametrize("likelihood", [Bernoulli(), LearnedGaussian()])
def test_captured_steps_are_the_eager_ones(small_model, digits, precision, batching, likelihood):
    data, states = digits.train.to("cuda"), []
    for graphs in (False, True):
        model = small_model(likelihood=likelihood).cuda()
        adam = Adam(gradient_clip=10.0, schedule="cosine")
        optimizer = adam.build(model.parameters())
        step = TrainingStep(
            model, optimizer, gradient_clip=10.0, precision=precision, graphs=graphs
        )
        order, noise = torch.Generator("cuda"), torch.Generator("cuda")
        number = 0
        for epoch in range(5):
            for batch in batching.plan(data, seeded(order, 0, "order", epoch)):
                adam.set_rate(optimizer, adam.rate(number, 200))
                model.objective.kl_scale.fill_(min(1.0, number / 50))
                step(batch, number, seeded(noise, 0, "noise", number))
                number += 1
        assert step.failure() is None
        states.append((step.read(), [p.detach().cpu() for p in model.parameters()]))
        if graphs:
            assert not step.run.failed and len(step.run.graphs) >= 1
    (eager, before), (captured, after) = states
    # Sums over groups add in no fixed order on CUDA, so not bit for bit.
    assert captured == pytest.approx(eager, rel=1e-3)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


def test_a_captured_step_that_is_not_finite_is_found_steps_later(small_model, digits):
    data, model = digits.train.to("cuda"), small_model().cuda()
    step = TrainingStep(model, Adam().build(model.parameters()), graphs=True)
    batch, bad = data.batch(range(100)), data.batch(range(100))
    bad.x[0] = float("nan")
    noise = torch.Generator("cuda")
    for i in range(10):
        step(batch, i, seeded(noise, 0, "noise", i))
    before = [p.clone() for p in model.parameters()]
    for i, each in enumerate((bad, batch, batch), start=10):
        step(each, i, seeded(noise, 0, "noise", i))
    assert step.failure()[0] == 10
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_step_that_cannot_be_captured_runs_eagerly_and_says_so(small_model, digits, caplog):
    class Waits(mlvae.models.MLVAE):
        def forward(self, batch, *, generator=None):
            batch.x.sum().item()
            return super().forward(batch, generator=generator)

    data, model = digits.train.to("cuda"), Waits((1, 8, 8)).cuda()
    step = TrainingStep(model, Adam().build(model.parameters()), graphs=True)
    noise = torch.Generator("cuda")
    for i in range(8):
        step(data.batch(range(100)), i, seeded(noise, 0, "noise", i))
    assert step.failure() is None and step.read()["elbo_per_observation"] < 0
    assert caplog.text.count("cannot be captured") == 1


@pytest.fixture
def stored(digits, tmp_path):
    """The digits as bytes, on the disk."""
    x = (digits.train.x * 255).to(torch.uint8)
    (tmp_path / "images.u8").write_bytes(x.numpy().tobytes())
    labels = digits.train.groups.index
    return mlvae.GroupedData(StoredImages(tmp_path / "images.u8", tuple(x.shape)), labels)


def test_images_on_the_disk_move_to_the_device_if_it_has_room(stored):
    moved = stored.to("cuda")
    assert moved.x.device.type == moved.device.type == "cuda"
    assert torch.equal(moved.batch().x.cpu(), stored.batch().x)


def test_images_that_stay_on_the_disk_travel_without_waiting(stored, small_model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 1000))
    data = stored.to("cuda")
    assert isinstance(data.x, StoredImages) and data.device.type == "cuda"
    rows = torch.tensor([3, 1], device="cuda")
    assert torch.equal(data.observations(rows).cpu(), stored.observations(rows.cpu()))
    model, noise = small_model().cuda(), torch.Generator("cuda")
    step = TrainingStep(model, Adam().build(model.parameters()))
    plan = Shuffled(100).plan(data, torch.Generator("cuda"))
    step(plan[0], 0, seeded(noise, 0, "noise", 0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for i in range(1, len(plan)):
            step(plan[i], i, seeded(noise, 0, "noise", i))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert step.failure() is None
