"""The words of the verdict follow from the numbers."""

import math

import pytest

from mlvae.evaluation.answer import Estimate
from mlvae.evaluation.verdict import NO_VERDICT, verdict

CHANCE = 0.1


def record(code, accuracy, probe="mlp", values="means", k=1, error=0.0, number=1000):
    return {
        "code": code,
        "values": values,
        "probe": probe,
        "train_k": k,
        "test_k": k,
        "accuracy": Estimate(accuracy, error),
        "num_test_codes": number,
        "chance_accuracy": CHANCE,
    }


def separation(number=1000, error=0.0, **accuracies):
    records = [record(code, a, number=number, error=error) for code, a in accuracies.items()]
    return {"records": records}


def bound(style_kl):
    return {"bound": {"test": {"style_kl_per_observation": style_kl}}}


def words(style_kl=20.0, **found):
    (text,) = verdict(
        {"separation": separation(**found), "likelihood": bound(style_kl)}, images=True
    )
    first, _, second = text.partition("; chance is 10.0 percent. ")
    assert second
    return first, second


def test_the_first_sentence_has_the_three_accuracies_with_their_uncertainty():
    first, _ = words(content=0.95, style=0.1, raw=0.9)
    assert first == (
        "The group of a single test image is predicted correctly in 95.0 ± 0.7 percent from its "
        "content, 10.0 ± 1.0 percent from its style, and 90.0 ± 1.0 percent from its raw pixels"
    )


@pytest.mark.parametrize(
    ("style_kl", "found", "expected"),
    [
        (
            20.0,
            {"content": 0.95, "style": 0.1, "raw": 0.9},
            "The content is better than the raw pixels, and no information about the group was "
            "found in the style: content and style are separated.",
        ),
        (
            20.0,
            {"content": 0.9, "style": 0.11, "raw": 0.91},
            "The content is as good as the raw pixels within the uncertainty, and no information "
            "about the group was found in the style: content and style are separated.",
        ),
        (
            0.4,
            {"content": 0.95, "style": 0.1, "raw": 0.9},
            "The content is better than the raw pixels, but the style is nearly empty (KL 0.40 "
            "nats per observation), so there is no style to separate.",
        ),
        (
            20.0,
            {"content": 0.7, "style": 0.1, "raw": 0.9},
            "The content is worse than the raw pixels: it has lost information about the group, "
            "but no information about the group was found in the style.",
        ),
        (
            20.0,
            {"content": 0.95, "style": 0.35, "raw": 0.9},
            "The content is better than the raw pixels, but the style leaks: it is 25.0 points "
            "above chance.",
        ),
        (
            0.4,
            {"content": 0.7, "style": 0.35, "raw": 0.9},
            "The content is worse than the raw pixels: it has lost information about the group, "
            "and the style leaks: it is 25.0 points above chance, although it is nearly empty "
            "(KL 0.40 nats per observation).",
        ),
        (
            20.0,
            {"content": 0.7, "style": 0.69, "raw": 0.9},
            "The content is worse than the raw pixels: it has lost information about the group, "
            "and the style has as much information about the group as the content.",
        ),
        (
            20.0,
            {"content": 0.1, "style": 0.6, "raw": 0.9},
            "The content has no measurable information about the group, and the style has as much "
            "information about the group as the content.",
        ),
        (
            20.0,
            {"content": 0.9, "style": 0.1, "raw": 0.9, "untrained": 0.9},
            "The content is as good as the raw pixels within the uncertainty, and it is not "
            "better than that of an untrained encoder, but no information about the group was "
            "found in the style.",
        ),
        (20.0, {"style": 0.3, "raw": 0.9}, "The style leaks: it is 20.0 points above chance."),
        (20.0, {"latent": 0.3, "raw": 0.9}, "The model has no content and style to separate."),
    ],
)
def test_the_second_sentence_is_chosen_from_the_measured_values(style_kl, found, expected):
    assert words(style_kl, **found)[1] == expected


