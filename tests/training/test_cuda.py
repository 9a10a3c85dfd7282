"""Behaviour that differs on a CUDA device; skipped without one."""

import contextlib
import logging
import warnings
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

import mlvae
from mlvae import Adam, Reports, Speed, Torch, Warmup
from mlvae.data import Grouped, Shuffled, SourceRows, StoredImages
from mlvae.kernels.accumulation import accumulated
from mlvae.likelihoods import Bernoulli, LearnedGaussian
from mlvae.models.protocol import traits
from mlvae.networks import Conv
from mlvae.objectives import Objective
from mlvae.training.loop import training_step
from mlvae.training.seeding import seeded
from mlvae.training.speed.plans import Plans
from mlvae.training.speed.stepper import Stepper
from mlvae.training.speed.update import CompiledUpdate, Update
from mlvae.training.step import StepParts
from mlvae.training.validation import evaluate_bound

if torch.cuda.is_available():
    from mlvae.kernels import accumulation_triton, dense_triton

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

QUIET = Reports(progress=False)
COSINE = Adam(gradient_clip=10.0, schedule="cosine")
EAGER = Speed(cuda_graphs=False)
IN_BLOCKS = Speed(steps_per_graph=4)


@pytest.fixture
def never_waits():
    """A context in which waiting for the device is an error."""

    @contextlib.contextmanager
    def context():
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Synchronization debug mode")
                torch.cuda.set_sync_debug_mode("error")
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return context


class Training:
    """Steps of a model by :class:`Stepper`, epoch by epoch.

    Args:
        model: the model, on the device.
        data: its data, on the device.
        speed: precision, graphs, length of blocks.
        recipe: the optimiser of each player.
        batching: 15 batches of the digits, the last of them smaller, by default.
        warmup: KL warm-up, for a model with its factors.

    Attributes:
        number: number of the next step.
        blocks: number of calls that took several steps.
    """

    def __init__(self, model, data, speed, *, recipe=COSINE, batching=None, warmup=None):
        self.data, self.model = data, model
        self.batching = batching or Shuffled(100)
        self.parts = StepParts(model, recipe, speed=speed)
        self.order = torch.Generator("cuda")
        self.number = self.epochs = self.blocks = 0
        self.stepper = Stepper(
            training_step,
            self.parts,
            data,
            seed=0,
            total_steps=75,
            warmup=warmup or Warmup(),
            scales=dict(traits(model).scales),
            room=self.batching.num_batches(data),
        )

    def plan(self):
        """The plan of the next epoch."""
        return self.batching.plan(self.data, seeded(self.order, 0, "order", self.epochs))

    def steps(self, plan, position):
        """Take a step or a block from batch ``position`` on; the number of steps."""
        taken = self.stepper(plan, position, self.number, most=len(plan) - position)
        self.number += taken
        self.blocks += taken > 1
        return taken

    def epoch(self):
        plan, position = self.plan(), 0
        while position < len(plan):
            position += self.steps(plan, position)
        self.epochs += 1

    def run(self, epochs=5):
        """The averages of all steps, and the parameters afterwards."""
        for _ in range(epochs):
            self.epoch()
        assert self.parts.sums.failure() is None
        return self.parts.sums.read(), self.weights()

    def weights(self):
        return [p.detach().cpu().clone() for p in self.model.parameters()]

    def assert_captured(self, *lengths):
        """Graphs were recorded, of blocks of these lengths."""
        assert self.stepper.recorder.enabled
        assert {form[1][0] for form in self.stepper.recorder.graphs} == set(lengths)


WARMUP = Warmup(kl_steps=50, content_first_steps=30)


def assert_close(ours, theirs, *, rounding=1e-3):
    """Averages and parameters agree: sums over groups add in no fixed order on CUDA."""
    (reports, weights), (other_reports, other_weights) = ours, theirs
    assert reports == pytest.approx(other_reports, rel=rounding)
    for a, b in zip(weights, other_weights, strict=True):
        torch.testing.assert_close(a, b, rtol=10 * rounding, atol=rounding)


