"""Evaluation: one file for each question asked of a trained model.

The questions are :class:`Separation`, :class:`Leakage`, :class:`Unseen`, :class:`Factors`,
:class:`Disentanglement`, :class:`Fidelity`, :class:`Manipulation`, :class:`Embedding`,
:class:`Codebook`, :class:`Groups`, :class:`Likelihood`, :class:`Collapse`, :class:`Imputation`,
:class:`Counterfactual`, :class:`Rollout`, :class:`Topics`, :class:`Documents` and
:class:`Composition`; :func:`evaluate` asks them and writes a report. What they measure with can be
used by itself.
"""

from mlvae.evaluation.answer import Answer, Estimate, Figure, Table
from mlvae.evaluation.evaluate import QUESTIONS, evaluate
from mlvae.evaluation.films import save_film
from mlvae.evaluation.measures.association import Association, association
from mlvae.evaluation.measures.codes import (
    accumulate_sets,
    disjoint_sets,
    encode,
    pixels,
    principal_components,
    representations,
)
from mlvae.evaluation.measures.distances import GroupDistances, group_distances
from mlvae.evaluation.measures.importance import importance_weighted_bound
from mlvae.evaluation.measures.leakage import Strongest, leakage
from mlvae.evaluation.measures.leakage.scores import entropy
from mlvae.evaluation.measures.metrics import (
    beta_vae_score,
    dci,
    factor_vae_score,
    mig,
    modularity,
    sap,
)
from mlvae.evaluation.measures.nearest import n_shot_accuracy
from mlvae.evaluation.measures.probe_sets import probe_sets
from mlvae.evaluation.measures.topic_controls import fit_lda, lda_bounds
from mlvae.evaluation.measures.topics import coherence, diversity, perplexity, top_words
from mlvae.evaluation.measures.verification import verification
from mlvae.evaluation.questions.codebook import Codebook
from mlvae.evaluation.questions.collapse import Collapse
from mlvae.evaluation.questions.composition import Composition
from mlvae.evaluation.questions.counterfactual import Counterfactual
from mlvae.evaluation.questions.disentanglement import Disentanglement
from mlvae.evaluation.questions.documents import Documents
from mlvae.evaluation.questions.embedding import Embedding
from mlvae.evaluation.questions.factors import Factors
from mlvae.evaluation.questions.fidelity import Fidelity
from mlvae.evaluation.questions.groups import Groups
from mlvae.evaluation.questions.imputation import Imputation
from mlvae.evaluation.questions.leakage import Leakage
from mlvae.evaluation.questions.likelihood import Likelihood
from mlvae.evaluation.questions.manipulation import Manipulation
from mlvae.evaluation.questions.rollout import Rollout
from mlvae.evaluation.questions.separation import Separation
from mlvae.evaluation.questions.topics import Topics
from mlvae.evaluation.questions.unseen import Unseen
from mlvae.evaluation.subject import Subject

__all__ = [
    "QUESTIONS",
    "Answer",
    "Association",
    "Codebook",
    "Collapse",
    "Composition",
    "Counterfactual",
    "Disentanglement",
    "Documents",
    "Embedding",
    "Estimate",
    "Factors",
    "Fidelity",
    "Figure",
    "GroupDistances",
    "Groups",
    "Imputation",
    "Leakage",
    "Likelihood",
    "Manipulation",
    "Rollout",
    "Separation",
    "Strongest",
    "Subject",
    "Table",
    "Topics",
    "Unseen",
    "accumulate_sets",
    "association",
    "beta_vae_score",
    "coherence",
    "dci",
    "disjoint_sets",
    "diversity",
    "encode",
    "entropy",
    "evaluate",
    "factor_vae_score",
    "fit_lda",
    "group_distances",
    "importance_weighted_bound",
    "lda_bounds",
    "leakage",
    "mig",
    "modularity",
    "n_shot_accuracy",
    "perplexity",
    "pixels",
    "principal_components",
    "probe_sets",
    "representations",
    "sap",
    "save_film",
    "top_words",
    "verification",
]