def test_a_difference_within_twice_its_standard_error_is_none():
    assert "as good as" in words(content=0.93, style=0.1, raw=0.9, number=200)[1]
    assert "better" in words(content=0.93, style=0.1, raw=0.9, number=20_000)[1]
    assert "as good as" in words(content=0.93, style=0.1, raw=0.9, number=20_000, error=0.02)[1]
    assert "no information" in words(content=0.9, style=0.13, raw=0.9, number=100)[1]
    assert "leaks" in words(content=0.9, style=0.13, raw=0.9, number=10_000)[1]


def test_a_single_repetition_has_the_uncertainty_of_its_observations():
    first, second = words(content=1.0, style=0.1, raw=1.0, number=16, error=math.nan)
    assert "100.0 ± 6.7" in first and "as good as" in second


def test_a_leak_is_the_largest_of_all_probes_and_values():
    records = [
        record("content", 0.9),
        record("style", 0.1, probe="mlp"),
        record("style", 0.4, probe="knn", values="samples"),
        record("style", 0.99, k=10),  # not a single observation
        record("raw", 0.9),
    ]
    (text,) = verdict({"separation": {"records": records}}, images=False)
    assert "40.0 ± 1.5 percent from a sample and 10.0 ± 1.0 from the mean of its style" in text
    assert "the style leaks: it is 30.0 points" in text and "raw observation" in text


def test_a_leak_of_the_means_alone_is_named_beside_clean_samples():
    records = [
        *(record("content", 0.9, values=values) for values in ("samples", "means")),
        record("style", 0.1, values="samples"),
        record("style", 0.8),
        record("raw", 0.9),
    ]
    (text,) = verdict({"separation": {"records": records}}, images=True)
    assert "10.0 ± 1.0 percent from a sample and 80.0 ± 1.3 from the mean of its style" in text
    assert "the mean of the style leaks: it is 70.0 points above chance" in text
    assert text.endswith("no information about the group was found in a sample.")


def test_the_error_of_the_verdict_has_the_sampling_error_and_that_of_repetitions():
    single = record("content", 0.9) | {"accuracy": Estimate(0.9, 0.03, 0.04)}
    (text,) = verdict({"separation": {"records": [single]}}, images=True)
    assert "90.0 ± 5.0 percent from its content" in text


def test_a_leak_that_the_strongest_probe_finds_is_in_the_verdict():
    found = {"code": "style", "accuracy": 0.6, "accuracy_standard_error": 0.015}
    found |= {"num_test_codes": 1000, "chance_accuracy": 0.1}
    records = {"records": [found | {"values": "means"}]}
    separated = separation(content=0.95, style=0.1, raw=0.9)
    (text,) = verdict({"separation": separated, "leakage": records}, images=True)
    assert "60.0 ± 1.5 percent from its style" in text and "the style leaks" in text
    (alone,) = verdict({"leakage": records}, images=True)
    assert "60.0 ± 1.5 percent from its style" in alone


def test_unseen_groups_have_sentences_of_their_own():
    identification = [
        {"code": code, "shots": shots, "distance": d, "accuracy": Estimate(a, 0.0), "chance": 0.25}
        for shots in (1, 5)
        for d, scale in (("cosine", 1.0), ("mahalanobis", 0.5))
        for code, a in (("content", 0.8), ("style", 0.25), ("pca", 0.6), ("raw", 0.5))
        for a in [a * scale]
    ]
    unseen = {"num_groups": 4, "num_observations": 404, "identification": identification}
    found = verdict(
        {"unseen": unseen, "separation": separation(content=0.9, style=0.1, raw=0.9)}, images=True
    )
    assert len(found) == 2 and "4 groups" in found[1]
    assert "80.0 ± 2.0 percent from its content" in found[1] and "pca" not in found[1]
    assert found[1].endswith("content and style are separated.")
    assert len(verdict({"unseen": unseen}, images=True)) == 1


def test_there_is_no_verdict_without_the_questions_and_without_k_1():
    only = {"records": [record("content", 0.9, k=5), record("style", 0.1, k=5)]}
    for metrics in ({}, {"separation": {}, "unseen": {}}, {"separation": only}):
        assert verdict(metrics, images=True) == [NO_VERDICT]
    assert verdict({"likelihood": bound(3.0)}, images=True) == [NO_VERDICT]


