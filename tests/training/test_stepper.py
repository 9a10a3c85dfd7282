"""Blocks of training steps: a CPU runs them eagerly, with the code that a CUDA graph records."""

import gc
import json
import logging
import math
import os
import signal
import weakref
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

import mlvae
from mlvae import Adam, Diverged, InputError, Reports, Speed, Warmup
from mlvae.data import Grouped, GroupWarp, Shuffled, StoredImages
from mlvae.data.plan import Block, BlockGroups
from mlvae.observations import as_floats
from mlvae.training.checkpoint import read_checkpoint
from mlvae.training.ranks import Ranks
from mlvae.training.speed.capture import Recorder, nothing_collected
from mlvae.training.speed.stepper import Stepper
from mlvae.training.step import StepParts

RECIPE = {
    "batching": Shuffled(100),  # 15 batches an epoch, the last of them smaller
    "optimizer": Adam(schedule="cosine", warmup_steps=7, gradient_clip=10.0),
    "warmup": Warmup(kl_steps=20, content_first_steps=33),
    "epochs": 3,
}


@pytest.fixture
def blocks(monkeypatch):
    """The first step and the length of every call of several steps."""
    found, call = [], Stepper.__call__

    def recorded(self, plan, position, number, *, most):
        steps = call(self, plan, position, number, most=most)
        if steps > 1:
            found.append((number, steps))
        return steps

    monkeypatch.setattr(Stepper, "__call__", recorded)
    return found


def fit(model, digits, run, *, steps_per_graph=1, precision="float32", log_every=None, **options):
    return mlvae.train(
        model,
        digits.train,
        validation=digits.validation,
        run=run,
        speed=Speed(precision, steps_per_graph=steps_per_graph),
        reports=Reports(log_every=log_every, progress=False),
        device="cpu",
        config={"seed": 0},  # the default has the length of blocks
        **{"batching": Shuffled(100), **options},
    )


def lines(run):
    """The reports of a run without the speed."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "steps_per_second"} for line in found]


def same(a, b):
    """Whether two nested states are equal to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a.dtype == b.dtype and torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def assert_equal_runs(one, other):
    """Checkpoints and reports are equal to the last bit."""
    for name in ("checkpoint.pt", "best.pt"):
        assert same(*(read_checkpoint(run / name) for run in (one, other)))
    assert lines(one) == lines(other)


# Properties


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batching": Grouped(groups=4, members=16)},
        {"log_every": 7},
        {"precision": "bfloat16", "warmup": Warmup(kl_steps=20), "optimizer": Adam()},
    ],
)
def test_blocks_of_steps_are_the_single_steps_bit_for_bit(
    small_model, digits, tmp_path, blocks, options
):
    options = RECIPE | options
    fit(small_model(), digits, tmp_path / "single", **options)
    assert not blocks
    fit(small_model(), digits, tmp_path / "blocks", steps_per_graph=5, **options)
    assert_equal_runs(tmp_path / "single", tmp_path / "blocks")
    assert blocks


def test_a_block_gathers_uint8_images_as_a_plan_does(digits):
    data = mlvae.GroupedData((digits.train.x * 255).to(torch.uint8), digits.train.groups.index)
    plan = Shuffled(100).plan(data, torch.Generator().manual_seed(0))
    block = plan.block(2, 3)
    for i in range(3):
        gathered, single = block.batch(i, data), plan.kept(2 + i)
        assert gathered.x.dtype == torch.uint8 and torch.equal(gathered.x, single.x)
        assert torch.equal(as_floats(gathered.x), plan[2 + i].x)
        assert torch.equal(gathered.groups.index, single.groups.index)
        assert torch.equal(gathered.groups.sizes, single.groups.sizes)


def test_garbage_is_collected_before_a_capture_and_not_during_it():
    class Cycle:
        def __init__(self):
            self.itself = self

    early, late = Cycle(), Cycle()
    alive = weakref.ref(early), weakref.ref(late)
    del early
    with nothing_collected():
        assert alive[0]() is None
        del late
        _ = [[] for _ in range(100_000)]  # enough for a collection
        assert alive[1]() is not None and not gc.isenabled()
    assert gc.isenabled()


class Replayed:
    """A CUDA graph on a CPU: a replay does the same operations on the same tensors again."""

    def __init__(self, run, static):
        self.run, self.static = run, static

    def replay(self):
        self.run(self.static)


