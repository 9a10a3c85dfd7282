"""Checkpoints of strangers: every key missing or of another type, and sizes that do not agree.

Each test changes one place of a valid checkpoint, and calls everything that reads one. The call
may succeed, where the place does not matter, or raise an InputError in one line.
"""

import io
import zipfile
from pathlib import Path

import pytest
import torch

import mlvae
from mlvae import Adam, InputError, Speed
from mlvae.commands import evaluate, train
from mlvae.commands.control_configs import vae_config
from mlvae.models import build
from mlvae.networks import MLP
from mlvae.parts import plain, to_config
from mlvae.training.checkpoint import FORMAT, read_state, write_checkpoint
from mlvae.training.loop import training_step
from mlvae.training.state import TrainingState
from mlvae.training.step import StepParts

#: What a key is replaced by.
OTHERS = {
    "None": None,
    "a number": 7,
    "a text": "a",
    "a list": ["a"],
    "a dict": {"a": 1},
    "a tensor": torch.zeros(2, 3),
}

LOAD = torch.load

CONFIG = {
    "dataset": {"name": "digits", "validation": 10, "test": 10, "unseen_groups": [], "seed": 0},
    "batching": {"name": "Shuffled", "batch_size": 3, "span_ranks": False},
    "augmentation": None,
    "optimizer": {"name": "Adam", "learning_rate": 0.001},
    "trainer": {"epochs": 2, "speed": {"name": "Speed", "compile": False}, "kl_warmup_steps": 3},
    "seed": 0,
    "device": "cpu",
    "run": "run",
    "resume": None,
}


def new_state(folder):
    torch.manual_seed(0)
    model = mlvae.models.MLVAE((1, 2, 2), content_dim=1, style_dim=1, network=MLP((2,)))
    return TrainingState(
        run=folder,
        config={**CONFIG, "model": model.config},
        shape=(1, 2, 2),
        model=model,
        parts=StepParts(model, Adam(), speed=Speed()),
        seed=0,
        steps_per_epoch=2,
        total_steps=8,
        fixed={"data": {"observations": 6}, "batching": to_config(mlvae.data.Shuffled(3))},
    )


def take_a_step(state):
    batch = mlvae.Batch(torch.rand(3, 1, 2, 2), mlvae.Groups([0, 0, 1]))
    training_step(state.parts, batch, torch.Generator().manual_seed(0))
    state.step += 1


def checkpoint(version):
    """A valid checkpoint of a format."""
    folder = Path("valid")
    folder.mkdir(exist_ok=True)
    state = new_state(folder)
    take_a_step(state)
    state.save()
    content = LOAD(folder / "checkpoint.pt", weights_only=True)
    content["format"] = version
    if version == 1:
        content["optimizer"] = content.pop("optimizers")["model"]
        content["trainer"] = {}
    return content


def places(value, above=()):
    """The keys of a nested value, at every depth."""
    items = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        items = enumerate(value)
    for key, inner in items:
        yield (*above, key)
        yield from places(inner, (*above, key))


