"""Recipes of optimisers: the algorithm, a schedule of the learning rate, gradient clipping."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from mlvae.errors import InputError, check_choice, check_flag, check_integer, check_number, shown
from mlvae.parts import take_lists

__all__ = ["OPTIMIZERS", "Adam", "Recipe", "Torch"]

SCHEDULES = ("constant", "cosine", "step")

#: Optimisers of torch.optim that cannot take a step from one gradient.
NEED_A_CLOSURE = ("LBFGS",)


class Recipe(Protocol):
    """What a training needs of a recipe; :class:`Adam` and :class:`Torch` have it.

    A recipe is a frozen dataclass, so that it can be saved.
    """

    @property
    def gradient_clip(self) -> float | None:
        """Largest norm of the gradient of all parameters; None: no clipping."""
        ...

    def build(
        self, parameters: Iterable[nn.Parameter], names: Sequence[str] | None = None
    ) -> torch.optim.Optimizer:
        """The optimiser of ``parameters``, which have ``names`` in the model."""
        ...

    def rates(self, step: int, total_steps: int) -> list[float]:
        """Learning rate of each parameter group at step ``step`` (from 0) of ``total_steps``."""
        ...

    def steady(self) -> bool:
        """Whether the learning rates are the same at all steps."""
        ...


@dataclass(frozen=True)
class Scheduled:
    """Fields that all recipes share.

    Args:
        learning_rate: largest learning rate.
        schedule: "constant"; "cosine": half a cosine from the learning rate to zero over the whole
            training; "step": multiplied by ``decay_factor`` after every ``decay_steps`` steps.
        warmup_steps: steps of linear increase to the learning rate, before the schedule.
        decay_steps: steps between two decays of the schedule "step".
        decay_factor: factor of each decay of the schedule "step".
        gradient_clip: largest norm of the gradient of all parameters; None: no clipping.
        learning_rates: learning rates of parameter groups, by the first part of the parameters'
            names: ``{"encoder": 1e-4}``. The schedule multiplies them too. Other parameters have
            ``learning_rate``.
    """

    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup_steps: int = 0
    decay_steps: int = 1000
    decay_factor: float = 0.1
    gradient_clip: float | None = None
    learning_rates: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_number("optimizer.learning_rate", self.learning_rate, minimum=0, exclusive=True)
        check_choice("optimizer.schedule", self.schedule, SCHEDULES)
        check_integer("optimizer.warmup_steps", self.warmup_steps, minimum=0)
        check_integer("optimizer.decay_steps", self.decay_steps, minimum=1)
        check_number("optimizer.decay_factor", self.decay_factor, minimum=0, exclusive=True)
        if self.gradient_clip is not None:
            check_number("optimizer.gradient_clip", self.gradient_clip, minimum=0, exclusive=True)
        if not isinstance(self.learning_rates, Mapping):
            raise InputError(
                "optimizer.learning_rates must be rates by names of parameters, not "
                f"{shown(self.learning_rates)}"
            )
        for name, rate in self.learning_rates.items():
            check_number(f"optimizer.learning_rates.{name}", rate, minimum=0, exclusive=True)

    def groups(
        self, parameters: Iterable[nn.Parameter], names: Sequence[str] | None
    ) -> list[dict[str, Any]]:
        """Parameter groups of an optimiser: one for all others, then one for each learning rate.

        Raises:
            InputError: if a key of ``learning_rates`` is not the first part of a name.
        """
        parameters = list(parameters)
        if not self.learning_rates:
            return [{"params": parameters}]
        members: dict[str | None, list] = {None: [], **{key: [] for key in self.learning_rates}}
        for name, parameter in zip(names or [""] * len(parameters), parameters, strict=True):
            keys = [key for key in self.learning_rates if f"{name}.".startswith(f"{key}.")]
            members[max(keys, key=len) if keys else None].append(parameter)
        if empty := [key for key, found in members.items() if key is not None and not found]:
            raise InputError(
                f"optimizer.learning_rates.{empty[0]} must be the first part of the names of "
                f"parameters, such as {(names or ['(no names)'])[0]}, but matches none"
            )
        return [{"params": found} for found in members.values()]

    def rates(self, step: int, total_steps: int) -> list[float]:
        """Learning rate of each parameter group at step ``step`` (from 0) of ``total_steps``."""
        largest = [self.learning_rate, *self.learning_rates.values()]
        # torch.load reads no NumPy numbers.
        return [float(self._rate(rate, step, total_steps)) for rate in largest]

    def _rate(self, largest: float, step: int, total_steps: int) -> float:
        if step < self.warmup_steps:
            return largest * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return largest
        if self.schedule == "step":
            return largest * self.decay_factor ** ((step - self.warmup_steps) // self.decay_steps)
        progress = (step - self.warmup_steps) / max(1, total_steps - self.warmup_steps)
        return largest * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def steady(self) -> bool:
        """Whether the learning rates are the same at all steps."""
        return self.schedule == "constant" and self.warmup_steps == 0


@dataclass(frozen=True)
class Adam(Scheduled):
    """Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019).

    Args:
        betas: decay of the averages of the gradient and of the squared gradient.
        eps: added to the denominator.
        weight_decay: decoupled, as in AdamW; 0 is plain Adam.
        amsgrad: divide by the largest average so far of the squared gradient (S. Reddi, S. Kale,
            S. Kumar: On the Convergence of Adam and Beyond. ICLR 2018).

    The other arguments are those of :class:`Scheduled`.

    Example:
        >>> Adam(schedule="step", decay_steps=10, decay_factor=0.5).rates(25, 100)
        [0.00025]
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        take_lists(self, "optimizer", "betas")
        if len(self.betas) != 2:
            raise InputError(
                f"optimizer.betas must be two numbers in [0, 1), not {shown(self.betas)}"
            )
        for beta in self.betas:
            check_number("optimizer.betas", beta, minimum=0, maximum=1 - 1e-9)
        check_number("optimizer.eps", self.eps, minimum=0, exclusive=True)
        check_number("optimizer.weight_decay", self.weight_decay, minimum=0)
        check_flag("optimizer.amsgrad", self.amsgrad)

    def build(
        self, parameters: Iterable[nn.Parameter], names: Sequence[str] | None = None
    ) -> torch.optim.Optimizer:
        """PyTorch's AdamW in its fused form: one kernel for all parameters.

        On CUDA the learning rate is a tensor, so that a captured step can change it.
        """
        groups = self.groups(parameters, names)
        device = next(parameter.device for group in groups for parameter in group["params"])
        for group, rate in zip(groups, self.rates(0, 1), strict=True):
            if device.type == "cuda":
                group["lr"] = torch.tensor(rate, device=device)
            else:
                group["lr"] = rate
        return torch.optim.AdamW(
            groups,
            betas=(
                float(self.betas[0]),
                float(self.betas[1]),
            ),  # torch.load reads no NumPy numbers
            eps=float(self.eps),
            weight_decay=float(self.weight_decay),
            amsgrad=self.amsgrad,
            fused=True,
            capturable=device.type == "cuda",
        )