def test_an_unmeasured_style_is_not_called_empty():
    (text,) = verdict({"separation": separation(content=0.95, style=0.1, raw=0.9)}, images=True)
    assert "empty" not in text and text.endswith("content and style are separated.")


def test_with_several_groupings_each_has_a_verdict_with_the_other_contents():
    def record(grouping, code, accuracy):
        values = {"grouping": grouping, "code": code, "values": "means", "accuracy": accuracy}
        numbers = {"accuracy_standard_error": 0.001, "num_test_codes": 1000}
        return values | numbers | {"chance_accuracy": 0.1}

    first = [("content_digit", 0.91), ("content_speaker", 0.1), ("style", 0.1), ("raw", 0.8)]
    second = [("content_digit", 0.2), ("content_speaker", 0.99), ("style", 0.7), ("raw", 0.95)]
    records = [
        record(grouping, *pair)
        for grouping, pairs in (("digit", first), ("speaker", second))
        for pair in pairs
    ]
    digit, speaker = verdict({"leakage": {"records": records}}, images=False)
    assert "The digit of a single test observation" in digit
    assert "91.0 ± 0.9 percent from its content_digit," in digit
    assert "10.0 ± 1.0 percent from its content_speaker" in digit
    assert "content and style are separated" in digit
    assert digit.endswith("No information about the digit was found in content_speaker.")
    assert "99.0 ± 0.3 percent from its content_speaker" in speaker
    assert "the style leaks: it is 60.0 points above chance" in speaker
    assert speaker.endswith("Another content leaks: content_digit is 10.0 points above chance.")
    assert "separated" not in speaker


def test_a_content_that_has_another_grouping_is_not_separated():
    records = [
        {"grouping": name, "code": code, "values": "means", "accuracy": accuracy}
        | {"accuracy_standard_error": 0.001, "num_test_codes": 1000, "chance_accuracy": 0.1}
        for name, codes in (
            ("digit", {"content_digit": 0.9, "content_speaker": 0.4, "style": 0.1, "raw": 0.8}),
            ("speaker", {"content_speaker": 0.9, "content_digit": 0.1, "style": 0.1}),
        )
        for code, accuracy in codes.items()
    ]
    digit, speaker = verdict({"leakage": {"records": records}}, images=False)
    assert "separated" not in digit and "content_speaker is 30.0 points above" in digit
    assert "separated" in speaker


def test_a_grouping_without_a_content_has_no_verdict():
    records = [
        {"grouping": name, "code": code, "values": "means", "accuracy": 0.9}
        | {"accuracy_standard_error": 0.001, "num_test_codes": 1000, "chance_accuracy": 0.1}
        for name in ("person", "room")
        for code in ("content", "style", "raw")
    ]
    (text,) = verdict({"leakage": {"records": records}}, images=False)
    assert "The group of" in text and text.endswith(
        "those of person; the leakage matrix has the others."
    )


def test_probes_of_unseen_groups_are_stated():
    head = {"grouping": "person", "tested_on": "unseen", "values": "means", "num_test_codes": 500}
    head |= {"accuracy_standard_error": 0.01, "chance_accuracy": CHANCE}
    found = {"content": 0.9, "style": 0.5, "raw": 0.6}
    records = [{**head, "code": code, "accuracy": share} for code, share in found.items()]
    bounds = {"bound": {"unseen": {"style_kl_per_observation": 0.2}}}
    (text,) = verdict({"leakage": {"records": records}, "likelihood": bounds}, images=True)
    assert "which were not used in the training of the model" in text
    assert "50.0 ± 2.2 percent from its style" in text
    assert "the style leaks: it is 40.0 points above chance, although it is nearly empty" in text
    # The question of separation is about other observations: its accuracy says nothing here.
    other = separation(content=0.9, style=0.8, raw=0.9)
    (text,) = verdict({"leakage": {"records": records}, "separation": other}, images=True)
    assert "50.0 ± 2.2 percent from its style" in text
