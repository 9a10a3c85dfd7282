"""model.safetensors and config.json: a model survives without its run."""

import json

import pandas
import pytest
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.likelihoods import LearnedGaussian, MixedColumns
from mlvae.models import MLVAE, SVQVAE, VSAE
from mlvae.networks import MLP, Conv
from mlvae.training.portable import is_portable, read_portable, write_portable

pytest.importorskip("safetensors")
SMALL = MLP((8,))


def test_a_model_of_images_comes_back_with_the_same_numbers(tmp_path):
    model = MLVAE((1, 9, 7), network=Conv((8, 16))).eval()
    write_portable(model, tmp_path)
    again = mlvae.load(tmp_path)
    x = torch.rand(3, 1, 9, 7)
    assert not again.training and again.config == model.config
    assert again.infer_content(x).mean.equal(model.infer_content(x).mean)
    assert again.decoder.trunk[0].weight.stride() == model.decoder.trunk[0].weight.stride()


def test_the_measured_scale_survives(tmp_path):
    model = MLVAE(
        (5,), network=SMALL, likelihood=LearnedGaussian(scope="channel"), standardise="feature"
    )
    model.standardise.measure([100 + 9 * torch.randn(20, 5)])
    write_portable(model, tmp_path)
    again = mlvae.load(tmp_path)
    assert again.standardise.mean.equal(model.standardise.mean)
    assert not again.standardise.to_measure


def test_the_columns_of_a_table_survive(tmp_path):
    frame = pandas.DataFrame(
        {
            "age": [31.0, None, 52.0, 40.0],
            "smokes": [True, False, None, True],
            "colour": ["red", "blue", None, "red"],
        }
    )
    data = GroupedData.from_frame(frame, range(4), missing="keep", categories=["colour"])
    model = VSAE(data.shape, likelihood=MixedColumns.of(data), network=SMALL)
    model.table_columns = data.columns
    write_portable(model, tmp_path)
    again = mlvae.load(tmp_path)
    assert again.table_columns == data.columns and again.likelihood == model.likelihood
    assert [column.kind for column in again.table_columns.features] == [
        "real",
        "binary",
        "categorical",
    ]
    encoded = mlvae.encode(again, frame)
    assert encoded.latent.shape == (4, again.latent_dim)


def test_labels_of_groups_keep_their_types(tmp_path):
    model = SVQVAE((5,), group_names=("ann", 7, 2.5), network=SMALL)
    write_portable(model, tmp_path)
    again = mlvae.load(tmp_path)
    assert again.group_names == ["ann", 7, 2.5]
    assert [type(name) for name in again.group_names] == [str, int, float]


def test_an_export_has_one_state(tmp_path):
    write_portable(MLVAE((5,), network=SMALL), tmp_path)
    assert is_portable(tmp_path)
    with pytest.raises(InputError, match="best"):
        mlvae.load(tmp_path, best=True)


@pytest.mark.parametrize(
    "change",
    [
        {"library": "other"},
        {"format": 99},
        {"shape": [0]},
        {"model_config": {"name": "Unknown"}},
        {"columns": [1]},
    ],
)
def test_a_strange_config_ends_in_one_line(change, tmp_path):
    write_portable(MLVAE((5,), network=SMALL), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=str(tmp_path)) as error:
        mlvae.load(tmp_path)
    assert "\n" not in str(error.value)


def test_damaged_files_end_in_one_line(tmp_path):
    write_portable(MLVAE((5,), network=SMALL), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(InputError, match="safetensors"):
        mlvae.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"config\.json.*no model\.safetensors"):
        mlvae.load(tmp_path)
    with pytest.raises(InputError, match="give the folder"):
        mlvae.load(tmp_path / "config.json")
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        mlvae.load(tmp_path)


def test_a_small_file_cannot_demand_a_large_model(tmp_path):
    write_portable(MLVAE((5,), network=SMALL), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["model_config"]["network"]["hidden"] = [3000]
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="numbers"):
        mlvae.load(tmp_path)


def test_a_model_without_a_config_is_refused(tmp_path):
    with pytest.raises(InputError, match="config"):
        write_portable(torch.nn.Linear(2, 2), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_file_has_tensors_of_their_own(tmp_path):
    model = MLVAE((5,), network=SMALL)
    write_portable(model, tmp_path)
    tensors = read_portable(tmp_path)["model"]
    assert tensors.keys() == model.state_dict().keys()
    assert all(tensor.is_contiguous() for tensor in tensors.values())
