"""Write a page that decodes a trained model in the browser: mlvae explore run=runs/first.

The page is explore.html in the folder of the run, or ``path``. The report of the run, if there is
one, has a link to it.
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
from mlvae.commands.evaluate import trained_on
from mlvae.commands.labels import with_quoted_labels
from mlvae.commands.own_parts import imported, naming_parts
from mlvae.data import open_dataset
from mlvae.errors import check_flag
from mlvae.evaluation.report import link_explorer
from mlvae.explorer import explore
from mlvae.training.checkpoint import read_state
from mlvae.training.files import check_no_links


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="explore")
def main(cfg: DictConfig) -> None:
    """Write the page as configured, and print its path and its size."""
    with cli.one_line_errors():
        page = explore_by(checked(cfg))
        cli.say(
            f"the explorer is {page}, {page.stat().st_size / 1e6:.1f} MB; open it in a browser"
        )


def checked(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values, with exactly the options of the command."""
    config = cli.resolved(cfg)
    places = ("root", "cache", "table", "path")
    cli.check_options(
        config, (), ("run", "best", "parts", "groups", "members", "precision", *places)
    )
    return config


def explore_by(config: dict[str, Any]) -> Path:
    """Load the run and its data, write the page, and link it from the report of the run."""
    cli.check_text_option("run", config["run"], optional=False)
    cli.check_text_option("path", config["path"])
    check_flag("best", config["best"])
    run = as_path("run", config["run"])
    path = run / "explore.html" if config["path"] is None else as_path("path", config["path"])
    check_no_links(run)
    checkpoint = read_state(run / ("best.pt" if config["best"] else "checkpoint.pt"))
    places = {name: config[name] for name in ("root", "cache", "table")}
    _, dataset = trained_on(run, checkpoint, **places)
    own = imported(config["parts"])
    with naming_parts():
        model = mlvae.load(run, best=config["best"], device="cpu", parts=own)
    page = explore(
        model,
        open_dataset(**dataset),
        path,
        groups=config["groups"],
        members=config["members"],
        precision=config["precision"],
        title=f"{type(model).__name__} on {dataset['name']}",
        facts={"run": str(run), "step": f"{checkpoint['step']:,}"},
    )
    link_explorer(run / "evaluation" / "report.html", page)
    return page


def command() -> None:
    """Run the command with the arguments of the process."""
    sys.argv[1:] = with_quoted_labels(sys.argv[1:])
    with cli.one_line_errors():
        main()
