"""How parameters are updated: Adam, a learning-rate schedule, gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlvae.errors import InputError, check_choice, check_integer, check_number
from mlvae.parts import take_lists

__all__ = ["OPTIMIZERS", "Adam"]


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015), with a schedule that depends on the step alone.

    Args:
        learning_rate: step size at its largest.
        betas: decay of the averages of gradient and squared gradient.
        eps: added to the denominator.
        weight_decay: decoupled, as in AdamW (Loshchilov and Hutter 2019); 0 is plain Adam.
        schedule: "constant", or "cosine" for half a cosine from the learning rate to zero over the
            whole training.
        warmup_steps: steps of linear increase to the learning rate, before the schedule.
        gradient_clip: largest norm of the whole gradient; None does not clip.
    """

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    gradient_clip: float | None = None

    def __post_init__(self) -> None:
        check_number("optimizer.learning_rate", self.learning_rate, minimum=0, exclusive=True)
        take_lists(self, "optimizer", "betas")
        if len(self.betas) != 2:
            raise InputError(f"optimizer.betas must be two numbers in [0, 1), not {self.betas!r}")
        for beta in self.betas:
            check_number("optimizer.betas", beta, minimum=0, maximum=1 - 1e-9)
        check_number("optimizer.eps", self.eps, minimum=0, exclusive=True)
        check_number("optimizer.weight_decay", self.weight_decay, minimum=0)
        check_choice("optimizer.schedule", self.schedule, ("constant", "cosine"))
        check_integer("optimizer.warmup_steps", self.warmup_steps, minimum=0)
        if self.gradient_clip is not None:
            check_number("optimizer.gradient_clip", self.gradient_clip, minimum=0, exclusive=True)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """PyTorch's optimiser, in its fused form: one kernel for all parameters.

        On CUDA the learning rate is a tensor, so that a captured step can be told another.
        """
        parameters = list(parameters)
        device = parameters[0].device
        cuda = device.type == "cuda"
        return torch.optim.AdamW(
            parameters,
            lr=torch.tensor(self.learning_rate, device=device) if cuda else self.learning_rate,
            betas=tuple(map(float, self.betas)),  # torch.load reads no numbers of NumPy's
            eps=float(self.eps),
            weight_decay=float(self.weight_decay),
            fused=True,
            capturable=cuda,
        )

    @staticmethod
    def set_rate(optimizer: torch.optim.Optimizer, rate: float | Tensor) -> None:
        """Give the next step its learning rate, a number or a tensor of shape ()."""
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = float(rate)

    def steady(self) -> bool:
        """Whether all steps have one learning rate."""
        return self.schedule == "constant" and self.warmup_steps == 0

    def rate(self, step: int, total_steps: int) -> float:
        """The learning rate of step ``step`` (from 0) of ``total_steps``."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        progress = (step - self.warmup_steps) / max(1, total_steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


OPTIMIZERS = (Adam,)