@pytest.fixture
def captured(monkeypatch):
    """Recorders that capture on a CPU: length and number of runs of each captured input."""
    found, init = [], Recorder.__init__

    def enabled(self, *, enabled):
        init(self, enabled=True)

    def capture(self, form, inputs, run, generators):
        static = inputs.clone()
        for values in static.tensors():
            values.zero_()  # a replay must not depend on the values of the capture
        self.graphs[form] = Replayed(run, static), static
        found.append((len(inputs), self.seen[form]))

    monkeypatch.setattr(Recorder, "__init__", enabled)
    monkeypatch.setattr(Recorder, "_capture", capture)
    return found


def test_what_a_graph_reads_is_there_before_each_replay(
    small_model, digits, tmp_path, captured, blocks
):
    fit(small_model(), digits, tmp_path / "blocks", steps_per_graph=4, **RECIPE)
    # An epoch has blocks at 0, 4 and 8, and steps at 12, 13 and 14, the last one smaller.
    assert blocks == [(15 * epoch + i, 4) for epoch in range(3) for i in (0, 4, 8)]
    # Three runs of a form are eager; from the fourth on, it is captured.
    assert captured == [(4, 4), (1, 4)]


def test_replayed_steps_are_the_eager_ones_bit_for_bit(
    small_model, digits, tmp_path, monkeypatch, request
):
    fit(small_model(), digits, tmp_path / "eager", **RECIPE)
    assert request.getfixturevalue("captured") == []
    for steps in (1, 4):
        fit(small_model(), digits, tmp_path / str(steps), steps_per_graph=steps, **RECIPE)
        assert_equal_runs(tmp_path / "eager", tmp_path / str(steps))
    assert len(request.getfixturevalue("captured")) >= 3


class Steps:
    """Calls of a recorder: inputs of two forms, of which one cannot be captured."""

    def __init__(self):
        self.recorder, self.sums = Recorder(enabled=True), []

    def __call__(self, n):
        order, *groups = (torch.full((n, 2), i) for i in range(5))
        block = Block(order, BlockGroups(*groups))
        self.recorder(block, lambda block: self.sums.append(int(block.groups.sizes.sum())), [])


def test_a_failed_capture_is_logged_once_and_everything_runs_eagerly(monkeypatch, caplog):
    def fails(*arguments, **options):
        raise RuntimeError("not permitted\nwhen the stream is capturing")

    monkeypatch.setattr("mlvae.training.speed.capture.capturing", fails)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    steps = Steps()
    for number in range(12):
        steps(1 + number % 2)
    assert steps.sums == [2 * 2, 4 * 2] * 6 and not steps.recorder.enabled
    (message,) = [record.getMessage() for record in caplog.records if record.name == "mlvae"]
    assert "(not permitted)" in message


def test_graphs_are_recorded_for_a_limited_number_of_forms(captured):
    steps = Steps()
    for n in range(1, 12):
        for _ in range(5):
            steps(n)
    assert captured == [(n, 4) for n in range(1, 9)]
    assert len(steps.sums) == 11 * 5


# Behaviour


def test_a_block_ends_before_a_report_and_has_batches_of_one_form(
    small_model, digits, tmp_path, blocks
):
    # Every batch has all ten digits, so the form is the number of observations.
    fit(small_model(), digits, tmp_path / "a", epochs=2, steps_per_graph=4)
    assert blocks == [(0, 4), (4, 4), (8, 4), (15, 4), (19, 4), (23, 4)]
    blocks.clear()
    fit(small_model(), digits, tmp_path / "b", epochs=1, steps_per_graph=4, log_every=6)
    assert blocks == [(0, 4), (6, 4)]


def test_the_last_report_of_an_epoch_counts_single_steps_too(
    small_model, digits, tmp_path, blocks
):
    fit(small_model(), digits, tmp_path, epochs=2, steps_per_graph=4, log_every=4)
    steps = [line["step"] for line in lines(tmp_path) if line["split"] == "train"]
    assert steps == [*range(4, 30, 4), 30]
    # Steps 12 to 14 end an epoch; 15 is the last one before the report at 16.
    assert blocks == [(0, 4), (4, 4), (8, 4), (16, 4), (20, 4), (24, 4)]