# Single steps


@pytest.mark.parametrize("batching", [Shuffled(100), Grouped(groups=4, members=16)])
def test_a_step_never_waits_for_the_device(small_model, digits, batching, never_waits):
    data, model = digits.train.to("cuda"), small_model().cuda()
    parts = StepParts(model, Adam(gradient_clip=1.0))
    order, noise = torch.Generator("cuda"), torch.Generator("cuda")
    plan = batching.plan(data, seeded(order, 0, "order"))
    training_step(parts, plan[0], seeded(noise, 0, "noise", 0))  # first allocations may wait
    with never_waits():
        for i in range(1, len(plan)):
            parts.sums.number.fill_(i)
            training_step(parts, plan[i], seeded(noise, 0, "noise", i))
    assert parts.sums.failure() is None


def test_a_step_that_is_not_finite_is_found_steps_later(small_model, digits):
    data, model = digits.train.to("cuda"), small_model().cuda()
    parts, noise = StepParts(model, Adam()), torch.Generator("cuda")
    batch, bad = data.batch(range(100)), data.batch(range(100))
    bad.x[0] = float("nan")
    training_step(parts, batch, noise)
    before = [p.clone() for p in model.parameters()]
    for number, next_batch in enumerate((bad, batch, batch), start=1):
        parts.sums.number.fill_(number)
        training_step(parts, next_batch, noise)
    assert parts.sums.failure()[0] == 1
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_training_on_the_device_reaches_what_the_cpu_reaches(digits, tmp_path):
    losses = {}
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = mlvae.models.MLVAE(digits.train.shape)
        result = mlvae.train(
            model, digits.train, run=tmp_path / device, device=device, epochs=30, reports=QUIET
        )
        model = mlvae.load(result.run)
        losses[device] = evaluate_bound(model, digits.validation, Shuffled(60))["loss"]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.05)


def test_a_run_moves_between_devices(small_model, digits, tmp_path):
    options = {"run": tmp_path, "reports": QUIET}
    mlvae.train(small_model(), digits.train, device="cuda", epochs=1, **options)
    mlvae.train(small_model(), digits.train, device="cpu", epochs=2, resume=True, **options)
    mlvae.train(small_model(), digits.train, device="cuda", epochs=3, resume=True, **options)
    model = mlvae.load(tmp_path, device="cuda")
    assert model.infer_style(digits.test.x[:3]).mean.device.type == "cuda"


# Captured steps


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("batching", [Shuffled(100), Grouped(groups=4, members=16)])
@pytest.mark.parametrize("likelihood", [Bernoulli(), LearnedGaussian()])
def test_captured_steps_are_the_eager_ones(small_model, digits, precision, batching, likelihood):
    data, ends = digits.train.to("cuda"), []
    for graphs in (False, True):
        model = small_model(likelihood=likelihood).cuda()
        training = Training(
            model, data, Speed(precision, graphs), batching=batching, warmup=WARMUP
        )
        ends.append(training.run())
    training.assert_captured(1)
    assert_close(*ends)


def test_a_captured_step_that_is_not_finite_is_found_steps_later(small_model, digits):
    data, model = digits.train.to("cuda"), small_model().cuda()
    training = Training(model, data, Speed())
    training.epoch()
    training.assert_captured(1)
    plan = training.plan()
    assert training.steps(plan, 0) == 1
    before = training.weights()
    data.x[plan.order[plan.rows[1]]] = float("nan")  # a row of batch 1
    assert [training.steps(plan, position) for position in (1, 2, 3)] == [1, 1, 1]
    assert training.parts.sums.failure()[0] == 16
    assert all(map(torch.equal, before, training.weights()))


class Waits(mlvae.models.MLVAE):
    """A model that waits for the device, so that no graph can be captured."""

    def forward(self, batch, *, generator=None):
        batch.x.sum().item()
        return super().forward(batch, generator=generator)


