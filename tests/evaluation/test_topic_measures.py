"""Perplexity, coherence and diversity by hand, and bounds of LDA against integrals and sklearn.

Shapes: N documents, V words, K topics.
"""

import math

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.special import gammaln
from sklearn.decomposition import LatentDirichletAllocation

from mlvae import GroupedData, InputError
from mlvae.evaluation import coherence, diversity, fit_lda, lda_bounds, perplexity, top_words
from mlvae.evaluation.measures.topic_controls import LDA, sparse_counts, unigram_bounds
from mlvae.evaluation.measures.topics import relevance

RANDOM = np.random.default_rng(0)


def documents(n=60, words=12, topics=3, length=30):
    """Counts (n, words) of documents that each have one or two of ``topics`` topics."""
    shares = RANDOM.dirichlet(np.full(words, 0.2), topics)
    mixture = RANDOM.dirichlet(np.full(topics, 0.3), n)
    return np.stack([RANDOM.multinomial(length, row @ shares) for row in mixture])


# Perplexity


def test_documents_have_one_weight_each_or_one_for_each_word():
    bounds = torch.tensor([-8.0, -4.0]) * math.log(2)
    found = perplexity(bounds, torch.tensor([2.0, 4.0]))
    assert found.per_document == pytest.approx(2 ** ((8 / 2 + 4 / 4) / 2))
    assert found.per_word == pytest.approx(2 ** (12 / 6))
    assert (found.documents, found.words) == (2, 6)


def test_empty_documents_are_left_out_and_counted():
    bounds = torch.tensor([-3.0, -0.5, -1.0])
    found = perplexity(bounds, torch.tensor([3.0, 0.0, 2.0]))
    assert found == perplexity(bounds[[0, 2]], torch.tensor([3.0, 2.0]))
    assert found.documents == 2


def test_a_uniform_guess_has_the_size_of_the_vocabulary_as_perplexity():
    counts = torch.from_numpy(documents()).double()
    lengths = counts.sum(1)
    found = perplexity(-lengths * math.log(12), lengths)
    assert found.per_document == found.per_word == pytest.approx(12)


@pytest.mark.parametrize(
    ("bounds", "lengths", "match"),
    [
        (torch.zeros(2), torch.zeros(3), r"\(2,\)"),
        (torch.zeros(2), torch.zeros(2), "empty"),
        (torch.zeros(2).long(), torch.ones(2), "bounds"),
        (torch.tensor([-1.0, math.nan]), torch.ones(2), "1 are NaN"),
    ],
)
def test_a_wrong_perplexity_is_refused(bounds, lengths, match):
    with pytest.raises(InputError, match=match):
        perplexity(bounds, lengths)


def test_a_perplexity_beyond_the_range_of_floats_is_infinite():
    found = perplexity(torch.tensor([-8000.0, -1.0]), torch.tensor([1.0, 10_000.0]))
    assert found.per_document == math.inf and found.per_word < 3


# Coherence and diversity


def test_the_coherence_of_three_words_is_the_mean_of_their_pairs_by_hand():
    # Of 8 documents, word 0 is in 4, word 1 in 4, word 2 in 2; 0 and 1 in 3, 0 and 2 in 1, 1 and 2
    # in none.
    rows = [[1, 1, 0]] * 3 + [[1, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    present = torch.tensor(rows).bool()
    first = math.log((3 / 8) / (1 / 4)) / -math.log(3 / 8)
    second = math.log((1 / 8) / (1 / 2 * 1 / 4)) / -math.log(1 / 8)
    assert second == 0  # independent words
    found = coherence(torch.tensor([[0, 1, 2]]), present).item()
    assert found == pytest.approx((first + second - 1) / 3)


def test_words_that_are_always_or_never_together_have_the_ends_of_the_scale():
    rows = [[1, 1, 0, 1, 1], [1, 1, 0, 1, 1], [0, 0, 1, 1, 1]]
    present = torch.tensor(rows).bool()
    found = coherence(torch.tensor([[0, 1], [0, 2], [3, 4], [3, 0]]), present)
    assert found.tolist() == pytest.approx([1, -1, 1, 0])


def test_a_word_that_no_document_has_counts_as_never_together():
    present = torch.tensor([[1, 0], [1, 0]]).bool()
    assert coherence(torch.tensor([[0, 1]]), present).tolist() == [-1]


def test_the_order_of_words_and_of_documents_does_not_matter():
    present = torch.from_numpy(documents() > 0)
    top = torch.tensor([[3, 7, 1, 5]])
    expected = coherence(top, present)
    order = torch.randperm(len(present), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(coherence(top.flip(1), present[order]), expected)


def test_diversity_is_the_share_of_different_words():
    assert diversity(torch.tensor([[0, 1, 2], [3, 4, 5]])) == 1
    assert diversity(torch.tensor([[0, 1, 2], [0, 1, 2]])) == 0.5
    assert diversity(torch.tensor([[0, 1], [1, 2], [2, 3]])) == pytest.approx(4 / 6)


def test_top_words_are_in_falling_order():
    shares = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]])
    assert top_words(shares, 2).tolist() == [[1, 2], [0, 2]]
    with pytest.raises(InputError, match="3 words, not 4"):
        top_words(shares, 4)


