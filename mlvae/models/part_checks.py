"""Checks of the networks and likelihoods of a model, by their members and on two observations.

A class of this library is checked by its members alone; its tests check the rest.

Shapes: N observations, ... the shape of one observation, D dimensions of a posterior, L latent
dimensions, P parameters of the likelihood per element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.errors import InputError, check_choice, check_part, shown
from mlvae.likelihoods import LIKELIHOODS, SCOPES, TABLE_LIKELIHOODS, Likelihood
from mlvae.models.protocol import has_codes
from mlvae.networks import NETWORKS

__all__ = [
    "check_decoder",
    "check_encoder",
    "check_likelihood",
    "check_networks",
    "check_parts",
]

#: Largest relative difference of the numbers of an observation alone and beside another.
TOLERANCE = 1e-3


def check_parts(network: object, likelihood: object) -> None:
    """Raise :class:`InputError` unless the arguments are a network and a likelihood."""
    check_part("network", network, NETWORKS, ("encoder", "decoder"))
    known = (*LIKELIHOODS, *TABLE_LIKELIHOODS)
    check_part("likelihood", likelihood, known, ("log_prob", "mean", "check"))
    for name, part in (("network", network), ("likelihood", likelihood)):
        if not is_dataclass(part):
            raise InputError(
                f"a {name} must be a dataclass, so that it can be saved, not {shown(part)}"
            )
    outputs = getattr(likelihood, "outputs", None)
    if not isinstance(outputs, int) or outputs < 1:
        raise InputError(
            "likelihood must have the number of parameters of an element, as outputs: "
            f"ClassVar[int] = 1, but outputs of {type(likelihood).__name__} is {shown(outputs)}"
        )
    check_choice("likelihood.scope", getattr(likelihood, "scope", SCOPES[0]), SCOPES)


def check_encoder(
    encoder: nn.Module, network: object, shape: Sequence[int], dims: Sequence[int]
) -> None:
    """Raise :class:`InputError` unless an encoder gives the posteriors of observations alone.

    Args:
        encoder: the encoder.
        network: the record that built it. Nothing is checked if it is of this library.
        shape: shape of one observation.
        dims: dimensions of each posterior.
    """
    if _is_ours(network, encoder):
        return
    x = _numbers(encoder, (2, *shape))
    what = f"the encoder of {type(network).__name__}, built by encoder(shape, dims={list(dims)}),"
    expected = [(len(x), dim) for dim in dims]
    with _evaluating(encoder):
        together = _called(what, encoder, x)
        means = [getattr(q, "mean", None) for q in together] if _listed(together) else []
        if [getattr(mean, "shape", None) for mean in means] != expected:
            raise InputError(
                f"{what} must return a tuple of posteriors of shapes "
                f"{', '.join(map(str, expected))} for observations {tuple(x.shape)}, not "
                f"{_described(together)}"
            )
        alone = [q.mean for q in _called(what, encoder, x[:1])]
    _check_rows(what, torch.cat(means, 1), torch.cat(alone, 1))  # type: ignore[arg-type]


def check_decoder(
    decoder: nn.Module, network: object, latent_dim: int, shape: Sequence[int], outputs: int
) -> None:
    """Raise :class:`InputError` unless a decoder gives the parameters of latents alone.

    Args:
        decoder: the decoder.
        network: the record that built it. Nothing is checked if it is of this library.
        latent_dim: L.
        shape: shape of one observation.
        outputs: P.
    """
    if _is_ours(network, decoder):
        return
    name = type(network).__name__
    what = f"the decoder of {name}, built by decoder({latent_dim}, {tuple(shape)}, {outputs}),"
    latent, expected = _numbers(decoder, (2, latent_dim)), (2, outputs, *shape)
    with _evaluating(decoder):
        together = _called(what, decoder, latent)
        if not isinstance(together, Tensor) or together.shape != expected:
            raise InputError(
                f"{what} must return a tensor of shape {expected} for latents "
                f"{tuple(latent.shape)}, not {_described(together)}"
            )
        alone = _called(what, decoder, latent[:1])
    _check_rows(what, together, alone)


def check_networks(model: Any, two: Batch, one: Batch) -> None:
    """Raise :class:`InputError` unless the codes of observations of the training are usable.

    Args:
        model: a model whose ``options`` have a network. One of this library is not checked.
        two: two observations, each a group of one, on the model's device.
        one: the first of them.
    """
    network = getattr(getattr(model, "options", None), "network", None)
    if network is None or not has_codes(model) or _is_ours(network, model):
        return
    what = f"the encoder of {type(network).__name__}, on observations of the training,"
    with _evaluating(model), torch.no_grad():
        together, alone = model.codes(two), model.codes(one)
    for name, code in together.items():
        _check_rows(f"{what} ({name})", code.mean, alone[name].mean)


def check_likelihood(likelihood: Likelihood, x: Tensor) -> None:
    """Raise :class:`InputError` unless a likelihood has one value for each observation alone.

    Arguments in another order broadcast, and the training would go on with wrong numbers.

    Args:
        likelihood: the likelihood. Nothing is checked if it is of this library.
        x: two observations of the training, or one: (N, ...).
    """
    # A model's own likelihood need not have the protocol.
    known = (*LIKELIHOODS, *TABLE_LIKELIHOODS)
    if type(likelihood) in known or not hasattr(likelihood, "outputs"):
        return
    name, shape = type(likelihood).__name__, tuple(x.shape)
    parameters = torch.linspace(-0.5, 0.5, likelihood.outputs * x.numel(), device=x.device)
    parameters = parameters.view(len(x), likelihood.outputs, *shape[1:])
    what, call = f"log_prob(parameters, x) of {name}", "parameters are the first argument"
    together = _called(what, likelihood.log_prob, parameters, x)
    if not isinstance(together, Tensor) or together.shape != (len(x),):
        raise InputError(
            f"{what} must be one sum for each of N observations, ({len(x)},) for x of shape "
            f"{shape}, not {_described(together)}; {call}"
        )
    alone = _called(what, likelihood.log_prob, parameters[:1], x[:1])
    _check_rows(what, together, alone, f"; {call}")
    what = f"mean of {name}"
    mean = _called(what, likelihood.mean, parameters)
    if not isinstance(mean, Tensor) or mean.shape != shape:
        raise InputError(
            f"{what} must have the shape of the observations, {shape}, not {_described(mean)}"
        )
    _check_rows(what, mean, _called(what, likelihood.mean, parameters[:1]))


def _is_ours(network: object, module: Any) -> bool:
    """Whether a network is of this library, or its module has no numbers yet."""
    parameter = next(module.parameters(), None)
    return type(network) in NETWORKS or (parameter is not None and parameter.is_meta)


def _numbers(module: nn.Module, shape: Sequence[int]) -> Tensor:
    """Different numbers in (0, 1), without a random draw, as ``module`` takes them."""
    parameter = next(module.parameters(), torch.zeros(()))
    return torch.linspace(0.1, 0.9, math.prod(shape)).view(*shape).to(parameter)


def _called(what: str, function: Callable[..., Any], *arguments: Tensor) -> Any:
    """The result without gradients; an error of the function in one line."""
    try:
        with torch.no_grad():
            return function(*arguments)
    except InputError:
        raise
    except Exception as error:  # of a stranger's code: any type
        shapes = ", ".join(str(tuple(argument.shape)) for argument in arguments)
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{what} must take tensors of shapes {shapes}, but raised {type(error).__name__}: "
            f"{first}"
        ) from error


def _check_rows(what: str, together: Tensor, alone: Tensor, advice: str = "") -> None:
    """Raise :class:`InputError` unless the first row is finite, and the same beside another."""
    if not together.isfinite().all():
        raise InputError(f"{what} must be finite, but has NaN or an infinity{advice}")
    first = together[:1]
    difference = float((first - alone).abs().max()) if alone.shape == first.shape else math.inf
    if difference > TOLERANCE * (1 + float(alone.abs().max())):
        raise InputError(
            f"{what} must not depend on other observations: the first has {_first(alone):g} alone "
            f"and {_first(first):g} beside another{advice}"
        )


def _first(values: Tensor) -> float:
    return float(values.flatten()[0])


def _listed(value: object) -> bool:
    return isinstance(value, list | tuple)


def _described(value: Any) -> str:
    """The shapes of tensors and posteriors, for a message."""
    if _listed(value):
        return f"a {type(value).__name__} of {', '.join(map(_described, value)) or 'nothing'}"
    shape = getattr(getattr(value, "mean", None), "shape", None)
    return f"{type(value).__name__} {tuple(shape)}" if shape is not None else shown(value)


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Evaluation mode, in which no module draws a number or updates its statistics."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
