"""Metrics of disentanglement: plain functions of codes (N, D) and factors (N, K).

All are from 0 to 1, and higher is better, but they measure different properties:

- Each factor is in one dimension only: :func:`mig`, :func:`sap`, completeness of :func:`dci`.
- Each dimension has one factor only: :func:`modularity`, disentanglement of :func:`dci`,
  :func:`factor_vae_score`, :func:`beta_vae_score`.
- The factors can be predicted at all: informativeness of :func:`dci`.

Locatello et al. 2019 (arXiv:1811.12359) compare them.
"""

from mlvae.evaluation.measures.metrics.betavae import beta_vae_score
from mlvae.evaluation.measures.metrics.calibration import calibrated_bits
from mlvae.evaluation.measures.metrics.dci import DCI, TREES, dci
from mlvae.evaluation.measures.metrics.factorvae import factor_vae_score
from mlvae.evaluation.measures.metrics.mig import mig
from mlvae.evaluation.measures.metrics.modularity import modularity
from mlvae.evaluation.measures.metrics.sap import sap
from mlvae.evaluation.measures.metrics.scores import METRICS, SCORES, scores
from mlvae.evaluation.measures.metrics.table import mutual_information

__all__ = [
    "DCI",
    "METRICS",
    "SCORES",
    "TREES",
    "beta_vae_score",
    "calibrated_bits",
    "dci",
    "factor_vae_score",
    "mig",
    "modularity",
    "mutual_information",
    "sap",
    "scores",
]