@pytest.mark.parametrize("length", [1, 4])
def test_steps_that_cannot_be_captured_run_eagerly_and_are_logged_once(digits, caplog, length):
    model, data = Waits((1, 8, 8)).cuda(), digits.train.to("cuda")
    training = Training(model, data, Speed(steps_per_graph=length))
    reports, _ = training.run(2)
    assert training.number == 30 and reports["elbo_per_observation"] < 0
    assert training.blocks == (0 if length == 1 else 6)  # blocks run eagerly too
    assert not training.stepper.recorder.enabled and not training.stepper.recorder.graphs
    assert caplog.text.count("cannot be captured") == 1
    torch.randn(3, device="cuda")  # the default generator is as before
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_a_capture_survives_the_garbage_of_an_earlier_training(small_model, digits):
    data = digits.train.to("cuda")
    for _ in range(3):  # the graphs of each are garbage in a cycle when the next is captured
        training = Training(small_model().cuda(), data, Speed())
        training.itself = training
        training.epoch()
        training.assert_captured(1)


@pytest.mark.parametrize("batching", [Shuffled(100), Grouped(groups=4, members=16)])
def test_plans_made_ahead_are_whole_when_late_steps_read_them(digits, batching):
    data = digits.train.to("cuda")
    ahead, now = Plans(batching, data, seed=0), Plans(batching, data, seed=0, ahead=False)
    assert ahead.ahead
    for epoch in range(6):
        plan, expected = ahead.of(epoch), now.of(epoch)
        torch.cuda._sleep(20_000_000)  # long steps, after which batches are gathered
        batches = [(batch.x, batch.groups.index, batch.groups.sizes) for batch in plan]
        del plan
        ahead.expect(epoch + 1)
        junk = [torch.full((len(data),), -1, device="cuda") for _ in range(8)]
        for batch, (x, index, sizes) in zip(expected, batches, strict=True):
            assert torch.equal(batch.x, x) and torch.equal(batch.groups.index, index)
            assert torch.equal(batch.groups.sizes, sizes)
        del junk


# Blocks of steps


def as_bytes(data):
    return mlvae.GroupedData((data.x * 255).to(torch.uint8), data.groups.index)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [as_bytes, lambda data: data])
def test_blocks_of_steps_in_a_graph_are_the_eager_ones(small_model, digits, precision, kind):
    data, ends = kind(digits.train).to("cuda"), []
    for speed in (Speed(precision, cuda_graphs=False), Speed(precision, steps_per_graph=4)):
        model = small_model(likelihood=LearnedGaussian()).cuda()
        training = Training(model, data, speed, warmup=WARMUP)
        ends.append(training.run())
    training.assert_captured(1, 4)
    assert training.blocks == 5 * 3
    assert_close(*ends)


def test_the_first_step_runs_singly_and_three_blocks_eagerly(small_model, digits):
    training = Training(small_model().cuda(), digits.train.to("cuda"), IN_BLOCKS)
    plan, recorder = training.plan(), training.stepper.recorder
    assert training.steps(plan, 0) == 1  # which finds out whether the model has dropout
    assert [training.steps(plan, position) for position in (1, 5, 9)] == [4, 4, 4]
    assert not recorder.graphs
    assert training.steps(plan, 0) == 4
    training.assert_captured(4)


def test_a_block_never_waits_for_the_device(small_model, digits, never_waits):
    data = as_bytes(digits.train).to("cuda")
    training = Training(small_model().cuda(), data, IN_BLOCKS, warmup=WARMUP)
    for _ in range(2):
        training.epoch()
    training.assert_captured(1, 4)
    plan = training.plan()
    with never_waits():
        assert [training.steps(plan, position) for position in (0, 4, 8)] == [4, 4, 4]
    assert training.parts.sums.failure() is None