@dataclass(frozen=True)
class Torch(Scheduled):
    """Any optimiser of :mod:`torch.optim`, or a class with the same interface.

    A step reads on the host whether the gradient is finite, so on a CUDA device steps run eagerly.

    Args:
        optimizer: the class, or its name in :mod:`torch.optim`. Configs hold names only.
        options: keyword arguments of the class, without the learning rate.

    The other arguments are those of :class:`Scheduled`.

    Example:
        >>> recipe = Torch(torch.optim.SGD, {"momentum": 0.9}, learning_rate=0.1)
        >>> type(recipe.build([nn.Parameter(torch.zeros(3))])).__name__
        'SGD'
    """

    optimizer: str | type[torch.optim.Optimizer] = "SGD"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __init__(
        self,
        optimizer: str | type[torch.optim.Optimizer] = "SGD",
        options: Mapping[str, Any] | None = None,
        **scheduled: Any,
    ) -> None:
        Scheduled.__init__(self, **scheduled)
        kind = torch.optim.__dict__.get(optimizer) if isinstance(optimizer, str) else optimizer
        if (
            not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer))
            or kind is torch.optim.Optimizer
            or kind.__name__ in NEED_A_CLOSURE
        ):
            raise InputError(
                "optimizer.optimizer must be a class of torch.optim or its name, such as SGD, "
                f"and not one that needs a closure, not {shown(optimizer)}"
            )
        known = [
            name for name in inspect.signature(kind).parameters if name not in ("params", "lr")
        ]
        if options is not None and not isinstance(options, Mapping):
            raise InputError(f"optimizer.options must be options by name, not {shown(options)}")
        for name in options or {}:
            check_choice(f"an option of {kind.__name__}", name, known)
        object.__setattr__(self, "optimizer", kind.__name__)
        object.__setattr__(self, "options", dict(options or {}))
        object.__setattr__(self, "_kind", kind)

    def build(
        self, parameters: Iterable[nn.Parameter], names: Sequence[str] | None = None
    ) -> torch.optim.Optimizer:
        """The optimiser of ``parameters``."""
        groups = self.groups(parameters, names)
        for group, rate in zip(groups, self.rates(0, 1), strict=True):
            group["lr"] = rate
        kind = vars(self)["_kind"]
        try:
            return kind(groups, **self.options)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"optimizer {self.optimizer}: {error}") from error


OPTIMIZERS = (Adam, Torch)
