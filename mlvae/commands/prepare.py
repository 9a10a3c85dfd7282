"""Decode a collection into the cache: mlvae prepare dataset=lfw.

Training does the same if it finds no cache. An interrupted preparation is continued. In parts, on
many machines: mlvae prepare -m dataset=lfw dataset.parts=8 "dataset.part=range(0,8)", and then
once without dataset.part, which merges them.
"""

from __future__ import annotations

import sys
from typing import cast

import hydra
from omegaconf import DictConfig

from mlvae.commands import cli
from mlvae.commands.configs import CONFIGS
from mlvae.commands.default_experiment import with_dataset_of_experiment
from mlvae.commands.labels import with_quoted_labels
from mlvae.data import PartedData, SourceRows, StoredImages, open_dataset


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="prepare")
def main(cfg: DictConfig) -> None:
    """Prepare the configured collection; print its splits and the path of the report."""
    with cli.one_line_errors(job=cli.job_of_sweep()):
        prepare(cfg)


def prepare(cfg: DictConfig) -> None:
    """Open the configured collection, which prepares it, and print its splits."""
    config = cli.resolved(cfg)
    cli.check_options(config, ["dataset"], [])
    options = cli.with_absolute_paths(cast("dict[str, object]", config["dataset"]))
    splits = open_dataset(str(options.pop("name", None)), **options)
    print(splits)
    if isinstance(splits.train, PartedData):  # its merge has printed the folder
        return
    images = splits.train.x.source if isinstance(splits.train.x, SourceRows) else None
    if isinstance(images, StoredImages):
        report = images.path.with_name("skipped.txt")
        print(f"{report}: {report.read_text().splitlines()[0]}")


def command() -> None:
    """Run the command with the arguments of the process."""
    sys.argv[1:] = with_dataset_of_experiment(with_quoted_labels(sys.argv[1:]))
    with cli.one_line_errors():
        main()