def test_a_step_in_a_block_that_is_not_finite_is_found_blocks_later(small_model, digits):
    model, data = small_model().cuda(), digits.train.to("cuda")
    training = Training(model, data, IN_BLOCKS)
    for _ in range(2):
        training.epoch()
    plan = training.plan()
    assert training.steps(plan, 0) == 4
    before = training.weights()
    data.x[plan.order[plan.rows[4]]] = float("nan")  # a row of batch 4, the block's first
    assert [training.steps(plan, position) for position in (4, 8)] == [4, 4]
    assert training.parts.sums.failure()[0] == 34
    assert all(map(torch.equal, before, training.weights()))


def test_training_in_blocks_is_training(small_model, digits, tmp_path):
    results = [
        mlvae.train(
            small_model(),
            digits.train,
            validation=digits.validation,
            run=tmp_path / str(steps),
            batching=Shuffled(100),
            device="cuda",
            epochs=4,
            speed=Speed(steps_per_graph=steps),
            reports=QUIET,
        )
        for steps in (1, 4)
    ]
    single, blocks = (result.metrics["validation/loss"] for result in results)
    assert blocks == pytest.approx(single, rel=1e-2)


def test_a_model_with_dropout_takes_single_steps_which_are_captured(small_model, digits, caplog):
    caplog.set_level(logging.INFO, "mlvae")
    data, ends = digits.train.to("cuda"), []
    for speed in (EAGER, IN_BLOCKS):
        model = small_model(network=Conv(widths=(4, 8), dropout=0.5)).cuda()
        training = Training(model, data, speed)
        ends.append(training.run())
    training.assert_captured(1)
    assert training.blocks == 0 and training.stepper.length == 1
    assert caplog.text.count("not 4 at once: the model has dropout") == 1
    # A replay draws from the state of the default generator that its step seeds.
    assert_close(*ends, rounding=1e-2)


class Marked(nn.Module):
    """A model of the elements of x that are not masked, with batch normalisation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.layer = nn.BatchNorm1d(64), nn.Linear(64, 64)

    def forward(self, batch, *, generator=None):
        x, mask = batch.x.flatten(1), batch.given["mask"].flatten(1)
        error = (mask * (self.layer(self.norm(x * mask)) - x)).square().sum(1)
        return Objective(
            losses={"model": error.mean()},
            per_observation={"error": error},
            scalars={"kept": mask.mean()},
            num_observations=len(error),
        )


def masked(digits, part):
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand(len(digits.train), 64, generator=generator) < part).float()
    data = mlvae.GroupedData(digits.train.x, digits.train.groups.index, given={"mask": mask})
    return data.to("cuda")


@pytest.mark.parametrize("speed", [Speed(), IN_BLOCKS], ids=["single", "blocks"])
def test_captured_steps_read_given_values(digits, speed):
    data, ends = masked(digits, 0.5), []
    for chosen in (EAGER, speed):
        training = Training(Marked().cuda(), data, chosen)
        ends.append(training.run())
    training.assert_captured(*{1, speed.steps_per_graph})
    assert_close(*ends)
    kept = data.given["mask"].mean().item()
    assert ends[1][0]["kept"] == pytest.approx(kept, rel=1e-3)
    buffers = [value.float() for value in training.model.buffers()]
    assert buffers[-1] == 75 and all(value.isfinite().all() for value in buffers)


def test_buffers_of_a_captured_step_that_is_not_finite_are_those_before_it(digits):
    data = masked(digits, 1.0)
    training = Training(Marked().cuda(), data, IN_BLOCKS)
    for _ in range(2):
        training.epoch()
    plan = training.plan()
    training.steps(plan, 0)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    data.x[plan.order[plan.rows[4]]] = float("inf")
    for position in (4, 8):
        training.steps(plan, position)
    assert training.parts.sums.failure()[0] == 34
    for name, value in training.model.state_dict().items():
        assert torch.equal(value, before[name]), name


class Critical(nn.Module):
    """A VAE, and a critic that guesses the first element of x from detached codes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.vae = mlvae.models.VAE((1, 8, 8), latent_dim=3)
        self.critic = nn.Linear(3, 1)

    @property
    def players(self):
        return {"model": [*self.vae.parameters()], "critic": [*self.critic.parameters()]}

    def forward(self, batch, *, generator=None):
        objective = self.vae(batch, generator=generator)
        codes = self.vae.encoder(batch.x)[0].mean
        fooled = self.critic(codes).mean()
        guess = (self.critic(codes.detach())[:, 0] - batch.x[:, 0, 2, 2]).square().mean()
        return replace(objective, losses={"model": objective.loss + fooled, "critic": guess})


