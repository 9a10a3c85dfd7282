"""Decode a collection into the cache: mlvae prepare dataset=lfw.

Training does the same if it finds no cache. An interrupted preparation is continued.
"""

from __future__ import annotations

from typing import cast

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mlvae.commands import cli
from mlvae.commands.configs import CONFIGS
from mlvae.data import StoredImages, open_dataset


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="prepare")
def main(cfg: DictConfig) -> None:
    """Prepare the configured collection; print its splits and the path of the report."""
    with cli.one_line_errors():
        prepare(cfg)


def prepare(cfg: DictConfig) -> None:
    """Open the configured collection, which prepares it, and print its splits."""
    config = cli.resolved(cfg)
    cli.check_options(config, ["dataset"], [])
    options = cli.with_absolute_paths(cast("dict[str, object]", config["dataset"]))
    if HydraConfig.initialized():
        options = cli.labels_as_typed(options, HydraConfig.get().overrides.task)
    splits = open_dataset(str(options.pop("name", None)), **options)
    print(splits)
    if isinstance(splits.train.x, StoredImages):
        report = splits.train.x.path.with_name("skipped.txt")
        print(f"{report}: {report.read_text().splitlines()[0]}")


def command() -> None:
    """Run the command with the arguments of the process."""
    with cli.one_line_errors():
        main()
