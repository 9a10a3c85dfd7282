"""Blocks of training steps: a CPU runs them eagerly, by the code that a CUDA graph is made of."""

import gc
import json
import logging
import math
import os
import signal
import weakref

import pytest
import torch
from mlvae.training.graphs import nothing_collected

import mlvae
from mlvae import Adam, Diverged, InputError
from mlvae.data import Grouped, GroupWarp, Shuffled, StoredImages
from mlvae.observations import as_floats
from mlvae.training import blocks
from mlvae.training.checkpoint import read_checkpoint

RECIPE = {
    "batching": Shuffled(100),  # 15 batches an epoch, the last of them smaller
    "optimizer": Adam(schedule="cosine", warmup_steps=7, gradient_clip=10.0),
    "kl_warmup_steps": 20,
    "content_first_steps": 33,
    "epochs": 3,
}


@pytest.fixture
def runs(monkeypatch):
    """The first step and the length of every block that was run."""
    found, run = [], blocks.Blocks.__call__

    def call(self, plan, batch, step):
        done = run(self, plan, batch, step)
        if done:
            found.append((step, self.length))
        return done

    monkeypatch.setattr(blocks.Blocks, "__call__", call)
    return found


def fit(model, digits, run, **options):
    options = {"batching": Shuffled(100), "progress": False, "device": "cpu"} | options
    return mlvae.train(model, digits.train, validation=digits.validation, run=run, **options)


def lines(run):
    """What was reported, without the one thing that two runs need not share."""
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
    """Equal to the last bit: all that is saved, and all that was reported."""
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
        {"precision": "bfloat16", "content_first_steps": 0, "optimizer": Adam()},
    ],
)
def test_blocks_of_steps_are_the_single_steps_bit_for_bit(
    small_model, digits, tmp_path, runs, options
):
    options = RECIPE | options
    fit(small_model(), digits, tmp_path / "single", **options)
    assert not runs
    fit(small_model(), digits, tmp_path / "blocks", steps_per_graph=5, **options)
    assert_equal_runs(tmp_path / "single", tmp_path / "blocks")
    assert runs


def test_uint8_images_are_gathered_as_a_plan_does(digits):
    data = mlvae.GroupedData((digits.train.x * 255).to(torch.uint8), digits.train.groups.index)
    plan = Shuffled(100).plan(data, torch.Generator().manual_seed(0))
    block = plan.block(2, 3)
    for i in range(3):
        mine, single = block.batch(i, data), plan.kept(2 + i)
        assert mine.x.dtype == torch.uint8 and torch.equal(mine.x, single.x)
        assert torch.equal(as_floats(mine.x), plan[2 + i].x)
        assert torch.equal(mine.groups.index, single.groups.index)
        assert torch.equal(mine.groups.sizes, single.groups.sizes)


def test_garbage_is_collected_before_a_capture_and_not_within_it():
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


def test_what_a_graph_reads_is_there_before_each_replay(
    small_model, digits, tmp_path, runs, monkeypatch
):
    class Replayed:
        """To a block it is what a CUDA graph is: it does the same again, on the same tensors."""

        def __init__(self, replay):
            self.replay = replay

    def capture(self, form, block):
        static = blocks.Block(*(torch.zeros_like(tensor) for tensor in block))
        self.graphs[form] = Replayed(lambda: self._run(static)), static
        return True

    fit(small_model(), digits, tmp_path / "single", **RECIPE)
    init = blocks.Blocks.__init__

    def captured(self, *args, **options):
        init(self, *args, **options)
        self.captured = True

    monkeypatch.setattr(blocks.Blocks, "__init__", captured)
    monkeypatch.setattr(blocks.Blocks, "_capture", capture)
    fit(small_model(), digits, tmp_path / "blocks", steps_per_graph=4, **RECIPE)
    assert_equal_runs(tmp_path / "single", tmp_path / "blocks")
    # Three single steps first; from the fourth on, a form is captured.
    assert runs[:4] == [(3, 4), (7, 4), (15, 4), (19, 4)]


# Behaviour


def test_a_block_ends_before_a_report_and_has_batches_of_one_form(
    small_model, digits, tmp_path, runs
):
    # Every batch has all ten digits, so the form is the number of observations.
    fit(small_model(), digits, tmp_path / "a", epochs=2, steps_per_graph=4)
    assert runs == [(0, 4), (4, 4), (8, 4), (15, 4), (19, 4), (23, 4)]
    runs.clear()
    fit(small_model(), digits, tmp_path / "b", epochs=1, steps_per_graph=4, log_every=6)
    assert runs == [(0, 4), (6, 4)]


