r"""Controls of a topic model on the same documents: word frequencies, and scikit-learn's LDA.

Shapes: N documents, V words of the vocabulary, K topics.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlvae.data import GroupedData, SourceRows, SparseRows
from mlvae.data.rows.sparse import is_sparse
from mlvae.errors import InputError, check_integer, shown

__all__ = ["LDA", "fit_lda", "lda_bounds", "sparse_counts", "unigram_bounds"]

#: Elements of a dense part of the counts.
PART = 2**22


class LDA(NamedTuple):
    """A fitted model of scikit-learn and the time of its training.

    Attributes:
        model: a ``LatentDirichletAllocation``.
        seconds_per_pass: time of one pass over the documents.
    """

    model: Any
    seconds_per_pass: float

    @property
    def topics(self) -> Tensor:
        """The share of each word in each topic, (K, V): the mean of its posterior."""
        components = torch.from_numpy(self.model.components_)
        return components / components.sum(1, keepdim=True)


def sparse_counts(data: GroupedData) -> Any:
    """The counts of all documents as a sparse array of SciPy in CSR, (N, V)."""
    import scipy.sparse  # takes a second to import

    if isinstance(data.x, SourceRows) and isinstance(data.x.source, SparseRows):
        matrix, rows = data.x.source.matrix, data.x.rows
        return matrix if rows is None else matrix[rows.numpy()]
    rows = torch.arange(len(data), device=data.device)
    pieces = rows.split(max(1, PART // max(1, data.shape[0])))
    parts = [scipy.sparse.csr_array(data.observations(part).cpu().numpy()) for part in pieces]
    return scipy.sparse.csr_array(scipy.sparse.vstack(parts, format="csr"))


def unigram_bounds(train: Any, test: Any) -> Tensor:
    r"""Log-probabilities of the words of documents by their frequencies in other documents.

    .. math:: \sum_v x_v \log \frac{1 + t_v}{V + \sum_w t_w}

    with the count :math:`t_v` of a word in ``train``; one is added, because a word of a document
    may be missing there.

    Args:
        train: sparse counts (M, V).
        test: sparse counts (N, V).

    Returns:
        In nats, (N,) in float64.
    """
    counts = np.asarray(train.sum(0)).ravel() + 1.0
    return torch.from_numpy(np.asarray(test @ np.log(counts / counts.sum())).ravel())


def fit_lda(train: Any, topics: int, *, passes: int = 20, seed: int = 0) -> LDA:
    """Latent Dirichlet allocation by scikit-learn: batch variational Bayes, in one process.

    Args:
        train: sparse counts (M, V).
        topics: K.
        passes: number of passes over the documents.
        seed: seed of the initial topics.
    """
    from sklearn.decomposition import LatentDirichletAllocation  # takes a second to import

    train = _checked("train", train)
    check_integer("topics", topics, minimum=1)
    check_integer("passes", passes, minimum=1)
    check_integer("seed", seed, minimum=0)
    model = LatentDirichletAllocation(
        topics, learning_method="batch", max_iter=passes, random_state=seed
    )
    start = time.perf_counter()
    model.fit(train)
    return LDA(model, (time.perf_counter() - start) / passes)


def lda_bounds(lda: Any, counts: Any, topics: Tensor | None = None) -> Tensor:
    r"""Lower bounds on the log-probabilities of the words of documents, given the topics.

    .. math:: \sum_v x_v \log \sum_k e^{\mathbb E_q[\log \theta_k]} \beta_{kv}
        - \mathrm{KL}(\mathrm{Dir}(\gamma) \,\|\, \mathrm{Dir}(\alpha))

    with the mixture :math:`\theta` of a document, its posterior :math:`q = \mathrm{Dir}(\gamma)`,
    and the topics :math:`\beta` (D. M. Blei, A. Y. Ng, M. I. Jordan: Latent Dirichlet Allocation.
    JMLR 3, 2003, Eq. 15, at the optimal assignment of words to topics).

    scikit-learn's ``perplexity`` is another number: its bound subtracts the divergence of the
    topics' posterior from their prior, which the training of other models does not.

    Args:
        lda: a fitted ``LatentDirichletAllocation`` of scikit-learn.
        counts: sparse counts (N, V).
        topics: :math:`\beta`, (K, V); None: the mean of their posterior.

    Returns:
        In nats, (N,) in float64.

    Raises:
        InputError: if an argument is of another kind or shape.
    """
    if not hasattr(lda, "components_") or isinstance(lda, type):
        raise InputError(f"lda must be a fitted LatentDirichletAllocation, not {shown(lda)}")
    counts, shape = _checked("counts", counts), lda.components_.shape
    if topics is not None and (not isinstance(topics, Tensor) or tuple(topics.shape) != shape):
        raise InputError(f"topics must be a tensor {shape}, not {shown(topics)}")
    if counts.shape[1] != shape[1]:
        raise InputError(f"counts must be (N, {shape[1]}), not {counts.shape}")
    topics = LDA(lda, 0.0).topics if topics is None else topics.double()
    alpha = float(lda.doc_topic_prior_)
    size = torch.from_numpy(np.asarray(counts.sum(1), dtype=np.float64)).view(-1, 1)
    # The sum of a document's posterior is that of its prior and the number of its words.
    shares = torch.from_numpy(lda.transform(counts))
    gamma = shares * (alpha * shares.shape[1] + size)
    posterior = torch.distributions.Dirichlet(gamma)
    prior = torch.distributions.Dirichlet(torch.full_like(gamma, alpha))
    weights = (gamma.digamma() - gamma.sum(1, keepdim=True).digamma()).exp()
    bounds = -torch.distributions.kl_divergence(posterior, prior)
    row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    words = torch.from_numpy(counts.indices).long()
    for part in torch.arange(len(row)).split(PART // max(1, topics.shape[0])):
        at = torch.from_numpy(row)[part]
        log_share = (weights[at] * topics[:, words[part]].T).sum(1).log()
        bounds.index_add_(0, at, torch.from_numpy(counts.data[part.numpy()]).double() * log_share)
    return bounds


def _checked(name: str, counts: Any) -> Any:
    """Counts (N, V) as a sparse array in CSR.

    Raises:
        InputError: if they are no matrix of counts.
    """
    import scipy.sparse  # takes a second to import

    matrix = counts if is_sparse(counts) and not isinstance(counts, Tensor) else None
    if matrix is None and isinstance(counts, np.ndarray) and counts.dtype.kind in "uif":
        matrix = counts
    if matrix is None or len(matrix.shape) != 2 or 0 in matrix.shape:
        raise InputError(
            f"{name} must be a sparse matrix of SciPy or an array (N, V), not {shown(counts)}"
        )
    matrix = scipy.sparse.csr_array(matrix)
    if not (np.isfinite(matrix.data).all() and (matrix.data >= 0).all()):
        raise InputError(f"{name} must be counts of at least 0, but has other numbers")
    return matrix
