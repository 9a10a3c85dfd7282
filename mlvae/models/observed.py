"""Optional abilities of a likelihood: inputs of the encoder, and values that come with x.

Most likelihoods have none of them. Those of counts have both (:mod:`mlvae.likelihoods.counts`).

Shapes: N observations, ... the shape of one observation, P parameters of an element.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mlvae.errors import InputError, shown
from mlvae.likelihoods import Likelihood

__all__ = ["encoder_inputs", "expected", "is_of_counts", "known_values", "sizes_of"]


def is_of_counts(likelihood: object) -> bool:
    """Whether a likelihood is of counts: it has the attribute ``counts = True``."""
    return bool(getattr(likelihood, "counts", False))


def encoder_inputs(likelihood: Likelihood | None, x: Tensor) -> Tensor:
    """What the encoder receives of observations x (N, ...).

    A likelihood may have a method ``inputs(x)``. Otherwise it is x itself.
    """
    inputs = getattr(likelihood, "inputs", None)
    return x if inputs is None else inputs(x)


def known_values(likelihood: object, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The given values that ``log_prob`` of a likelihood takes beside the observations, by name.

    A likelihood may have an attribute ``given`` with the names of these values.
    """
    return {name: given[name] for name in getattr(likelihood, "given", ()) if name in given}


def sizes_of(likelihood: object, x: Tensor) -> dict[str, Tensor]:
    """The option ``size`` of ``decode`` for counts x (N, ...): their sums (N,); else no option."""
    return {"size": x.flatten(1).sum(1)} if is_of_counts(likelihood) else {}


def expected(likelihood: Likelihood, parameters: Tensor, size: object = None) -> Tensor:
    """The expected observations (N, ...) of parameters (N, P, ...).

    Args:
        likelihood: the observation model.
        parameters: of the decoder.
        size: for a likelihood of counts, the size of each observation: numbers (N,), or one
            number; None: its ``total``.

    Raises:
        InputError: if the likelihood has no sizes, or they are no numbers above zero.
    """
    if size is None:
        return likelihood.mean(parameters)
    if not is_of_counts(likelihood):
        raise InputError(
            f"size must be None for a {type(likelihood).__name__} likelihood, not {shown(size)}: "
            "only likelihoods of counts have sizes"
        )
    number = len(parameters)
    try:
        sizes = torch.as_tensor(size, dtype=parameters.dtype, device=parameters.device)
        sizes = sizes.expand(number) if sizes.shape in ((), (1,)) else sizes
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"size must be numbers ({number},), not {shown(size)}") from error
    if sizes.shape != (number,):
        raise InputError(f"size must be numbers ({number},), not of shape {tuple(sizes.shape)}")
    return likelihood.mean(parameters, size=sizes)  # pyright: ignore[reportCallIssue]