def copied(value):
    """A copy of a nested value with the same tensors."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    return [copied(inner) for inner in value] if isinstance(value, list) else value


def changed(content, place, new=None, *, remove=False):
    """A copy with another value at a place, or without it."""
    content = copied(content)
    target = content
    for key in place[:-1]:
        target = target[key]
    if remove:
        del target[place[-1]]
    else:
        target[place[-1]] = new
    return content


@pytest.fixture(autouse=True)
def work_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def readers(tmp_path, monkeypatch):
    """Everything that reads a checkpoint, by name; and the setter of the content that it reads."""
    run = tmp_path / "run"
    run.mkdir()
    with zipfile.ZipFile(run / "checkpoint.pt", "w"):
        pass
    held = {}
    monkeypatch.setattr(torch, "load", lambda *_, **__: copied(held["content"]))

    def resume():
        state = new_state(run)
        state.resume()
        take_a_step(state)
        state.parts.sums.read()

    def resumed_config():
        config = train.saved_config(run)
        train.check(config)
        train.parts_by(config)

    def evaluation():
        content = read_state(run / "checkpoint.pt")
        trained, dataset = evaluate.trained_on(run, content, None)
        train.parts_by(vae_config({**trained, "dataset": dataset}, run))

    calls = {
        "load": lambda: mlvae.load(run),
        "load with a model": lambda: mlvae.load(run, model=new_state(run).model),
        "resume": resume,
        "resumed config": resumed_config,
        "evaluation": evaluation,
    }
    return calls, lambda content: held.update(content=content)


def failures(calls, what):
    """The calls that end in another exception than an InputError in one line."""
    for name, call in calls.items():
        try:
            call()
        except InputError as error:
            if "\n" in str(error) or len(str(error)) > 500:
                yield f"{what}: {name} has the message {error}"
        except Exception as error:  # any other exception is what these tests look for
            yield f"{what}: {name} raises {type(error).__name__}: {str(error)[:150]}"


@pytest.mark.parametrize("version", [1, 2])
def test_a_valid_checkpoint_is_read_by_all(version, readers):
    calls, put = readers
    put(checkpoint(version))
    for call in calls.values():
        call()


def all_places(content, version):
    """All places of format 2; format 1 differs in the optimiser alone."""
    return [place for place in places(content) if version == 2 or place[0] == "optimizer"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_missing_key_at_any_depth_ends_in_one_line(version, readers):
    calls, put = readers
    content, wrong = checkpoint(version), []
    for place in all_places(content, version):
        put(changed(content, place, remove=True))
        wrong += failures(calls, f"without {place}")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("other", OTHERS)
def test_a_value_of_another_type_at_any_depth_ends_in_one_line(version, other, readers):
    calls, put = readers
    content, wrong = checkpoint(version), []
    for place in all_places(content, version):
        put(changed(content, place, OTHERS[other]))
        wrong += failures(calls, f"{place} is {other}")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("content", [*OTHERS.values(), {"format": FORMAT}, {"format": 1}])
def test_content_that_is_no_checkpoint_is_refused_by_all(content, readers):
    calls, put = readers
    put(content)
    for call in calls.values():
        with pytest.raises(InputError):
            call()


REQUIRED = [
    "version",
    "config",
    "shape",
    "model_config",
    "model",
    "optimizers",
    "sums",
    "generators",
    "step",
    "steps_per_epoch",
    "best",
    "stale",
    "metrics",
]


@pytest.mark.parametrize("key", REQUIRED)
def test_the_message_names_the_key_and_the_found_value(key, readers):
    calls, put = readers
    content = checkpoint(FORMAT)
    put(changed(content, (key,), remove=True))
    with pytest.raises(InputError, match=rf"\b{key}\b"):
        calls["load"]()
    put(changed(content, (key,), {1, 2}))
    with pytest.raises(InputError, match=rf"\b{key}\b.*\{{1, 2\}}"):
        calls["load"]()


# Sizes


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("shape",), [1, 2, 3]),
        (("shape",), [10**12]),
        (("shape",), [2**62, 2**62]),
        (("model_config", "network", "hidden"), [10**5, 10**5]),
        (("model_config", "content_dim"), 10**9),
        (("model_config", "style_dim"), 10**30),
    ],
)
def test_a_description_larger_than_the_weights_is_refused_before_it_is_built(
    place, value, readers, monkeypatch
):
    calls, put = readers
    put(changed(checkpoint(FORMAT), place, value))
    devices = []

    def recorded(*args, **options):
        devices.append(torch.get_default_device().type)
        return build(*args, **options)

    monkeypatch.setattr("mlvae.training.structure.build", recorded)
    with pytest.raises(InputError, match=r"\d"):
        calls["load"]()
    assert devices == ["meta"]


def test_an_expanded_tensor_does_not_count_as_weights(readers, monkeypatch):
    calls, put = readers
    content = checkpoint(FORMAT)
    content["model_config"]["network"]["hidden"] = [10**4]
    model = build([1, 2, 2], content["model_config"])
    content["model"] = {
        name: torch.zeros(1).expand(value.shape) for name, value in model.state_dict().items()
    }
    put(content)
    with pytest.raises(InputError, match=r"\b8\b"):  # numbers, one for each of eight tensors
        calls["load"]()


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path):
    plain_file = io.BytesIO()
    torch.save({"format": FORMAT, "model": {"a": torch.zeros(10**6)}}, plain_file)
    with (
        zipfile.ZipFile(plain_file) as source,
        zipfile.ZipFile(tmp_path / "checkpoint.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    with pytest.raises(InputError, match=r"checkpoint\.pt"):
        mlvae.load(tmp_path)


def test_moments_of_another_shape_are_refused(tmp_path):
    content = checkpoint(FORMAT)
    moments = content["optimizers"]["model"]["state"][0]
    moments["exp_avg"] = moments["exp_avg"][:1]
    write_checkpoint(tmp_path / "checkpoint.pt", content)
    with pytest.raises(InputError, match=r"exp_avg .*\(2, 4\)"):
        new_state(tmp_path).resume()


def test_a_configuration_of_great_depth_is_refused(readers, monkeypatch):
    calls, _ = readers
    content, deep = checkpoint(FORMAT), {}
    for _ in range(5000):
        deep = {"a": deep}
    content["fixed"] = deep
    monkeypatch.setattr(torch, "load", lambda *_, **__: content)
    with pytest.raises(InputError, match="fixed"):
        calls["load"]()


def test_a_saved_configuration_has_plain_values(tmp_path):
    state = new_state(tmp_path)
    state.save()
    saved = read_state(tmp_path / "checkpoint.pt")["config"]
    assert saved == plain(state.config)
