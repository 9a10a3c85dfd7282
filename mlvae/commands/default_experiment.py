"""The experiment of a training whose arguments name none."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["EXPERIMENTS", "with_default_experiment"]

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
    values = {
        name.lstrip("+"): value for name, _, value in (text.partition("=") for text in arguments)
    }
    if values.get("experiment") == "null":  # Hydra refuses the value of its own default
        return [text for text in arguments if text.lstrip("+") != "experiment=null"]
    if "experiment" in values or values.get("resume", "null") != "null":
        return arguments
    experiment = EXPERIMENTS.get(values.get("dataset"))
    return arguments if experiment is None else [*arguments, f"experiment={experiment}"]