def test_a_run_stopped_and_resumed_inside_a_block_is_the_same(
    small_model, digits, tmp_path, blocks
):
    fit(small_model(), digits, tmp_path / "whole", steps_per_graph=5, **RECIPE)
    assert (20, 5) in blocks
    # Single steps of a run that a signal ends after step 22, then blocks from there on.
    model, run, calls = small_model(), tmp_path / "stopped", []

    def interrupt(model, inputs, output):
        calls.append(model.training)
        if model.training and sum(calls) == 22:
            os.kill(os.getpid(), signal.SIGTERM)

    model.register_forward_hook(interrupt)
    assert not fit(model, digits, run, **RECIPE).finished
    assert read_checkpoint(run / "checkpoint.pt")["step"] == 22
    blocks.clear()
    fit(small_model(), digits, run, resume=True, steps_per_graph=5, **RECIPE)
    assert blocks[0] == (22, 5)
    assert_equal_runs(tmp_path / "whole", run)


def test_a_signal_inside_a_block_ends_the_training_after_it(small_model, digits, tmp_path):
    model, calls = small_model(), []

    def interrupt(model, inputs, output):
        calls.append(1)
        if len(calls) == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    model.register_forward_hook(interrupt)
    assert not fit(model, digits, tmp_path, steps_per_graph=5, **RECIPE).finished
    assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 10


def test_a_step_inside_a_block_that_is_not_finite_is_found_by_its_number(
    small_model, digits, tmp_path, blocks
):
    def poisoned(steps_per_graph):
        model, calls = small_model(), []

        def poison(model, inputs, output):
            calls.append(model.training)
            if sum(calls) == 18:
                output.per_observation["style_kl"].data[0] = math.inf

        model.register_forward_hook(poison)
        run = tmp_path / str(steps_per_graph)
        with pytest.raises(Diverged, match=r"at step 17 \(epoch 1.13\) style_kl is inf"):
            fit(model, digits, run, steps_per_graph=steps_per_graph, **RECIPE)
        return run

    single, block = poisoned(1), poisoned(5)
    assert (15, 5) in blocks
    assert_equal_runs(single, block)
    # The saved state is good: the resumed runs are those of one without the failure.
    for run in (single, block):
        fit(small_model(), digits, run, resume=True, steps_per_graph=5, **RECIPE)
    assert_equal_runs(single, block)


@pytest.mark.parametrize("steps_per_graph", [1, 5])
def test_a_resumed_run_counts_steps_that_are_not_finite_from_its_start(
    small_model, digits, tmp_path, steps_per_graph
):
    options = RECIPE | {"steps_per_graph": steps_per_graph}
    fit(small_model(), digits, tmp_path, **options | {"epochs": 1})
    model, calls = small_model(), []

    def poison(model, inputs, output):
        calls.append(model.training)
        if sum(calls) == 4:
            output.per_observation["style_kl"].data[0] = math.inf

    model.register_forward_hook(poison)
    with pytest.raises(Diverged, match=r"at step 18 \(epoch 1.20\) style_kl is inf"):
        fit(model, digits, tmp_path, resume=True, **options)
    assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 18


@pytest.mark.parametrize("steps_per_graph", [1, 3])
def test_dropout_differs_between_ranks_and_steps_and_the_noise_of_the_latents_between_steps(
    small_model, digits, steps_per_graph
):
    found = {0: [], 1: []}
    plan = Shuffled(100).plan(digits.train, torch.Generator().manual_seed(0))
    for rank, seeds in found.items():

        def take(parts, batch, generator, seeds=seeds):
            seeds.append((torch.initial_seed(), generator.initial_seed()))

        speed = Speed(steps_per_graph=steps_per_graph)
        parts = StepParts(small_model(), Adam(), speed=speed, ranks=Ranks(rank=rank))
        stepper = Stepper(take, parts, digits.train, seed=0, total_steps=15, room=15)
        done = 0
        while done < 3:
            done += stepper(plan, done, done, most=15)
    dropout, noise = ({rank: [s[i] for s in found[rank]] for rank in found} for i in (0, 1))
    assert len({*dropout[0], *dropout[1]}) == 6
    assert noise[0] == noise[1] and len(set(noise[0])) == 3


def test_the_reported_learning_rate_is_that_of_the_last_step_of_a_block(
    small_model, digits, tmp_path, blocks
):
    fit(small_model(), digits, tmp_path, steps_per_graph=4, log_every=5, **RECIPE)
    rates = [line["learning_rate"] for line in lines(tmp_path) if line["split"] == "train"]
    steps = [line["step"] for line in lines(tmp_path) if line["split"] == "train"]
    assert rates == [RECIPE["optimizer"].rates(step - 1, 45)[0] for step in steps]


