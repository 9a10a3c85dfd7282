"""mlvae.export and the command: the files of a folder, runs, and refusals."""

import builtins
import json

import pytest
import torch

import mlvae
from mlvae import InputError
from mlvae.commands import export as command
from mlvae.models import MLVAE
from mlvae.networks import MLP

FILES = {
    "encoder.onnx",
    "style.onnx",
    "decoder.onnx",
    "mlvae.json",
    "model.safetensors",
    "config.json",
}
QUIET = mlvae.Reports(progress=False, figures=False, tensorboard=False)


def test_the_folder_has_the_graphs_the_record_and_the_model(exported):
    model, folder = exported
    assert {path.name for path in folder.iterdir()} == FILES
    again = mlvae.load(folder)
    assert all(a.equal(b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_the_record_describes_the_files(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    _, folder = exported
    record = json.loads((folder / "mlvae.json").read_text())
    assert record["version"] == mlvae.__version__ and record["model"] == "MLVAE"
    assert record["observation"] == {"shape": [1, 9, 7], "divided_by": 255, "features": None}
    content, style = record["codes"]["content"], record["codes"]["style"]
    assert (content["of"], content["rule"], content["prior"]) == ("group", "prior_product", 1.0)
    assert (style["of"], style["columns"][0]) == ("observation", "style_mean")
    for graph in record["graphs"].values():
        session = onnxruntime.InferenceSession(folder / graph["file"])
        for kind, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
            assert [each.name for each in found] == list(graph[kind])
            shapes = [graph[kind][each.name]["shape"] for each in found]
            assert [each.shape for each in found] == shapes


def test_the_encoder_has_no_operator_that_adds_over_rows(exported):
    onnx = pytest.importorskip("onnx")
    _, folder = exported
    graph = onnx.load(folder / "encoder.onnx").graph
    assert not {node.op_type for node in graph.node} & {"ScatterElements", "ScatterND", "Loop"}
    assert not any(node.metadata_props or node.doc_string for node in graph.node)
    sizes = [len(tensor.raw_data) for tensor in graph.initializer]
    assert sum(sizes) < (folder / "model.safetensors").stat().st_size


def test_a_run_is_exported_by_the_command_into_its_own_folder(tmp_path):
    model = MLVAE((5,), content_dim=2, style_dim=2, network=MLP((4,)))
    data = mlvae.GroupedData(torch.rand(12, 5), [0, 0, 1, 1, 2, 2] * 2)
    mlvae.train(model, data, run=tmp_path / "run", epochs=1, device="cpu", reports=QUIET)
    config = {"run": str(tmp_path / "run"), "folder": None, "dtype": "auto"}
    folder = command.export_by({**config, "best": False, "parts": []})
    assert folder == tmp_path / "run" / "export"
    assert {path.name for path in folder.iterdir()} == FILES - {"style.onnx"}
    assert (
        mlvae.load(folder)
        .infer_style(data.x)
        .mean.equal(mlvae.load(tmp_path / "run").infer_style(data.x).mean)
    )


def test_a_refused_model_leaves_no_folder(tmp_path):
    model = MLVAE((5,), network=MLP((4,)), accumulation="mixture")
    with pytest.raises(InputError, match="accumulation=mixture"):
        mlvae.export(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_options_of_a_run_are_refused_beside_a_model(tmp_path):
    with pytest.raises(InputError, match="best"):
        mlvae.export(MLVAE((5,), network=MLP((4,))), tmp_path, best=True)
    with pytest.raises(InputError, match="run_or_model"):
        mlvae.export(MLVAE, tmp_path)


def test_a_missing_package_gets_the_line_to_install_it(monkeypatch, tmp_path):
    original = builtins.__import__

    def without(name, *args, **options):
        if name.split(".")[0] == "onnxscript":
            raise ImportError("none", name="onnxscript")
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"mlvae\[export\]"):
        mlvae.export(MLVAE((5,), network=MLP((4,))), tmp_path)


def test_a_model_that_cannot_be_traced_is_refused_in_one_line(tmp_path):
    class Counting(MLVAE):
        def codes(self, batch):
            if float(batch.x.sum()) > 1e9:
                raise ValueError("too bright")
            return super().codes(batch)

    with pytest.raises(InputError, match="encoder") as error:
        mlvae.export(Counting((5,), network=MLP((4,))), tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