def test_stopped_and_resumed_in_the_middle_of_a_block_is_the_same(
    small_model, digits, tmp_path, runs
):
    fit(small_model(), digits, tmp_path / "whole", steps_per_graph=5, **RECIPE)
    assert (20, 5) in runs
    # Single steps of a run that a signal ends after step 22, then blocks from there on.
    model, run, calls = small_model(), tmp_path / "stopped", []

    def interrupt(model, inputs, output):
        calls.append(model.training)
        if model.training and sum(calls) == 22:
            os.kill(os.getpid(), signal.SIGTERM)

    model.register_forward_hook(interrupt)
    assert not fit(model, digits, run, **RECIPE).finished
    assert read_checkpoint(run / "checkpoint.pt")["step"] == 22
    runs.clear()
    fit(small_model(), digits, run, resume=True, steps_per_graph=5, **RECIPE)
    assert runs[0] == (22, 5)
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
    small_model, digits, tmp_path, runs
):
    def poisoned(steps_per_graph):
        model, calls = small_model(), []

        def poison(model, inputs, output):
            calls.append(model.training)
            if sum(calls) == 18:
                output.terms["style_kl"].data[0] = math.inf

        model.register_forward_hook(poison)
        run = tmp_path / str(steps_per_graph)
        with pytest.raises(Diverged, match=r"at step 17 \(epoch 1.13\) style_kl is inf"):
            fit(model, digits, run, steps_per_graph=steps_per_graph, **RECIPE)
        return run

    single, block = poisoned(1), poisoned(5)
    assert (15, 5) in runs
    assert_equal_runs(single, block)
    # The state is a good one: it goes on as if nothing had been.
    for run in (single, block):
        fit(small_model(), digits, run, resume=True, steps_per_graph=5, **RECIPE)
    assert_equal_runs(single, block)


def test_the_reported_learning_rate_is_that_of_the_last_step_of_a_block(
    small_model, digits, tmp_path, runs
):
    fit(small_model(), digits, tmp_path, steps_per_graph=4, log_every=5, **RECIPE)
    rates = [line["learning_rate"] for line in lines(tmp_path) if line["split"] == "train"]
    steps = [line["step"] for line in lines(tmp_path) if line["split"] == "train"]
    assert rates == [RECIPE["optimizer"].rate(step - 1, 45) for step in steps]


class Dropping(mlvae.models.MLVAE):
    """A model with a layer that may leave features out."""

    def __init__(self, p):
        super().__init__((1, 8, 8), content_dim=3, style_dim=2)
        self.encoder.trunk.append(torch.nn.Dropout(p))


def stored(digits, folder):
    x = (digits.train.x * 255).to(torch.uint8)
    (folder / "images.u8").write_bytes(x.numpy().tobytes())
    labels = digits.train.groups.index
    return mlvae.GroupedData(StoredImages(folder / "images.u8", tuple(x.shape)), labels)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("augmentation", "batches are augmented"),
        ("dropout", "the model has dropout"),
        ("disk", "observations are read from the disk"),
        ("report", "an epoch, or what is between reports, has only 4"),
        ("none", None),
    ],
)
def test_where_blocks_cannot_be_one_line_says_why(digits, tmp_path, runs, caplog, case, why):
    caplog.set_level(logging.INFO, "mlvae")
    warp = GroupWarp() if case == "augmentation" else None
    data = stored(digits, tmp_path) if case == "disk" else digits.train
    mlvae.train(
        Dropping(0.5 if case == "dropout" else 0.0),
        data,
        run=tmp_path / "run",
        batching=Shuffled(100),
        augmentation=warp,
        epochs=1,
        log_every=4 if case == "report" else None,
        steps_per_graph=5,
        progress=False,
        device="cpu",
    )
    said = [r.getMessage() for r in caplog.records if "in a graph" in r.getMessage()]
    expected = [f"training steps run one by one, not 5 in a graph: {why}"] if why else []
    assert said == expected and bool(runs) == (why is None)


# Bad input


@pytest.mark.parametrize("steps", [0, 2.5, True, None])
def test_steps_a_graph_are_an_integer_of_at_least_one(small_model, digits, tmp_path, steps):
    with pytest.raises(InputError, match=r"trainer\.steps_per_graph must be an integer"):
        fit(small_model(), digits, tmp_path / "run", steps_per_graph=steps)
    assert not (tmp_path / "run").exists()
