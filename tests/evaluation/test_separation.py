"""Records agree with the construction of the codes, and include the controls."""

import math
from typing import Any

import pytest
import torch

from mlvae import DiagonalGaussian, GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Separation, Subject
from mlvae.evaluation.measures.codes import encode
from mlvae.evaluation.measures.probe_grid import GridCode, ProbeGrid
from mlvae.evaluation.subject import Code
from mlvae.models import VAE
from mlvae.networks import MLP

pytestmark = pytest.mark.usefixtures("quick")

QUICK = {"k": (1, 2), "probes": ("logistic",), "seeds": 2}


def find(answer, **wanted):
    """All records with these values."""
    return [record for record in answer.metrics["records"] if wanted.items() <= record.items()]


def test_content_equal_to_the_label_is_predicted_and_style_of_noise_is_not(known_subject):
    answer = Separation(**QUICK).ask(known_subject)
    for values in ("samples", "means"):
        for k in (1, 2):
            wanted = {"values": values, "test_k": k, "same_k": True}
            (content,) = find(answer, code="content", **wanted)
            (style,) = find(answer, code="style", **wanted)
            assert content["accuracy"].mean == 1
            assert content["conditional_entropy_bits"].mean < 0.3
            assert style["accuracy"].mean < 0.45  # chance is 1/4
            assert style["conditional_entropy_bits"].mean > 1.8
            assert content["num_test_codes"] == 160 // k
    assert answer.metrics["label_entropy_bits"] == pytest.approx(2)
    assert answer.metrics["chance_accuracy"] == 0.25


def test_controls_are_measured_at_the_same_k(digits_subject, digits):
    vae = VAE((1, 8, 8), latent_dim=5, network=MLP(hidden=(16,)))
    subject = Subject(digits_subject.model, digits, vae=vae)
    answer = Separation(k=(1, 8), probes=("logistic",), seeds=1).ask(subject)
    codes = {(r["code"], r["values"]) for r in answer.metrics["records"]}
    both = [(code, v) for code in ("content", "style", "vae", "untrained") for v in VALUES]
    assert codes == {*both, ("raw", "means")}
    for code, values in codes:
        ks = {r["test_k"] for r in find(answer, code=code, values=values, same_k=True)}
        assert ks == {1, 8}
    assert any("untrained" in paragraph for paragraph in answer.summary)


VALUES = ("samples", "means")


