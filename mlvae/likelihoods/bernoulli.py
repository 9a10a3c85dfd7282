r"""Binary elements.

Shapes: N observations, ... the shape of one observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from mlvae.errors import InputError
from mlvae.likelihoods.parameters import check_pair, check_parameters, finite_range, full_precision

__all__ = ["Bernoulli"]


@dataclass(frozen=True)
class Bernoulli:
    r"""Binary elements. The decoder computes the logit :math:`a` of each element.

    .. math:: \log p(x \mid a) = \sum x \log \sigma(a) + (1 - x) \log(1 - \sigma(a))

    (Kingma and Welling 2014, appendix C.1).

    Warning:
        Grey values in [0, 1] are allowed, as is common. The expression is then the expected
        log-probability of a binary image with these probabilities, and not a density of the grey
        image.
    """

    outputs: ClassVar[int] = 1
    scope: ClassVar[str] = "element"

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log-probabilities of x (N, ...) in nats: (N,). ``parameters`` is (N, 1, ...)."""
        check_pair(parameters, self.outputs, x)
        loss = functional.binary_cross_entropy_with_logits(
            full_precision(parameters).flatten(1), x.flatten(1), reduction="none"
        )
        return -loss.sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected observation (N, ...)."""
        check_parameters(parameters, self.outputs)
        return parameters[:, 0].sigmoid()

    def check(self, x: Tensor) -> None:
        """Raise :class:`InputError` for observations outside the support."""
        low, high = finite_range(x)
        if low < 0 or high > 1:
            raise InputError(
                "the Bernoulli likelihood takes observations in [0, 1], "
                f"not in [{low:g}, {high:g}]; rescale them, or choose a Gaussian likelihood"
            )