def test_relevance_goes_from_the_probability_to_the_lift():
    shares = torch.tensor([[0.6, 0.3, 0.1], [0.7, 0.1, 0.2]]).double()
    frequencies = torch.tensor([0.65, 0.2, 0.15]).double()
    torch.testing.assert_close(relevance(shares, frequencies, 1.0), shares.log())
    lift = relevance(shares, frequencies, 0.0)
    torch.testing.assert_close(lift, (shares / frequencies).log())
    torch.testing.assert_close(
        relevance(shares, frequencies, 0.25), 0.25 * shares.log() + 0.75 * lift
    )
    assert top_words(shares, 1).tolist() == [[0], [0]]
    assert top_words(lift, 1).tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("top", "present", "match"),
    [
        (torch.tensor([[0]]), torch.ones(2, 2).bool(), "two words.* 1"),
        (torch.tensor([[0, 5]]), torch.ones(2, 2).bool(), "present"),
        (torch.tensor([[0, 1]]), torch.ones(2, 2), "present"),
        (torch.tensor([0, 1]), torch.ones(2, 2).bool(), "top"),
        (torch.tensor([[0.0, 1.0]]), torch.ones(2, 2).bool(), "top"),
    ],
)
def test_a_wrong_coherence_is_refused(top, present, match):
    with pytest.raises(InputError, match=match):
        coherence(top, present)


# Controls


def test_word_frequencies_predict_words_by_hand():
    train = scipy.sparse.csr_array([[3, 0, 1], [1, 0, 0]])
    test = scipy.sparse.csr_array([[1, 2, 0], [0, 0, 0]])
    log = [math.log(5 / 8), math.log(1 / 8)]
    found = unigram_bounds(train, test).tolist()
    assert found == pytest.approx([log[0] + 2 * log[1], 0])


def test_the_counts_of_sparse_and_of_dense_data_are_the_same():
    counts = documents()
    labels = np.arange(60) % 4
    for x in (counts.astype(np.float32), scipy.sparse.csr_array(counts)):
        data = GroupedData(x, labels)
        np.testing.assert_array_equal(sparse_counts(data).toarray(), counts)
        some = sparse_counts(data.subset([5, 2, 30]))
        np.testing.assert_array_equal(some.toarray(), counts[[5, 2, 30]])


def test_the_bound_of_lda_is_below_the_log_probability_and_near_it():
    counts = documents(topics=2, length=8)
    lda = fit_lda(scipy.sparse.csr_array(counts), 2, passes=20)
    bounds = lda_bounds(lda.model, scipy.sparse.csr_array(counts))
    assert lda.model.doc_topic_prior_ == 0.5  # the arcsine distribution, with these quantiles
    grid = (math.pi / 2 * (torch.arange(20_000).double() + 0.5) / 20_000).sin().square()
    words = torch.stack((grid, 1 - grid), 1) @ lda.topics
    probabilities = torch.from_numpy(counts).double() @ words.log().T
    gap = probabilities.exp().mean(1).log() - bounds
    assert (gap > 0).all() and gap.mean() < 0.5


def test_the_bound_of_lda_agrees_with_the_score_of_scikit_learn():
    counts = scipy.sparse.csr_array(documents())
    lda = LatentDirichletAllocation(3, max_iter=5, learning_method="batch", random_state=0)
    lda.fit(counts)
    # Its score has the expected logarithms of topics, and the divergence of their posterior.
    weights, prior = lda.components_, lda.topic_word_prior_
    log_topics = np.log(lda.exp_dirichlet_component_)
    of_topics = ((prior - weights) * log_topics + gammaln(weights) - gammaln(prior)).sum()
    of_topics += (gammaln(prior * 12) - gammaln(weights.sum(1))).sum()
    bounds = lda_bounds(lda, counts, torch.from_numpy(lda.exp_dirichlet_component_))
    assert bounds.sum().item() + of_topics == pytest.approx(lda.score(counts), rel=1e-6)


def test_lda_is_better_than_word_frequencies_on_documents_with_topics():
    train, test = (scipy.sparse.csr_array(part) for part in np.split(documents(200), 2))
    lengths = torch.from_numpy(np.asarray(test.sum(1))).double()
    lda = fit_lda(train, 3, seed=1)
    assert isinstance(lda, LDA) and lda.seconds_per_pass > 0
    torch.testing.assert_close(lda.topics.sum(1), torch.ones(3).double())
    own = perplexity(lda_bounds(lda.model, test), lengths).per_word
    assert own < 0.9 * perplexity(unigram_bounds(train, test), lengths).per_word
