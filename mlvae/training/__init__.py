"""Training: the loop, its step, checkpoints, and what a run leaves behind."""

from mlvae.training.loop import Result, train
from mlvae.training.optimizer import OPTIMIZERS, Adam
from mlvae.training.run import load
from mlvae.training.validation import evaluate_bound

__all__ = ["OPTIMIZERS", "Adam", "Result", "evaluate_bound", "load", "train"]
