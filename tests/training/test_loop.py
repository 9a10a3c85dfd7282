"""`mlvae.train`: the files of a run, interruption, resumption and errors."""

import json
import math
import os
import signal

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mlvae
from mlvae import Adam, Diverged, GroupedData, InputError, Reports, Speed, Warmup
from mlvae.data import Grouped, GroupWarp, Shuffled
from mlvae.likelihoods import LearnedGaussian
from mlvae.networks import Conv
from mlvae.training import loop
from mlvae.training.checkpoint import read_checkpoint
from mlvae.training.validation import evaluate_bound

BATCHINGS = [Shuffled(100), Grouped(groups=4, members=16)]
TERMS = (
    "elbo_per_group",
    "elbo_per_observation",
    "log_likelihood_per_observation",
    "style_kl_per_observation",
    "content_kl_per_group",
)


def fit(model, digits, run, *, reports=None, **options):
    options = {"epochs": 2, "batching": BATCHINGS[0], "device": "cpu"} | options
    options["reports"] = Reports(**{"progress": False} | (reports or {}))
    return mlvae.train(model, digits.train, validation=digits.validation, run=run, **options)


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_equal_states(a, b):
    """Equal to the last bit: every tensor and every number of two nested states."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal_states(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal_states(x, y)
    else:
        assert a == b or (a != a and b != b)


class Interrupting:
    """A model that sends its own process a signal in the middle of a training step."""

    def __init__(self, model, step, number):
        self.calls, self.step, self.number = 0, step, number
        model.register_forward_hook(self)

    def __call__(self, model, inputs, output):
        self.calls += model.training
        if self.calls == self.step:
            self.calls += 1
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.manual_seed(0)
    digits = mlvae.data.digits()
    model = mlvae.models.MLVAE(digits.train.shape, content_dim=4, style_dim=3)
    run = tmp_path_factory.mktemp("trained")
    return fit(model, digits, run, epochs=20, reports={"pictures_every": 10}), model, digits


def test_training_improves_the_bound_it_reports(trained):
    result, model, digits = trained
    train = [line for line in lines(result.run) if line["split"] == "train"]
    validation = [line for line in lines(result.run) if line["split"] == "validation"]
    assert len(train) == len(validation) == 20
    assert train[-1]["elbo_per_observation"] > train[0]["elbo_per_observation"] + 5
    # The reported values are those of the model on the same data.
    again = evaluate_bound(model, digits.validation, BATCHINGS[0], seed=0)
    reported = {f"validation/{name}": value for name, value in again.items()}
    assert reported.items() <= result.metrics.items()
    assert result.metrics["validation/best_loss"] == min(line["loss"] for line in validation)
    assert result.finished and not model.training


def test_the_bound_is_the_sum_of_its_reported_terms(trained):
    for line in lines(trained[0].run):
        size = line["elbo_per_group"] / line["elbo_per_observation"]  # observations per group
        members = line["log_likelihood_per_observation"] - line["style_kl_per_observation"]
        total = size * members - line["content_kl_per_group"]
        assert line["elbo_per_group"] == pytest.approx(total, rel=1e-5)
        assert line["loss"] == pytest.approx(-line["elbo_per_group"], rel=1e-5)


def test_a_run_is_one_folder_with_all_files(trained):
    run = trained[0].run
    names = {path.name for path in run.iterdir() if "tfevents" not in path.name}
    assert names == {"config.yaml", "metrics.jsonl", "checkpoint.pt", "best.pt", "figures"}
    assert {p.name for p in (run / "figures").iterdir()} == {"reconstructions.png", "swaps.png"}
    config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    assert config == read_checkpoint(run / "checkpoint.pt")["config"]
    assert config["model"]["network"]["hidden"] == [500]


def test_tensorboard_has_every_term_pictures_and_hyperparameters(trained):
    events = EventAccumulator(str(trained[0].run), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    names = ("loss", *TERMS)
    expected = {f"{split}/{name}" for split in ("train", "validation") for name in names}
    reported = {tag for tag in tags["scalars"] if tag.split("/")[0] in ("train", "validation")}
    others = {"train/gradient_norm", "train/learning_rate", "train/steps_per_second"}
    others |= {"validation/best_loss"}  # of the table of hyperparameters
    assert reported == expected | others
    assert set(tags["images"]) == {"reconstructions", "swaps"}
    assert [event.step for event in events.Images("swaps")] == [150, 300]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_a_trained_model_is_loaded_from_its_run(trained):
    result, model, digits = trained
    x = digits.test.x[:5]
    again = mlvae.load(result.run)
    assert torch.equal(again.reconstruct(x), model.reconstruct(x)) and not again.training
    best = mlvae.load(str(result.run), best=True)
    values = evaluate_bound(best, digits.validation, BATCHINGS[0], seed=0)
    assert values["loss"] == result.metrics["validation/best_loss"]


@pytest.mark.parametrize("batching", BATCHINGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_determines_the_whole_run(small_model, digits, tmp_path, batching, seed):
    runs = [tmp_path / name for name in "ab"]
    for run in runs:
        torch.rand(3)  # torch's own generator does not matter
        fit(small_model(), digits, run, batching=batching, seed=seed)
    a, b = (read_checkpoint(run / "checkpoint.pt") for run in runs)
    assert_equal_states(a, b)
    fit(small_model(), digits, tmp_path / "c", batching=batching, seed=seed + 1)
    c = read_checkpoint(tmp_path / "c" / "checkpoint.pt")
    assert not torch.equal(a["model"]["decoder.head.bias"], c["model"]["decoder.head.bias"])


@pytest.mark.parametrize("batching", BATCHINGS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_by_a_signal_and_resumed_is_the_same_bit_for_bit(
    small_model, digits, tmp_path, capsys, batching, number
):
    options = {
        "batching": batching,
        "optimizer": Adam(schedule="cosine", warmup_steps=7),
        "warmup": Warmup(kl_steps=20, content_first_steps=30),
        "epochs": 3,
    }
    reports = {"log_every": 4}
    fit(small_model(), digits, tmp_path / "whole", reports=reports, **options)
    stopped = small_model()
    Interrupting(stopped, 22, number)
    run = tmp_path / "stopped"
    shown = {"log_every": 4, "progress": True}
    result = fit(stopped, digits, run, reports=shown, **options)
    assert not result.finished and read_checkpoint(run / "checkpoint.pt")["step"] == 22
    assert f"run={str(run)!r}, resume=True" in capsys.readouterr().out
    before = signal.getsignal(signal.SIGINT)
    result = fit(small_model(), digits, run, resume=True, reports=reports, **options)
    assert result.finished and signal.getsignal(signal.SIGINT) is before
    whole, resumed = (
        read_checkpoint(folder / "checkpoint.pt") for folder in (tmp_path / "whole", run)
    )
    assert_equal_states(whole, resumed)
    best = [read_checkpoint(folder / "best.pt") for folder in (tmp_path / "whole", run)]
    assert_equal_states(*best)
    speed = "steps_per_second"
    for a, b in zip(lines(tmp_path / "whole"), lines(run), strict=True):
        assert {k: v for k, v in a.items() if k != speed} == {
            k: v for k, v in b.items() if k != speed
        }


def test_lines_after_the_checkpoint_are_removed_on_resumption(small_model, digits, tmp_path):
    fit(small_model(), digits, tmp_path, epochs=1)
    expected = lines(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "split": "train"}\n{"step": 1')  # a crash, half a line
    fit(small_model(), digits, tmp_path, epochs=1, resume=True)
    assert lines(tmp_path) == expected


def test_a_run_can_be_made_longer(small_model, digits, tmp_path):
    fit(small_model(), digits, tmp_path / "long", epochs=3)
    fit(small_model(), digits, tmp_path / "short", epochs=1)
    fit(small_model(), digits, tmp_path / "short", epochs=3, resume=True)
    a, b = (read_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("long", "short"))
    assert_equal_states(a["model"], b["model"])


def test_a_finished_run_resumed_stays_as_it_is(small_model, digits, tmp_path):
    first = fit(small_model(), digits, tmp_path, epochs=1)
    again = fit(small_model(), digits, tmp_path, epochs=1, resume=True)
    assert again.metrics == first.metrics and again.finished


def test_checkpoints_are_written_at_the_interval(small_model, digits, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        loop.TrainingState, "save", lambda self, name="checkpoint.pt": saved.append(self.step)
    )
    often, once = ({"validate_every": None, "checkpoint_seconds": s} for s in (0, None))
    fit(small_model(), digits, tmp_path / "often", epochs=1, reports=often)
    assert saved == [*range(1, 16), 15]
    saved.clear()
    fit(small_model(), digits, tmp_path / "once", epochs=1, reports=once)
    assert saved == [15]


def test_a_step_that_is_not_finite_ends_training_with_the_state_before_it(
    small_model, digits, tmp_path
):
    fit(small_model(), digits, tmp_path / "before", epochs=1)
    model = small_model()
    calls = []

    def poison(model, inputs, output):
        calls.append(1)
        if sum(calls) == 17:
            output.per_observation["style_kl"].data[0] = math.inf

    model.register_forward_hook(lambda *a: poison(*a) if a[0].training else None)
    with pytest.raises(
        Diverged, match=r"step 16 \(epoch 1.07\) style_kl is inf; .*optimizer.learning_rate"
    ):
        fit(model, digits, tmp_path / "run", epochs=3)
    state = read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["step"] == 16
    # Step 15 was good: the state is that of an epoch and one step.
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    resumed = fit(small_model(), digits, tmp_path / "run", epochs=2, resume=True)
    whole = fit(small_model(), digits, tmp_path / "whole", epochs=2)
    assert resumed.metrics == whole.metrics


def test_a_bound_on_the_validation_data_that_is_not_finite_ends_training(
    small_model, digits, tmp_path
):
    def poison(model, inputs, output):
        if not model.training:
            output.per_observation["style_kl"].data[0] = math.nan

    model = small_model()
    model.register_forward_hook(poison)
    with pytest.raises(Diverged, match=r"step 15 .*style_kl_per_.* nan"):
        fit(model, digits, tmp_path, epochs=3)
    assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 15
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    fit(small_model(), digits, tmp_path, epochs=2, resume=True)


@pytest.mark.parametrize(
    "change",
    [{"weight_decay": 100.0}, {"betas": (0.0, 0.5)}, {"eps": 1.0}, {"learning_rate": 0.1}],
)
def test_options_of_the_optimiser_may_change_on_resumption(small_model, digits, tmp_path, change):
    ends = []
    for options in ({}, change):
        run = tmp_path / str(len(ends))
        fit(small_model(), digits, run, epochs=1)
        fit(small_model(), digits, run, epochs=2, resume=True, optimizer=Adam(**options))
        ends.append(read_checkpoint(run / "checkpoint.pt")["model"]["encoder.heads.weight"])
    assert not torch.equal(*ends)


def test_a_signal_after_the_last_step_is_reported(small_model, digits, tmp_path, monkeypatch):
    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return {}

    monkeypatch.setattr("mlvae.training.trainer.pictures", interrupted)
    result = fit(small_model(), digits, tmp_path, epochs=1)
    assert not result.finished  # so that a sweep does not go on to its next job
    assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 15


def test_patience_stops_when_nothing_improves(small_model, digits, tmp_path):
    # At a learning rate this small nothing changes: the first validation stays the best.
    options = {"optimizer": Adam(learning_rate=1e-30), "patience": 2, "epochs": 9}
    result = fit(small_model(), digits, tmp_path, **options)
    assert result.finished and read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3 * 15
    fit(small_model(), digits, tmp_path, resume=True, **options)
    assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3 * 15


def test_warm_up_weakens_the_kl_terms_at_first(small_model, digits, tmp_path):
    model = small_model()
    scales = []
    model.register_forward_hook(
        lambda m, *_: scales.append(m.objective.kl_scale.item()) if m.training else None
    )
    fit(model, digits, tmp_path, epochs=1, warmup=Warmup(kl_steps=4))
    assert scales[:6] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_the_style_kl_has_a_larger_weight_at_first_with_content_first(
    small_model, digits, tmp_path
):
    model = small_model()
    scales = []
    model.register_forward_hook(
        lambda m, *_: scales.append(m.objective.style_scale.item()) if m.training else None
    )
    warmup = Warmup(content_first_steps=4, content_first_weight=9.0)
    fit(model, digits, tmp_path, epochs=1, warmup=warmup)
    assert scales[:6] == [9, 7, 5, 3, 1, 1]


def test_an_unfinished_warm_up_does_not_affect_the_next_training(small_model, digits, tmp_path):
    model = small_model()
    warmup = Warmup(kl_steps=1000, content_first_steps=1000)
    fit(model, digits, tmp_path / "first", epochs=1, warmup=warmup)
    assert model.objective.kl_scale < 0.1 and model.objective.style_scale > 7
    fit(model, digits, tmp_path / "second", epochs=1)
    assert model.objective.kl_scale == 1 and model.objective.style_scale == 1


def test_a_warm_up_needs_a_model_with_the_factor(digits, tmp_path):
    with pytest.raises(InputError, match=r"warmup\.kl_steps .*kl_scale.* Linear "):
        fit(torch.nn.Linear(2, 2), digits, tmp_path / "run", warmup=Warmup(kl_steps=5))
    with pytest.raises(InputError, match=r"warmup\.content_first_steps .*style_scale.* VAE "):
        vae, warmup = mlvae.models.VAE((1, 8, 8)), Warmup(content_first_steps=5)
        fit(vae, digits, tmp_path / "run", warmup=warmup)
    assert not (tmp_path / "run").exists()


def test_intervals_may_be_none_and_reports_may_come_every_few_steps(small_model, digits, tmp_path):
    reports = {"validate_every": None, "pictures_every": None, "log_every": 4}
    result = fit(small_model(), digits, tmp_path, epochs=1, reports=reports)
    assert [(line["step"], line["split"]) for line in lines(tmp_path)] == [
        (step, "train") for step in (4, 8, 12, 15)
    ]
    assert "validation/loss" not in result.metrics and not (tmp_path / "best.pt").exists()


def test_bfloat16_trains_to_about_the_same(small_model, digits, tmp_path):
    losses = [
        fit(small_model(), digits, tmp_path / p, speed=Speed(p)).metrics["validation/loss"]
        for p in ("float32", "bfloat16")
    ]
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.02)


def test_the_vae_and_any_model_with_an_objective_train_in_the_same_loop(digits, tmp_path):
    vae = mlvae.models.VAE(digits.train.shape, latent_dim=3)
    result = fit(vae, digits, tmp_path / "vae")
    assert "validation/kl_per_observation" in result.metrics
    assert isinstance(mlvae.load(result.run), mlvae.models.VAE)

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlvae.models.VAE(digits.train.shape, latent_dim=3)

        def forward(self, batch, *, generator=None):
            return self.inner(batch, generator=generator)

    result = fit(own := Own(), digits, tmp_path / "own", reports={"pictures_every": None})
    with pytest.raises(InputError, match="model="):
        mlvae.load(result.run)
    again = mlvae.load(result.run, model=Own())
    assert torch.equal(again.inner.decoder.head.bias, own.inner.decoder.head.bias)


def test_a_convolutional_model_with_dropout_learns_resumes_and_is_loaded(digits, tmp_path):
    def model():
        torch.manual_seed(0)
        return mlvae.models.MLVAE(
            digits.train.shape,
            network=Conv(widths=(8, 16), dropout=0.1),
            likelihood=LearnedGaussian(-6.0, 1.0, scope="scalar"),
        )

    before = evaluate_bound(model(), digits.validation, BATCHINGS[0])["loss"]
    trained = model()
    state = torch.get_rng_state()
    result = fit(trained, digits, tmp_path / "whole", epochs=4)
    assert torch.equal(torch.get_rng_state(), state)  # dropout draws from it; train restores it
    assert result.metrics["validation/loss"] < 0.5 * before
    again = mlvae.load(tmp_path / "whole")
    x = digits.test.x[:5]
    assert torch.equal(again.reconstruct(x), trained.reconstruct(x))
    # A checkpoint keeps the strides of the weights; otherwise resumption would not be exact.
    strides = [p.stride() for p in trained.parameters()]
    assert [p.stride() for p in again.parameters()] == strides
    fit(model(), digits, tmp_path / "parts", epochs=2)
    torch.rand(3)
    fit(model(), digits, tmp_path / "parts", epochs=4, resume=True)
    a, b = (read_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "parts"))
    assert_equal_states(a["model"], b["model"])


@pytest.mark.parametrize(("shape", "drawn"), [((5,), True), ((2, 5, 5), False)])
def test_features_train_with_pictures_if_they_are_a_series(shape, drawn, tmp_path):
    data = GroupedData(torch.randn(60, *shape), torch.arange(60) % 4)
    model = mlvae.models.MLVAE(data.shape, likelihood=mlvae.likelihoods.Gaussian())
    result = mlvae.train(model, data, run=tmp_path, epochs=2, reports=Reports(progress=False))
    assert result.finished and (tmp_path / "figures" / "swaps.png").exists() == drawn


def test_without_a_folder_a_new_one_is_made_under_runs(small_model, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quiet = Reports(progress=False)
    result = mlvae.train(small_model(), digits.train, epochs=1, reports=quiet)
    assert result.run.parent.name == "runs" and (result.run / "checkpoint.pt").exists()


REFUSED = [
    ({"epochs": 0}, "trainer.epochs .* 1, not 0"),
    ({"epochs": 1.5}, "trainer.epochs .*, not 1.5"),
    ({"patience": 0}, "trainer.patience .* 1, not 0"),
    ({"patience": 1, "reports": {"validate_every": None}}, "trainer.patience .*validate_every"),
    ({"speed": Speed("tf32"), "device": "cpu"}, "trainer.speed.precision=tf32 .*CUDA"),
    ({"seed": -1}, "^seed .* 0, not -1"),
    ({"device": "gpu"}, "device .* auto, cpu, cuda"),
    ({"batching": Grouped(members=500)}, "members=500 "),
    ({"resume": True}, "checkpoint.pt"),
    ({"resume": "no"}, "resume .*, not 'no'"),
    ({"batching": "shuffled"}, r"batching .*Shuffled\(...\) or Grouped\(...\), not 'shuf"),
    ({"optimizer": 1e-3}, r"optimizer .*Adam\(...\) or Torch\(...\), not 0.001"),
    ({"augmentation": True}, r"augmentation .*GroupWarp\(...\), not True"),
    ({"warmup": 20}, r"warmup .*Warmup\(...\), not 20"),
    ({"speed": "bfloat16"}, r"speed .*Speed\(...\), not 'bfloat16'"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_a_bad_option_is_refused_before_anything_is_written(
    small_model, digits, tmp_path, options, message
):
    with pytest.raises(InputError, match=message):
        fit(small_model(), digits, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_reports_that_are_not_a_record_are_refused(small_model, digits, tmp_path):
    with pytest.raises(InputError, match=r"reports .*Reports\(...\), not 3"):
        mlvae.train(small_model(), digits.train, run=tmp_path / "run", reports=3)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused(small_model, digits, tmp_path):
    with pytest.raises(InputError, match="device=cuda"):
        fit(small_model(), digits, tmp_path / "run", device="cuda")


def test_data_that_does_not_fit_the_model_is_refused(small_model, digits, tmp_path):
    colour = GroupedData(torch.zeros(4, 3, 8, 8), [0, 0, 1, 1])
    with pytest.raises(InputError, match=r"\(1, 8, 8\), .*training data .*\(3, 8, 8\)"):
        mlvae.train(small_model(), colour, run=tmp_path / "run")
    with pytest.raises(InputError, match="validation data"):
        mlvae.train(small_model(), digits.train, validation=colour, run=tmp_path / "run")
    features = GroupedData(torch.randn(8, 5), [0] * 8)
    with pytest.raises(InputError, match="Bernoulli"):
        mlvae.train(mlvae.models.MLVAE((5,)), features, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_named(small_model, digits, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/run .*Not a directory"):
        fit(small_model(), digits, tmp_path / "file" / "run")
    run = tmp_path / "run"
    run.mkdir()
    (run / "figures").touch()  # where a folder of pictures has to be
    with pytest.raises(InputError, match=r"figures .*File exists"):
        fit(small_model(), digits, run, epochs=1)


def test_a_folder_with_a_run_is_not_overwritten(small_model, digits, tmp_path):
    fit(small_model(), digits, tmp_path, epochs=1)
    with pytest.raises(InputError, match=f"{tmp_path} "):
        fit(small_model(), digits, tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match=f"{file} "):
        fit(small_model(), digits, file)


def test_a_run_of_another_model_seed_or_data_is_not_resumed(small_model, digits, tmp_path):
    fit(small_model(), digits, tmp_path, epochs=1)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    for model, option in (
        (small_model(content_dim=5), "model.content_dim=3, not 5"),
        (small_model(likelihood=LearnedGaussian()), "model.likelihood.name=Bernoulli, not Learn"),
        (small_model(accumulation="mean"), "model.accumulation=product, not mean"),
        (mlvae.models.VAE((1, 8, 8)), "model.name=MLVAE, not VAE"),
    ):
        with pytest.raises(InputError, match=option):
            fit(model, digits, tmp_path, resume=True)
    shifted = GroupedData(digits.train.x, [int(g) + 1 for g in digits.train.groups.index])
    for other, option in (
        ({"augmentation": GroupWarp()}, "augmentation="),
        ({"batching": Grouped(groups=20, members=5)}, "batching.name=Shuffled, not Grouped"),
        ({"data": shifted}, "data.(checksum|labels)="),
    ):
        data, options = other.pop("data", digits.train), {"batching": Shuffled(100)} | other
        assert options["batching"].num_batches(data) == 15  # or the error would name it
        with pytest.raises(InputError, match=option):
            mlvae.train(small_model(), data, run=tmp_path, resume=True, **options)
    with pytest.raises(InputError, match=r"seed 0 and 15 .*seed 1 and 15"):
        fit(small_model(), digits, tmp_path, resume=True, seed=1)
    with pytest.raises(InputError, match=r"seed 0 and 15 .*seed 0 and 8"):
        fit(small_model(), digits, tmp_path, resume=True, batching=Shuffled(200))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_run_cannot_be_resumed_with_fewer_epochs_than_it_has(small_model, digits, tmp_path):
    fit(small_model(), digits, tmp_path, epochs=2)
    with pytest.raises(InputError, match=r"2 epochs, .*1; .*trainer.epochs"):
        fit(small_model(), digits, tmp_path, resume=True, epochs=1)


def test_the_folder_of_a_run_must_have_a_name(small_model, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^run .*None"):
        fit(small_model(), digits, None, resume=True)
    with pytest.raises(InputError, match=r"^run .*empty"):
        fit(small_model(), digits, " ")
    assert not list(tmp_path.iterdir())


class NoObjective(torch.nn.Linear):
    """A model that returns a number instead of an objective."""

    def forward(self, batch, *, generator=None):
        return super().forward(batch.x.flatten(1)).sum()


def test_a_training_that_fails_before_its_first_step_leaves_nothing(digits, tmp_path):
    for model, message in (
        (NoObjective(64, 1), "Objective .*not a Tensor"),
        (mlvae.models.AdaVAE((1, 8, 8)), "groups of at most 2 .*batching.members=2"),
    ):
        with pytest.raises(InputError, match=message):
            fit(model, digits, tmp_path / "run")
        assert not list(tmp_path.iterdir())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").touch()  # files that existed before stay
    with pytest.raises(InputError):
        fit(NoObjective(64, 1), digits, tmp_path / "run")
    assert (tmp_path / "run" / "mine").exists()


def test_progress_is_lines_without_a_terminal_and_can_be_switched_off(
    small_model, digits, tmp_path, capsys
):
    fit(small_model(), digits, tmp_path / "silent")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    fit(small_model(), digits, tmp_path / "lines", reports={"progress": True})
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 7 and out[0] == f"the run is in {tmp_path / 'lines'}"
    assert out[1].startswith("1,437 observations (1, 8, 8) in 10 groups; MLVAE of ")
    assert out[1].endswith(" parameters on cpu; 30 steps in 2 epochs")
    assert out[2].startswith("epoch 1, step 15/30, train: elbo -")
    assert out[-1] == f"finished at step 30 of 30; the run is in {tmp_path / 'lines'}"
