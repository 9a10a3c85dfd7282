r"""Words of a document: draws from one distribution over a vocabulary.

Shapes: N observations, ... the shape of one observation, V its number of elements (words).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.arguments import check_floats
from mlvae.errors import check_flag, check_number
from mlvae.likelihoods.counts import Poisson, check_counts
from mlvae.likelihoods.parameters import check_pair, full_precision

__all__ = ["Multinomial"]


@dataclass(frozen=True)
class Multinomial:
    r"""Counts of words in a document. The decoder computes a number :math:`a_v` for each word.

    .. math:: \log p(x \mid a) = \sum_{v = 1}^{V} x_v \log \rho_v,
        \qquad \rho = \mathrm{softmax}(a)

    It is the probability of the words of a document in their order, given the number of words
    n. The perplexity of the literature on topic models is that of this probability (D. M. Blei,
    A. Y. Ng, M. I. Jordan: Latent Dirichlet Allocation. JMLR 3, 2003, section 7.1). With
    ``coefficient=True`` it is the probability of the counts:
    :math:`\log (n! / \prod_v x_v!)` is added, the logarithm of the number of orders. The
    coefficient does not depend on the parameters, so the training is the same.

    Given n, it is a :class:`Poisson` likelihood with ``link="softmax"``: the log-probability of
    the counts is that of Poisson minus :math:`\log \mathrm{Poisson}(n; n)`.

    The encoder receives :math:`\log(1 + x_v)` (:meth:`inputs`), which depends on n: the posterior
    of a long document can be narrower than that of a short one.

    Args:
        total: number of words of a decoded document where none is known.
        coefficient: whether the multinomial coefficient is in the log-probability.

    Example:
        >>> counts = torch.tensor([[2.0, 0.0, 1.0]])
        >>> equal_shares = torch.zeros(1, 1, 3)
        >>> Multinomial().log_prob(equal_shares, counts).exp()  # (1 / 3) ** 3
        tensor([0.0370])
        >>> Multinomial().mean(equal_shares, size=counts.sum(1))
        tensor([[1., 1., 1.]])
    """

    total: float = 100.0
    coefficient: bool = False
    outputs: ClassVar[int] = 1
    scope: ClassVar[str] = "element"
    counts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("likelihood.total", self.total, minimum=0, exclusive=True)
        check_flag("likelihood.coefficient", self.coefficient)

    def inputs(self, x: Tensor) -> Tensor:
        """Return what an encoder receives of counts x (N, ...): logarithms of one plus counts."""
        if not torch.compiler.is_compiling():
            check_floats("x", x, "(N, ...)")
        return x.log1p()

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log-probabilities of x (N, ...) in nats: (N,).

        Args:
            parameters: of the decoder, (N, 1, ...).
            x: counts as floats, (N, ...).
        """
        check_pair(parameters, self.outputs, x)
        x = x.flatten(1)
        log_share = functional.log_softmax(full_precision(parameters).flatten(1), 1)
        words = (x * log_share).sum(1)
        return words + self.log_coefficient(x) if self.coefficient else words

    @staticmethod
    def log_coefficient(x: Tensor) -> Tensor:
        r"""Return :math:`\log (n! / \prod_v x_v!)` of counts x (N, ...): (N,)."""
        if not torch.compiler.is_compiling():
            check_floats("x", x, "(N, ...)")
        x = x.flatten(1)
        return (x.sum(1) + 1).lgamma() - (x + 1).lgamma().sum(1)

    def mean(self, parameters: Tensor, size: Tensor | None = None) -> Tensor:
        """Return expected counts (N, ...) of documents of ``size`` (N,) words; None: ``total``."""
        return Poisson(total=self.total).mean(parameters, size)

    def check(self, x: Tensor) -> None:
        """Raise :class:`InputError` unless x are counts."""
        check_counts(x)
