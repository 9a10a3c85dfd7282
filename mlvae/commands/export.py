"""Export a trained run: mlvae export run=runs/first.

The files are in export/ of the run, or in ``folder``: encoder.onnx, decoder.onnx, mlvae.json,
model.safetensors, config.json; and style.onnx of a model whose style depends on the content.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

import mlvae
from mlvae.arguments import as_path
from mlvae.commands import cli
from mlvae.commands.configs import CONFIGS
from mlvae.commands.labels import with_quoted_labels
from mlvae.commands.own_parts import imported, naming_parts
from mlvae.errors import check_flag
from mlvae.training.files import check_no_links


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="export")
def main(cfg: DictConfig) -> None:
    """Export as configured."""
    with cli.one_line_errors():
        folder = export_by(checked(cfg))
        files = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_file()))
        cli.say(f"the export is in {folder}: {files}")


def checked(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values, with exactly the options of an export."""
    config = cli.resolved(cfg)
    cli.check_options(config, (), ("run", "folder", "best", "dtype", "parts"))
    return config


def export_by(config: dict[str, Any]) -> Path:
    """Export the configured run; return the folder of the files."""
    for name in ("run", "folder"):
        cli.check_text_option(name, config[name], optional=name == "folder")
    check_flag("best", config["best"])
    run = as_path("run", config["run"])
    folder = run / "export" if config["folder"] is None else as_path("folder", config["folder"])
    if config["folder"] is None:
        check_no_links(run, ("export",))
    parts = imported(config["parts"])
    with naming_parts():
        model = mlvae.load(run, best=config["best"], parts=parts)
    return mlvae.export(model, folder, dtype=config["dtype"])


def command() -> None:
    """Run the command with the arguments of the process."""
    sys.argv[1:] = with_quoted_labels(sys.argv[1:])
    with cli.one_line_errors():
        main()
