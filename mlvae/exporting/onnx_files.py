"""Graphs as ONNX files.

The files are made by ``torch.onnx.export(dynamo=True)``: it traces the module by
:func:`torch.export.export`, so the checks of values, which wait for numbers, are left out, and the
number of observations stays free.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mlvae.errors import InputError
from mlvae.exporting.graphs import Graph
from mlvae.training.files import replace_file

__all__ = ["check_packages", "write_graph"]

#: Name of the axis of observations in the files.
ROWS = "N"


def check_packages() -> None:
    """Raise :class:`InputError` unless the packages of the extra ``export`` are there."""
    try:
        import onnx  # noqa: F401 - optional
        import onnxscript  # noqa: F401
        import safetensors  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"an export needs the package {error.name}: pip install 'mlvae[export]'"
        ) from error


def write_graph(graph: Graph, path: Path) -> None:
    """Write a graph to ``path``, with any number of observations.

    Raises:
        InputError: if PyTorch cannot trace the module.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass  # optional

    rows = torch.export.Dim(ROWS)
    names = list(graph.inputs)
    example = tuple(graph.inputs.values())
    try:
        with _quiet():
            traced = torch.export.export(
                graph.module.eval(),
                example,
                dynamic_shapes=(tuple({0: rows} for _ in names),),  # of the argument *inputs
                strict=True,  # otherwise len(x) becomes a constant
            )
            program: Any = torch.onnx.export(
                traced,
                input_names=names,
                output_names=list(graph.outputs),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the tracer has many
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"the {graph.name} cannot be exported: PyTorch cannot trace it "
            f"({type(error).__name__}: {reason[:300]})"
        ) from error
    ClearMetadataAndDocStringPass()(program.model)  # the metadata have paths of this machine
    replace_file(path, _named_rows(program.model_proto).SerializeToString())


def _named_rows(model: Any) -> Any:
    """The model with :data:`ROWS` as the name of the axis of observations in all shapes."""
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param  # of the tracer, as "s6"
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(rf"\b{re.escape(symbol)}\b", ROWS, dim.dim_param)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Turn off messages of the exporter about its own steps."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
