"""The experiment of a training whose arguments name none."""

from __future__ import annotations

import json
from collections.abc import Sequence

import yaml

from mlvae.commands.configs import CONFIGS

__all__ = ["EXPERIMENTS", "with_dataset_of_experiment", "with_default_experiment"]

#: Dataset -> its default experiment. The experiment of no dataset is that of a first run.
EXPERIMENTS = {None: "first", "faces": "faces", "torus": "torus"}


def with_default_experiment(arguments: Sequence[str]) -> list[str]:
    """Add ``experiment=...`` to arguments that name no experiment.

    The experiment depends on the dataset, see :data:`EXPERIMENTS`. Other datasets have none, and
    a resumed run keeps its own configuration. ``experiment=null`` adds none.

    Args:
        arguments: overrides and flags of Hydra, as after ``mlvae train``.

    Example:
        >>> with_default_experiment(["run=runs/first"])
        ['run=runs/first', 'experiment=first']
        >>> with_default_experiment(["dataset=faces", "dataset.root=people"])
        ['dataset=faces', 'dataset.root=people', 'experiment=faces']
        >>> with_default_experiment(["model=rotations", "dataset=torus"])
        ['model=rotations', 'dataset=torus', 'experiment=torus']
        >>> with_default_experiment(["dataset=mnist"])
        ['dataset=mnist']
    """
    arguments = list(arguments)
    values = _values(arguments)
    if values.get("experiment") == "null":  # Hydra refuses the value of its own default
        return [text for text in arguments if text.lstrip("+") != "experiment=null"]
    if "experiment" in values or values.get("resume", "null") != "null":
        return arguments
    experiment = EXPERIMENTS.get(values.get("dataset"))
    return arguments if experiment is None else [*arguments, f"experiment={experiment}"]


def with_dataset_of_experiment(arguments: Sequence[str]) -> list[str]:
    """Add the options of the dataset that its default experiment sets, as ``mlvae prepare`` does.

    So a collection is prepared as ``mlvae train`` with the same options reads it.

    Args:
        arguments: overrides and flags of Hydra, as after ``mlvae prepare``.

    Example:
        >>> with_dataset_of_experiment(["dataset=faces", "dataset.root=people"])
        ['dataset=faces', 'dataset.root=people', 'dataset.size=32']
        >>> with_dataset_of_experiment(["dataset=faces", "dataset.size=64"])
        ['dataset=faces', 'dataset.size=64']
    """
    values = _values(arguments)
    dataset = values.get("dataset")
    experiment = None if dataset is None else EXPERIMENTS.get(dataset)
    if experiment is None:
        return list(arguments)
    text = (CONFIGS / "experiment" / f"{experiment}.yaml").read_text("utf-8")
    options = yaml.safe_load(text).get("dataset", {})
    missing = {name: value for name, value in options.items() if f"dataset.{name}" not in values}
    return [
        *arguments,
        *[f"dataset.{name}={json.dumps(value)}" for name, value in missing.items()],
    ]


def _values(arguments: Sequence[str]) -> dict[str, str]:
    """The values of overrides by name, without signs before it."""
    pairs = (text.partition("=") for text in arguments)
    return {name.lstrip("+"): value for name, _, value in pairs}
