"""Multi-Level Variational Autoencoders: content and style from grouped observations."""

from mlvae import data, evaluation, grids, likelihoods, models, networks, objectives
from mlvae.batch import Batch
from mlvae.data import GroupedData
from mlvae.errors import Diverged, InputError, RankLost
from mlvae.evidence import Evidence
from mlvae.gaussian import DiagonalGaussian
from mlvae.groups import Groups
from mlvae.training import Adam, load, train
from mlvae.version import __version__

__all__ = [
    "Adam",
    "Batch",
    "DiagonalGaussian",
    "Diverged",
    "Evidence",
    "GroupedData",
    "Groups",
    "InputError",
    "RankLost",
    "__version__",
    "data",
    "evaluation",
    "grids",
    "likelihoods",
    "load",
    "models",
    "networks",
    "objectives",
    "train",
]
