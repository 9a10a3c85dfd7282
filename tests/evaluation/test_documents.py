"""The class of a document from k documents: sums of features, by hand and on documents."""

import numpy as np
import pytest
import scipy.sparse
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Documents, Subject
from mlvae.evaluation.measures.document_shots import Features, document_shots
from mlvae.groups import Groups
from mlvae.likelihoods import Multinomial, Poisson
from mlvae.models import MLVAE, DirVAE
from mlvae.networks import TopicMLP

LABELS = np.repeat(["a", "b", "c"], 12)


def counts(seed=0):
    """Documents whose class has four words of its own."""
    random = np.random.default_rng(seed)
    shares = 0.9 * np.kron(np.eye(3), np.full(4, 0.25)) + 0.1 / 12
    return np.stack([random.multinomial(30, shares["abc".index(label)]) for label in LABELS])


def data(seed=0):
    return GroupedData(scipy.sparse.csr_array(counts(seed)), LABELS)


def build(likelihood=None, **options):
    torch.manual_seed(0)
    chosen = {
        "content_family": "dirichlet",
        "accumulation": "prior_product",
        "likelihood": likelihood or Multinomial(),
        "network": TopicMLP(hidden=(8,), mixing="product"),
        **options,
    }
    return MLVAE((12,), content_dim=3, style_dim=2, **chosen).eval()


def plain(values, shares=False):
    values = torch.as_tensor(values).double()
    return Features(values, torch.zeros(values.shape[1]).double(), shares)


@pytest.mark.parametrize("shares", [True, False])
def test_features_of_separate_classes_are_always_right(shares):
    values = torch.eye(3)[np.repeat([0, 1, 2], 12)]
    score = document_shots(plain(values, shares), Groups.of(LABELS), shots=1)
    assert score.mean == 1


def test_equal_features_are_at_chance():
    # The first class wins every tie.
    score = document_shots(plain(torch.ones(36, 4)), Groups.of(LABELS), shots=2)
    assert score.mean == pytest.approx(1 / 3)


def test_more_documents_are_better():
    features = plain(torch.from_numpy(counts()) + torch.rand(36, 12) * 20)
    one, ten = (
        document_shots(features, Groups.of(LABELS), shots=shots, galleries=100).mean
        for shots in (1, 10)
    )
    assert ten > one > 0.4


def test_the_prior_is_added_once_to_a_sum():
    # Two documents of a class are (3, 0) and (0, 1), beside (1, 1) twice: with k = 1 and the prior
    # (2, 2), by hand, the square roots of shares of a probe and of a sum.
    values = torch.tensor([[3.0, 0.0], [3.0, 0.0], [1.0, 1.0], [1.0, 1.0]]).double()
    prior = torch.tensor([2.0, 2.0]).double()
    groups = Groups.of([0, 0, 1, 1])
    assert document_shots(Features(values, prior, True), groups, shots=1).mean == 1
    far = Features(values, torch.tensor([1e12, 1e12]).double(), True)
    assert document_shots(far, groups, shots=1).mean == pytest.approx(0.5, abs=0.5)


@pytest.mark.parametrize("shots", [12, 20])
def test_classes_that_are_too_small_are_refused(shots):
    with pytest.raises(InputError, match=rf"shots={shots} .*12"):
        document_shots(plain(torch.ones(36, 2)), Groups.of(LABELS), shots=shots)


def test_the_question_has_each_split_each_code_and_each_k():
    unseen = data(2).subset(LABELS != "c")
    splits = Splits(data(), test=data(1), unseen=unseen)
    answer = Documents(shots=(1, 5, 20), galleries=5, lda_passes=3).ask(Subject(build(), splits))
    records = answer.metrics["records"]
    keys = {(record["split"], record["code"], record["shots"]) for record in records}
    codes = ("content", "lda", "tf_idf")
    assert keys == {(s, c, k) for s in ("test", "unseen") for c in codes for k in (1, 5)}
    best = {record["code"]: record["accuracy"].mean for record in records if record["shots"] == 5}
    assert best["tf_idf"] > 0.9 and best["lda"] > 0.6
    assert [len(table.rows) for table in answer.tables] == [3, 3]


def test_the_content_counts_evidence_above_the_prior(tmp_path):
    model = build(content_alpha=0.5)
    mlvae.train(
        model,
        data(),
        run=tmp_path / "run",
        epochs=40,
        batching=mlvae.data.Grouped(groups=3, members=6, small_groups="keep"),
        optimizer=mlvae.Adam(learning_rate=1e-2),
        reports=mlvae.Reports(progress=False),
    )
    splits = Splits(data(), test=data(1))
    question = Documents(shots=(5,), galleries=5, lda_passes=3)
    records = question.ask(Subject(model.eval(), splits)).metrics["records"]
    assert records[0]["code"] == "content" and records[0]["accuracy"].mean > 0.8


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: build(Poisson()), "multinomial"),
        (lambda: build(content_family="gaussian"), "Dirichlet"),
    ],
)
def test_other_models_are_not_evaluated(model, reason):
    answer = Documents().ask(Subject(model(), Splits(data(), test=data(1))))
    assert reason in answer.reason


def test_documents_that_are_their_own_classes_are_not_evaluated():
    single = GroupedData(scipy.sparse.csr_array(counts()), np.arange(36))
    network = TopicMLP(hidden=(8,))
    model = DirVAE((12,), latent_dim=3, likelihood=Multinomial(), network=network).eval()
    answer = Documents().ask(Subject(model, Splits(single, test=single)))
    assert "two classes" in answer.reason