@pytest.mark.filterwarnings("ignore")  # PyTorch's, about its compiler
@pytest.mark.parametrize("compile", [False, True])
def test_captured_steps_of_two_players_are_the_eager_ones(digits, compile):
    torch._dynamo.reset()
    recipes = {"model": COSINE, "critic": Adam(0.01, warmup_steps=20, gradient_clip=0.1)}
    data, ends = digits.train.to("cuda"), []
    for speed in (EAGER, Speed(steps_per_graph=4, compile=compile)):
        training = Training(Critical().cuda(), data, speed, recipe=recipes)
        ends.append(training.run())
    training.assert_captured(1, 4)
    assert type(training.parts.update) is Update
    assert "loss_critic" in ends[1][0]
    assert_close(*ends, rounding=2e-3)


# Optimisers


@pytest.mark.parametrize("length", [1, 4])
def test_an_optimiser_that_is_not_fused_runs_eagerly_and_is_logged(
    small_model, digits, caplog, length
):
    caplog.set_level(logging.INFO, "mlvae")
    data, ends = digits.train.to("cuda"), []
    recipe = Torch("SGD", {"momentum": 0.9}, learning_rate=1e-4, schedule="cosine")
    for speed in (EAGER, Speed(steps_per_graph=length)):
        training = Training(small_model().cuda(), data, speed, recipe=recipe)
        ends.append(training.run(2))
    assert not training.stepper.recorder.enabled and training.stepper.length == 1
    assert caplog.text.count("not fused") == 1
    assert_close(*ends)


@pytest.mark.filterwarnings("ignore")  # PyTorch's, about its compiler
@pytest.mark.parametrize(
    "recipe",
    [
        Adam(0.01, amsgrad=True),
        Adam(0.01, learning_rates={"encoder": 0.001}),
        Torch("SGD", {"momentum": 0.9}, learning_rate=1e-4),
    ],
    ids=["amsgrad", "groups", "SGD"],
)
def test_a_compiled_training_uses_the_formula_of_its_optimiser(small_model, digits, recipe):
    torch._dynamo.reset()
    data, ends = digits.train.to("cuda"), []
    for speed in (EAGER, Speed(compile=True)):
        training = Training(small_model().cuda(), data, speed, recipe=recipe)
        ends.append(training.run(2))
    assert type(training.parts.update) is Update
    assert_close(*ends, rounding=2e-3)


# Kernels


def counting(counts, name, run):
    def counted(*arguments):
        counts[name] += 1
        return run(*arguments)

    return counted


