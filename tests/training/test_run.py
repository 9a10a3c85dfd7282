"""The folder of a run belongs to one training, and only to trainings."""

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml

import mlvae
from mlvae import Diverged, GroupedData, InputError, Reports
from mlvae.likelihoods import Gaussian
from mlvae.training import opening
from mlvae.training.checkpoint import read_checkpoint
from mlvae.training.run import held, write_config

QUIET = Reports(progress=False)


def fit(model, digits, run, **options):
    options = {"epochs": 1, "reports": QUIET, "device": "cpu"} | options
    return mlvae.train(model, digits.test, run=run, **options)


def test_the_second_training_in_one_folder_is_refused(small_model, digits, tmp_path):
    run = tmp_path / "run"
    with held(run, resume=False):
        with pytest.raises(InputError, match=f"{run} is locked"):
            fit(small_model(), digits, run)
        assert not list(run.iterdir())
    fit(small_model(), digits, run)
    with pytest.raises(InputError, match=f"{run} holds"), held(run, resume=False):
        pass
    fit(small_model(), digits, run, resume=True, epochs=2)


def test_one_of_several_simultaneous_trainings_in_one_folder_trains(small_model, digits, tmp_path):
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
    assert all(e == "trained" or f"{tmp_path / 'run'} " in e for e in ends), ends


def test_a_refused_training_removes_no_file_of_the_first(
    small_model, digits, tmp_path, monkeypatch
):
    @contextmanager
    def just_taken(run, resume):
        run.mkdir()
        (run / "of the first").touch()
        raise InputError(f"{run} is locked")
        yield

    monkeypatch.setattr(opening, "held", just_taken)
    with pytest.raises(InputError, match="is locked"):
        fit(small_model(), digits, tmp_path / "run")
    assert (tmp_path / "run" / "of the first").exists()


def test_a_folder_with_other_files_of_the_same_names_is_not_changed(small_model, digits, tmp_path):
    for name in ("config.yaml", "metrics.jsonl"):
        run = tmp_path / name[:3]
        run.mkdir()
        (run / name).write_text("mine: 1")
        with pytest.raises(InputError, match=f"{run} "):
            fit(small_model(), digits, run)
        assert (run / name).read_text() == "mine: 1" and len(list(run.iterdir())) == 1
    (tmp_path / "killed").mkdir()
    write_config(tmp_path / "killed", {"seed": 0})  # as if killed before its first checkpoint
    fit(small_model(), digits, tmp_path / "killed")


def test_a_training_that_diverges_in_its_first_step_keeps_what_it_saved(tmp_path):
    data = GroupedData(1e19 * torch.rand(40, 3), [0, 1] * 20)
    model = mlvae.models.MLVAE((3,), likelihood=Gaussian(std=1e-3))
    with pytest.raises(Diverged, match=f"step 0 .*{tmp_path}"):
        mlvae.train(model, data, run=tmp_path / "run", epochs=1, reports=QUIET)
    assert mlvae.load(tmp_path / "run").config == model.config


@pytest.mark.parametrize("value", [Path("a"), torch.zeros(2), {1, 2}])
def test_a_config_that_cannot_be_written_leaves_nothing(small_model, digits, tmp_path, value):
    with pytest.raises(InputError, match=r"config .* x is"):
        fit(small_model(), digits, tmp_path / "run", config={"x": value})
    assert not list(tmp_path.iterdir())


def test_unusual_keys_and_words_of_a_config_are_read_again(tmp_path):
    config = {"a\nb: c": 1, "e": "\N{GRINNING FACE}", "on": True, "f": {"1": [None, 0.5]}}
    write_config(tmp_path, config)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == config


@pytest.mark.parametrize("run", ["a" * 300, "b\0"])
def test_an_impossible_name_of_a_folder_is_an_input_error(small_model, digits, run, tmp_path):
    with pytest.raises(InputError, match=r"^run "):
        fit(small_model(), digits, tmp_path / run)
    with pytest.raises(InputError, match=r"checkpoint.pt"):
        mlvae.load(tmp_path / run)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_available_is_named(small_model, digits, tmp_path):
    fit(small_model(), digits, tmp_path / "run")
    for device, message in (
        ("cuda", "device=cuda"),
        ("gpu", "device=gpu"),
        ("mps", "device=mps"),
    ):
        with pytest.raises(InputError, match=message):
            mlvae.load(tmp_path / "run", device=device)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.double(), r"float32, .*torch.float64.* model.float\(\)"),
        (lambda model: model.bfloat16(), "float32, .*torch.bfloat16"),
        (lambda model: model.requires_grad_(False), "require a gradient"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(small_model, digits, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        fit(change(small_model()), digits, tmp_path / "run")
    with pytest.raises(InputError, match="GroupedData, not Splits"):
        mlvae.train(small_model(), digits, run=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_gradients_are_computed_under_no_grad_of_the_caller(small_model, digits, tmp_path):
    with torch.no_grad():
        result = fit(small_model(), digits, tmp_path / "run")
    assert result.finished


def test_images_on_the_disk_have_one_fingerprint_on_every_device(
    small_model, digits, tmp_path, monkeypatch
):
    run, data = tmp_path / "run", digits.test
    here = data.fingerprint()
    monkeypatch.setattr(GroupedData, "to", lambda self, device: self.subset(range(len(self))))
    monkeypatch.setattr(
        GroupedData, "fingerprint", lambda self: here if self is data else {"checksum": 0}
    )
    fit(small_model(), digits, run)  # a device with enough memory holds them instead of the disk
    assert read_checkpoint(run / "checkpoint.pt")["fixed"]["data"] == here
