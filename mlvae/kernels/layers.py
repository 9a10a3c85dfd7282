"""Replace the linear layers of a traced model, with their activations, by one operation each."""

from __future__ import annotations

import torch
from torch import fx
from torch.nn import functional

from mlvae.kernels.dense import dense

__all__ = ["with_dense_layers"]

#: Activations that a traced model calls, and their names in :mod:`mlvae.kernels.dense`.
FOLLOWING: dict[object, str] = {torch.tanh: "tanh", functional.relu: "relu"}

#: Calls that enter and leave an autocast region of a traced model.
AUTOCASTS: dict[object, int] = {
    torch.amp.autocast_mode._enter_autocast: 1,
    torch.amp.autocast_mode._exit_autocast: -1,
}


def with_dense_layers(graph: fx.GraphModule, *, half: bool = False) -> fx.GraphModule:
    """Replace linear layers of ``graph`` by :func:`~mlvae.kernels.dense.dense`, in place.

    A layer stays unchanged if it has no bias, if its input is not a matrix, or if the model runs
    it in an autocast region of its own.

    Args:
        graph: the graph that ``torch.compile`` passes to a backend.
        half: whether the layers multiply in bfloat16.

    Returns:
        ``graph`` itself.

    Example:
        >>> from torch import nn
        >>> layers = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
        >>> def backend(graph, inputs):
        ...     return with_dense_layers(graph, half=True).forward
        >>> torch.compile(layers, backend=backend)(torch.ones(4, 3)).dtype
        torch.bfloat16
    """
    autocast_depth = 0
    for node in list(graph.graph.nodes):
        autocast_depth += AUTOCASTS.get(node.target, 0)
        if node.target is not functional.linear or autocast_depth or not _is_dense(node):
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
        if node.target is dense and (next_layer := _next_layer(node)):
            node.args = (*node.args[:5], True, half)
            next_layer.args = (*next_layer.args[:4], node.args[3], *next_layer.args[5:])
    graph.recompile()
    return graph


def _is_dense(node: fx.Node) -> bool:
    """Return whether a linear layer has an input matrix, a weight and a bias."""
    if len(node.args) != 3 or node.kwargs:
        return False
    x, weight, bias = node.args
    if not (isinstance(x, fx.Node) and isinstance(weight, fx.Node) and isinstance(bias, fx.Node)):
        return False
    return x.meta["example_value"].ndim == 2


def _next_layer(node: fx.Node) -> fx.Node | None:
    """Return the layer whose input is the output of ``node``, if nothing else uses the output."""
    if len(node.users) != 1 or node.args[3] == "none":
        return None
    (user,) = node.users
    return user if user.target is dense and node not in user.args[1:] else None
