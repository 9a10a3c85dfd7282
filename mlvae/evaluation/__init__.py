"""Evaluation: one file for each question asked of a trained model."""

from mlvae.evaluation.codes import accumulate_sets, disjoint_sets, encode, pixels, representations
from mlvae.evaluation.likelihood import importance_weighted_bound
from mlvae.evaluation.probes import entropy, probe, probe_sets
from mlvae.evaluation.unseen import n_shot_accuracy, verification

__all__ = [
    "accumulate_sets",
    "disjoint_sets",
    "encode",
    "entropy",
    "importance_weighted_bound",
    "n_shot_accuracy",
    "pixels",
    "probe",
    "probe_sets",
    "representations",
    "verification",
]
