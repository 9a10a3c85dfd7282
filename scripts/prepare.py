"""Decode a collection into the cache: python scripts/prepare.py dataset=lfw.

A training does the same if the cache has no such collection. An interrupted preparation continues
where it stopped.
"""

from __future__ import annotations

import cli
import hydra
from omegaconf import DictConfig

from mlvae.data import StoredImages, open_dataset


@hydra.main(version_base="1.3", config_path="../configs", config_name="prepare")
def main(cfg: DictConfig) -> None:
    """Prepare the configured dataset; print its splits and the path of the report."""
    with cli.one_line_errors():
        config = cli.plain(cfg)["dataset"]
        splits = open_dataset(**cli.with_absolute_paths(config))
        print(splits)
        if isinstance(splits.train.x, StoredImages):
            report = splits.train.x.path.with_name("skipped.txt")
            print(f"{report}: {report.read_text().splitlines()[0]}")


if __name__ == "__main__":
    with cli.one_line_errors():
        main()
