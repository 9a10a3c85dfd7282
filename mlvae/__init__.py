"""Multi-Level Variational Autoencoders: content and style from grouped observations."""

from mlvae import data, evaluation, grids, likelihoods, models, networks, objectives, show
from mlvae.annotation import annotate
from mlvae.batch import Batch
from mlvae.counterfactuals import counterfactual
from mlvae.data import GroupedData, read_images
from mlvae.encoding import Encoded, encode
from mlvae.errors import Diverged, InputError, RankLost
from mlvae.evidence import Evidence
from mlvae.explorer import explore
from mlvae.exporting import export, share
from mlvae.groups import Groups
from mlvae.imputation import impute
from mlvae.models import build
from mlvae.objectives import Objective
from mlvae.posteriors import DiagonalGaussian, Dirichlet, Point
from mlvae.training import Adam, Reports, Speed, Torch, Warmup, history, load, train
from mlvae.version import __version__

__all__ = [
    "Adam",
    "Batch",
    "DiagonalGaussian",
    "Dirichlet",
    "Diverged",
    "Encoded",
    "Evidence",
    "GroupedData",
    "Groups",
    "InputError",
    "Objective",
    "Point",
    "RankLost",
    "Reports",
    "Speed",
    "Torch",
    "Warmup",
    "__version__",
    "annotate",
    "build",
    "counterfactual",
    "data",
    "encode",
    "evaluation",
    "explore",
    "export",
    "grids",
    "history",
    "impute",
    "likelihoods",
    "load",
    "models",
    "networks",
    "objectives",
    "read_images",
    "share",
    "show",
    "train",
]
