"""The folder of a run belongs to one training, and only to trainings."""

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml

import mlvae
from mlvae import Diverged, GroupedData, InputError
from mlvae.likelihoods import Gaussian
from mlvae.training import loop
from mlvae.training.checkpoint import read_checkpoint
from mlvae.training.run import held, write_config


def fit(model, digits, run, **options):
    return mlvae.train(
        model, digits.test, run=run, **{"epochs": 1, "progress": False, "device": "cpu"} | options
    )


def test_of_two_trainings_in_one_folder_one_is_refused(small_model, digits, tmp_path):
    run = tmp_path / "run"
    with held(run, resume=False):
        with pytest.raises(InputError, match="is held by another training that goes on; choose"):
            fit(small_model(), digits, run)
        assert not list(run.iterdir())
    fit(small_model(), digits, run)
    with pytest.raises(InputError, match="holds a run already"), held(run, resume=False):
        pass
    fit(small_model(), digits, run, resume=True, epochs=2)


def test_of_many_that_begin_at_once_one_trains(small_model, digits, tmp_path):
    models, ends = [small_model() for _ in range(4)], []

    def work(model):
        try:
            fit(model, digits, tmp_path / "run")
            ends.append("trained")
        except InputError as error:
            ends.append(str(error))

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends.count("trained") == 1
    assert all(e == "trained" or "is held by" in e or "holds a run" in e for e in ends), ends


def test_who_comes_second_removes_nothing_of_the_first(small_model, digits, tmp_path, monkeypatch):
    @contextmanager
    def just_taken(run, resume):
        run.mkdir()
        (run / "of the first").touch()
        raise InputError("is held by another training")
        yield

    monkeypatch.setattr(loop, "held", just_taken)
    with pytest.raises(InputError, match="is held by"):
        fit(small_model(), digits, tmp_path / "run")
    assert (tmp_path / "run" / "of the first").exists()


def test_a_folder_with_ones_own_files_of_the_same_names_is_left_alone(
    small_model, digits, tmp_path
):
    for name in ("config.yaml", "metrics.jsonl"):
        run = tmp_path / name[:3]
        run.mkdir()
        (run / name).write_text("mine: 1")
        with pytest.raises(InputError, match=r"metrics\.jsonl that is of no run"):
            fit(small_model(), digits, run)
        assert (run / name).read_text() == "mine: 1" and len(list(run.iterdir())) == 1
    (tmp_path / "killed").mkdir()
    write_config(tmp_path / "killed", {"seed": 0})  # as if killed before its first checkpoint
    fit(small_model(), digits, tmp_path / "killed")


def test_a_training_that_diverges_in_its_first_step_keeps_what_it_saved(tmp_path):
    data = GroupedData(1e19 * torch.rand(40, 3), [0, 1] * 20)
    model = mlvae.models.MLVAE((3,), likelihood=Gaussian(std=1e-3))
    with pytest.raises(Diverged, match=r"at step 0 .* is saved in"):
        mlvae.train(model, data, run=tmp_path / "run", epochs=1, progress=False)
    assert mlvae.load(tmp_path / "run").config == model.config


@pytest.mark.parametrize("value", [Path("a"), torch.zeros(2), {1, 2}])
def test_a_config_that_cannot_be_written_leaves_nothing(small_model, digits, tmp_path, value):
    with pytest.raises(InputError, match=r"must have plain values, .*, but x is"):
        fit(small_model(), digits, tmp_path / "run", config={"x": value})
    assert not list(tmp_path.iterdir())


def test_odd_keys_and_words_of_a_config_come_back(tmp_path):
    config = {"a\nb: c": 1, "e": "\N{GRINNING FACE}", "on": True, "f": {"1": [None, 0.5]}}
    write_config(tmp_path, config)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == config


@pytest.mark.parametrize("run", ["a" * 300, "b\0"])
def test_what_can_be_no_name_of_a_folder_is_one_line(small_model, digits, run, tmp_path):
    with pytest.raises(InputError, match="run must name a folder, but"):
        fit(small_model(), digits, tmp_path / run)
    with pytest.raises(InputError, match="must be a run folder with a check"):
        mlvae.load(tmp_path / run)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_run_is_whole_where_its_device_is_not(small_model, digits, tmp_path):
    fit(small_model(), digits, tmp_path / "run")
    for device, message in (
        ("cuda", "needs a CUDA device, and none is visible"),
        ("gpu", "device=gpu cannot be used here"),
        ("mps", "device=mps cannot be used here"),
    ):
        with pytest.raises(InputError, match=message):
            mlvae.load(tmp_path / "run", device=device)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.double(), r"trained in float32, not in torch.float64: take model.fl"),
        (lambda model: model.bfloat16(), "trained in float32, not in torch.bfloat16"),
        (lambda model: model.requires_grad_(False), "parameters that require a gradient"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(small_model, digits, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        fit(change(small_model()), digits, tmp_path / "run")
    with pytest.raises(InputError, match="training data must be GroupedData, not Splits"):
        mlvae.train(small_model(), digits, run=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_gradients_are_on_whatever_the_caller_has_switched(small_model, digits, tmp_path):
    with torch.no_grad():
        result = fit(small_model(), digits, tmp_path / "run")
    assert result.finished


def test_data_on_a_disk_are_the_same_wherever_they_are_trained_on(
    small_model, digits, tmp_path, monkeypatch
):
    run, data = tmp_path / "run", digits.test
    here = data.fingerprint()
    monkeypatch.setattr(GroupedData, "to", lambda self, device: self.subset(range(len(self))))
    monkeypatch.setattr(
        GroupedData, "fingerprint", lambda self: here if self is data else {"checksum": 0}
    )
    fit(small_model(), digits, run)  # on a device with room for them, they are no longer on disk
    assert read_checkpoint(run / "checkpoint.pt")["fixed"]["data"] == here
