"""The way from the codes of a model to the expected observation, as a program of the page.

Shapes: N rows, D dimensions of a code, L latent dimensions of the decoder, ... one observation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError
from mlvae.explorer.arrays import Arrays
from mlvae.explorer.expectation import expectation, needs_first_only, restoration
from mlvae.explorer.program import Step, layers
from mlvae.models.protocol import traits

__all__ = ["CHECKS", "checks", "decoder_inputs", "program"]

#: Swaps whose decoded values the page compares with those of PyTorch, and elements of each.
CHECKS, ELEMENTS = 10, 256

#: Most codes that are tried in every order.
MOST_CODES = 4


@torch.no_grad()
def program(model: Any, inputs: Sequence[str], arrays: Arrays) -> dict[str, Any]:
    """The steps that a page computes for ``model.decode``.

    Args:
        model: a trained model in evaluation mode.
        inputs: names of the codes that the decoder receives side by side.
        arrays: receives the weights.

    Raises:
        InputError: if a layer or the likelihood is not one of the library.
    """
    stated = traits(model)
    assert stated.shape is not None
    first_only = needs_first_only(stated.likelihood)
    steps: list[Step] = layers(model.decoder, arrays, first_only=first_only)
    steps += _output_range(model)
    steps += expectation(stated.likelihood, math.prod(stated.shape))
    steps += restoration(getattr(model, "standardise", None), arrays)
    return {"inputs": list(inputs), "steps": steps, "shape": list(stated.shape)}


def _output_range(model: Any) -> list[Step]:
    """The bounds of the decoder's outputs in a model with the option ``output_range``."""
    bounds = getattr(getattr(model, "options", None), "output_range", None)
    return [] if bounds is None else [{"step": "between", "bounds": list(bounds)}]


@torch.no_grad()
def decoder_inputs(model: Any, means: Mapping[str, Tensor]) -> list[str]:
    """The names of the codes that the decoder of a model receives side by side.

    A decoder that receives anything else, or a model that changes the decoder's output in a way of
    its own, is found by a comparison with ``model.decode``.

    Args:
        model: in evaluation mode.
        means: values (N, D) of every code of the model.

    Raises:
        InputError: if no choice of codes gives the values of ``model.decode``.
    """
    expected = model.decode(**means)
    for names in _candidates(means):
        try:
            found = _decoded(model, torch.cat([means[name] for name in names], 1))
        except (AttributeError, RuntimeError, TypeError):  # no decoder, or one of another width
            continue
        if found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-5):
            return names
    raise InputError(
        "the explorer takes a model whose decoder receives its codes side by side, as a MLVAE, "
        f"not a {type(model).__name__}"
    )


def _candidates(means: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """All codes in any order, that of the model first; then each code by itself."""
    if len(means) <= MOST_CODES:
        yield from map(list, itertools.permutations(means))
    else:
        yield list(means)
    if len(means) > 1:
        yield from ([name] for name in means)


def _decoded(model: Any, latent: Tensor) -> Tensor:
    """The expected observations (N, ...) by the parts of a model, of latents (N, L)."""
    parameters = model.decoder(latent)
    bounds = getattr(getattr(model, "options", None), "output_range", None)
    if bounds is not None:
        low, high = bounds
        parameters = low + (high - low) * (2 * parameters).sigmoid()
    found = model.likelihood.mean(parameters)
    scale = getattr(model, "standardise", None)
    return found if scale is None else scale.restore(found)


@torch.no_grad()
def checks(model: Any, latents: Mapping[str, np.ndarray], arrays: Arrays) -> dict[str, Any]:
    """Codes and their decoded values by PyTorch, which the page compares with its own.

    Args:
        model: in evaluation mode.
        latents: values (N, D) of every code.
        arrays: receives the values.
    """
    device = next(model.parameters()).device
    codes = {name: torch.from_numpy(values).to(device) for name, values in latents.items()}
    decoded = model.decode(**codes).flatten(1).float().cpu()
    stride = max(1, -(-decoded.shape[1] // ELEMENTS))
    return {
        "codes": {name: arrays.add(values) for name, values in latents.items()},
        "stride": stride,
        "decoded": arrays.add(decoded[:, ::stride].numpy()),
    }
