"""Sharing: the files, the card, and a hub in the place of the real one. No network."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

import mlvae
from mlvae import InputError
from mlvae.exporting.share import write_shared
from mlvae.models import SVQVAE
from mlvae.networks import MLP

pytest.importorskip("safetensors")
QUIET = mlvae.Reports(progress=False, figures=False, tensorboard=False)
METRICS = {
    "facts": {"run": "/home/ann/secret/run, step 3", "train split": "12 observations in 3 groups"},
    "verdict": ["The content is better than the raw observations."],
    "separation": {
        "records": [
            {
                "code": "content",
                "values": "samples",
                "probe": "mlp",
                "test_k": 1,
                "same_k": True,
                "chance_accuracy": 0.1,
                "accuracy": {"mean": 0.852, "standard_error": None, "sampling_error": 0.003},
            }
        ]
    },
    "likelihood": {"bound": {"test": {"elbo_per_observation": -242.748}}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a model that knows its groups, with the metrics of an evaluation."""
    folder = tmp_path_factory.mktemp("share") / "run"
    data = mlvae.GroupedData(torch.rand(12, 5), ["ann", "bob", "eve"] * 4)
    model = SVQVAE((5,), group_names=data.group_names, latent_dim=2, network=MLP((4,)))
    mlvae.train(model, data, run=folder, epochs=1, device="cpu", reports=QUIET)
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "metrics.json").write_text(json.dumps(METRICS))
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that is a folder; it records its calls."""
    place, calls = tmp_path / "hub", []

    def create_repo(name, **options):
        calls.append(("create", name, options))

    def upload_folder(*, repo_id, folder_path, commit_message):
        shutil.copytree(folder_path, place / repo_id, dirs_exist_ok=True)
        return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(name, *, revision, allow_patterns):
        calls.append(("download", name, revision, tuple(allow_patterns)))
        if not (place / name).is_dir():
            raise FileNotFoundError(f"404: no {name}\nRequest id 7")
        return str(place / name)

    package = SimpleNamespace(
        create_repo=create_repo, upload_folder=upload_folder, snapshot_download=snapshot_download
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    return SimpleNamespace(place=place, calls=calls)


def test_a_shared_model_is_loaded_by_its_name(run, hub):
    address = mlvae.share(run, "ann/letters", private=True, graphs=False)
    assert address == "https://hub/ann/letters/commit/1"
    assert hub.calls[0] == ("create", "ann/letters", {"private": True, "exist_ok": True})
    again, x = mlvae.load("hf://ann/letters@v1"), torch.rand(3, 5)
    assert hub.calls[1][:3] == ("download", "ann/letters", "v1")
    assert again.group_names == ["ann", "bob", "eve"]
    assert again.infer(x).mean.equal(mlvae.load(run).infer(x).mean)


def test_what_is_uploaded_has_no_place_of_this_machine(run, hub):
    mlvae.share(run, "ann/letters", graphs=False)
    files = {path.name: path for path in (hub.place / "ann/letters").iterdir()}
    assert set(files) == {"README.md", "config.json", "metrics.json", "model.safetensors"}
    for path in files.values():
        content = path.read_bytes()
        assert b"secret" not in content and str(run).encode() not in content


def test_the_card_has_the_figures_of_the_evaluation(run, tmp_path):
    write_shared(run, tmp_path, "ann/letters", licence="mit", graphs=False)
    text = (tmp_path / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "mlvae"
    assert yaml.safe_load(head)["license"] == "mit"
    assert 'mlvae.load("hf://ann/letters")' in body and METRICS["verdict"][0] in body
    assert "| content | samples | mlp | 1 | 85.2 ± 0.3 | 10.0 |" in body
    assert "-242.75" in body and "`ann`, `bob`, `eve`" in body
    assert ".onnx" not in body


def test_a_run_without_an_evaluation_has_a_card_that_states_it(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "evaluation")
    (tmp_path / "out").mkdir()
    write_shared(copy, tmp_path / "out", "ann/letters", graphs=False)
    assert "without an evaluation" in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "metrics.json").exists()
    assert "license" not in (tmp_path / "out" / "README.md").read_text()


def test_damaged_metrics_end_in_one_line(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    records = [3], [{"accuracy": {"mean": None}}]
    damaged = [[1], {"facts": [1]}, *({"separation": {"records": each}} for each in records)]
    for content in damaged:
        (copy / "evaluation" / "metrics.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"metrics\.json"):
            write_shared(copy, tmp_path, "ann/letters", graphs=False)


def test_a_cell_of_the_card_stays_one_cell(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    content = {"facts": {"device": "a | b\nc"}}
    (tmp_path / "copy" / "evaluation" / "metrics.json").write_text(json.dumps(content))
    write_shared(tmp_path / "copy", tmp_path, "ann/letters", graphs=False)
    assert r"| device | a \| b c |" in (tmp_path / "README.md").read_text().splitlines()


@pytest.mark.parametrize(
    "name", ["letters", "a/b/c", "/b", "", 3, "a/..", "a/b c", "ä/b", "a/" + "b" * 200]
)
def test_a_name_without_a_user_is_refused(name, run, hub):
    with pytest.raises(InputError, match="user/name"):
        mlvae.share(run, name)
    if isinstance(name, str):
        with pytest.raises(InputError, match="user/name"):
            mlvae.load(f"hf://{name}")
    assert hub.calls == []


def test_an_error_of_the_hub_is_one_line(hub):
    with pytest.raises(InputError, match="404") as error:
        mlvae.load("hf://ann/none")
    assert "\n" not in str(error.value)


def test_without_the_package_there_is_a_line_to_install_it(monkeypatch, run):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: mlvae.load("hf://ann/x"), lambda: mlvae.share(run, "ann/x")):
        with pytest.raises(InputError, match=r"mlvae\[share\]"):
            call()


def test_the_real_package_has_the_functions_that_are_used():
    import inspect

    hub = pytest.importorskip("huggingface_hub")
    for name, options in {
        "create_repo": {"private", "exist_ok"},
        "upload_folder": {"repo_id", "folder_path", "commit_message"},
        "snapshot_download": {"revision", "allow_patterns"},
    }.items():
        assert options <= set(inspect.signature(getattr(hub, name)).parameters)


def test_the_folder_of_the_cache_is_a_model(run, tmp_path):
    write_shared(run, tmp_path, "ann/letters", graphs=False)
    assert Path(tmp_path, "config.json").is_file()
    assert type(mlvae.load(tmp_path)).__name__ == "SVQVAE"
