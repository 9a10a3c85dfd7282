"""The information about a label that the strongest of several probes finds in codes."""

from mlvae.evaluation.measures.leakage.call import leakage
from mlvae.evaluation.measures.leakage.kinds import PROBES
from mlvae.evaluation.measures.leakage.strongest import Strongest

__all__ = ["PROBES", "Strongest", "leakage"]