class Dropping(mlvae.models.MLVAE):
    """A model that draws from PyTorch's default generator in training."""

    def __init__(self, kind, p=0.5):
        torch.manual_seed(0)
        super().__init__((1, 8, 8), content_dim=3, style_dim=2)
        self.kind, self.p = kind, p
        self.attention = nn.MultiheadAttention(4, 2, dropout=p, batch_first=True)
        self.lstm = nn.LSTM(4, 4, num_layers=2, dropout=p, batch_first=True)
        self.layer = nn.Dropout(p)

    def dropped(self, x):
        """The images (N, 1, 8, 8) with some features left out."""
        if not self.training:
            return x
        rows = x.flatten(1).unflatten(1, (16, 4))
        if self.kind == "attention":
            rows = rows + 0.1 * self.attention(rows, rows, rows)[0]
        elif self.kind == "lstm":
            rows = rows + 0.1 * self.lstm(rows)[0]
        elif self.kind == "function":
            rows = functional.dropout(rows, self.p)
        elif self.kind == "rrelu":
            rows = functional.rrelu(rows - 0.5, training=True)
        else:
            rows = self.layer(rows)
        return rows.flatten(1).view_as(x).clamp(0, 1)

    def forward(self, batch, *, generator=None):
        return super().forward(replace(batch, x=self.dropped(batch.x)), generator=generator)


@pytest.mark.filterwarnings("ignore:.*Some features .* are not.*")
@pytest.mark.parametrize("kind", ["layer", "function", "attention", "lstm", "rrelu"])
def test_blocks_with_dropout_of_any_kind_are_the_single_steps_bit_for_bit(
    digits, tmp_path, blocks, kind
):
    for steps in (1, 5):
        fit(Dropping(kind), digits, tmp_path / str(steps), steps_per_graph=steps, epochs=1)
    assert_equal_runs(tmp_path / "1", tmp_path / "5")
    assert blocks == [(0, 5), (5, 5)]


def test_dropout_in_a_step_is_seeded_by_the_number_of_the_step(digits, tmp_path):
    # Resumed in the middle of a block, the numbers are those of the uninterrupted run.
    fit(Dropping("function"), digits, tmp_path / "whole", steps_per_graph=5, epochs=2)
    model, calls = Dropping("function"), []

    def interrupt(model, inputs, output):
        calls.append(model.training)
        if model.training and sum(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    model.register_forward_hook(interrupt)
    fit(model, digits, tmp_path / "parts", epochs=2)
    assert read_checkpoint(tmp_path / "parts" / "checkpoint.pt")["step"] == 3
    run = tmp_path / "parts"
    fit(Dropping("function"), digits, run, steps_per_graph=5, epochs=2, resume=True)
    assert_equal_runs(tmp_path / "whole", run)


def stored(digits, folder):
    x = (digits.train.x * 255).to(torch.uint8)
    (folder / "images.u8").write_bytes(x.numpy().tobytes())
    labels = digits.train.groups.index
    return mlvae.GroupedData(StoredImages(folder / "images.u8", tuple(x.shape)), labels)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("augmentation", "augmented"),
        ("disk", "disk"),
        ("report", "only 4"),
        ("dropout", None),
        ("none", None),
    ],
)
def test_one_line_of_the_log_says_why_blocks_are_not_possible(
    digits, tmp_path, blocks, caplog, case, why
):
    caplog.set_level(logging.INFO, "mlvae")
    mlvae.train(
        Dropping("layer", 0.5 if case == "dropout" else 0.0),
        stored(digits, tmp_path) if case == "disk" else digits.train,
        run=tmp_path / "run",
        batching=Shuffled(100),
        augmentation=GroupWarp() if case == "augmentation" else None,
        epochs=1,
        speed=Speed(steps_per_graph=5),
        reports=Reports(log_every=4 if case == "report" else None, progress=False),
        device="cpu",
    )
    logged = [r.getMessage() for r in caplog.records if "not 5 at once" in r.getMessage()]
    assert len(logged) == (why is not None) and all(why in message for message in logged)
    assert bool(blocks) == (why is None)


# Bad input


@pytest.mark.parametrize("steps", [0, 2.5, True, None])
def test_steps_per_graph_is_an_integer_of_at_least_one(steps):
    with pytest.raises(InputError, match=r"trainer\.speed\.steps_per_graph"):
        Speed(steps_per_graph=steps)
