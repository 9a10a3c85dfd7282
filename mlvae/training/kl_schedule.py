"""How the divergences are weighted at first, before they have the weight of the objective."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from mlvae.errors import InputError

__all__ = ["KLSchedule"]


class KLSchedule:
    """Moves the scales of a model's objective from step to step.

    Args:
        model: whose ``objective`` has the scales.
        warmup_steps: steps over which ``kl_scale``, of all divergences, grows linearly to 1; 0:
            none. At first the latents are free to say what they like.
        content_first_steps: steps over which ``style_scale``, of the style's divergence, falls
            linearly to 1; 0: none. The style is dear at first, so what members share is learned as
            content before the style can take it.
        content_first_weight: where ``style_scale`` begins.

    Raises:
        InputError: if the model lacks what is to be moved.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        warmup_steps: int,
        content_first_steps: int,
        content_first_weight: float,
    ) -> None:
        self.objective = getattr(model, "objective", None)
        self.warmup_steps = warmup_steps
        self.content_first_steps = content_first_steps
        self.content_first_weight = content_first_weight
        for option, steps, scale in (
            ("kl_warmup_steps", warmup_steps, "kl_scale"),
            ("content_first_steps", content_first_steps, "style_scale"),
        ):
            if steps and not hasattr(self.objective, scale):
                raise InputError(
                    f"trainer.{option} needs a model with objective.{scale}, which "
                    f"{type(model).__name__} lacks; set it to 0"
                )

    def reset(self) -> None:
        """Full weights: an earlier training may have ended before it came to them."""
        for scale in ("kl_scale", "style_scale"):
            if hasattr(self.objective, scale):
                getattr(self.objective, scale).fill_(1)

    def set(self, step: int) -> None:
        """Give the objective the scales of step number ``step``, counted from 0."""
        self.give(self.at(step))

    def at(self, step: int) -> list[float]:
        """The scales of step number ``step`` that move at all: none, one or both."""
        scales = []
        if self.warmup_steps:
            scales.append(min(1.0, (step + 1) / self.warmup_steps))
        if self.content_first_steps:
            left = max(0.0, 1 - step / self.content_first_steps)
            scales.append(1 + (self.content_first_weight - 1) * left)
        return scales

    def give(self, scales: Iterable[float | Tensor]) -> None:
        """Give the objective what :meth:`at` says; in place, for CUDA graphs."""
        moving = {"kl_scale": self.warmup_steps, "style_scale": self.content_first_steps}
        names = [name for name, steps in moving.items() if steps]
        for name, scale in zip(names, scales, strict=True):
            getattr(self.objective, name).fill_(scale)
