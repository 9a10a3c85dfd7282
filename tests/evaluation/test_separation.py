"""Every record is what the codes' construction says, and controls are always beside it."""

import math

import pytest
import torch

from mlvae import DiagonalGaussian, GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Separation, Subject
from mlvae.evaluation.probe_grid import ProbeGrid
from mlvae.evaluation.subject import Code
from mlvae.models import VAE
from mlvae.networks import MLP

QUICK = {"k": (1, 2), "probes": ("logistic",), "seeds": 2}


def find(answer, **wanted):
    return [r for r in answer.metrics["records"] if wanted.items() <= r.items()]


def test_content_that_is_the_label_and_style_that_is_noise(known_subject):
    answer = Separation(**QUICK).ask(known_subject)
    for values in ("samples", "means"):
        for k in (1, 2):
            of = {"values": values, "test_k": k, "same_k": True}
            (content,), (style,) = (
                find(answer, code="content", **of),
                find(answer, code="style", **of),
            )
            assert content["accuracy"].mean == 1
            assert content["conditional_entropy_bits"].mean < 0.1
            assert style["accuracy"].mean < 0.45  # chance is a quarter
            assert style["conditional_entropy_bits"].mean > 1.8
            assert content["num_test_codes"] == 160 // k
    assert answer.metrics["label_entropy_bits"] == pytest.approx(2)
    assert answer.metrics["chance_accuracy"] == 0.25


def test_controls_stand_beside_it_at_the_same_k(digits_subject, digits):
    vae = VAE((1, 8, 8), latent_dim=5, network=MLP(hidden=(16,)))
    subject = Subject(digits_subject.model, digits, vae=vae)
    answer = Separation(k=(1, 8), probes=("logistic",), seeds=1).ask(subject)
    codes = {(r["code"], r["values"]) for r in answer.metrics["records"]}
    both = [(code, v) for code in ("content", "style", "vae", "untrained") for v in VALUES]
    assert codes == {*both, ("raw", "means")}
    for code, values in codes:
        ks = {r["test_k"] for r in find(answer, code=code, values=values, same_k=True)}
        assert ks == {1, 8}
    assert any("never trained" in paragraph for paragraph in answer.summary)


VALUES = ("samples", "means")


def test_the_untrained_control_is_the_model_before_its_first_step(digits_subject):
    # The "trained" model here is not, so its codes and the control's differ by their seeds alone.
    first, second = digits_subject.untrained(), digits_subject.untrained()
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all((a == b).all() for a, b in pairs)
    other = Subject(digits_subject.model, digits_subject.splits, seed=1).untrained()
    assert any((a != b).any() for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_the_papers_protocol_trains_once_at_the_largest_k(known_subject):
    answer = Separation(**QUICK, train_k=5).ask(known_subject)
    paper = find(answer, code="content", values="means", paper=True)
    assert sorted((r["train_k"], r["test_k"]) for r in paper) == [(5, 1), (5, 2)]
    assert all(r["accuracy"].mean == 1 for r in paper)


def test_seeds_give_standard_errors_and_one_gives_none(known_subject):
    for seeds in (1, 2):
        records = Separation(k=(1,), probes=("logistic",), seeds=seeds).ask(known_subject)
        style = find(records, code="style", values="samples")[0]["accuracy"]
        assert math.isnan(style.standard_error) == (seeds == 1)


def test_workers_change_nothing(known_subject):
    question = Separation(k=(1,), probes=("logistic",), seeds=1)
    alone = question.ask(known_subject)
    known_subject = Subject(known_subject.model, known_subject.splits, workers=2)
    assert str(question.ask(known_subject).metrics) == str(alone.metrics)


def test_every_kind_of_probe_is_in_a_table_and_curves_are_drawn(known_subject):
    answer = Separation(k=(1, 2), seeds=1).ask(known_subject)
    assert answer.tables[-1].columns[1:] == ["MLP", "logistic regression", "nearest neighbours"]
    assert [figure.name for figure in answer.figures] == [
        "separation_samples",
        "separation_means",
    ]
    assert all(figure.svg.count("<svg") == 1 for figure in answer.figures)


def test_the_default_ks_are_those_that_all_groups_have(known, known_data):
    splits = Splits(known_data(40), known_data(24), known_data(20))  # 10, 6 and 5 of each
    answer = Separation(probes=("logistic",), seeds=1).ask(Subject(known, splits))
    assert {r["test_k"] for r in answer.metrics["records"]} == {1, 2, 3, 5}


def test_without_validation_probes_learn_from_the_training_split_and_say_so(known, known_data):
    splits = Splits(known_data(40), None, known_data(20))
    answer = Separation(k=(1,), probes=("logistic",), seeds=1).ask(Subject(known, splits))
    assert answer.metrics["probes_trained_on"] == "train"
    assert "no validation split" in answer.summary[-1]
    # So it is where validation has groups of its own.
    other = known_data(40)
    other.group_names = [7, 8, 9, 10]
    answer = Separation(k=(1,), probes=("logistic",), seeds=1).ask(
        Subject(known, Splits(known_data(40), other, known_data(20)))
    )
    assert answer.metrics["probes_trained_on"] == "train"


def test_what_cannot_be_asked_is_refused_or_said(known, known_data, known_subject):
    with pytest.raises(InputError, match="k=41 must not exceed the smallest group, which has 30"):
        Separation(k=(1, 41)).ask(known_subject)
    one = Splits(known_data(40), known_data(40), known_data(40, labels=1))
    assert "has only 0" in Separation().ask(Subject(known, one)).summary[0]
    none = Separation().ask(Subject(known, Splits(known_data(40))))
    other = known_data(40)
    other.group_names = ["elsewhere", *other.group_names[1:]]
    new = Separation().ask(Subject(known, Splits(known_data(40), test=other)))
    for answer in (none, new):
        assert "Not asked" in answer.summary[0] and answer.metrics == {}
    for options in ({"k": (0,)}, {"k": ()}, {"probes": ("svm",)}, {"seeds": 0}, {"train_k": 0}):
        with pytest.raises(InputError, match=r"evaluation\.separation"):
            Separation(**options)


def test_no_probe_knows_a_label_by_the_noise_of_a_draw():
    """Rows of train and test are in the order of groups: the same draws would tell all of it."""

    def nothing(x):
        return DiagonalGaussian(torch.zeros(len(x), 16), torch.zeros(len(x), 16))

    data = GroupedData(torch.rand(2000, 1), torch.arange(2000) % 10)
    grid = ProbeGrid(data, data, (1, 2), 2, ("knn", "logistic"), 2)
    for record in grid.records([Code("style", "style", nothing, random=True)]):
        assert record["accuracy"].mean < 0.13
        assert record["conditional_entropy_bits"].mean > record["label_entropy_bits"] - 0.01


def test_what_is_known_without_a_code_is_said_for_every_k(known, known_data):
    data = known_data(60, labels=2)
    test = data.subset([*range(0, 50, 2), *range(1, 27, 2)])  # 25 and 13: a set of 13 of each
    answer = Separation(k=(1, 13), probes=("logistic",), seeds=1).ask(
        Subject(known, Splits(data, data, test))
    )
    known = {
        r["test_k"]: (r["chance_accuracy"], r["label_entropy_bits"])
        for r in find(answer, same_k=True)
    }
    assert known == {1: (25 / 38, pytest.approx(0.926819, abs=1e-6)), 13: (0.5, 1.0)}
    (row,) = (row for row in answer.tables[0].rows if row[0] == "no code")
    assert row[1:] == ["65.8", "50.0"]
