"""Groups of options of a training, and their names in older configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlvae.errors import InputError, check_choice, check_flag, check_integer, check_number, shown

__all__ = ["RENAMED", "Reports", "Speed", "Warmup", "renamed_options"]

PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclass(frozen=True)
class Speed:
    """How a training step is computed. The results are the same up to rounding.

    Args:
        precision: precision of matrix products. Posteriors, divergences and log-probabilities are
            always float32. "float32" leaves convolutions on a CUDA device at PyTorch's default,
            TF32. "tf32", on a CUDA device: all products in TF32, whose factors have 10 bits of
            mantissa. "bfloat16": products under autocast.
        cuda_graphs: on a CUDA device, capture steps as CUDA graphs. The results are the same;
            small models take a fraction of the time. Several ranks run eagerly.
        steps_per_graph: steps in one CUDA graph, or in one block on a CPU. The results are the
            same. Several steps pay if a step is shorter than the host's work for it: about ten, of
            which the whole batches of an epoch are a multiple. Reports, checkpoints and signals
            are handled between blocks. Steps that do not fill a block run singly, as before a
            report or with batches of unequal size. All steps run singly with several ranks, with
            observations on the disk, with augmentation, and on a CUDA device with dropout. A model
            must draw its noise from the generator that it receives.
        compile: compile the forward pass and its gradient, and on a CUDA device the update. This
            takes up to a minute. On a CPU, fully connected networks gain a tenth, and
            convolutional ones lose. See :mod:`mlvae.training.speed.compiling`.
    """

    precision: str = "float32"
    cuda_graphs: bool = True
    steps_per_graph: int = 1
    compile: bool = False

    def __post_init__(self) -> None:
        check_choice("trainer.speed.precision", self.precision, PRECISIONS)
        check_flag("trainer.speed.cuda_graphs", self.cuda_graphs)
        check_integer("trainer.speed.steps_per_graph", self.steps_per_graph, minimum=1)
        check_flag("trainer.speed.compile", self.compile)


@dataclass(frozen=True)
class Reports:
    """When a training reports, validates, draws pictures and saves.

    Args:
        log_every: steps between reports of training averages; None: once per epoch.
        validate_every: epochs between validations, the last epoch included; None: never.
        pictures_every: epochs between pictures, besides those at the end; None: only at the end.
        checkpoint_seconds: seconds between checkpoints; None: only at the end or at a signal.
        progress: whether the terminal shows progress.
        advice: whether warnings are logged about a training that probably does not learn what is
            expected: few steps, columns of very different scale, codes without information.
        tensorboard: whether the run has events for TensorBoard.
        figures: whether the run has pictures.
    """

    log_every: int | None = None
    validate_every: int | None = 1
    pictures_every: int | None = 10
    checkpoint_seconds: float | None = 60.0
    progress: bool = True
    advice: bool = True
    tensorboard: bool = True
    figures: bool = True

    def __post_init__(self) -> None:
        for name in ("log_every", "validate_every", "pictures_every"):
            if (value := vars(self)[name]) is not None:
                check_integer(f"trainer.reports.{name}", value, minimum=1)
        if self.checkpoint_seconds is not None:
            check_number("trainer.reports.checkpoint_seconds", self.checkpoint_seconds, minimum=0)
        for name in ("progress", "advice", "tensorboard", "figures"):
            check_flag(f"trainer.reports.{name}", vars(self)[name])


@dataclass(frozen=True)
class Warmup:
    """Weights of costs in the first steps of a training.

    Args:
        kl_steps: steps in which the factor of all KL terms grows linearly to 1; 0: none. In the
            first steps the latents may carry information at no cost.
        content_first_steps: steps in which the factor of the style KL falls linearly to 1; 0:
            none. Style information is expensive at first, so shared information is encoded in the
            content before the style can take its place.
        content_first_weight: the factor of the style KL at the first step.
        information_after: fraction of all steps in which the factor of the cost
            ``separation.information`` is 0; it is 1 from then on. Its critic learns from the first
            step. A model that is almost trained loses less of its bound to the cost than an
            untrained one.
        entanglement_steps: steps in which the factor of the entanglement of
            :class:`~mlvae.models.Rotations` grows linearly to 1; 0: none.
    """

    kl_steps: int = 0
    content_first_steps: int = 0
    content_first_weight: float = 8.0
    information_after: float = 0.0
    entanglement_steps: int = 0

    def __post_init__(self) -> None:
        check_integer("trainer.warmup.kl_steps", self.kl_steps, minimum=0)
        check_integer("trainer.warmup.content_first_steps", self.content_first_steps, minimum=0)
        check_number("trainer.warmup.content_first_weight", self.content_first_weight, minimum=0)
        check_integer("trainer.warmup.entanglement_steps", self.entanglement_steps, minimum=0)
        check_number(
            "trainer.warmup.information_after", self.information_after, minimum=0, maximum=1
        )

    def at(self, step: int, total_steps: int) -> dict[str, float]:
        """The factors that change, at step number ``step`` from 0 of ``total_steps``, by name."""
        scales = {}
        if self.kl_steps:
            scales["kl_scale"] = min(1.0, (step + 1) / self.kl_steps)
        if self.content_first_steps:
            left = max(0.0, 1 - step / self.content_first_steps)
            scales["style_scale"] = 1 + (self.content_first_weight - 1) * left
        if self.information_after:
            scales["information_scale"] = float(step >= self.information_after * total_steps)
        if self.entanglement_steps:
            scales["entanglement_scale"] = min(1.0, (step + 1) / self.entanglement_steps)
        return scales

    def check(self, model: object, scales: Mapping[str, object]) -> None:
        """Raise :class:`InputError` if ``model`` with the factors ``scales`` lacks one."""
        options = {
            "kl_scale": "kl_steps",
            "style_scale": "content_first_steps",
            "information_scale": "information_after",
            "entanglement_scale": "entanglement_steps",
        }
        for name in self.at(0, 1):
            if name not in scales:
                raise InputError(
                    f"trainer.warmup.{options[name]} needs a model with the factor {name} in "
                    f"`scales`, which {type(model).__name__} lacks; set it to 0"
                )


#: Options of earlier versions, and their present names.
RENAMED = {
    "kl_warmup_steps": "warmup.kl_steps",
    "content_first_steps": "warmup.content_first_steps",
    "content_first_weight": "warmup.content_first_weight",
    "precision": "speed.precision",
    "cuda_graphs": "speed.cuda_graphs",
    "steps_per_graph": "speed.steps_per_graph",
    "compile": "speed.compile",
    "log_every": "reports.log_every",
    "validate_every": "reports.validate_every",
    "pictures_every": "reports.pictures_every",
    "checkpoint_seconds": "reports.checkpoint_seconds",
}


def renamed_options(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer's options of a config of any version under their present names."""
    options = {name: value for name, value in trainer.items() if name not in RENAMED}
    for old in trainer.keys() & RENAMED.keys():
        group, name = RENAMED[old].split(".")
        if not isinstance(options.get(group, {}), Mapping):
            raise InputError(
                f"trainer.{group} must be options by name, not {shown(options[group])}"
            )
        options[group] = {**options.get(group, {}), name: trainer[old]}
    return options
