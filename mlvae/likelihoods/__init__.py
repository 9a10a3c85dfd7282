r"""Likelihoods: the observation model p(x | c, s) with the parameters that a decoder computes.

A likelihood has P = ``outputs`` parameters for each element of an observation. It computes a
log-probability and a mean from them. Log-probabilities are in nats, and summed over the elements
of an observation, never averaged.

If the last parameter is a scale, elements can share it (``scope``). A shared scale is a free
parameter and no function of the latents. :func:`mlvae.models.decoder.build_decoder` builds a
decoder that has this parameter and repeats it for each element, so a likelihood always receives
one value per element.

:class:`Likelihood` describes a likelihood of your own.

A density on all real numbers has the attribute ``real = True``: its observations may be
standardised (:class:`mlvae.models.Standardise`).

A likelihood may have the attribute ``given``, names of given values of a batch that ``log_prob``
takes as keyword arguments, and a method ``inputs``, which computes from observations what an
encoder receives. :mod:`mlvae.likelihoods.counts` has both. A likelihood of counts has the
attribute ``counts = True``, and its ``mean`` takes the total of each observation.

Shapes: N observations, ... the shape of one observation, P parameters of an element.
"""

from mlvae.likelihoods.bernoulli import Bernoulli
from mlvae.likelihoods.columns import ColumnScale, MixedColumns
from mlvae.likelihoods.counts import NegativeBinomial, Poisson
from mlvae.likelihoods.gaussian import Gaussian, LearnedGaussian
from mlvae.likelihoods.logistic import DiscretisedLogistic
from mlvae.likelihoods.multinomial import Multinomial
from mlvae.likelihoods.parameters import SCOPES
from mlvae.likelihoods.protocol import Likelihood

__all__ = [
    "LIKELIHOODS",
    "SCOPES",
    "TABLE_LIKELIHOODS",
    "Bernoulli",
    "ColumnScale",
    "DiscretisedLogistic",
    "Gaussian",
    "LearnedGaussian",
    "Likelihood",
    "MixedColumns",
    "Multinomial",
    "NegativeBinomial",
    "Poisson",
]

#: Likelihoods of observations of any shape.
LIKELIHOODS = (
    Bernoulli,
    Gaussian,
    LearnedGaussian,
    DiscretisedLogistic,
    Poisson,
    NegativeBinomial,
    Multinomial,
)

#: Likelihoods of the columns of a table. They are made of data, by the class method ``of``.
TABLE_LIKELIHOODS = (MixedColumns,)
