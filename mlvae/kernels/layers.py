"""Finds the linear layers of a traced model, and makes each with its activation one operation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import fx
from torch.nn import functional

from mlvae.kernels.dense import dense

__all__ = ["with_dense_layers"]

#: Functions that a traced model calls, by the name that a kernel has for them.
FOLLOWING: dict[Callable, str] = {torch.tanh: "tanh", functional.relu: "relu"}


#: What begins and ends the autocast of a traced model.
AUTOCASTS = {
    torch.amp.autocast_mode._enter_autocast: 1,
    torch.amp.autocast_mode._exit_autocast: -1,
}


def with_dense_layers(graph: fx.GraphModule, *, half: bool = False) -> fx.GraphModule:
    """``graph`` itself, with :func:`~mlvae.kernels.dense.dense` in place of its linear layers.

    Those without a bias, and of inputs that are no matrix, stay as they are, and so do those that
    a model runs under an autocast of its own.

    Args:
        graph: as ``torch.compile`` gives it to a backend.
        half: multiply in bfloat16.

    Example:
        >>> from torch import nn
        >>> layers = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
        >>> def backend(graph, inputs):
        ...     return with_dense_layers(graph, half=True).forward
        >>> torch.compile(layers, backend=backend)(torch.ones(4, 3)).dtype
        torch.bfloat16
    """
    own_autocasts = 0
    for node in list(graph.graph.nodes):
        own_autocasts += AUTOCASTS.get(node.target, 0)
        if node.target is not functional.linear or own_autocasts or not _suits(node):
            continue
        last, activation = node, "none"
        if len(node.users) == 1:
            (user,) = node.users
            if user.target in FOLLOWING:
                last, activation = user, FOLLOWING[user.target]
        with graph.graph.inserting_before(last):
            layer = graph.graph.call_function(dense, (*node.args, activation, "none", False, half))
        layer.meta = {**last.meta}
        last.replace_all_uses_with(layer)
        graph.graph.erase_node(last)
        if last is not node:
            graph.graph.erase_node(node)
    for node in graph.graph.nodes:
        if node.target is dense and (behind := _only_layer_behind(node)):
            node.args = (*node.args[:5], True, half)
            behind.args = (*behind.args[:4], node.args[3], *behind.args[5:])
    graph.recompile()
    return graph


def _suits(node: fx.Node) -> bool:
    if len(node.args) != 3 or node.kwargs or not all(isinstance(a, fx.Node) for a in node.args):
        return False
    return node.args[0].meta["example_value"].ndim == 2


def _only_layer_behind(node: fx.Node) -> fx.Node | None:
    """The layer that the outputs of another go to, if they go nowhere else."""
    if len(node.users) != 1 or node.args[3] == "none":
        return None
    (user,) = node.users
    return user if user.target is dense and node not in user.args[1:] else None
