import math

import pytest
import torch

from mlvae import DiagonalGaussian, GroupedData, InputError
from mlvae.evaluation import entropy, pixels, probe_sets, representations
from mlvae.evaluation.measures.leakage.kinds import PROBES


def two_normals(n, distance):
    """Groups 0 and 1 of observations N(-distance / 2, 1) and N(distance / 2, 1)."""
    labels = torch.arange(n) % 2
    return GroupedData(torch.randn(n, 1) + distance * (labels[:, None] - 0.5), labels)


def bayes(distance, n=400_000):
    """Accuracy and H(Y | code) in bits of the optimal probe, by Monte Carlo."""
    data = two_normals(n, distance)
    logit = (distance * data.x[:, 0] * (2 * data.groups.index - 1)).double()
    entropy_left = torch.nn.functional.softplus(-logit).mean() / math.log(2)
    return float((logit > 0).double().mean()), float(entropy_left)


@pytest.mark.parametrize("kind", PROBES)
def test_a_probe_approaches_the_optimum_and_its_cross_entropy_is_a_bound(kind):
    accuracy, conditional_entropy = bayes(2.0)
    score = probe_sets(pixels, two_normals(3000, 2.0), two_normals(5000, 2.0), kind=kind)
    assert score.accuracy == pytest.approx(accuracy, abs=0.03)
    slack = score.conditional_entropy - conditional_entropy
    assert -0.03 < slack < 0.1
    assert score.num_codes == 5000


@pytest.mark.parametrize("kind", PROBES)
def test_codes_without_information_leave_the_whole_entropy(kind):
    score = probe_sets(pixels, two_normals(3000, 0.0), two_normals(3000, 0.0), kind=kind)
    assert score.accuracy == pytest.approx(0.5, abs=0.05)
    assert 1 - 0.01 < score.conditional_entropy < 1.1


@pytest.mark.parametrize("kind", PROBES)
def test_codes_that_contain_the_label_leave_no_entropy(kind, quick):
    labels = torch.arange(600) % 3
    data = GroupedData(torch.nn.functional.one_hot(labels).float(), labels)
    score = probe_sets(pixels, data, data, kind=kind)
    assert score.accuracy == 1 and score.conditional_entropy < 0.2


def test_entropy_is_in_bits():
    assert entropy(torch.arange(10)) == pytest.approx(math.log2(10))
    assert entropy(torch.tensor([0, 0, 0, 1])) == pytest.approx(0.811278, abs=1e-6)
    assert entropy(torch.zeros(5)) == 0


def test_accumulation_by_label_raises_the_accuracy_of_an_untrained_encoder(
    small_model, digits, quick
):
    # The encoder is untrained, so an accuracy of accumulated codes is no evidence of learning.
    untrained = representations(small_model(content_dim=10), digits.train)["content"]
    options = {"kind": "logistic", "sample": False}
    single = probe_sets(untrained, digits.train, digits.test, **options)
    pooled = probe_sets(untrained, digits.train, digits.test, k_train=8, k_test=8, **options)
    assert pooled.accuracy > 0.95 > single.accuracy + 0.1
    assert pooled.num_codes < single.num_codes / 8 + 1


def test_samples_have_less_information_than_means(small_model, digits):
    def noisy(batch):
        x = batch.x.flatten(1)
        return DiagonalGaussian(x, torch.full_like(x, 1.0))

    scores = {
        sample: probe_sets(noisy, digits.train, digits.test, sample=sample, kind="logistic")
        for sample in (True, False)
    }
    assert scores[True].accuracy < scores[False].accuracy - 0.05
    assert scores[True].conditional_entropy > scores[False].conditional_entropy + 0.1


def test_sets_of_a_mixture_are_sampled(digits, quick):
    def exact(batch):
        x = batch.x.flatten(1)
        return DiagonalGaussian(x, torch.full_like(x, -9.0))

    options = {"k_train": 2, "k_test": 2, "kind": "logistic", "accumulation": "mixture"}
    score = probe_sets(exact, digits.train, digits.test, **options)
    assert score.accuracy > 0.85  # a sample is one of the two members


def test_the_seed_determines_the_score(digits, quick):
    scores = [
        probe_sets(pixels, digits.test, digits.validation, k_test=2, kind="mlp", seed=seed)
        for seed in (0, 0, 1)
    ]
    assert scores[0] == scores[1] != scores[2]


def test_groups_are_matched_by_name_not_by_number(digits, quick):
    # The test split lacks a group, so its group numbers are shifted against those of training.
    some = digits.test.subset(digits.test.groups.index != 0)
    score = probe_sets(pixels, digits.train, some, sample=False, kind="logistic")
    assert score.accuracy > 0.9


def test_invalid_groups_and_kinds_are_refused(digits):
    one = GroupedData(torch.zeros(4, 1), [0] * 4)
    with pytest.raises(InputError, match=r"\b1$"):
        probe_sets(pixels, one, one)
    with pytest.raises(InputError, match=r"mlp, large_mlp, knn, plda, trees.*'svm'"):
        probe_sets(pixels, digits.train, digits.test, kind="svm")
    with pytest.raises(InputError, match=r"k_train=3.*4"):
        two = GroupedData(torch.rand(8, 1), [0, 1] * 4)
        probe_sets(pixels, two, two, k_train=3)
    many = GroupedData(torch.rand(100, 1), torch.arange(100) // 2)
    with pytest.raises(InputError, match=r"kind=trees.* 50"):
        probe_sets(pixels, many, many, kind="trees")
    other = GroupedData(digits.test.x, [10] * len(digits.test))
    with pytest.raises(InputError, match=r"group.* \[10\]"):
        probe_sets(pixels, digits.train, other)


def test_codes_without_information_leave_the_whole_entropy_at_every_k():
    # If held-out sets overlapped with training sets, the weights that are kept would overfit.
    train, test = (GroupedData(torch.randn(3000, 16), torch.arange(3000) % 10) for _ in range(2))
    for k in (1, 5):
        score = probe_sets(pixels, train, test, k_train=k, k_test=k)
        assert score.conditional_entropy < 3.322 + 0.1


def test_a_probe_of_few_codes_and_many_labels_is_trained_long_enough():
    labels = torch.arange(200).repeat(5)
    centres = torch.randn(200, 16)
    train, test = (
        GroupedData(centres[labels] + 0.3 * torch.randn(1000, 16), labels) for _ in range(2)
    )
    assert probe_sets(pixels, train, test).accuracy > 0.7
