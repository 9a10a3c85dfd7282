"""What is different on a CUDA device: run wherever there is one."""

import contextlib
import warnings
from collections import Counter

import pytest
import torch
from mlvae.training.blocks import Blocks
from mlvae.training.kl_schedule import KLSchedule

import mlvae
from mlvae import Adam
from mlvae.data import Grouped, Shuffled, StoredImages
from mlvae.kernels.accumulation import accumulated
from mlvae.likelihoods import Bernoulli, LearnedGaussian
from mlvae.training.seeding import seeded
from mlvae.training.speed.plans import Plans
from mlvae.training.speed.update import CompiledUpdate
from mlvae.training.step import TrainingStep
from mlvae.training.validation import evaluate_bound

if torch.cuda.is_available():
    from mlvae.kernels import accumulation_triton, dense_triton

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


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


@pytest.mark.parametrize("batching", [Shuffled(100), Grouped(groups=4, members=16)])
def test_a_step_never_waits_for_the_device(small_model, digits, batching, never_waits):
    data, model = digits.train.to("cuda"), small_model().cuda()
    step = TrainingStep(model, Adam(gradient_clip=1.0).build(model.parameters()))
    order, noise = torch.Generator("cuda"), torch.Generator("cuda")
    plan = batching.plan(data, seeded(order, 0, "order"))
    step(plan[0], 0, seeded(noise, 0, "noise", 0))  # allocations of the first step may wait
    with never_waits():
        for i in range(1, len(plan)):
            step(plan[i], i, seeded(noise, 0, "noise", i))
    assert step.sums.failure() is None


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
    assert step.sums.failure()[0] == 1
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
        assert step.sums.failure() is None
        states.append((step.sums.read(), [p.detach().cpu() for p in model.parameters()]))
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
    assert step.sums.failure()[0] == 10
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
    assert step.sums.failure() is None and step.sums.read()["elbo_per_observation"] < 0
    assert caplog.text.count("cannot be captured") == 1
    torch.randn(3, device="cuda")  # whoever draws otherwise sees nothing of it
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_a_capture_survives_the_garbage_of_an_earlier_training(small_model, digits):
    data = digits.train.to("cuda")
    for _ in range(3):  # the graphs of each are garbage in a cycle when the next is captured
        model = small_model().cuda()
        step = TrainingStep(model, Adam().build(model.parameters()), graphs=True)
        step.itself, noise = step, torch.Generator("cuda")
        for i in range(6):
            step(data.batch(range(100)), i, seeded(noise, 0, "noise", i))
        assert not step.run.failed and len(step.run.graphs) == 1


class InBlocks:
    """Steps of a small model, of which four make a graph."""

    def __init__(self, model, data, precision="float32", graphs=True, compile=False):
        self.data, self.plans = data, torch.Generator("cuda")
        adam = Adam(gradient_clip=10.0, schedule="cosine")
        self.step = TrainingStep(
            model,
            adam.build(model.parameters()),
            gradient_clip=10.0,
            precision=precision,
            graphs=graphs,
            compile=compile,
        )
        self.schedule = KLSchedule(
            model, warmup_steps=50, content_first_steps=30, content_first_weight=8.0
        )
        self.rate = lambda number: adam.rate(number, 75)
        self.noise, self.number, self.in_blocks = torch.Generator("cuda"), 0, 0
        self.blocks = Blocks(
            self.step, data, length=4, seed=0, rate=self.rate, kl_schedule=self.schedule
        )
        self.graphs = graphs

    def epoch(self):
        """15 batches, the last of them smaller."""
        epoch = self.number // 15
        plan = Shuffled(100).plan(self.data, seeded(self.plans, 0, "order", epoch))
        end = self.number + len(plan)
        while (left := end - self.number) > 0:
            if self.graphs and self.blocks(plan, len(plan) - left, self.number):
                self.number += 4
                self.in_blocks += 4
                continue
            Adam.set_rate(self.step.optimizer, self.rate(self.number))
            self.schedule.set(self.number)
            noise = seeded(self.noise, 0, "noise", self.number)
            self.step(plan.kept(len(plan) - left), self.number, noise)
            self.number += 1

    def five_epochs(self):
        """The sums afterwards, and the parameters."""
        for _ in range(5):
            self.epoch()
        assert self.step.sums.failure() is None and self.number == 75
        return self.step.sums.read(), [p.detach().cpu() for p in self.step.parameters]

    def assert_captured(self):
        assert not self.blocks.failed and not self.step.run.failed
        assert len(self.blocks.graphs) == 1 and self.in_blocks >= 4 * (2 + 4 * 3)


@pytest.mark.parametrize("batching", [Shuffled(100), Grouped(groups=4, members=16)])
def test_plans_made_ahead_are_whole_when_late_steps_read_them(digits, batching):
    data = digits.train.to("cuda")
    ahead, now = Plans(batching, data, seed=0), Plans(batching, data, seed=0, ahead=False)
    assert ahead.ahead
    for epoch in range(6):
        plan, expected = ahead.of(epoch), now.of(epoch)
        torch.cuda._sleep(20_000_000)  # steps that take long, after which batches are gathered
        batches = [(batch.x, batch.groups.index, batch.groups.sizes) for batch in plan]
        del plan
        ahead.expect(epoch + 1)
        junk = [torch.full((len(data),), -1, device="cuda") for _ in range(8)]
        for batch, (x, index, sizes) in zip(expected, batches, strict=True):
            assert torch.equal(batch.x, x) and torch.equal(batch.groups.index, index)
            assert torch.equal(batch.groups.sizes, sizes)
        del junk


