"""What the library expects of a likelihood.

Shapes: N observations, ... the shape of one observation, P parameters of an element.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Likelihood"]


@runtime_checkable
class Likelihood(Protocol):
    """The observation model p(x | parameters): a frozen dataclass with these four members.

    The decoder computes P parameters for each element of an observation, any real numbers. The
    likelihood maps them to the range that it needs, for example by ``exp`` or ``sigmoid``. A
    model with a likelihood of your own is checked on two observations when its training starts.
    :func:`mlvae.load` takes the class: ``mlvae.load(run, parts=[Laplace])``.

    Further attributes are optional:

    - ``scope``: the elements that share the last parameter. "element", the default: none; the
      decoder computes all parameters. "channel": those of an entry of the first axis. "scalar":
      all. A shared parameter is learned by itself and independent of the latents; ``log_prob``
      receives it repeated for each element.
    - ``real = True``: it is a density on all real numbers, so that models with the option
      ``standardise`` take it.
    - ``inputs(x)``: what an encoder receives of observations x (N, ...), such as their logarithm.
    - ``given``: names of given values of a batch that ``log_prob`` takes as keyword arguments.

    Attributes:
        outputs: number P of parameters of an element.

    Example:
        >>> from dataclasses import dataclass
        >>> from typing import ClassVar
        >>> import torch, mlvae
        >>> @dataclass(frozen=True)
        ... class Laplace:
        ...     outputs: ClassVar[int] = 2
        ...     scope: ClassVar[str] = "scalar"
        ...     def log_prob(self, parameters, x):
        ...         mean, log_scale = parameters.unbind(1)
        ...         error = (x - mean).abs() * (-log_scale).exp()
        ...         return -(error + log_scale + 0.6931).flatten(1).sum(1)
        ...     def mean(self, parameters):
        ...         return parameters[:, 0]
        ...     def check(self, x):
        ...         pass
        >>> model = mlvae.models.MLVAE((12,), likelihood=Laplace())
        >>> model.reconstruct(torch.rand(5, 12)).shape
        torch.Size([5, 12])
    """

    outputs: ClassVar[int]

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-probabilities in nats, (N,): a sum over the elements of each observation.

        Args:
            parameters: output of the decoder, (N, P, ...). It is the first argument.
            x: observations, floats (N, ...).
        """
        ...

    def mean(self, parameters: Tensor) -> Tensor:
        """The expected observations (N, ...) of parameters (N, P, ...)."""
        ...

    def check(self, x: Tensor) -> None:
        """Raise :class:`mlvae.InputError` if some of the observations (N, ...) are impossible.

        It may do nothing.
        """
        ...
