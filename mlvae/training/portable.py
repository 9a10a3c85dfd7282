"""A model without its training, as files that other programs read: model.safetensors, config.json.

``config.json`` has the shape of an observation, the options of the model, and the columns of a
table. ``model.safetensors`` has the weights, and buffers such as the scale of the observations.
Neither runs code when it is read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mlvae.errors import InputError
from mlvae.models.protocol import traits
from mlvae.parts import plain
from mlvae.training.files import replace_file
from mlvae.training.structure import check_fields
from mlvae.version import __version__

__all__ = ["CONFIG", "WEIGHTS", "check_whole", "is_portable", "read_portable", "write_portable"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"

#: Version of the layout. It grows when older code cannot read new files.
FORMAT = 1

#: Largest size of a config in bytes: a million labels of groups fit.
MOST_BYTES = 64 * 2**20


def is_portable(folder: Path) -> bool:
    """Whether a folder has a model of :func:`write_portable`."""
    # os.path: False, not an error, for a name that is too long.
    return all(os.path.isfile(folder / name) for name in (CONFIG, WEIGHTS))  # noqa: PTH113


def check_whole(folder: Path) -> None:
    """Raise :class:`InputError` if a folder has one of the two files of a model alone."""
    there = [name for name in (CONFIG, WEIGHTS) if os.path.isfile(folder / name)]  # noqa: PTH113
    if len(there) == 1:
        missing = WEIGHTS if there[0] == CONFIG else CONFIG
        raise InputError(
            f"{folder} has {there[0]} of an export, but no {missing}; copy the whole export"
        )


def write_portable(model: nn.Module, folder: Path) -> None:
    """Write the model to ``folder``, which exists.

    Raises:
        InputError: if the model has no config, from which it could be built again, or the package
            safetensors is missing.
    """
    safetensors = _safetensors()
    stated = traits(model)
    if stated.config is None or stated.shape is None:
        raise InputError(
            f"a {type(model).__name__} states no `config` and `shape`, from which it could be "
            "built again; a checkpoint of a run is read by mlvae.load(run, model=)"
        )
    columns = getattr(model, "table_columns", None)
    config = {
        "format": FORMAT,
        "library": "mlvae",
        "version": __version__,
        "shape": list(stated.shape),
        "model_config": plain(stated.config),
        "columns": None if columns is None else columns.plain(),
    }
    tensors = {name: _own(tensor) for name, tensor in model.state_dict().items()}
    try:
        text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"the config of the model must be plain values: {error}") from error
    replace_file(folder / CONFIG, text.encode())
    replace_file(folder / WEIGHTS, safetensors.torch.save(tensors, {"format": "pt"}))


def read_portable(folder: Path) -> dict[str, Any]:
    """The model in ``folder``: "shape", "model_config", "columns", and "model", its tensors.

    Raises:
        InputError: if a file is damaged or of another program.
    """
    safetensors = _safetensors()
    path = folder / CONFIG
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or config.get("library") != "mlvae":
            raise ValueError("it names no library mlvae")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not the config of a model of mlvae: {error}") from error
    if config.get("format") != FORMAT:
        raise InputError(
            f"{path} has the format {config.get('format')!r}, this version reads {FORMAT}; open "
            f"it with mlvae {str(config.get('version', 'of its time'))[:40]}"
        )
    try:
        tensors = safetensors.torch.load_file(folder / WEIGHTS)
    except Exception as error:  # safetensors has an error of its own, and OSError
        raise InputError(f"{folder / WEIGHTS} cannot be read: {error}") from error
    found = {**config, "model": tensors}
    check_fields(found, ("version", "shape", "model_config", "columns", "model"), path)
    return found


def _own(tensor: Tensor) -> Tensor:
    """A tensor in contiguous memory of its own on the CPU."""
    return tensor.detach().cpu().contiguous().clone()


def _safetensors() -> Any:
    try:
        import safetensors.torch  # optional
    except ImportError as error:
        raise InputError(
            "model.safetensors needs the package safetensors: pip install 'mlvae[export]'"
        ) from error
    return safetensors
