"""Training: the loop, its steps, checkpoints, and the folder of a run."""

from mlvae.optimizers import OPTIMIZERS, Adam, Recipe, Torch
from mlvae.training.history import history
from mlvae.training.run import load
from mlvae.training.settings import Reports, Speed, Warmup
from mlvae.training.trainer import Result, train
from mlvae.training.validation import evaluate_bound

__all__ = [
    "OPTIMIZERS",
    "Adam",
    "Recipe",
    "Reports",
    "Result",
    "Speed",
    "Torch",
    "Warmup",
    "evaluate_bound",
    "history",
    "load",
    "train",
]
