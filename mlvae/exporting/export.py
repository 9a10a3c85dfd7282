"""A trained model as files that run without PyTorch, in any language."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mlvae.arguments import as_path
from mlvae.errors import InputError, shown
from mlvae.exporting.graphs import graphs_of
from mlvae.exporting.onnx_files import check_packages, write_graph
from mlvae.exporting.record import RECORD, record_of
from mlvae.models.protocol import traits
from mlvae.training.files import replace_file
from mlvae.training.portable import write_portable
from mlvae.training.run import load

__all__ = ["export"]

#: Files of graphs.
GRAPHS = ("encoder.onnx", "style.onnx", "decoder.onnx")


def export(
    run_or_model: Any,
    folder: str | Path,
    *,
    dtype: str = "auto",
    best: bool = False,
    parts: Sequence[type] = (),
) -> Path:
    """Write a trained model as ONNX graphs and as safetensors.

    The folder receives

    - ``encoder.onnx``: from observations to the evidence of each one about what its group shares,
      and to the other codes; a client adds the evidence over a group;
    - ``style.onnx``: the style given the content, of a model in which it depends on the content;
    - ``decoder.onnx``: from codes to the expected observation;
    - ``mlvae.json``: names, types and shapes of inputs and outputs, codes, the accumulation rule
      and the scaling;
    - ``model.safetensors`` and ``config.json``, which :func:`mlvae.load` reads.

    The scaling of images and of standardised observations, and the preprocessing of columns of a
    table, are inside of the graphs. The number of observations is free.

    Args:
        run_or_model: folder of a run, or a trained model.
        folder: folder of the files. It is made if it is missing; files of an earlier export are
            replaced.
        dtype: type of the observations. "uint8": images of 0 to 255, which the graph divides by
            255; "float32": observations as the model takes them; "auto": uint8 if the shape is
            that of images, (1 or 3, height, width), else float32.
        best: of a run, the state with the lowest validation loss, instead of the last one.
        parts: your own classes that a run has, as for :func:`mlvae.load`.

    Returns:
        The folder.

    Raises:
        InputError: if the model cannot be exported, a package of the extra ``export`` is missing,
            or the folder cannot be written.

    Example::

        mlvae.export("runs/first", "letters")
    """
    model = _opened(run_or_model, best, parts)
    check_packages()
    path = as_path("folder", folder)
    graphs, codes = graphs_of(model, dtype)
    record = record_of(model, graphs, codes)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if traits(model).config is not None:
            write_portable(model, path)
        for graph in graphs:
            write_graph(graph, path / f"{graph.name}.onnx")
        for name in set(GRAPHS) - {f"{graph.name}.onnx" for graph in graphs}:
            (path / name).unlink(missing_ok=True)  # of an earlier export of another model
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        replace_file(path / RECORD, text.encode())
    except OSError as error:
        raise InputError(
            f"folder {path} must be writable: {error.strerror}; choose another"
        ) from error
    return path


def _opened(run_or_model: Any, best: bool, parts: Sequence[type]) -> Any:
    """The model of a run, or the model itself."""
    if isinstance(run_or_model, str | Path):
        return load(run_or_model, best=best, parts=parts)
    if not isinstance(run_or_model, nn.Module):
        raise InputError(
            f"run_or_model must be a run or a model that is built, not {shown(run_or_model)}"
        )
    if best or parts:
        raise InputError("best and parts are for a run; a model that is built has both already")
    return run_or_model
