r"""Measures of topic models: perplexity, coherence and diversity of topics.

Shapes: N documents, V words of the vocabulary, K topics, T words of a topic.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mlvae.arguments import check_floats
from mlvae.errors import InputError, check_integer, check_number, shown

__all__ = ["Perplexity", "coherence", "diversity", "perplexity", "relevance", "top_words"]


class Perplexity(NamedTuple):
    """How uncertain a model is about a word, as the number of equally probable words.

    Attributes:
        per_document: every document has the same weight.
        per_word: every word has the same weight.
        documents: number of documents with at least one word; the others are left out.
        words: number of their words.
    """

    per_document: float
    per_word: float
    documents: int
    words: int


def perplexity(bounds: Tensor, lengths: Tensor) -> Perplexity:
    r"""Perplexity of documents from the log-probabilities of their words, or from lower bounds.

    .. math:: \exp \Bigl( -\frac{1}{N} \sum_{d = 1}^{N} \frac{b_d}{n_d} \Bigr), \qquad
        \exp \Bigl( -\frac{\sum_d b_d}{\sum_d n_d} \Bigr)

    with the bound :math:`b_d` on the log-probability of the :math:`n_d` words of document d in
    their order, without the multinomial coefficient. The first is the perplexity per document (Y.
    Miao, L. Yu, P. Blunsom: Neural Variational Inference for Text Processing. ICML 2016, section
    4.1), and the second that per word (D. M. Blei, A. Y. Ng, M. I. Jordan: Latent Dirichlet
    Allocation. JMLR 3, 2003, section 7.1). A bound gives an upper bound on the perplexity. The two
    are different numbers: compare like with like.

    Args:
        bounds: :math:`b_d` in nats, (N,).
        lengths: :math:`n_d`, (N,).

    Raises:
        InputError: if the shapes differ, a bound is NaN, or no document has a word.

    Example:
        >>> import math
        >>> bounds = torch.tensor([10.0, 2.0]) * -math.log(8)  # one word of eight, at each place
        >>> round(perplexity(bounds, torch.tensor([10.0, 2.0])).per_document, 4)
        8.0
    """
    check_floats("bounds", bounds, "(N,)", ndim=1)
    check_floats("lengths", lengths, "(N,)", ndim=1)
    if bounds.shape != lengths.shape:
        raise InputError(
            f"lengths must have the shape of bounds, {tuple(bounds.shape)}, not {shown(lengths)}"
        )
    known = lengths > 0
    if not known.any():
        raise InputError("a perplexity needs a document with a word, but all are empty")
    bounds, lengths = bounds[known].double(), lengths[known].double()
    if (wrong := bounds.isnan()).any():
        raise InputError(f"bounds must be numbers, but {int(wrong.sum())} are NaN")
    return Perplexity(
        per_document=float((bounds / lengths).mean().neg().exp()),  # infinite beyond float64
        per_word=float((bounds.sum() / lengths.sum()).neg().exp()),
        documents=len(bounds),
        words=int(lengths.sum()),
    )


def top_words(shares: Tensor, number: int) -> Tensor:
    """The ``number`` most probable words of each topic, most probable first: (K, number).

    Args:
        shares: of each word in each topic, or any numbers in the same order, (K, V).
        number: T, at most V.

    Raises:
        InputError: if a topic has fewer words.
    """
    check_floats("shares", shares, "(K, V)", ndim=2)
    check_integer("number", number, minimum=1)
    if number > shares.shape[1]:
        raise InputError(f"number must be at most the {shares.shape[1]} words, not {number}")
    return shares.topk(number, 1).indices


def relevance(shares: Tensor, frequencies: Tensor, weight: float) -> Tensor:
    r"""The relevance of each word to each topic, by which its words are ordered: (K, V).

    .. math:: r_{kv} = \lambda \log p(v \mid k) + (1 - \lambda) \log \frac{p(v \mid k)}{p(v)}

    (C. Sievert, K. Shirley: LDAvis: A method for visualizing and interpreting topics. ACL Workshop
    on Interactive Language Learning, Visualization, and Interfaces, 2014, section 3.1; there 0.6.)
    With the weight 1 words are ordered by their probability: frequent words lead many topics. A
    smaller weight prefers words that are rarer elsewhere.

    Args:
        shares: of each word in each topic, (K, V).
        frequencies: share of each word in all documents, above 0, (V,).
        weight: :math:`\lambda` in [0, 1].

    Raises:
        InputError: if the shapes do not fit, or the weight is out of range.
    """
    check_floats("shares", shares, "(K, V)", ndim=2)
    check_floats("frequencies", frequencies, "(V,)", ndim=1)
    check_number("weight", weight, minimum=0, maximum=1)
    if frequencies.shape[0] != shares.shape[1]:
        raise InputError(
            f"frequencies must be ({shares.shape[1]},), as shares have words, not "
            f"{tuple(frequencies.shape)}"
        )
    smallest = torch.finfo(shares.dtype).tiny
    log_frequency = frequencies.to(shares).clamp_min(smallest).log()
    return shares.clamp_min(smallest).log() - (1 - weight) * log_frequency


def coherence(top: Tensor, present: Tensor) -> Tensor:
    r"""Coherence of each topic: the mean normalised pointwise mutual information of its words.

    .. math:: \mathrm{NPMI}(v, w) = \frac{\log \frac{p(v, w)}{p(v) \, p(w)}}{-\log p(v, w)}

    The mean is over all pairs of the T words. p(v, w) is the share of the documents that have both
    words: co-occurrence is that in a document, not in a window. The measure is of G. Bouma
    (Normalized Pointwise Mutual Information in Collocation Extraction. GSCL 2009), and for topics
    of J. H. Lau, D. Newman, T. Baldwin (Machine Reading Tea Leaves. EACL 2014). Two words that
    never occur in one document have -1, the limit (Bouma 2009; so too in A. B. Dieng, F. J. R.
    Ruiz, D. M. Blei: Topic Modeling in Embedding Spaces. TACL 8, 2020). Two words that occur in
    all documents have 1. Numbers of other documents, of windows or of other T do not compare.

    Args:
        top: numbers of the words of each topic, (K, T), T at least 2.
        present: whether a document has a word, booleans (N, V).

    Returns:
        The coherence of each topic in [-1, 1], (K,) in float64.

    Raises:
        InputError: if a topic has one word, or a word no column.

    Example:
        >>> present = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]).bool()
        >>> coherence(torch.tensor([[0, 1], [0, 2]]), present)
        tensor([ 1., -1.], dtype=torch.float64)
    """
    _check_top(top)
    if top.shape[1] < 2:
        raise InputError(f"a topic needs two words for its coherence, not {top.shape[1]}")
    fits = isinstance(present, Tensor) and present.dtype == torch.bool and present.ndim == 2
    if not fits or len(present) < 1 or present.shape[1] <= int(top.max()) or int(top.min()) < 0:
        raise InputError(
            f"present must be booleans (N, V) with a column for each word, not {shown(present)}"
        )
    words, places = top.unique(return_inverse=True)
    columns = present[:, words].double()
    joint = columns.T @ columns / len(present)
    own = joint.diagonal()
    log_joint = joint.log()
    value = (log_joint - own.log()[:, None] - own.log()) / -log_joint
    value = torch.where(joint == 0, -1.0, torch.where(joint == 1, 1.0, value))
    first, second = torch.triu_indices(top.shape[1], top.shape[1], 1)
    return value[places[:, first], places[:, second]].mean(1)


def diversity(top: Tensor) -> float:
    """The share of different words among the T most probable words of all topics, in (0, 1].

    A. B. Dieng, F. J. R. Ruiz, D. M. Blei: Topic Modeling in Embedding Spaces. TACL 8, 2020,
    section 6, with T = 25. It is 1 if no two topics share a word, and 1 / K if all are equal.

    Args:
        top: numbers of the words of each topic, (K, T).

    Example:
        >>> diversity(torch.tensor([[0, 1], [1, 2]]))
        0.75
    """
    _check_top(top)
    return len(top.unique()) / top.numel()


def _check_top(top: object) -> None:
    """Raise :class:`InputError` unless ``top`` is numbers of words (K, T)."""
    integers = isinstance(top, Tensor) and not (top.is_floating_point() or top.is_complex())
    if not integers or top.ndim != 2 or top.numel() < 1:  # type: ignore[union-attr]
        raise InputError(f"top must be numbers of words (K, T), not {shown(top)}")
