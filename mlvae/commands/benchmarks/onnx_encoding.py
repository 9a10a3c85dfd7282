"""The speed of an exported encoder in ONNX Runtime, beside the same encoder in PyTorch.

PyTorch computes the posteriors of content and style of each observation. ONNX Runtime computes the
columns of the exported encoder, which are functions of the same posteriors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import mlvae
from mlvae.commands.benchmarks.encoding import KINDS
from mlvae.commands.benchmarks.machine import facts, line, timed
from mlvae.commands.benchmarks.tables import Rows, table
from mlvae.exporting.graphs import Graph, graphs_of
from mlvae.exporting.onnx_files import check_packages, write_graph
from mlvae.likelihoods import Bernoulli, LearnedGaussian

__all__ = ["measure", "report"]

#: Observations of a call.
BATCHES = (1, 32, 1024)


def measure(
    device: torch.device, *, rounds: int, seconds: float, quick: bool = False
) -> dict[str, Any]:
    """Observations per second of each way and batch size; the ways take turns.

    ONNX Runtime has as many threads as PyTorch, on the CPU; ``device`` must be the CPU.
    """
    if device.type != "cpu":
        raise mlvae.InputError("the measurement export compares CPUs: give --device cpu")
    check_packages()
    rows: Rows = []
    for kind, (shape, _, network) in list(KINDS.items())[: 1 if quick else None]:
        torch.manual_seed(0)
        likelihood = Bernoulli() if len(shape) == 3 else LearnedGaussian()
        model = mlvae.models.MLVAE(shape, network=network, likelihood=likelihood).eval()
        (encoder, *_), _ = graphs_of(model, "float32")
        session = _session(encoder)
        for batch in BATCHES[: 1 if quick else None]:
            x = torch.rand(batch, *shape)
            given = {"x": x.numpy()}
            ways: dict[str, Callable[[], object]] = {
                "PyTorch": torch.inference_mode()(lambda m=model, x=x: m.posteriors(x)),
                "ONNX Runtime": lambda s=session, given=given: s.run(None, given),
            }
            rates: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, work in ways.items():
                    rates[way].append(batch / timed(work, device, seconds=seconds))
            for way, values in rates.items():
                ratios = [a / b for a, b in zip(values, rates["PyTorch"], strict=True)]
                rows.append(
                    {
                        "observations": kind,
                        "way": way,
                        "batch": batch,
                        "per_second": values,
                        "times_PyTorch": ratios,
                    }
                )
    return {"onnxruntime": _version(), **facts(device), "rows": rows}


def report(result: dict[str, Any]) -> str:
    """The result as a table."""
    title = f"observations encoded per second, onnxruntime {result['onnxruntime']}"
    return f"{title}\n{line(result)}\n\n{table(result['rows'])}"


def _session(encoder: Graph) -> Any:
    """The encoder in ONNX Runtime, with the threads of PyTorch."""
    import onnxruntime  # optional

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "encoder.onnx")
        write_graph(encoder, path)
        return onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )


def _version() -> str:
    import onnxruntime  # optional

    return onnxruntime.__version__
