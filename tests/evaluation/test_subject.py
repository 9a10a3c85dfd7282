"""A model with the label as an input: its codes, its splits and its answers."""

import dataclasses

import pytest
import torch

import mlvae
from mlvae import InputError
from mlvae.data import Splits
from mlvae.data.splitting.splits import hold_out
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
from mlvae.training.seeding import seeded


@pytest.fixture
def labelled(digits):
    names = digits.train.group_names
    return ConditionalVAE(
        (1, 8, 8), group_names=names, content_dim=3, style_dim=2, network=MLP((16,))
    ).eval()


# Properties


def test_the_only_code_is_the_style_given_the_label(labelled, digits):
    splits, _ = known_splits(labelled, digits)
    assert splits.test is not None
    code, *others = Subject(labelled, splits).codes()
    assert (code.name, code.label) == ("style", "style given the label")
    # An untrained model would separate the labels too, so it is no control.
    assert [other.name for other in others] == ["raw"]
    with torch.no_grad():
        expected = labelled.infer_style(splits.test.batch())
    found = encode(code.representation, splits.test, chunk=70)
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.log_variance, expected.log_variance)


def test_splits_with_other_groups_than_the_training_data_are_left_out(labelled, digits):
    splits, unknown = known_splits(labelled, digits)
    assert [name for name, _ in splits] == [name for name, _ in digits] and unknown == []
    for (_, found), (_, data) in zip(splits, digits, strict=True):
        assert torch.equal(found.given["label"], data.groups.index)
        assert found.x is data.x
    seen, unseen = hold_out(digits.train, [8, 9])
    narrow = ConditionalVAE((1, 8, 8), group_names=seen.group_names, network=MLP((4,)))
    splits, unknown = known_splits(narrow, Splits(seen, seen, digits.test, unseen))
    assert [name for name, _ in splits] == ["train", "validation"]
    assert unknown == ["test", "unseen"]
    with pytest.raises(InputError, match=r"\b8 groups.* 8\b"):
        known_splits(narrow, digits)
    vae = VAE((1, 8, 8), latent_dim=2, network=MLP((4,)))
    assert known_splits(vae, Splits(seen, None, None, unseen))[1] == []


def test_a_split_is_encoded_once_for_all_codes_rows_and_questions(known, known_data, monkeypatch):
    calls, codes = [], known.codes
    monkeypatch.setattr(known, "codes", lambda batch: calls.append(len(batch)) or codes(batch))
    subject = Subject(known, Splits(known_data(80), test=known_data(160, seed=2)))
    content, style, *_ = subject.codes()
    test, rows = subject.splits.test, torch.tensor([100, 3, 0])
    calls.clear()
    few = subject.encoded(content, test, rows)  # less than half of a split, by itself
    assert calls == [3]
    whole = subject.encoded(content, test)
    assert calls == [3, 160] and torch.equal(few.mean, whole.mean[rows])
    for code in (content, style):
        for part in (rows, torch.arange(160).flip(0), None):
            found = subject.encoded(code, test, part)
            expected = encode(code.representation, test if part is None else test.subset(part))
            assert torch.equal(found.mean, expected.mean)
    assert calls.count(160) == 1 + 4 and calls.count(3) == 1 + 2  # of the expected ones
    subject.encoded(content._replace(label="another code of this name"), test)
    assert calls.count(160) == 6


# Behaviour


def test_all_questions_without_unseen_groups_are_answered(labelled, digits, tmp_path):
    questions = [
        Separation(k=(1,), probes=("logistic",), seeds=1),
        Fidelity(epochs=1, swaps=50, seeds=1),
        Likelihood(),
        Disentanglement(),
        Manipulation(),
        Embedding(method="pca", points=40),
    ]
    metrics = evaluate(
        labelled, digits, tmp_path / "answers", questions=questions, workers=1, progress=False
    )
    codes = {record["code"] for record in metrics["separation"]["records"]}
    assert codes == {"style", "raw"}
    assert len(metrics["fidelity"]["records"]) == 4
    bound = metrics["likelihood"]["bound"]
    assert bound["test"]["content_kl_per_group"] == 0 and "importance_weighted" not in bound
    assert (tmp_path / "answers" / "swaps_test.png").is_file()
    assert (tmp_path / "answers" / "embedding_test.png").is_file()


def test_the_report_lists_the_splits_that_are_left_out(digits, tmp_path):
    seen, unseen = hold_out(digits.train, [8, 9])
    model = ConditionalVAE((1, 8, 8), group_names=seen.group_names, network=MLP((4,))).eval()
    splits = Splits(seen, None, seen, unseen)
    metrics = evaluate(
        model, splits, tmp_path / "answers", questions=[Likelihood()], progress=False
    )
    assert list(metrics["likelihood"]["bound"]) == ["train", "test"]
    facts = metrics["facts"]
    assert facts["unseen split"].startswith("not used")
    assert facts["unseen split"] in (tmp_path / "answers" / "report.html").read_text()


def test_the_untrained_control_of_own_parts_has_the_weights_of_the_training(digits):
    @dataclasses.dataclass(frozen=True)
    class Custom(mlvae.likelihoods.Gaussian):
        """A likelihood that a config cannot name."""

    with torch.random.fork_rng():
        seeded(torch.default_generator, 5, "initial weights")
        model = mlvae.models.MLVAE((1, 8, 8), likelihood=Custom(), network=MLP((8,)))
    subject = Subject(model, digits, seed=5)
    untrained = subject.untrained()
    assert untrained is not model and untrained.options == model.options
    for name, value in model.state_dict().items():
        assert torch.equal(untrained.state_dict()[name], value)
    assert [code.name for code in subject.codes()] == ["content", "style", "untrained", "raw"]


def test_the_report_says_which_control_is_missing_and_why(digits, tmp_path):
    def facts(model, vae=None):
        options = {"questions": [Embedding(method="pca", points=10)], "progress": False}
        return evaluate(model, digits, tmp_path / "answers", vae=vae, **options)["facts"]

    model = mlvae.models.MLVAE((1, 8, 8), network=MLP((8,)))
    vae = mlvae.models.plain_vae(model)
    assert vae.options.network == MLP((8,)) and vae.latent_dim == 20
    assert "untrained encoder as control" not in facts(model, vae)
    assert facts(model, vae)["plain VAE as control"].startswith("VAE, ")
    found = facts(model)
    assert found["plain VAE as control"].startswith("none: ")
    assert "plain_vae" in found["plain VAE as control"]
    assert facts(vae)["plain VAE as control"] == "none: the model is a plain VAE itself"
    labelled = ConditionalVAE((1, 8, 8), group_names=digits.train.group_names, network=MLP((4,)))
    assert "labels" in facts(labelled)["untrained encoder as control"]
    own = OwnModel((1, 8, 8))
    assert "OwnModel" in facts(own)["untrained encoder as control"]


class OwnModel(torch.nn.Module):
    """A model without options and config."""

    def __init__(self, shape):
        super().__init__()
        self.vae = mlvae.models.VAE(shape, latent_dim=2, network=MLP((4,)))

    def codes(self, batch):
        return self.vae.codes(batch)

    def decode(self, **codes):
        return self.vae.decode(**codes)
