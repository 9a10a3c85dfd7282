"""Combinations of labels: which are new, and predictions without a model, by closed forms."""

import torch

from mlvae import GroupedData
from mlvae.evaluation.measures.combinations import (
    additive_mean,
    labels_of,
    nearest_combination,
    nearest_observation,
    new_combinations,
    twins,
)

#: All combinations of three and four labels, and those of them that training has.
ALL = torch.cartesian_prod(torch.arange(3), torch.arange(4))
SEEN = ALL[[0, 1, 2, 4, 5, 7, 9, 10, 11]]


def test_labels_are_numbered_as_in_training_and_unknown_or_missing_ones_are_minus_one():
    data = GroupedData(torch.zeros(4, 2), groups={"a": ["z", "x", "y", "x"], "b": [5, 7, None, 5]})
    found = labels_of(data, {"b": [5, 6, 7], "a": ["x", "z"]})
    assert found.tolist() == [[0, 1], [2, 0], [-1, -1], [0, 0]]


def test_new_combinations_are_those_of_known_labels_that_training_lacks():
    new = new_combinations(SEEN, ALL)
    assert ALL[new].tolist() == [[0, 3], [1, 2], [2, 0]]
    # A label that training never has is not a new combination but an unseen group.
    assert not new_combinations(SEEN, torch.tensor([[3, 0], [0, 4], [-1, 0]])).any()
    assert not new_combinations(ALL, ALL).any()


def test_a_twin_has_the_same_factors_and_no_common_label():
    labels = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [2, 2]])
    factors = torch.tensor([[1.0, 2.0]] * 4 + [[1.0, 2.5]])
    new = torch.tensor([True, False, False, False, False])
    assert twins(labels, factors, new).tolist() == [3]
    assert twins(labels[[0, 1, 2, 4]], factors[[0, 1, 2, 4]], new[:4]).tolist() == [-1]
    assert twins(labels, factors[:, :0], new).tolist() == [-1]
    unknown = labels.clone()
    unknown[3, 0] = -1
    assert twins(unknown, factors, new).tolist() == [-1]
    assert twins(labels, torch.full((5, 1), torch.nan), new).tolist() == [-1]


def test_the_additive_mean_is_exact_for_additive_observations():
    generator = torch.Generator().manual_seed(0)
    effects = [torch.randn(n, 2, 3, generator=generator) for n in (3, 4)]
    x = 0.5 + sum(effect[labels] for effect, labels in zip(effects, ALL.T, strict=True))
    rows = torch.tensor([0, 0, 1, 2, 4, 4, 5, 7, 9, 10, 11, 11])  # with different frequencies
    found = additive_mean(x[rows], ALL[rows], ALL, [3, 4])
    assert (found - x).abs().max() < 1e-5
    product = x * effects[0][ALL[:, 0]]  # not additive
    wrong = additive_mean(product[rows], ALL[rows], ALL, [3, 4]) - product
    assert wrong.abs().max() > 0.1


def test_the_nearest_combination_has_the_kept_label_and_the_most_similar_other_one():
    # Observation = place of the first label, and a value of the second; 3 is almost 0.
    value = torch.tensor([0.0, 5.0, 9.0, 0.3])
    x = torch.stack((10.0 * ALL[:, 0], value[ALL[:, 1]]), 1)
    seen = torch.tensor([0, 1, 2, 4, 5, 7, 9, 10, 11])
    wanted = torch.tensor([[0, 3], [2, 0]])
    found = nearest_combination(x[seen], ALL[seen], wanted, 0)
    assert torch.allclose(found, torch.tensor([[0.0, 0.0], [20.0, 0.3]]))
    # With the second label kept, the first one is replaced by a seen one.
    found = nearest_combination(x[seen], ALL[seen], wanted, 1)
    assert found[:, 1].tolist() == [value[3].item(), 0.0]
    assert found[:, 0].tolist() == [10.0, 10.0]


def test_the_nearest_combination_is_a_mean_of_its_observations():
    seen = torch.tensor([[0, 0], [0, 0], [1, 0], [1, 1]])
    x = torch.tensor([[1.0], [3.0], [0.0], [0.0]])
    assert nearest_combination(x, seen, torch.tensor([[0, 1]]), 0).tolist() == [[2.0]]


def test_the_nearest_observation_is_the_one_of_a_search_over_all():
    generator = torch.Generator().manual_seed(1)
    x, truth = (torch.randn(n, 2, 2, generator=generator) for n in (40, 9))
    seen, labels = torch.arange(40) % 3, torch.arange(9) % 3
    found = nearest_observation(x, seen, truth, labels)
    for one, label, got in zip(truth, labels, found, strict=True):
        own = x[seen == label]
        assert torch.equal(got, own[((own - one) ** 2).sum((1, 2)).argmin()])


def test_the_nearest_observation_does_not_depend_on_the_place_of_zero():
    generator = torch.Generator().manual_seed(2)
    x, truth = (10_000 + torch.randn(n, 6, generator=generator) for n in (200, 100))
    same = torch.zeros(200, dtype=torch.int64)
    found = nearest_observation(x, same, truth, same[:100])
    square = (truth.double()[:, None] - x.double()).square().sum(2)
    assert torch.equal(found, x[square.argmin(1)])