@pytest.mark.parametrize("activation", ["none", "tanh", "relu"])
@pytest.mark.parametrize(
    ("n", "i", "o"),
    [(256, 784, 500), (80, 500, 40), (1000, 20, 500), (3, 7, 5), (10_000, 64, 1568)],
)
def test_the_kernels_of_a_layer_are_the_formulas(n, i, o, activation):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(n, i).tanh(), torch.randn(o, i) * i**-0.5, torch.randn(o)
    gradient = torch.randn(n, o)
    x, weight, gradient = (values.bfloat16().cuda() for values in (x, weight, gradient))
    bias = bias.cuda()
    z = x.double() @ weight.double().T + bias
    slope = {"none": 1, "tanh": 1 - x.double().square(), "relu": x > 0}[activation]
    results = (
        dense_triton.outputs(x, weight, bias, activation),
        *dense_triton.gradients(gradient, x, weight, True, activation),
    )
    expected = (
        {"none": z, "tanh": z.tanh(), "relu": z.relu()}[activation],
        gradient.double() @ weight.double() * slope,
        gradient.double().T @ x.double(),
        gradient.double().sum(0),
    )
    for result, right in zip(results, expected, strict=True):
        exact = 1e-5 if n <= 1000 else 1e-4  # sums over n in float32
        rounding = 4e-3 if result.dtype == torch.bfloat16 else exact
        assert (result - right).norm() <= rounding * right.norm()


@pytest.mark.parametrize(("n", "num_groups"), [(256, 10), (1, 1), (5000, 3), (300, 300)])
def test_the_kernel_of_accumulation_is_the_formula(n, num_groups):
    torch.manual_seed(0)
    mean, log_variance = (torch.randn(n, 14) * 20).cuda().chunk(2, 1)
    index = torch.randint(num_groups, (n,)).cuda()
    results = accumulation_triton.accumulated(log_variance, mean, index, num_groups)
    expected = accumulated(log_variance.cpu(), mean.cpu(), index.cpu(), num_groups)
    for result, right in zip(results, expected, strict=True):
        torch.testing.assert_close(result.cpu(), right, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")  # PyTorch's, about its compiler
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_compiled_blocks_of_steps_are_the_eager_ones(small_model, digits, precision, monkeypatch):
    used = Counter()
    for module, name in (
        (accumulation_triton, "accumulated"),
        (dense_triton, "outputs"),
        (dense_triton, "gradients"),
    ):
        run = getattr(module, name)
        monkeypatch.setattr(module, name, counting(used, name, run))
    data, ends = as_bytes(digits.train).to("cuda"), []
    # The reference is eager, in float32.
    for speed in (EAGER, Speed(precision, steps_per_graph=4, compile=True)):
        torch._dynamo.reset()
        model = small_model(likelihood=LearnedGaussian()).cuda()
        training = Training(model, data, speed, warmup=WARMUP)
        ends.append(training.run())
    training.assert_captured(1, 4)
    assert isinstance(training.parts.update, CompiledUpdate)
    assert used["accumulated"] and bool(used["outputs"]) == (precision == "bfloat16")
    assert used["outputs"] == used["gradients"]
    assert_close(*ends, rounding={"float32": 1e-3, "tf32": 1e-2, "bfloat16": 3e-2}[precision])


def test_the_largest_of_few_groups_is_found_by_comparison(monkeypatch):
    values, index = torch.randn(500, 3, device="cuda"), torch.arange(500, device="cuda") % 7
    groups = mlvae.Groups(index)
    compared = groups.max(values)
    monkeypatch.setattr("mlvae.kernels.segment.MOST_COMPARISONS", 0)
    assert torch.equal(compared, groups.max(values))


# Images on the disk


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


def test_images_that_stay_on_the_disk_travel_without_waiting(
    stored, small_model, monkeypatch, never_waits
):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 1000))
    data = stored.to("cuda")
    assert isinstance(data.x, SourceRows) and data.device.type == "cuda"
    rows = torch.tensor([3, 1], device="cuda")
    assert torch.equal(data.observations(rows).cpu(), stored.observations(rows.cpu()))
    model, noise = small_model().cuda(), torch.Generator("cuda")
    parts = StepParts(model, Adam())
    plan = Shuffled(100).plan(data, torch.Generator("cuda"))
    training_step(parts, plan[0], seeded(noise, 0, "noise", 0))
    with never_waits():
        for i in range(1, len(plan)):
            parts.sums.number.fill_(i)
            training_step(parts, plan[i], seeded(noise, 0, "noise", i))
    assert parts.sums.failure() is None
