"""Several ranks train as one process does: the same losses, gradients and images, one run.

This file is also a program: a worker that runs tasks of this file as one of several ranks.
"""

import json
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

import mlvae
from mlvae import Adam, Diverged, GroupedData, InputError, RankLost, Reports, Torch
from mlvae.costs import Separation
from mlvae.data import Grouped, Part, PartedData, Shuffled
from mlvae.likelihoods import Gaussian
from mlvae.networks import MLP, Conv
from mlvae.objectives import Objective
from mlvae.training.checkpoint import read_checkpoint
from mlvae.training.checks import with_needs
from mlvae.training.dealt import Dealt
from mlvae.training.elastic import launch
from mlvae.training.loop import training_step
from mlvae.training.monitor import how_to_continue
from mlvae.training.ranks import Ranks, _leave, check_shared, join
from mlvae.training.seeding import seeded
from mlvae.training.step import StepParts
from mlvae.training.validation import evaluate_bound

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
MOST = 4


class Team:
    """Workers. A call runs a task on ranks 0 to ``count`` - 1 and returns their results."""

    def __init__(self):
        command = [sys.executable, "-W", "error::FutureWarning", __file__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        start = [subprocess.Popen(command, env=environment, **pipes) for _ in range(MOST)]
        self.workers = start

    def __call__(self, count, task, *arguments):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        for rank, worker in enumerate(self.workers[:count]):
            pickle.dump((rank, count, port, task.__name__, arguments), worker.stdin)
            worker.stdin.flush()
        return [pickle.load(worker.stdout) for worker in self.workers[:count]]

    def end(self):
        for worker in self.workers:
            worker.stdin.close()
            worker.wait(60)
            worker.stdout.close()


def work():
    """Run tasks, and send back the values that they return or the exceptions that they raise."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the output of a task is no result
    torch.set_num_threads(1)
    while True:
        try:
            rank, count, port, task, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{count}"}
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": f"{port}"}
        try:
            result = globals()[task](*arguments)
        except Exception as error:
            result = error
        if distributed.is_initialized():
            distributed.destroy_process_group()
        pickle.dump(result, results)
        results.flush()


@pytest.fixture(scope="module")
def team():
    team = Team()
    yield team
    team.end()


# Tasks


def ragged(seed=0, several=False):
    """Groups of 1 to 12; in batches of three groups, the last batch has one group only."""
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([7, 1, 12, 3]))
    x = torch.rand(len(labels), 6, generator=torch.Generator().manual_seed(seed))
    if several:
        crossed = [None if i % 5 == 4 else i % 3 for i in range(len(labels))]
        return GroupedData(x, groups={"a": labels, "b": crossed, "c": labels // 2})
    return GroupedData(x, labels)


def built(name, options):
    torch.manual_seed(0)
    kind = getattr(mlvae.models, name)
    return kind((6,), network=MLP(hidden=(8,)), likelihood=Gaussian(), **options).double()


def steps(name, options, batching):
    """The reports of an epoch, its clipped gradients, and the bound of other data."""
    ranks, model = join(torch.device("cpu")), built(name, options)
    parts = StepParts(model, Adam(gradient_clip=3.0), ranks=ranks)
    several = isinstance(options.get("content_dim"), dict)
    data, other = (with_needs(model, ragged(seed, several), "training") for seed in (0, 1))
    plan = batching.plan(data, torch.Generator().manual_seed(1))
    gradients = []
    for i, batch in enumerate(ranks.share(plan, span=batching.span_ranks)):
        batch = replace(batch, x=batch.x.double())
        training_step(parts, batch, ranks.noise(torch.Generator().manual_seed(i), batch))
        gradients.append([p.grad.clone() for p in model.parameters()])
    bound = evaluate_bound(model.float(), other, batching, ranks=ranks)
    return parts.sums.read(), gradients, bound


def in_parts(data, number, hands):
    """The data in parts of whole groups, as far as possible."""
    order = data.groups.index.argsort(stable=True)
    rows = [part.sort().values for part in order.tensor_split(number)]
    return PartedData([Part.of(partial(data.subset, part)) for part in rows], hands=hands)


def fit(
    run, batching, *, hands=None, signalled_at=None, poisoned_at=None, killed_at=None, **options
):
    """Train on digits; the result, and the images of the first steps.

    With hands, the training data are in parts. At the given step the last rank receives a signal,
    or an infinity, or is killed once.
    """
    torch.manual_seed(0)
    digits = mlvae.data.digits()
    train = digits.train if hands is None else in_parts(digits.train, 5, hands or None)
    killed_at = None if os.environ.get("TORCHELASTIC_RESTART_COUNT") == "1" else killed_at
    model = mlvae.models.MLVAE(digits.train.shape, network=MLP(hidden=(16,)))
    last = int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1
    seen = []

    def watch(model, inputs, output):
        if not model.training:
            return
        seen.append((inputs[0].x.clone(), getattr(inputs[0].groups, "rows", None)))
        if last and len(seen) == signalled_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if last and len(seen) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if last and len(seen) == poisoned_at:
            output.per_observation["style_kl"].data[0] = torch.inf

    model.register_forward_hook(watch)
    intervals = {"log_every": 5, "validate_every": 7, "pictures_every": None}
    saved = {} if killed_at is None else {"checkpoint_seconds": 0}
    reports = Reports(**intervals, **saved, progress=False)
    result = mlvae.train(
        model,
        train,
        validation=digits.validation,
        run=run,
        batching=batching,
        reports=reports,
        device="cpu",
        **{"epochs": 14, **options},
    )
    return result, seen[:5]


def step_of(run):
    return read_checkpoint(run / "checkpoint.pt")["step"]


def curve(run):
    """Every number of metrics.jsonl except the speed."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    speed = "steps_per_second"
    return [
        (line["step"], name, value)
        for line in lines
        for name, value in line.items()
        if isinstance(value, float) and name != speed
    ]


def assert_equal_curves(a, b):
    """Equal up to float32 rounding, which grows over the steps."""
    a, b = curve(a), curve(b)
    assert [point[:2] for point in a] == [point[:2] for point in b] and len(a) > 100
    for (*_, x), (*place, y) in zip(a, b, strict=True):
        assert y == pytest.approx(x, rel=1e-5), place


# Properties

RAGGED = Grouped(groups=3, members=4, small_groups="keep")
RULES = ["product", "prior_product", "prior_corrected", "mean"]
ANY_RULE = [{"accumulation": rule} for rule in [*RULES, "mixture"]]
DRAWS = [{"content_draw": "group"}, {"content_draw": "group", "accumulation": "mixture"}]
SOURCES = [{"evidence_from": name} for name in ("subset", "others", "other_part", "fellow")]
GIVEN = {"style_given_content": True, "content_kl_weight": 2.0, "style_kl_weight": 0.5}
PARTS = {"batch_groups": "parts"}
COSTS = [
    {"separation": Separation(moments=0.1, mmd=20.0, width=8)},
    {"separation": Separation(pair_critic=2.0, content_critic=3.0, swap=0.1, width=8)},
    {"separation": Separation(information=3.0, memory=20, critic_batch=30, width=8)},
    {"content_capacity": 2.0, "style_capacity": 0.1, "style_kl_weight": 0.5},
    {"content_capacity": 2.0, **PARTS},
]
SEVERAL = {"content_dim": {"a": 3, "b": 2}}
CRITICS = Separation(mmd=2.0, pair_critic=2.0, content_critic=3.0, contents=2.0, width=8)
ONE_GROUP = Grouped(groups=1, members=100, small_groups="keep")  # other ranks borrow it
WHOLE = [
    *(("MLVAE", options, RAGGED) for options in [*ANY_RULE, *DRAWS, *SOURCES, GIVEN, PARTS]),
    *(("MLVAE", options, RAGGED) for options in COSTS),
    ("MLVAE", {"evidence_from": "fellow", **GIVEN, **COSTS[0]}, RAGGED),  # as mnist_best
    ("MLVAE", {}, Shuffled(9)),
    *(("MLVAE", SEVERAL | options, RAGGED) for options in (GIVEN, {"separation": CRITICS})),
    ("MLVAE", SEVERAL | DRAWS[0] | COSTS[-1], Shuffled(9)),
    ("MLVAE", SEVERAL, ONE_GROUP),
    ("VAE", {}, RAGGED),
    ("ConditionalVAE", {"group_names": range(4)}, RAGGED),
    ("AdaVAE", {}, Grouped(groups=3, members=2, small_groups="keep")),
]
SPAN = Grouped(groups=3, members=4, small_groups="keep", span_ranks=True)
SPANNING = [
    *(("MLVAE", {"accumulation": rule}, SPAN) for rule in RULES),
    ("MLVAE", DRAWS[0], SPAN),
    ("MLVAE", PARTS, SPAN),
    *(("MLVAE", options, SPAN) for options in COSTS),
    ("MLVAE", GIVEN, Shuffled(9, span_ranks=True)),
    ("MLVAE", {}, Shuffled(2, span_ranks=True)),  # some ranks have no observation
    ("MLVAE", {}, replace(ONE_GROUP, span_ranks=True)),
    ("MLVAE", SEVERAL | COSTS[-1] | {"accumulation": "mean"}, SPAN),
    ("MLVAE", SEVERAL, Shuffled(2, span_ranks=True)),
    ("MLVAE", {"content_dim": {"a": 3, "b": 2, "c": 2}, "nested": ("c", "a")}, SPAN),
]


#: Cases of two ranks, each of which has groups. Of four ranks, some have none.
OF_TWO = [*WHOLE[:2], ("MLVAE", COSTS[1], RAGGED), *SPANNING[:1], *SPANNING[-3:]]


@pytest.mark.parametrize("case", WHOLE + SPANNING, ids=str)
def test_reports_and_gradients_are_those_of_one_process(team, case):
    totals, gradients, bound = steps(*case)
    results = team(MOST, steps, *case)
    if case in OF_TWO:
        results += team(2, steps, *case)
    for result in results:
        assert not isinstance(result, Exception), result
        assert result[0] == pytest.approx(totals, rel=1e-11)
        for ours, theirs in zip(result[1], gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
        assert result[2] == pytest.approx(bound, rel=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process, 210 steps in float32."""
    run = tmp_path_factory.mktemp("alone")
    return run, *fit(run, Shuffled(100))


@pytest.mark.parametrize("span", [False, True])
def test_the_loss_curve_and_the_images_of_a_training_are_those_of_one_process(
    team, alone, tmp_path, span
):
    run, result, seen = alone
    parts = team(2, fit, tmp_path / "run", Shuffled(100, span_ranks=span))
    assert_equal_curves(run, tmp_path / "run")
    for part, _ in parts:
        assert part.run == tmp_path / "run" and part.finished
        assert part.metrics == pytest.approx(result.metrics, rel=1e-5)
    for (whole, _), *shares in zip(seen, *(part[1] for part in parts), strict=True):
        rows = torch.cat([rows for _, rows in shares])
        assert torch.equal(torch.cat([x for x, _ in shares])[rows.argsort()], whole)
    files = {path.name for path in (tmp_path / "run").iterdir() if "tfevents" not in path.name}
    assert files == {path.name for path in run.iterdir() if "tfevents" not in path.name}
    assert len(list((tmp_path / "run").glob("*tfevents*"))) == len(list(run.glob("*tfevents*")))


def test_networks_take_a_share_without_observations():
    for network in (Conv(widths=(4, 8)), MLP(hidden=(4,))):
        model = mlvae.models.MLVAE((1, 8, 8), network=network)
        member_q, style_given = model.posteriors(torch.zeros(0, 1, 8, 8))
        decoded = model.decode(member_q, style_given(member_q.mean))
        assert decoded.shape == (0, 1, 8, 8)


class Partly(nn.Module):
    """Uses ``rare`` for marked observations only, and ``never`` for none."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.always, self.rare, self.never = (nn.Linear(6, 1) for _ in range(3))

    def forward(self, batch, *, generator=None):
        error = self.always(batch.x)[:, 0].square()
        if (marked := batch.given["marked"]).any():
            error = error + marked * self.rare(batch.x)[:, 0].square()
        return Objective({"model": error.mean()}, {"error": error}, num_observations=len(error))


class Adversaries(nn.Module):
    """A model, and a critic that has the model's codes without their graph."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.coder, self.critic = nn.Linear(6, 3), nn.Linear(3, 1)

    @property
    def players(self):
        return {"model": [*self.coder.parameters()], "critic": [*self.critic.parameters()]}

    def forward(self, batch, *, generator=None):
        codes = self.coder(batch.x)
        error, fooled = (codes - 1).square().sum(1), self.critic(codes)[:, 0]
        guess = (self.critic(codes.detach())[:, 0] - batch.x[:, 0]).square()
        return Objective(
            losses={"model": (error + 0.1 * fooled).mean(), "critic": guess.mean()},
            per_observation={"error": error},
            scalars={"guess": guess.detach().mean()},
            num_observations=len(error),
        )


class Normalised(nn.Module):
    """A model with batch normalisation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.head = nn.BatchNorm1d(6), nn.Linear(6, 1)

    def forward(self, batch, *, generator=None):
        error = self.head(self.norm(batch.x))[:, 0].square()
        return Objective({"model": error.mean()}, {"error": error}, num_observations=len(error))


def own_steps(kind, recipe, marked=()):
    """Steps of a model of this file: reports, gradients, parameters and buffers.

    Args:
        kind: name of the model.
        recipe: the optimiser of all players.
        marked: numbers of marked observations.
    """
    ranks, model = join(torch.device("cpu")), globals()[kind]().double()
    parts = StepParts(model, recipe, ranks=ranks)
    plain = ragged()
    values = torch.zeros(len(plain), dtype=torch.float64)
    values[list(marked)] = 1
    data = GroupedData(plain.x, plain.groups.index, given={"marked": values})
    plan = Grouped(groups=4, members=12, small_groups="keep").plan(data, torch.Generator())
    gradients = []
    for i, batch in enumerate([*ranks.share(plan, span=False)] * 3):
        batch = replace(batch, x=batch.x.double())
        training_step(parts, batch, torch.Generator().manual_seed(i))
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    return parts.sums.read(), gradients, model.state_dict()


def assert_equal_gradients(ours, theirs):
    for step, other in zip(ours, theirs, strict=True):
        for name, gradient in other.items():
            assert (step[name] is None) == (gradient is None), name
            if gradient is not None:
                torch.testing.assert_close(step[name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("marked", [(), (0, 3), (8, 9), (0, 9)], ids=str)
def test_a_parameter_without_a_gradient_on_some_ranks_trains_as_in_one_process(team, marked):
    # Observations 0 to 6 are of one group, and 8 to 19 of another, on the other rank.
    expected = own_steps("Partly", Adam(), marked)
    results = team(2, own_steps, "Partly", Adam(), marked)
    for result in results:
        assert not isinstance(result, Exception), result
        assert result[0] == pytest.approx(expected[0], rel=1e-11)
        assert_equal_gradients(result[1], expected[1])
        torch.testing.assert_close(result[2], expected[2], rtol=1e-9, atol=1e-12)
        assert (result[1][0]["rare.weight"] is None) == (not marked)
        assert result[1][0]["never.weight"] is None


@pytest.mark.parametrize(
    "recipe",
    [Adam(gradient_clip=0.5), Torch("SGD", learning_rate=0.05, gradient_clip=0.5)],
    ids=["Adam", "SGD"],
)
def test_two_players_on_two_ranks_train_as_in_one_process(team, recipe):
    expected = own_steps("Adversaries", recipe)
    assert {"loss", "loss_critic", "gradient_norm", "gradient_norm_critic"} < expected[0].keys()
    for result in team(2, own_steps, "Adversaries", recipe):
        assert not isinstance(result, Exception), result
        assert result[0] == pytest.approx(expected[0], rel=1e-11)
        assert_equal_gradients(result[1], expected[1])
        torch.testing.assert_close(result[2], expected[2], rtol=1e-9, atol=1e-12)


def test_buffers_of_batch_normalisation_are_means_over_ranks(team):
    first, second = (result[2] for result in team(2, own_steps, "Normalised", Adam()))
    for name in first:
        assert torch.equal(first[name], second[name]), name
    data, expected = ragged(), torch.zeros(6, dtype=torch.float64)
    shares = team(2, rows_of_shares)
    assert sorted(row for rows in shares for row in rows) == list(range(len(data)))
    means = torch.stack([data.x[rows].double().mean(0) for rows in shares]).mean(0)
    for _ in range(3):
        expected = 0.9 * expected + 0.1 * means
    torch.testing.assert_close(first["norm.running_mean"], expected)
    assert first["norm.num_batches_tracked"] == 3


def rows_of_shares():
    """The observations of this rank in the batch of :func:`own_steps`."""
    plan = Grouped(groups=4, members=12, small_groups="keep").plan(ragged(), torch.Generator())
    return join(torch.device("cpu")).share(plan, span=False).order.tolist()


def test_an_optimiser_that_is_not_fused_skips_the_same_step_on_all_ranks(team):
    states = []
    for failure, first, last in team(2, infinite_steps):
        assert failure[0] == 1
        assert all(map(torch.equal, first, last))
        states.append(last)
    assert all(map(torch.equal, *states))


def infinite_steps():
    """Failure of three steps, the second infinite on the last rank; weights after 1 and 3."""
    ranks, model = join(torch.device("cpu")), Adversaries()
    parts, weights = StepParts(model, Torch("SGD"), ranks=ranks), []
    plan = Grouped(groups=4, members=12, small_groups="keep").plan(ragged(), torch.Generator())
    (batch,) = ranks.share(plan, span=False)
    for number in range(3):
        bad = number == 1 and ranks.rank == ranks.count - 1
        parts.sums.number.fill_(number)
        x = torch.full_like(batch.x, torch.inf) if bad else batch.x
        training_step(parts, replace(batch, x=x), torch.Generator())
        weights.append([p.detach().clone() for p in model.parameters()])
    return parts.sums.failure(), weights[0], weights[2]


def test_given_values_reach_the_shares_of_ranks(team):
    data = GroupedData(ragged().x, ragged().groups.index, given={"number": torch.arange(23)})
    for span in (False, True):
        seen = team(2, numbers_of_shares, span)
        x = torch.cat([part[0] for part in seen])
        number = torch.cat([part[1] for part in seen])
        assert torch.equal(data.x[number], x) and len(number.unique()) == 23


def numbers_of_shares(span):
    """Observations and their given numbers in this rank's share of a batch."""
    data = GroupedData(ragged().x, ragged().groups.index, given={"number": torch.arange(23)})
    plan = Grouped(groups=4, members=12, small_groups="keep").plan(data, torch.Generator())
    (batch,) = join(torch.device("cpu")).share(plan, span=span)
    return batch.x, batch.given["number"]


# Behaviour


def test_a_signal_to_one_rank_stops_all_and_any_number_of_ranks_resumes(team, alone, tmp_path):
    run = tmp_path / "run"
    for result, _ in team(2, signalled, run, Shuffled(100), 22):
        assert result.finished is False
    assert step_of(run) == 22
    span = Shuffled(100, span_ranks=True)
    for result, _ in team(4, signalled, run, span, 30, True):
        assert result.finished is False
    assert step_of(run) == 52
    assert fit(run, Shuffled(100), resume=True)[0].finished
    assert_equal_curves(alone[0], run)
    state = read_checkpoint(run / "checkpoint.pt")
    assert state.keys() == read_checkpoint(alone[0] / "checkpoint.pt").keys()


def signalled(run, batching, step, resume=False):
    return fit(run, batching, signalled_at=step, resume=resume)


def test_an_infinity_on_one_rank_ends_all_at_one_step(team, tmp_path):
    errors = team(2, poisoned, tmp_path / "run")
    assert [type(error) for error in errors] == [Diverged, Diverged]
    assert len({str(error) for error in errors}) == 1
    assert "at step 3 (epoch 0.20) style_kl is inf" in str(errors[0])
    assert step_of(tmp_path / "run") == 3


def poisoned(run):
    return fit(run, Shuffled(100), poisoned_at=4)


def test_without_a_checkpoint_the_advice_is_to_start_again(tmp_path):
    class State:
        run = tmp_path

    lost = Ranks(rank=1, count=2).watch(lambda: how_to_continue(State))
    with (
        pytest.raises(RankLost, match=r"rank 1 of 2 .*start again"),
        lost,
    ):
        raise RuntimeError("gloo: Connection closed by peer")


def test_work_is_done_first_by_one_rank_of_a_machine(team, tmp_path):
    lines = team(3, in_turn, tmp_path / "file")
    assert lines == ["0", "0", "0"]  # later ranks find the file of the first


def in_turn(file):
    ranks = join(torch.device("cpu"))

    def prepare():
        if not file.exists():
            time.sleep(0.2)
            file.write_text(str(ranks.rank))
        return file.read_text()

    return ranks.in_turn(prepare)


def test_every_rank_has_dropout_noise_of_its_own():
    draws = []
    for rank in range(3):
        generator = seeded(torch.Generator(), 0, Ranks(rank=rank, count=3).own("dropout"), 5)
        draws.append(torch.rand(4, generator=generator))
    assert not any(torch.equal(a, b) for a, b in combinations(draws, 2))


def test_one_process_does_not_use_torch_distributed(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    ranks = join(torch.device("cpu"))
    assert ranks == Ranks(torch.device("cpu")) and not distributed.is_initialized()
    generator, model = torch.Generator(), nn.BatchNorm1d(1)
    batch, before = ragged().batch(), list(model.state_dict().values())
    assert ranks.noise(generator, batch) is generator
    ranks.broadcast(model.buffers())
    ranks.average(model.buffers())
    assert all(map(torch.equal, model.state_dict().values(), before))
    assert ranks.sum(before[0]) is before[0] and ranks.share("plan", span=True) == "plan"
    assert ranks.agree(True, False) == (True, False) and ranks.own("dropout") == "dropout"


def test_an_error_that_is_not_of_communication_is_not_changed():
    ranks = Ranks(rank=1, count=2)
    with pytest.raises(RuntimeError, match=r"^shapes$"), ranks.watch():
        raise RuntimeError("shapes")
    with pytest.raises(RankLost, match=r"rank 1 of 2 .*; start again"), ranks.watch():
        raise distributed.DistBackendError("NCCL")


def test_a_killed_rank_ends_all_ranks_and_the_run_can_be_resumed(tmp_path, monkeypatch):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    options = [
        "dataset=digits",
        "model.network.hidden=[8]",
        "device=cpu",
        "trainer.reports.checkpoint_seconds=0",
        "run=run",
    ]
    process = subprocess.Popen(
        [*torchrun, "--nproc-per-node=2", SCRIPT, "trainer.epochs=100000", *options],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(child(process.pid, "RANK=1"), signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert out.count("training on digits") == 1  # rank 0 alone prints
    line = next(line for line in err.splitlines() if line.startswith("error: "))
    assert "rank 0 of 2" in line and "resume=run" in line
    step = step_of(tmp_path / "run")
    epochs = f"trainer.epochs={step // 6 + 1}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", [str(SCRIPT), "resume=run", epochs, "batching.span_ranks=true"]
    )
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert step_of(tmp_path / "run") == 6 * (step // 6 + 1) > step


def child(parent, variable):
    """The process that ``parent`` started with an environment variable."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                environment = (status.parent / "environ").read_text().split("\0")
                if variable in environment:
                    return int(status.parent.name)
        except OSError:  # the process has ended meanwhile
            continue
    raise AssertionError(f"{parent} has no child with {variable}")


# Data in parts


def parted(hands):
    """Ragged data in six parts."""
    return PartedData([Part.of(partial(ragged, seed)) for seed in range(6)], hands=hands)


def dealt_steps(options, batching, hands):
    """The reports of two epochs, their gradients, and the observations of every batch."""
    ranks, model = join(torch.device("cpu")), built("MLVAE", options)
    parts = StepParts(model, Adam(gradient_clip=3.0), ranks=ranks)
    dealt = Dealt(parted(hands), batching, seed=3, ranks=ranks)
    gradients, seen = [], []
    for epoch in range(2):
        for i, batch in enumerate(dealt.plan(epoch)):
            batch = replace(batch, x=batch.x.double())
            training_step(parts, batch, ranks.noise(torch.Generator().manual_seed(i), batch))
            gradients.append([p.grad.clone() for p in model.parameters()])
            seen.append(batch.x)
    return parts.sums.read(), gradients, seen


DEALT = [
    ({}, Grouped(groups=12, members=4, small_groups="keep"), 4),
    ({"evidence_from": "fellow", **GIVEN, **COSTS[0]}, Shuffled(30), 4),
    ({"accumulation": "mixture"}, Shuffled(30), 5),  # hands of different sizes
]


@pytest.mark.parametrize("case", DEALT, ids=str)
def test_batches_dealt_to_ranks_are_those_of_one_process(team, case):
    totals, gradients, batches = dealt_steps(*case)
    for count in (2, 4):
        results = team(count, dealt_steps, *case)
        assert not any(isinstance(r, Exception) for r in results), results
        for result in results:
            assert result[0] == pytest.approx(totals, rel=1e-11)
            for ours, theirs in zip(result[1], gradients, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
        for whole, *shares in zip(batches, *(result[2] for result in results), strict=True):
            assert torch.equal(torch.cat(shares), whole)


def test_a_training_on_parts_is_resumed_by_another_number_of_ranks(team, tmp_path):
    options = {"hands": 4, "epochs": 8}
    assert fit(tmp_path / "alone", Shuffled(100), **options)[0].finished
    batching, run = Shuffled(100), tmp_path / "run"
    for result, _ in team(4, fit_dealt, run, batching, {"signalled_at": 22, **options}):
        assert result.finished is False
    options["hands"] = None  # known from the checkpoint
    for result, _ in team(
        2, fit_dealt, run, batching, {"signalled_at": 30, "resume": True, **options}
    ):
        assert result.finished is False
    assert step_of(run) == 52
    with pytest.raises(InputError, match=r"data\.hands=4"):
        fit_dealt(run, batching, {"resume": True, **options, "hands": 3})
    assert fit_dealt(run, batching, {"resume": True, **options, "hands": 4})[0].finished
    assert_equal_curves(tmp_path / "alone", run)


def fit_dealt(run, batching, options):
    """:func:`fit` on data in parts, also where the hands are not given."""
    hands = options.pop("hands")
    if hands is None:
        return fit(run, batching, hands=0, **options)
    return fit(run, batching, hands=hands, **options)


# Restarts by torchrun


def test_a_training_whose_rank_is_killed_restarts_and_ends_as_without_the_failure(team, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node=2", "--max-restarts=1", __file__, tmp_path / "run"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr  # with the stacks of a process that aborts
    for result, _ in team(2, fit, tmp_path / "whole", Shuffled(100)):
        assert result.finished
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")
    run, whole = (read_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("run", "whole"))
    assert run["step"] == whole["step"]
    assert all(torch.equal(run["model"][name], whole["model"][name]) for name in whole["model"])
    assert (tmp_path / "run" / "launch.txt").is_file()
    assert not (tmp_path / "whole" / "launch.txt").exists()


def test_a_run_of_another_launch_is_not_resumed_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    options = {"epochs": 1}
    fit(tmp_path / "run", Shuffled(100), **options)
    assert fit(tmp_path / "run", Shuffled(100), **options)[0].finished  # nothing is left to do
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "two")
    with pytest.raises(InputError, match="resume=True"):
        fit(tmp_path / "run", Shuffled(100), **options)
    with pytest.raises(InputError, match=r"^run .*--max-restarts"):
        fit(None, Shuffled(100), **options)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    ours = launch()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert launch() != ours  # another torchrun


# Bad input


def test_an_incomplete_environment_is_refused_and_the_missing_variables_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "0")
    match = "WORLD_SIZE=2 .* LOCAL_RANK, MASTER_ADDR, MASTER_PORT .*torchrun"
    with pytest.raises(InputError, match=match):
        join(torch.device("cpu"))


def test_more_ranks_than_cuda_devices_on_a_machine_are_refused(monkeypatch):
    values = {"WORLD_SIZE": 4, "RANK": 3, "LOCAL_RANK": 3, "MASTER_ADDR": "a", "MASTER_PORT": 1}
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"2 for rank 4 .*--nproc-per-node=2"):
        join(torch.device("cuda"))


@pytest.mark.parametrize(
    ("name", "options", "span", "match"),
    [
        ("MLVAE", {"accumulation": "mixture"}, True, "^batching.span_ranks .* accumulation="),
        ("MLVAE", {"evidence_from": "subset"}, True, "^batching.span_ranks "),
        ("VAE", {}, True, "^batching.span_ranks "),
        ("MLVAE", SEVERAL | {"evidence_from": "subset"}, False, "evidence_from=all"),
        ("MLVAE", {"content_dim": {"a": 3, "b": 2}, "nested": ("a", "b")}, False, "span_ranks"),
    ],
)
def test_a_model_whose_groups_cannot_span_ranks_is_refused(name, options, span, match):
    model = built(name, options)
    with pytest.raises(InputError, match=match):
        check_shared(model, Ranks(count=2), span=span)
    check_shared(model, Ranks(), span=span)  # one process may train it


def test_span_ranks_is_true_or_false():
    for batching in (Shuffled, Grouped):
        with pytest.raises(InputError, match=r"batching.span_ranks .*, not 1"):
            batching(span_ranks=1)


if __name__ == "__main__":
    if len(sys.argv) > 1:  # started by torchrun
        fit(Path(sys.argv[1]), Shuffled(100), killed_at=40)
        _leave()  # a thread of gloo that runs when Python ends may abort the process
        names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
        assert not any("gloo" in name for name in names), names
    else:
        work()
