"""Evidence: additive natural parameters, accumulation rules, and sources of evidence."""

from mlvae.evidence.evidence import Evidence
from mlvae.evidence.pseudo_counts import PseudoCounts
from mlvae.evidence.rules import ACCUMULATIONS, Posterior
from mlvae.evidence.sources import EVIDENCE_FROM

__all__ = ["ACCUMULATIONS", "EVIDENCE_FROM", "Evidence", "Posterior", "PseudoCounts"]
