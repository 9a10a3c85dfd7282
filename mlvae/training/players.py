"""Players: disjoint sets of parameters, each with a loss and an optimiser of its own.

A model such as a VAE has one player, "model". A critic that is trained beside it is another
player: both losses come from one forward pass, and both gradients are computed before either
optimiser moves its parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mlvae.errors import InputError
from mlvae.models.protocol import traits
from mlvae.optimizers import Recipe

__all__ = ["Player", "graph_is_kept", "players_of", "set_rates"]


class Player:
    """A set of parameters with its optimiser.

    Args:
        name: key of its loss in :attr:`mlvae.objectives.Objective.losses`.
        parameters: the parameters that require a gradient.
        names: their names in the model.
        recipe: builds the optimiser.

    Attributes:
        optimizer: the optimiser.
        fused: whether the optimiser skips a step by itself where ``found_inf`` is 1.
    """

    def __init__(
        self,
        name: str,
        parameters: Sequence[nn.Parameter],
        names: Sequence[str] | None,
        recipe: Recipe,
    ) -> None:
        self.name, self.parameters, self.recipe = name, list(parameters), recipe
        self.optimizer: Any = recipe.build(self.parameters, names)
        self.fused = bool(self.optimizer.defaults.get("fused"))

    @property
    def suffix(self) -> str:
        """Suffix of the names of its metrics."""
        return "" if self.name == "model" else f"_{self.name}"

    def backward(self, loss: Tensor, *, keep: bool, alone: bool) -> None:
        """Compute the gradient of ``loss`` in its parameters.

        Args:
            loss: shape ().
            keep: whether another player needs the graph afterwards.
            alone: whether all parameters of the graph are its own.
        """
        one = torch.ones_like(loss)
        inputs = None if alone else self.parameters
        with graph_is_kept() if keep else nullcontext():
            torch.autograd.backward(loss, one, retain_graph=keep, inputs=inputs)

    def norm_and_clip(self) -> Tensor:
        """The norm () of the whole gradient before it is clipped."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = get_total_norm(gradients, foreach=True)
        if (clip := self.recipe.gradient_clip) is not None:
            clip_grads_with_norm_(self.parameters, clip, norm, foreach=True)
        return norm

    def move(self, good: Tensor) -> None:
        """Take the optimiser's step where ``good`` () is true."""
        if self.fused or good.item():
            self.optimizer.step()

    def reduce(self) -> None:
        """Sum the gradient over ranks: one all-reduce of all parameters.

        A parameter without a gradient on all ranks keeps None. Ranks without a gradient that
        others have contribute zeros.
        """
        present = [p.grad is not None for p in self.parameters]
        flat = torch.cat(
            [
                *(
                    (p.grad if p.grad is not None else torch.zeros_like(p)).flatten()
                    for p in self.parameters
                ),
                torch.tensor(present, device=self.parameters[0].device).to(self.parameters[0]),
            ]
        )
        distributed.all_reduce(flat)
        *parts, anywhere = flat.split([p.numel() for p in self.parameters] + [len(present)])
        found = [True] * len(present) if all(present) else (anywhere > 0).tolist()
        for parameter, gradient, has in zip(self.parameters, parts, found, strict=True):
            parameter.grad = gradient.view_as(parameter) if has else None


def players_of(model: nn.Module, recipe: Recipe | Mapping[str, Recipe]) -> list[Player]:
    """The players of ``model``, each with its recipe.

    Args:
        model: has all parameters as the player "model", unless it states ``players``.
        recipe: one for all players, or one for each by name.

    Raises:
        InputError: if a player has no recipe or no parameter, a recipe has no player, or a
            parameter is of two players or of none.
    """
    names = {p: name for name, p in model.named_parameters() if p.requires_grad}
    stated = traits(model).players
    sets = {"model": list(names)} if stated is None else stated
    recipes = recipe if isinstance(recipe, Mapping) else dict.fromkeys(sets, recipe)
    if set(recipes) != set(sets):
        raise InputError(
            f"optimizer must have a recipe for each player, {', '.join(sets)}, not for "
            f"{', '.join(map(str, recipes))}"
        )
    players, owner = [], {}
    for name, parameters in sets.items():
        own = [p for p in parameters if p.requires_grad]
        for parameter in own:
            if parameter in owner or parameter not in names:
                raise InputError(
                    f"players of {type(model).__name__} must be disjoint sets of its parameters, "
                    f"but {names.get(parameter, 'a parameter of another module')} is not"
                )
            owner[parameter] = name
        if not own:
            raise InputError(f"player {name} of {type(model).__name__} has no parameters")
        players.append(Player(name, own, [names[p] for p in own], recipes[name]))
    if left := [name for parameter, name in names.items() if parameter not in owner]:
        raise InputError(
            f"every parameter of {type(model).__name__} must be of one player, but {left[0]} is "
            "of none"
        )
    return players


def graph_is_kept() -> AbstractContextManager[None]:
    """Context for compiled code whose graph is used for several gradients.

    By default, compiled code of a gradient overwrites the tensors that the forward pass kept.
    """
    from torch._functorch import config  # not imported with torch

    return config.patch(donated_buffer=False)


def set_rates(optimizer: torch.optim.Optimizer, rates: Sequence[float | Tensor]) -> None:
    """Set the learning rate of each parameter group, numbers or tensors of shape ()."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = float(rate)
