"""Association of covariates with content: known relations are found, and chance is chance."""

from decimal import Decimal

import numpy as np
import pytest
import torch

from mlvae import DiagonalGaussian, Groups, InputError
from mlvae.evaluation import association

G, D = 60, 4
RANDOM = np.random.default_rng(0)
CONTENT = RANDOM.normal(size=(G, D))
AGE = 50 + 10 * CONTENT[:, 1] + 5 * RANDOM.normal(size=G)
STATE = np.where(CONTENT[:, 0] > 0, "case", "control")


def test_a_linear_covariate_has_its_share_of_variance():
    found = association(CONTENT, AGE)
    assert found.kind == "number" and found.num_groups == G
    explained = np.corrcoef(AGE, CONTENT[:, 1])[0, 1] ** 2  # by the best line, in the sample
    assert found.score == pytest.approx(explained, abs=0.08)
    assert 0.01 < found.standard_error < 0.1
    assert found.chance < 0.05 and found.p_value == pytest.approx(1 / 101)


def test_words_are_predicted_with_their_accuracy():
    found = association(CONTENT, STATE)
    assert found.kind == "category"
    assert found.score > 0.85 and 0.35 < found.chance < 0.65
    assert found.p_value < 0.02
    many = association(CONTENT, np.array(["a", "b", "c"])[np.arange(G) % 3], permutations=10)
    assert many.score < 0.6


def test_a_covariate_without_relation_has_a_high_p_value_on_average():
    values = []
    for seed in range(20):
        unrelated = np.random.default_rng(seed + 1).normal(size=G)
        values.append(association(CONTENT, unrelated, permutations=19, seed=seed).p_value)
    assert 0.3 < np.mean(values) < 0.7 and min(values) >= 0.05


def test_no_group_is_predicted_from_its_own_rows():
    # Rows of a group are alike, and the covariate is unrelated noise of the group.
    group = np.repeat(np.arange(G), 5)
    rows = 10 * CONTENT[group] + 0.01 * RANDOM.normal(size=(5 * G, D))
    high = np.hstack((rows, RANDOM.normal(size=(G, 80))[group]))
    noise = RANDOM.normal(size=G)[group]
    honest = association(high, noise, groups=group, permutations=9)
    leaky = association(high, noise, permutations=2)
    assert honest.num_groups == G and honest.score < 0.2
    assert leaky.num_groups == 5 * G and leaky.score > 0.9


def test_posteriors_and_tensors_are_content_as_arrays_are():
    mean = torch.from_numpy(CONTENT)
    found = association(CONTENT, AGE, permutations=3)
    for content in (mean, DiagonalGaussian(mean, torch.zeros_like(mean)), CONTENT.tolist()):
        assert association(content, torch.from_numpy(AGE), permutations=3) == found


def test_units_of_the_covariate_do_not_matter():
    found = association(CONTENT, AGE, permutations=3)
    again = association(CONTENT, 1e4 * AGE - 7, permutations=3)
    assert again.score == pytest.approx(found.score, abs=1e-6)


def test_numbers_of_every_type_are_numbers():
    expected = association(CONTENT, AGE, permutations=1)
    for ages in (AGE.astype(object), [Decimal(str(age)) for age in AGE]):
        found = association(CONTENT.astype(object), ages, permutations=1)
        assert found.kind == "number" and found.score == pytest.approx(expected.score, abs=1e-4)


def test_groups_may_be_a_record():
    twice = np.repeat(CONTENT, 2, 0), np.repeat(AGE, 2)
    index = np.repeat(np.arange(G), 2)
    expected = association(*twice, groups=index.astype(str), permutations=1)
    assert expected.num_groups == G
    found = association(*twice, groups=Groups.of(index), permutations=1)
    assert found.num_groups == G and np.isfinite(found.score)


def test_a_fold_with_one_class_is_predicted_by_it():
    state = np.array(["rare", *["common"] * (G - 1)])
    found = association(CONTENT, state, permutations=3)
    assert found.score == pytest.approx(1 - 1 / G)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"content": CONTENT[:, 0]}, r"content .*\(60,\)"),
        ({"content": CONTENT * np.nan}, "content .*finite"),
        ({"content": "a"}, "content"),
        ({"covariate": AGE[:5]}, r"covariate .*60 .*\(5,\)"),
        ({"covariate": np.where(AGE > 50, AGE, np.nan)}, "covariate .*missing"),
        ({"covariate": np.where(AGE > 50, AGE, np.inf)}, "covariate .*finite"),
        ({"covariate": np.ones(G)}, "differ between groups"),
        ({"groups": [0, 1]}, r"groups .*\(2,\)"),
        ({"groups": np.arange(G) // 2}, "one value for all rows of a group, but group 0"),
        ({"groups": [None, *range(1, G)]}, "group labels .*missing"),
        ({"groups": ["0", *range(1, G)]}, "group labels .*type"),
        ({"covariate": [1, *["1"] * (G - 1)]}, "covariate.*type"),
        ({"covariate": ["a", "a "] * (G // 2)}, "covariate.*spaces"),
        ({"covariate": np.where(AGE > 50, AGE, np.inf)}, "covariate .*finite"),
        ({"groups": np.zeros(G), "covariate": np.ones(G)}, "folds=5 .*1"),
        ({"folds": 1}, "folds .*1"),
        ({"permutations": 0}, "permutations .*0"),
    ],
)
def test_other_arguments_are_refused(arguments, match):
    with pytest.raises(InputError, match=match):
        association(**{"content": CONTENT, "covariate": AGE, **arguments})