def as_bytes(data):
    return mlvae.GroupedData((data.x * 255).to(torch.uint8), data.groups.index)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [as_bytes, lambda data: data])
def test_blocks_of_steps_in_a_graph_are_the_eager_ones(small_model, digits, precision, kind):
    data, states = kind(digits.train).to("cuda"), []
    for graphs in (False, True):
        model = small_model(likelihood=LearnedGaussian()).cuda()
        training = InBlocks(model, data, precision, graphs)
        states.append(training.five_epochs())
    training.assert_captured()
    (eager, before), (captured, after) = states
    assert captured == pytest.approx(eager, rel=1e-3)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


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
    x, weight, gradient = (each.bfloat16().cuda() for each in (x, weight, gradient))
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
    for mine, right in zip(results, expected, strict=True):
        exact = 1e-5 if n <= 1000 else 1e-4  # sums over n in float32
        rounding = 4e-3 if mine.dtype == torch.bfloat16 else exact
        assert (mine - right).norm() <= rounding * right.norm()


@pytest.mark.parametrize(("n", "num_groups"), [(256, 10), (1, 1), (5000, 3), (300, 300)])
def test_the_kernel_of_accumulation_is_the_formula(n, num_groups):
    torch.manual_seed(0)
    mean, log_variance = (torch.randn(n, 14) * 20).cuda().chunk(2, 1)
    index = torch.randint(num_groups, (n,)).cuda()
    results = accumulation_triton.accumulated(log_variance, mean, index, num_groups)
    expected = accumulated(log_variance.cpu(), mean.cpu(), index.cpu(), num_groups)
    for mine, right in zip(results, expected, strict=True):
        torch.testing.assert_close(mine.cpu(), right, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of how it compiles
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
    data, states = as_bytes(digits.train).to("cuda"), []
    for compile in (False, True):
        torch._dynamo.reset()
        model = small_model(likelihood=LearnedGaussian()).cuda()
        graphs = compile  # an eager step is the reference
        training = InBlocks(
            model, data, precision if compile else "float32", graphs=graphs, compile=compile
        )
        states.append(training.five_epochs())
    training.assert_captured()
    assert isinstance(training.step.update, CompiledUpdate)
    assert used["accumulated"] and bool(used["outputs"]) == (precision == "bfloat16")
    assert used["outputs"] == used["gradients"]
    (eager, before), (compiled, after) = states
    rounding = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 3e-2}[precision]
    assert compiled == pytest.approx(eager, rel=rounding)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=10 * rounding, atol=rounding)


def test_the_largest_of_few_groups_is_found_by_comparison(monkeypatch):
    values, index = torch.randn(500, 3, device="cuda"), torch.arange(500, device="cuda") % 7
    groups = mlvae.Groups(index)
    compared = groups.max(values)
    monkeypatch.setattr("mlvae.kernels.segment.MOST_COMPARISONS", 0)
    assert torch.equal(compared, groups.max(values))


def test_a_block_never_waits_for_the_device(small_model, digits, never_waits):
    training = InBlocks(small_model().cuda(), as_bytes(digits.train).to("cuda"))
    training.epoch()  # captures
    plan = Shuffled(100).plan(training.data, torch.Generator("cuda"))
    with never_waits():
        assert all(training.blocks(plan, batch, 15 + batch) for batch in (0, 4, 8))
    assert training.step.sums.failure() is None


def test_a_step_in_a_block_that_is_not_finite_is_found_blocks_later(small_model, digits):
    model, data = small_model().cuda(), digits.train.to("cuda")
    training = InBlocks(model, data)
    training.epoch()
    plan = Shuffled(100).plan(data, torch.Generator("cuda").manual_seed(0))
    assert training.blocks(plan, 0, 15)
    before = [p.clone() for p in model.parameters()]
    data.x[plan.order[plan.rows[4]]] = float("nan")  # a row of batch 4, the block's first
    assert training.blocks(plan, 4, 19) and training.blocks(plan, 8, 23)
    assert training.step.sums.failure()[0] == 19
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_blocks_that_cannot_be_captured_are_single_steps_and_say_so(small_model, digits, caplog):
    class Waits(mlvae.models.MLVAE):
        def forward(self, batch, *, generator=None):
            batch.x.sum().item()
            return super().forward(batch, generator=generator)

    training = InBlocks(Waits((1, 8, 8)).cuda(), digits.train.to("cuda"))
    training.epoch()
    assert training.number == 15 and training.in_blocks == 0
    assert (
        training.step.sums.failure() is None
        and training.step.sums.read()["elbo_per_observation"] < 0
    )
    assert caplog.text.count("4 training steps cannot be captured") == 1
    torch.randn(3, device="cuda")


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
            steps_per_graph=steps,
            progress=False,
        )
        for steps in (1, 4)
    ]
    single, blocks = (result.metrics["validation/loss"] for result in results)
    assert blocks == pytest.approx(single, rel=1e-2)


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
    assert isinstance(data.x, StoredImages) and data.device.type == "cuda"
    rows = torch.tensor([3, 1], device="cuda")
    assert torch.equal(data.observations(rows).cpu(), stored.observations(rows.cpu()))
    model, noise = small_model().cuda(), torch.Generator("cuda")
    step = TrainingStep(model, Adam().build(model.parameters()))
    plan = Shuffled(100).plan(data, torch.Generator("cuda"))
    step(plan[0], 0, seeded(noise, 0, "noise", 0))
    with never_waits():
        for i in range(1, len(plan)):
            step(plan[i], i, seeded(noise, 0, "noise", i))
    assert step.sums.failure() is None
