"""The question topics: perplexity by hand, corners of the simplex, controls, refusals."""

import math

import numpy as np
import pytest
import scipy.sparse
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Subject, Topics, perplexity
from mlvae.evaluation.measures.refinement import refined
from mlvae.likelihoods import Gaussian, Multinomial, Poisson
from mlvae.models import VAE, DirVAE
from mlvae.networks import MLP, TopicMLP
from mlvae.posteriors import DiagonalGaussian, Dirichlet

WORDS = [f"word{number}" for number in range(9)]


@pytest.fixture(scope="module")
def splits():
    """Documents of three topics with three words each."""
    random = np.random.default_rng(0)
    shares = np.kron(np.eye(3), np.full(3, 1 / 3))
    mixture = random.dirichlet(np.full(3, 0.2), 300)
    lengths = random.integers(5, 40, 300)
    rows = [random.multinomial(n, row @ shares) for n, row in zip(lengths, mixture, strict=True)]
    counts = np.stack(rows)
    counts[7] = 0
    data = GroupedData(scipy.sparse.csr_array(counts), np.arange(300), feature_names=WORDS)
    return mlvae.data.split(data, test=100)


def build(kind=DirVAE, likelihood=None, network=None, **options):
    torch.manual_seed(0)
    parts = {
        "likelihood": likelihood or Multinomial(),
        "network": network or TopicMLP(hidden=(16,)),
    }
    return kind((9,), latent_dim=3, **parts, **options)


@pytest.fixture(scope="module")
def trained(splits, tmp_path_factory):
    model = build(sampler="implicit", kl="dirichlet", prior_alpha=0.2)
    mlvae.train(
        model,
        splits.train,
        run=tmp_path_factory.mktemp("topics") / "run",
        epochs=60,
        batching=mlvae.data.Shuffled(50),
        optimizer=mlvae.Adam(learning_rate=1e-2),
        reports=mlvae.Reports(progress=False),
    )
    return model.eval()


def ask(model, splits, **options):
    return Topics(**{"samples": 4, "words": 3, "diversity_words": 3, **options}).ask(
        Subject(model, splits)
    )


def test_a_trained_model_finds_the_topics_and_predicts_words(trained, splits):
    answer = ask(trained, splits, controls=("unigram", "lda"), lda_passes=10)
    records = {record["model"]: record for record in answer.metrics["records"]}
    assert list(records) == ["model", "unigram", "lda"]
    own = records["model"]
    assert own["perplexity_per_word"] < 0.8 * records["unigram"]["perplexity_per_word"]
    assert own["perplexity_per_word"] < 1.15 * records["lda"]["perplexity_per_word"]
    assert own["diversity"] == 1 and own["coherence"] > 0.2
    found = {frozenset(topic["words"]) for topic in answer.metrics["topics"]}
    assert found == {frozenset(WORDS[start : start + 3]) for start in (0, 3, 6)}
    shares = [topic["frequency"] for topic in answer.metrics["topics"]]
    assert sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True)
    assert answer.figures[0].name == "topics" and len(answer.tables) == 2


def test_the_perplexity_is_that_of_the_bound_of_each_document(splits):
    model = build(sampler="implicit", kl="dirichlet").eval()
    own = ask(model, splits, samples=200).metrics["records"][0]
    batch = splits.test.singles(range(100))
    with torch.no_grad():
        bound = torch.stack([model(batch).elbo for _ in range(200)]).mean(0)
    expected = perplexity(bound, batch.x.sum(1))
    assert own["documents"] == expected.documents <= 100
    assert own["perplexity_per_document"] == pytest.approx(expected.per_document, rel=0.01)
    assert own["perplexity_per_word"] == pytest.approx(expected.per_word, rel=0.01)
    assert own["perplexity_per_word"] > 0.9 * 9