def test_the_untrained_control_is_the_model_before_its_first_step(digits_subject):
    # The model of this subject is untrained too, so its codes and the control differ by seed only.
    first, second = digits_subject.untrained(), digits_subject.untrained()
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all((a == b).all() for a, b in pairs)
    other = Subject(digits_subject.model, digits_subject.splits, seed=1).untrained()
    assert other is not None
    assert any((a != b).any() for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_a_single_k_has_each_accuracy_in_one_table_and_no_curves(known_subject):
    one = Separation(k=(1,), probes=("logistic", "knn"), seeds=1).ask(known_subject)
    assert [table.columns for table in one.tables] == [
        ["code", "logistic regression", "nearest neighbours"],
        ["code", "k = 1"],
    ]
    assert "bits" in one.tables[1].caption and not one.figures
    one = Separation(k=(1,), probes=("knn",), seeds=1).ask(known_subject)
    assert ["percent" in table.caption for table in one.tables] == [True, False]
    two = Separation(k=(1, 2), probes=("knn",), seeds=1).ask(known_subject)
    assert len(two.tables) == 4 and len(two.figures) == 2


def test_probes_of_the_papers_protocol_are_trained_at_one_k(known_subject):
    answer = Separation(**QUICK, train_k=5).ask(known_subject)
    paper = find(answer, code="content", values="means", paper=True)
    assert sorted((r["train_k"], r["test_k"]) for r in paper) == [(5, 1), (5, 2)]
    assert all(r["accuracy"].mean == 1 for r in paper)


def test_standard_errors_need_several_seeds(known_subject):
    for seeds in (1, 2):
        records = Separation(k=(1,), probes=("logistic",), seeds=seeds).ask(known_subject)
        style = find(records, code="style", values="samples")[0]["accuracy"]
        assert math.isnan(style.standard_error) == (seeds == 1)


def test_the_number_of_workers_does_not_change_the_metrics(known_subject):
    question = Separation(k=(1,), probes=("knn",), seeds=2)
    expected = question.ask(known_subject)
    parallel = Subject(known_subject.model, known_subject.splits, workers=2)
    assert str(question.ask(parallel).metrics) == str(expected.metrics)


def test_a_table_has_every_kind_of_probe_and_figures_have_curves(known_subject):
    answer = Separation(k=(1, 2), seeds=1).ask(known_subject)
    assert answer.tables[0].columns[1:] == ["MLP", "logistic regression"]
    assert [figure.name for figure in answer.figures] == [
        "separation_samples",
        "separation_means",
    ]
    assert all((figure.svg or "").count("<svg") == 1 for figure in answer.figures)


def test_the_default_ks_are_limited_by_the_smallest_group(known, known_data):
    splits = Splits(known_data(40), known_data(24), known_data(20))  # 10, 6, 5 per group
    answer = Separation(probes=("logistic",), seeds=1).ask(Subject(known, splits))
    assert {r["test_k"] for r in answer.metrics["records"]} == {1, 2, 5}


def test_without_validation_probes_are_trained_on_the_training_split(known, known_data):
    splits = Splits(known_data(40), None, known_data(20))
    answer = Separation(k=(1,), probes=("logistic",), seeds=1).ask(Subject(known, splits))
    assert answer.metrics["probes_trained_on"] == "train"
    assert "no validation split" in answer.summary[-1]
    # The same holds if the validation split has other groups.
    other = known_data(40)
    other.group_names = [7, 8, 9, 10]
    answer = Separation(k=(1,), probes=("logistic",), seeds=1).ask(
        Subject(known, Splits(known_data(40), other, known_data(20)))
    )
    assert answer.metrics["probes_trained_on"] == "train"


def test_unsuitable_splits_and_options_have_a_reason(known, known_data, known_subject):
    with pytest.raises(InputError, match=r"k=41 .* 30"):
        Separation(k=(1, 41)).ask(known_subject)
    one = Splits(known_data(40), known_data(40), known_data(40, labels=1))
    assert "two groups" in Separation().ask(Subject(known, one)).summary[0]
    none = Separation().ask(Subject(known, Splits(known_data(40))))
    other = known_data(40)
    other.group_names = ["elsewhere", *other.group_names[1:]]
    new = Separation().ask(Subject(known, Splits(known_data(40), test=other)))
    for answer in (none, new):
        assert "test split" in answer.summary[0] and answer.metrics == {}
    invalid: list[tuple[str, Any]] = [
        ("k", (0,)),
        ("k", ()),
        ("probes", ("svm",)),
        ("probes", ()),
        ("seeds", 0),
        ("train_k", 0),
    ]
    for name, value in invalid:
        with pytest.raises(InputError, match=rf"evaluation\.separation\.{name}"):
            Separation(**{name: value})


def test_no_probe_predicts_a_label_from_the_noise_of_draws():
    # Train and test rows are sorted by group: shared draws would identify the label.

    def nothing(batch):
        return DiagonalGaussian(torch.zeros(len(batch), 16), torch.zeros(len(batch), 16))

    data = GroupedData(torch.rand(2000, 1), torch.arange(2000) % 10)
    grid = ProbeGrid(data, data, (1, 2), 2, ("knn", "logistic"), 2)
    posterior = encode(nothing, data)
    code = GridCode(Code("style", "style", nothing, random=True), posterior, posterior)
    for record in grid.records([code]):
        assert record["accuracy"].mean < 0.13
        assert record["conditional_entropy_bits"].mean > record["label_entropy_bits"] - 0.01


def test_chance_and_label_entropy_are_reported_for_every_k(known, known_data):
    data = known_data(60, labels=2)
    test = data.subset(
        [*range(0, 50, 2), *range(1, 27, 2)]
    )  # groups of 25 and 13: one set of 13 each
    answer = Separation(k=(1, 13), probes=("logistic",), seeds=1).ask(
        Subject(known, Splits(data, data, test))
    )
    without_code = {
        record["test_k"]: (record["chance_accuracy"], record["label_entropy_bits"])
        for record in find(answer, same_k=True)
    }
    assert without_code == {1: (25 / 38, pytest.approx(0.926819, abs=1e-6)), 13: (0.5, 1.0)}
    (row,) = (row for row in answer.tables[0].rows if row[0] == "no code")
    assert row[1:] == ["65.8", "50.0"]


def test_with_several_groupings_the_answer_names_the_first_one(two, two_images):
    pairs = [(a, b) for a in range(2) for b in range(2)]
    data = two_images(10 * pairs, torch.rand(40, generator=torch.Generator().manual_seed(0)))
    question = Separation(k=(1,), probes=("logistic",), seeds=1)
    answer = question.ask(Subject(two, Splits(data, test=data)))
    assert "those of first" in answer.summary[-1]
    assert "those of" not in answer.summary[0]
