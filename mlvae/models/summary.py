"""A short text about a model: its parts, their parameters and shapes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from mlvae.models.protocol import traits

__all__ = ["summary"]

#: Most layers of a part that are named one by one.
MOST_LAYERS = 4


def summary(model: nn.Module) -> str:
    """The model in a few lines. ``torch.nn.Module.__repr__(model)`` is the whole tree.

    Args:
        model: with the attributes of :class:`mlvae.models.Traits` that it states.

    Returns:
        The lines. The first has the shape of the observations, the dimensions of the codes, the
        likelihood and the number of parameters. Each part has a line with its parameters and its
        layers that have a matrix.

    Example:
        >>> from mlvae.models import VAE
        >>> print(VAE((3,), latent_dim=2))
        VAE of observations (3,): latent 2, Bernoulli, 7,007 parameters
          encoder            4,004  Linear 3 -> 500, Linear 500 -> 4
          decoder            3,003  Linear 2 -> 500, Linear 500 -> 3
    """
    stated = traits(model)
    options: object = getattr(model, "options", None)
    values = {} if options is None else vars(options)
    facts = [
        f"{name[:-4]} {_size(size)}" for name, size in values.items() if name.endswith("_dim")
    ]
    if stated.likelihood is not None:
        facts.append(type(stated.likelihood).__name__)
    facts.append(f"{_parameters(model):,} parameters")
    lines = [f"{type(model).__name__} of observations {stated.shape}: {', '.join(facts)}"]
    for name, part in model.named_children():
        if number := _parameters(part):
            lines.append(f"  {name:<14}{number:>10,}  {_layers(part)}")
    return "\n".join(lines)


def _size(size: object) -> str:
    """The dimensions of a code, or of the code of each grouping."""
    if isinstance(size, Mapping):
        return " + ".join(f"{number} of {name}" for name, number in size.items())
    return str(size)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _layers(part: nn.Module) -> str:
    """The layers with a matrix or a kernel; of many, the first and the last ones."""
    shown = [
        _layer(layer)
        for layer in part.modules()
        if any(parameter.ndim > 1 for parameter in layer.parameters(recurse=False))
    ]
    if len(shown) > MOST_LAYERS:
        half = MOST_LAYERS // 2
        shown = [*shown[:half], f"{len(shown) - MOST_LAYERS} more", *shown[-half:]]
    return ", ".join(shown)


def _layer(layer: nn.Module) -> str:
    """The class of a layer and what it maps to what, or the shapes of its parameters."""
    kind = type(layer).__name__
    for ends in (("in_features", "out_features"), ("in_channels", "out_channels")):
        if all(hasattr(layer, end) for end in ends):
            return f"{kind} {getattr(layer, ends[0])} -> {getattr(layer, ends[1])}"
    shapes = [str(tuple(p.shape)) for p in layer.parameters(recurse=False)]
    return f"{kind} {' '.join(shapes)}"
