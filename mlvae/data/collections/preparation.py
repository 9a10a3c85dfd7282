"""How the images of a collection were prepared: size, channels and crop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlvae.data.collections.regular import read_regular
from mlvae.data.collections.stored import StoredImages
from mlvae.data.rows.source import SourceRows
from mlvae.errors import InputError, shown

__all__ = ["of_run", "prepared_as"]

#: Largest file that is read, in bytes.
MAX_BYTES = 2**26

NAMES = ("size", "channels", "crop")


def prepared_as(x: object) -> dict[str, Any] | None:
    """The size, channels and crop of prepared images; None for other observations.

    Args:
        x: ``GroupedData.x``, or stored images.
    """
    source = x.source if isinstance(x, SourceRows) else x
    if not isinstance(source, StoredImages):
        return None
    try:
        manifest = json.loads(read_regular(source.path.with_name("manifest.json"), MAX_BYTES))
        settings = manifest["settings"]
        return {name: settings[name] for name in NAMES}
    except (OSError, ValueError, KeyError, TypeError):  # a file of images without a manifest
        return None


def of_run(run: Path) -> dict[str, Any]:
    """The size, channels and crop of the images of a run, as far as its config.yaml has them.

    Raises:
        InputError: if the folder has no such file.
    """
    import yaml  # not loaded by `import mlvae`

    try:
        config = yaml.safe_load(read_regular(run / "config.yaml", MAX_BYTES))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"like={shown(str(run))} must be the folder of a run with its config.yaml: {error}"
        ) from error
    config = config if isinstance(config, dict) else {}
    if isinstance(images := config.get("images"), dict):  # trained from Python
        return {name: images[name] for name in NAMES if name in images}
    dataset = config.get("dataset")
    if not isinstance(dataset, dict) or not {"size", "crop", "colour"} <= dataset.keys():
        return {}
    return {
        "size": dataset["size"],
        "channels": 3 if dataset["colour"] else 1,
        "crop": dataset["crop"],
    }
