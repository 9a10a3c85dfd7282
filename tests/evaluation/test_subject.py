"""A model that is told the groups: what it is asked, and of which splits."""

import dataclasses

import pytest
import torch

import mlvae
from mlvae import InputError
from mlvae.data import Splits
from mlvae.data.splits import hold_out
from mlvae.evaluation import (
    Disentanglement,
    Embedding,
    Fidelity,
    Likelihood,
    Manipulation,
    Separation,
    Subject,
    evaluate,
)
from mlvae.evaluation.measures.codes import encode
from mlvae.evaluation.subject import known_splits
from mlvae.models import VAE, ConditionalVAE
from mlvae.networks import MLP


@pytest.fixture
def told(digits):
    names = digits.train.group_names
    return ConditionalVAE(
        (1, 8, 8), group_names=names, content_dim=3, style_dim=2, network=MLP((16,))
    ).eval()


# Properties


def test_codes_are_styles_inferred_given_the_group_of_each_observation(told, digits):
    code, *others = Subject(told, digits).codes()
    assert (code.name, code.label) == ("style", "style given the group")
    assert [other.name for other in others] == ["raw"]  # an untrained one would tell all
    with torch.no_grad():
        expected = told.infer_style(digits.test.batch())
    found = encode(code.representation, digits.test, chunk=70)
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.log_variance, expected.log_variance)


def test_only_splits_whose_groups_it_was_trained_on_are_asked_about(told, digits):
    splits, unknown = known_splits(told, digits)
    assert list(splits) == list(digits) and unknown == []
    seen, unseen = hold_out(digits.train, [8, 9])
    narrow = ConditionalVAE((1, 8, 8), group_names=seen.group_names, network=MLP((4,)))
    splits, unknown = known_splits(narrow, Splits(seen, seen, digits.test, unseen))
    assert [name for name, _ in splits] == ["train", "validation"]
    assert unknown == ["test", "unseen"]
    with pytest.raises(InputError, match="knows only those it was trained on"):
        known_splits(narrow, digits)
    vae = VAE((1, 8, 8), latent_dim=2, network=MLP((4,)))
    assert known_splits(vae, Splits(seen, None, None, unseen))[1] == []


# Behaviour


def test_the_questions_it_can_answer_are_answered(told, digits, tmp_path):
    questions = [
        Separation(k=(1,), probes=("logistic",), seeds=1),
        Fidelity(epochs=1, swaps=50, seeds=1),
        Likelihood(),
        Disentanglement(),
        Manipulation(),
        Embedding(method="pca", points=40),
    ]
    metrics = evaluate(
        told, digits, tmp_path / "answers", questions=questions, workers=1, progress=False
    )
    codes = {record["code"] for record in metrics["separation"]["records"]}
    assert codes == {"style", "raw"}
    assert len(metrics["fidelity"]["records"]) == 4
    bound = metrics["likelihood"]["bound"]
    assert bound["test"]["content_kl_per_group"] == 0 and "importance_weighted" not in bound
    page = (tmp_path / "answers" / "report.html").read_text()
    assert "the model is told the group of every observation" in page


def test_splits_of_other_groups_are_left_out_and_the_report_says_so(digits, tmp_path):
    seen, unseen = hold_out(digits.train, [8, 9])
    told = ConditionalVAE((1, 8, 8), group_names=seen.group_names, network=MLP((4,))).eval()
    splits = Splits(seen, None, seen, unseen)
    metrics = evaluate(
        told, splits, tmp_path / "answers", questions=[Likelihood()], progress=False
    )
    assert list(metrics["likelihood"]["bound"]) == ["train", "test"]
    assert (
        "left out: the model is told the groups"
        in (tmp_path / "answers" / "report.html").read_text()
    )


def test_a_likelihood_of_ones_own_has_no_untrained_control(digits):
    @dataclasses.dataclass(frozen=True)
    class Mine(mlvae.likelihoods.Gaussian):
        """One that a config cannot name."""

    model = mlvae.models.MLVAE((1, 8, 8), likelihood=Mine(), network=MLP((8,)))
    subject = Subject(model, digits)
    assert subject.untrained() is None
    assert [code.name for code in subject.codes()] == ["content", "style", "raw"]
