"""The content of mlvae.json: what a client must know of the graphs beside them.

Shapes: N observations, ... the shape of one observation, D dimensions of a code, K known groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mlvae.exporting.codes import ExportedCode
from mlvae.exporting.graphs import Graph
from mlvae.models.observed import is_of_counts
from mlvae.models.protocol import Traits, traits
from mlvae.parts import name_of, plain
from mlvae.version import __version__

__all__ = ["FORMAT", "RECORD", "record_of"]

#: Name of the file.
RECORD = "mlvae.json"

#: Version of the layout. It grows when a client of the layout before it cannot read it.
FORMAT = 1


def record_of(model: Any, graphs: Sequence[Graph], codes: Sequence[ExportedCode]) -> dict:
    """The record of an export, of plain values.

    Args:
        model: the model.
        graphs: its graphs.
        codes: its codes.
    """
    stated = traits(model)
    pixels = graphs[0].inputs["x"].dtype == torch.uint8
    columns = getattr(model, "table_columns", None)
    found: dict[str, Any] = {
        "format": FORMAT,
        "library": "mlvae",
        "version": __version__,
        "model": name_of(type(model)),
        "observation": {
            "shape": list(stated.shape or ()),
            "divided_by": 255 if pixels else 1,
            "features": None if columns is None else columns.feature_names,
        },
        "columns": None if columns is None else columns.plain()["features"],
        "scaling": _scaling(stated),
        "codes": {code.name: code.record() for code in codes},
        "graphs": {graph.name: _graph(graph) for graph in graphs},
        "known_groups": _known_groups(model, stated),
    }
    if is_of_counts(stated.likelihood):
        found["size"] = float(stated.likelihood.total)  # type: ignore[union-attr]
    return found


def _graph(graph: Graph) -> dict[str, Any]:
    """Inputs and outputs of a graph; "N" is the number of observations."""
    with torch.no_grad():
        outputs = graph.module(*graph.inputs.values())
    return {
        "file": f"{graph.name}.onnx",
        "inputs": {name: _tensor(value) for name, value in graph.inputs.items()},
        "outputs": {
            name: _tensor(value) for name, value in zip(graph.outputs, outputs, strict=True)
        },
    }


def _tensor(value: Tensor) -> dict[str, Any]:
    return {"dtype": str(value.dtype).split(".")[-1], "shape": ["N", *value.shape[1:]]}


def _scaling(stated: Traits) -> dict[str, Any] | None:
    """The standardisation inside of the graphs, for readers; None: raw units."""
    scale = stated.standardise
    if scale is None or scale.kind is None:
        return None
    return {
        "kind": scale.kind,
        "mean": scale.mean.tolist(),
        "deviation": scale.deviation.tolist(),
        "within_the_graphs": True,
    }


def _known_groups(model: Any, stated: Traits) -> dict[str, Any] | None:
    """Labels (K,) and codes (K, D) of the groups that a model with a codebook knows."""
    names, codebook = stated.group_names, getattr(model, "codebook", None)
    if names is None or not isinstance(codebook, Tensor):
        return None
    return {"names": plain(list(names)), "codes": codebook.detach().cpu().tolist()}