@pytest.mark.parametrize("kind", [DirVAE, VAE])
def test_refined_posteriors_have_a_lower_perplexity(kind, splits):
    network = TopicMLP(hidden=(16,), softmax=kind is VAE)
    answer = ask(build(kind, network=network).eval(), splits, refinement=20, samples=20)
    own, better, _ = answer.metrics["records"]
    assert [own["model"], better["model"]] == ["model", "refined"]
    for name in ("perplexity_per_document", "perplexity_per_word"):
        assert better[name] < own[name]


def test_a_refined_gaussian_is_the_exact_posterior_of_a_linear_model():
    start = DiagonalGaussian(torch.zeros(2, 1).double(), torch.zeros(2, 1).double())
    x = torch.tensor([[1.0], [-2.0]]).double()

    def log_likelihood(z):  # of the noise variance 1 / 4
        return -2 * (x - z).square().sum(1)

    options = {"steps": 2000, "rate": 0.02, "generator": torch.Generator().manual_seed(0)}
    found = refined(start, log_likelihood, **options)
    torch.testing.assert_close(found.mean, 0.8 * x, rtol=0, atol=0.03)
    torch.testing.assert_close(found.variance, torch.full_like(x, 0.2), rtol=0.1, atol=0)


def test_a_refined_dirichlet_is_the_exact_posterior_of_counts():
    counts = torch.tensor([[3.0, 0.0, 1.0]]).double()
    prior = torch.tensor([0.5, 1.0, 2.0]).double()
    start = Dirichlet.unchecked(torch.ones(1, 3).double(), prior)

    def log_likelihood(z):  # conjugate: the posterior is the prior plus the counts
        return (counts * z.clamp_min(1e-30).log()).sum(1)

    options = {"steps": 3000, "rate": 0.02, "generator": torch.Generator().manual_seed(0)}
    found = refined(start, log_likelihood, **options).concentration
    torch.testing.assert_close(found, counts + prior, rtol=0.15, atol=0)


def test_the_multinomial_coefficient_is_not_in_the_perplexity(trained, splits):
    with_it = build(
        likelihood=Multinomial(coefficient=True),
        sampler="implicit",
        kl="dirichlet",
        prior_alpha=0.2,
    )
    with_it.load_state_dict(trained.state_dict())
    one, two = (ask(m, splits).metrics["records"][0] for m in (trained, with_it.eval()))
    for name in ("perplexity_per_document", "perplexity_per_word", "kl_per_document"):
        assert one[name] == pytest.approx(two[name], rel=1e-4)


def test_the_approximate_sampler_has_the_perplexity_of_exact_samples(trained, splits):
    model = build(sampler="approximate", kl="dirichlet", prior_alpha=0.2)
    model.load_state_dict(trained.state_dict())
    exact, other = (ask(m, splits, samples=50) for m in (trained, model.eval()))
    one, two = (answer.metrics["records"][0] for answer in (exact, other))
    assert two["perplexity_per_word"] == pytest.approx(one["perplexity_per_word"], rel=0.02)


def test_latents_that_are_no_shares_have_a_perplexity_and_no_topics(splits):
    answer = ask(build(VAE, network=TopicMLP(hidden=(16,), softmax=True)).eval(), splits)
    (own, unigram) = answer.metrics["records"]
    assert math.isfinite(own["perplexity_per_word"]) and "coherence" not in own
    assert answer.metrics["topics"] == [] and answer.figures == []
    assert 6 < unigram["perplexity_per_word"] < 10


@pytest.mark.parametrize("likelihood", [Poisson(), Gaussian()])
def test_other_likelihoods_are_not_evaluated(likelihood, splits):
    model = build(VAE, likelihood, MLP(hidden=(8,))).eval()
    answer = ask(model, splits)
    assert "multinomial" in answer.reason and not answer.metrics


def test_without_held_out_documents_it_is_not_evaluated(trained, splits):
    assert "test" in ask(trained, Splits(splits.train)).reason


def test_options_out_of_range_are_refused():
    for options in ({"words": 1}, {"samples": 0}, {"controls": ("nmf",)}, {"controls": ()}):
        with pytest.raises(InputError, match=r"evaluation\.topics"):
            Topics(**options)
