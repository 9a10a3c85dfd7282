"""Scores of unseen groups agree with closed forms and exhaustive loops, without bias."""

import itertools
import math
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

from mlvae import DiagonalGaussian, Groups, InputError
from mlvae.evaluation.answer import estimate
from mlvae.evaluation.measures import nearest
from mlvae.evaluation.measures.nearest import compact, n_shot_accuracy, pair_distances
from mlvae.evaluation.measures.verification import _auc, _Curve, _eer, _pairs, verification

PHI = NormalDist().cdf


def points(mean):
    """Codes of equal variances."""
    return DiagonalGaussian(mean, torch.zeros_like(mean))


def clusters(sizes, dim=4, spread=1.0, scale=0.5, dtype=torch.float64):
    """Random codes around random centres, with random variances, in random order."""
    index = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    index = index[torch.randperm(len(index))]
    centres = torch.randn(len(sizes), dim, dtype=dtype)
    mean = centres[index] + spread * torch.randn(len(index), dim, dtype=dtype)
    return DiagonalGaussian(mean, scale * torch.randn_like(mean)), Groups(index)


def assert_close(estimate, expected, slack=0.0):
    """``estimate`` is within four standard errors plus ``slack`` of ``expected``."""
    assert abs(estimate.mean - expected) <= 4 * estimate.standard_error + slack, (
        estimate,
        expected,
    )


def apart(mean_a, variance_a, mean_b, variance_b, distance):
    """Distance of two codes in plain Python."""
    if distance == "mahalanobis":
        terms = zip(mean_a, variance_a, mean_b, variance_b, strict=True)
        return sum((a - b) ** 2 / (v + w) for a, v, b, w in terms)
    return 1 - sum(a * b for a, b in zip(mean_a, mean_b, strict=True)) / (
        math.hypot(*mean_a) * math.hypot(*mean_b)
    )


def two_classes(m, n=2000):
    """Classes N(m, 1) and N(-m, 1), each as n quantiles, which have no sampling noise."""
    quantile = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    mean = torch.cat((quantile + m, quantile - m))[:, None]
    return points(mean), Groups(torch.arange(2 * n) // n)


BOTH = pytest.mark.parametrize("distance", ["cosine", "mahalanobis"])


@BOTH
@pytest.mark.parametrize("shots", [1, 2])
def test_well_separated_groups_have_perfect_scores(distance, shots):
    index = torch.arange(60) % 5
    codes = points(10 * torch.eye(5)[index] + 0.01 * torch.randn(60, 5))
    score = n_shot_accuracy(codes, Groups(index), shots=shots, galleries=5, distance=distance)
    assert score == (1.0, 0.0, 0.2, 5, 60 - 5 * shots, 0.0)
    result = verification(codes, Groups(index), pairs=500, galleries=3, distance=distance)
    assert result.auc == pytest.approx((1, 0, 0)) and result.eer == pytest.approx((0, 0, 0))


@BOTH
def test_codes_without_information_score_chance(distance):
    # New codes in each repetition: galleries of the same codes share their chance deviations.
    accuracy, auc, eer = [], [], []
    for _ in range(20):
        codes, groups = clusters([40, 30, 20, 10])
        codes = codes[torch.randperm(100)]
        options = {"galleries": 3, "distance": distance}
        accuracy.append(n_shot_accuracy(codes, groups, shots=2, **options).mean)
        result = verification(codes, groups, pairs=300, **options)
        auc.append(result.auc.mean)
        eer.append(result.eer.mean)
    for values, chance in ((accuracy, 0.25), (auc, 0.5), (eer, 0.5)):
        assert_close(estimate(values), chance)


@BOTH
def test_equal_codes_score_chance_exactly(distance):
    # Without the rule for ties, the first and largest group would win all of them.
    codes, groups = points(torch.ones(20, 3)), Groups.of([0] * 14 + [1] * 3 + [2] * 3)
    score = n_shot_accuracy(codes, groups, shots=2, galleries=3, distance=distance)
    assert score == (
        pytest.approx(1 / 3),
        pytest.approx(0),
        pytest.approx(1 / 3),
        3,
        14,
        pytest.approx(0),
    )
    result = verification(codes, groups, pairs=100, galleries=2, distance=distance)
    assert result.auc == result.eer == pytest.approx((0.5, 0, 0))


@pytest.mark.parametrize("shots", [1, 3])
def test_no_observation_is_compared_with_itself(shots):
    # Codes that identify the observation but not the group.
    codes, groups = points(torch.eye(40)), Groups(torch.arange(40) % 4)
    score = n_shot_accuracy(codes, groups, shots=shots, galleries=20)
    assert score.mean == pytest.approx(0.25, abs=1e-12)
    if shots == 1:  # exact for one shot only; otherwise up to rounding
        score = n_shot_accuracy(codes, groups, shots=1, galleries=20, distance="mahalanobis")
        assert score.mean == 0.25
    for distance in nearest.DISTANCES:
        result = verification(codes, groups, pairs=5000, galleries=2, distance=distance)
        assert result.auc == result.eer == pytest.approx((0.5, 0, 0))


@pytest.mark.parametrize("shots", [1, 4])
def test_accuracy_of_two_gaussian_classes_agrees_with_the_closed_form(shots):
    # A probe x ~ N(m, 1) is nearer to a ~ N(m, 1/n) than to b ~ N(-m, 1/n) if a - b and
    # 2x - a - b have the same sign; they are independent N(2m, 2/n) and N(2m, 4 + 2/n).
    m = 0.7
    score = n_shot_accuracy(*two_classes(m), shots=shots, galleries=300, distance="mahalanobis")
    gallery, probe = 2 * m / math.sqrt(2 / shots), 2 * m / math.sqrt(4 + 2 / shots)
    expected = PHI(gallery) * PHI(probe) + PHI(-gallery) * PHI(-probe)
    assert score.standard_error < 0.02
    assert_close(score, expected, slack=0.002)


def test_verification_of_two_gaussian_classes_agrees_with_the_closed_form():
    # Differences are N(0, 2) within and N(+-2m, 2) between classes; their sum and difference are
    # independent N(2m, 4), and the former is smaller if both have the same sign.
    m = 0.9
    result = verification(*two_classes(m), distance="mahalanobis")
    assert_close(result.auc, PHI(m) ** 2 + PHI(-m) ** 2, slack=0.002)

    def excess(threshold):
        between = NormalDist(2 * m, math.sqrt(2))
        accepted = between.cdf(threshold) - between.cdf(-threshold)
        return accepted - 2 * NormalDist(0, math.sqrt(2)).cdf(-threshold)

    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    assert_close(result.eer, 2 * NormalDist(0, math.sqrt(2)).cdf(-low), slack=0.002)


@BOTH
def test_accuracy_agrees_with_a_loop_over_all_galleries(distance):
    codes, groups = clusters([3, 4, 5], dim=2, scale=2.0)
    mean, variance = codes.mean.tolist(), codes.variance.tolist()
    members = [(groups.index == group).nonzero()[:, 0].tolist() for group in range(3)]
    accuracy = []
    for gallery in itertools.product(*(itertools.combinations(rows, 2) for rows in members)):
        known = []
        for shots in gallery:
            precision = [sum(1 / variance[i][d] for i in shots) for d in range(2)]
            weighted = [sum(mean[i][d] / variance[i][d] for i in shots) for d in range(2)]
            centre = [w / p for w, p in zip(weighted, precision, strict=True)]
            known.append((centre, [1 / p for p in precision]))
        right = []
        for i in set(range(12)) - set(itertools.chain(*gallery)):
            distances = [apart(mean[i], variance[i], m, v, distance) for m, v in known]
            right.append(distances.index(min(distances)) == int(groups.index[i]))
        accuracy.append(sum(right) / len(right))
    score = n_shot_accuracy(codes, groups, shots=2, galleries=500, distance=distance)
    assert_close(score, sum(accuracy) / len(accuracy))
    assert score.standard_error < 0.02


@BOTH
def test_verification_agrees_with_a_loop_over_all_pairs(distance):
    # Groups of unequal sizes, one of a single member. All pairs must be equally likely.
    codes, groups = clusters([2, 9, 1, 5], dim=2, scale=2.0)
    mean, variance = codes.mean.tolist(), codes.variance.tolist()
    same, different = [], []
    for i, j in itertools.combinations(range(17), 2):
        kind = same if groups.index[i] == groups.index[j] else different
        kind.append(apart(mean[i], variance[i], mean[j], variance[j], distance))
    auc = sum(a < b for a, b in itertools.product(same, different)) / len(same) / len(different)
    result = verification(codes, groups, pairs=2000, galleries=20, distance=distance)
    assert_close(result.auc, auc)
    assert result.auc.standard_error < 0.01


def test_pairs_are_uniform_within_groups_and_between_groups():
    groups = Groups.of([3, 0, 1, 0, 2, 1, 0, 2, 1, 1])
    same, different = _pairs(groups, 20_000, torch.Generator().manual_seed(0))
    assert (groups.index[same[0]] == groups.index[same[1]]).all()
    assert (same[0] != same[1]).all()
    assert (groups.index[different[0]] != groups.index[different[1]]).all()
    for ends, number in ((same, 6 + 12 + 2), (different, 90 - 20)):
        counts = (10 * ends[0] + ends[1]).unique(return_counts=True)[1].double()
        assert len(counts) == number
        assert (counts - 20_000 / number).abs().max() < 5 * math.sqrt(20_000 / number)


def test_equal_error_rate_is_interpolated():
    # At thresholds 1, 2, 3: false accepts 0, 1/3, 1/3; false rejects 1/2, 1/2, 0.
    same, different = -np.array([1.0, 3.0, 3.0]), -np.array([2.0, 4.0, 5.0])
    curve = _Curve.of(same, different, np.array([0, 1, 2]), np.array([[0, 0, 1], [1, 2, 2]]))
    drawn = np.array([1, 1, 0])  # without the third group
    assert _auc(curve, drawn) == pytest.approx(0.5)
    assert _auc(curve) == pytest.approx(7 / 9)
    assert _eer(curve) == pytest.approx(1 / 3)
    assert math.isnan(_auc(curve, np.array([3, 0, 0])))


def test_the_roc_curve_is_that_of_scikit_learn_with_ties_and_weights():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    near, far = rng.integers(6, size=400), rng.integers(5, size=400)
    same, different = rng.integers(4, size=400), rng.integers(4, size=(2, 400))
    drawn = np.array([0, 2, 1, 1])
    weights = np.concatenate((drawn[same], drawn[different].prod(0)))
    label, nearness = np.repeat([1, 0], 400), np.concatenate((near, far))
    curve = _Curve.of(near, far, same, different)
    assert _auc(curve) == pytest.approx(roc_auc_score(label, nearness))
    expected = roc_auc_score(label, nearness, sample_weight=weights)
    assert _auc(curve, drawn) == pytest.approx(expected)


def test_the_sampling_error_is_that_of_new_groups():
    # 16 groups with codes of their own quality; the error is the spread over sets of new groups.
    def found(seed):
        noise = torch.Generator().manual_seed(seed)
        index = torch.arange(16).repeat_interleave(12)
        centres = torch.randn(16, 2, generator=noise)
        spread = torch.rand(16, 1, generator=noise)[index]
        mean = centres[index] + spread * torch.randn(len(index), 2, generator=noise)
        score = n_shot_accuracy(points(mean), Groups(index), shots=2, galleries=5)
        return score, verification(points(mean), Groups(index), pairs=500, galleries=2).auc

    results = [found(seed) for seed in range(25)]
    for part in (0, 1):
        means = np.array([result[part].mean for result in results])
        error = np.mean([result[part].sampling_error for result in results])
        assert 0.5 < error / means.std(ddof=1) < 1.6, part


def test_cosine_ignores_scale_and_rotation():
    codes, groups = clusters([20, 20, 20])
    a, b = torch.nn.functional.normalize(torch.randn(2, 4, 1, dtype=torch.float64), dim=1)
    rotation = (torch.eye(4) - 2 * a @ a.T) @ (torch.eye(4) - 2 * b @ b.T)
    codes = points(codes.mean)
    expected = n_shot_accuracy(codes, groups, shots=3, galleries=10)
    pairs = verification(codes, groups, pairs=1000, galleries=3)
    for mean in (1e-9 * codes.mean, 1e9 * codes.mean, codes.mean @ rotation):
        changed = points(mean)
        assert n_shot_accuracy(changed, groups, shots=3, galleries=10) == expected
        result = verification(changed, groups, pairs=1000, galleries=3)
        torch.testing.assert_close(result, pairs, rtol=1e-9, atol=1e-9)
    # For one shot, also with a separate scale of each observation.
    changed = points(codes.mean * torch.rand(60, 1, dtype=torch.float64).add(0.1))
    one_shot = n_shot_accuracy(codes, groups, shots=1, galleries=10)
    assert n_shot_accuracy(changed, groups, shots=1, galleries=10) == one_shot


def test_mahalanobis_ignores_the_units_of_each_dimension():
    codes, groups = clusters([20, 20, 20])
    units = torch.tensor([1e-3, 0.2, 7.0, 1e4], dtype=torch.float64)
    changed = DiagonalGaussian(codes.mean * units, codes.log_variance + 2 * units.log())
    options = {"galleries": 5, "distance": "mahalanobis"}
    assert n_shot_accuracy(codes, groups, shots=2, **options) == n_shot_accuracy(
        changed, groups, shots=2, **options
    )
    torch.testing.assert_close(
        verification(codes, groups, pairs=1000, **options),
        verification(changed, groups, pairs=1000, **options),
        rtol=1e-9,
        atol=1e-9,
    )


@BOTH
def test_more_shots_improve_the_accuracy_of_noisy_codes(distance):
    codes, groups = clusters([60] * 6, spread=1.5, scale=0.0)
    one, four, sixteen = (
        n_shot_accuracy(codes, groups, shots=shots, galleries=30, distance=distance)
        for shots in (1, 4, 16)
    )
    assert one.chance + 4 * one.standard_error < one.mean
    assert one.mean + 4 * one.standard_error < four.mean
    assert four.mean + 4 * four.standard_error < sixteen.mean


@BOTH
def test_members_of_small_variance_have_more_weight_in_the_gallery(distance):
    # About half of the members have a large error and a large variance.
    codes, groups = clusters([40] * 5, spread=0.1)
    vague = (torch.rand(200, 1) < 0.5).expand(-1, 4)
    noisy = codes.mean + 5 * vague * torch.randn_like(codes.mean)
    calibrated = DiagonalGaussian(noisy, torch.where(vague, 3.0, -3.0).double())
    options = {"shots": 4, "galleries": 30, "distance": distance}
    with_variances = n_shot_accuracy(calibrated, groups, **options)
    without = n_shot_accuracy(points(noisy), groups, **options)
    assert with_variances.mean > without.mean + 0.1


@BOTH
def test_order_of_observations_and_numbering_of_groups_do_not_matter(distance):
    codes, groups = clusters([10, 20, 30], spread=2.0)
    accuracy = {"shots": 2, "galleries": 100, "distance": distance}
    pairs = {"pairs": 500, "galleries": 10, "distance": distance}
    score = n_shot_accuracy(codes, groups, **accuracy)
    auc = verification(codes, groups, **pairs).auc
    order = torch.randperm(60)
    shuffled = codes[order], Groups(groups.index[order])
    renumbered = codes, Groups(torch.tensor([2, 0, 1])[groups.index])
    for case in (shuffled, renumbered):
        for a, b in (
            (score, n_shot_accuracy(*case, **accuracy)),
            (auc, verification(*case, **pairs).auc),
        ):
            assert abs(a.mean - b.mean) < 4 * math.hypot(a.standard_error, b.standard_error)


def test_small_groups_are_left_out():
    codes, groups = clusters([8, 3, 1, 8, 2])
    score = n_shot_accuracy(codes, groups, shots=2, galleries=5)
    assert (score.num_groups, score.chance, score.num_probes) == (3, 1 / 3, 6 + 1 + 6)
    large = (groups.sizes > 2)[groups.index]
    remaining = Groups.of(groups.index[large])
    assert n_shot_accuracy(codes[large], remaining, shots=2, galleries=5) == score


def test_the_seed_determines_the_draws():
    codes, groups = clusters([20, 20, 20])
    for question in (lambda **o: n_shot_accuracy(shots=1, **o), verification):
        first, again, other = (
            question(codes=codes, groups=groups, galleries=3, seed=seed) for seed in (0, 0, 1)
        )
        assert first == again != other


@BOTH
def test_chunks_do_not_change_the_result(distance, monkeypatch):
    codes, groups = clusters([30, 20, 10])
    accuracy = {"shots": 2, "galleries": 4, "distance": distance}
    pairs = {"pairs": 50, "galleries": 2, "distance": distance}
    score, result = (
        n_shot_accuracy(codes, groups, **accuracy),
        verification(codes, groups, **pairs),
    )
    for most in (1, 60):
        monkeypatch.setattr(nearest, "MOST_NUMBERS", most)
        torch.testing.assert_close(n_shot_accuracy(codes, groups, **accuracy), score)
        torch.testing.assert_close(verification(codes, groups, **pairs), result)


@BOTH
@pytest.mark.parametrize("log_variance", [-80.0, 80.0])
def test_extreme_variances_in_float32_do_not_change_the_scores(distance, log_variance):
    codes, groups = clusters([20, 20, 20], scale=0.0, dtype=torch.float32)
    codes = DiagonalGaussian(100 * codes.mean, codes.log_variance)
    extreme = DiagonalGaussian(codes.mean, codes.log_variance + log_variance)
    options = {"galleries": 4, "distance": distance}
    for question in (lambda *a, **o: n_shot_accuracy(*a, shots=2, **o), verification):
        assert question(extreme, groups, **options) == question(codes, groups, **options)


def test_codes_may_require_gradients_be_zero_or_have_half_precision():
    mean = torch.zeros(12, 3, dtype=torch.bfloat16)
    mean[:6, 0] = 1  # the means of the other group are zero
    codes = DiagonalGaussian(mean.requires_grad_(), torch.zeros_like(mean))
    groups = Groups(torch.arange(12) // 6)
    score = n_shot_accuracy(codes, groups, shots=1, galleries=2)
    assert score.mean == 0.75  # zero means have equal distance to both groups
    assert 0 < verification(codes, groups, pairs=100, galleries=2).auc.mean < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": 0}, "shots.* 1, not 0"),
        ({"shots": 1.5}, "shots.* 1.5"),
        ({"shots": 1, "galleries": 1}, "galleries.* 2, not 1"),
        ({"shots": 1, "distance": "cosin"}, "distance.*'cosine'"),
        ({"shots": 1, "seed": -1}, "seed.* 0, not -1"),
        ({"shots": 3}, r"shots=3 .* 4 .* 1 of 2.* 5"),
        ({"shots": 9}, r"shots=9 .* 10 .* 0 of 2"),
    ],
)
def test_n_shot_accuracy_refuses_invalid_arguments(options, message):
    with pytest.raises(InputError, match=message):
        n_shot_accuracy(*clusters([5, 3]), **options)


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ([5, 3], {"pairs": 0}, "pairs.* 1, not 0"),
        ([5, 3], {"galleries": 1}, "galleries.* 2, not 1"),
        ([5, 3], {"distance": "euclid"}, "distance.* cosine, mahalanobis.*'euclid'"),
        ([5], {}, "groups.* 1 groups of at most 5 "),
        ([1, 1, 1], {}, "groups.* 3 groups of at most 1 "),
    ],
)
def test_verification_refuses_invalid_arguments(sizes, options, message):
    with pytest.raises(InputError, match=message):
        verification(*clusters(sizes), **options)


@pytest.mark.parametrize("question", [lambda *a: n_shot_accuracy(*a, shots=1), verification])
def test_codes_must_fit_the_groups_and_be_finite(question):
    codes, groups = clusters([5, 3])
    with pytest.raises(InputError, match=r"codes.* 8 .*\(7, 4\)"):
        question(codes[:7], groups)
    with pytest.raises(InputError, match=r"codes.*\(N, D\).*\(8,\)"):
        question(DiagonalGaussian(codes.mean[:, 0], codes.log_variance[:, 0]), groups)
    for parameter in (codes.mean, codes.log_variance):
        before, parameter[2, 1] = parameter[2, 1].clone(), math.nan
        with pytest.raises(InputError, match=r"codes.* finite.* observation 2"):
            question(codes, groups)
        parameter[2, 1] = before


def test_the_matrix_product_for_one_variance_gives_the_same_accuracy(monkeypatch):
    torch.manual_seed(0)
    groups = Groups.of(torch.arange(5).repeat(8))
    mean = torch.randn(5, 60)[groups.index] + 3 * torch.randn(40, 60)
    codes = DiagonalGaussian(mean, torch.full_like(mean, -1.0))
    options = {"shots": 3, "galleries": 20, "distance": "mahalanobis"}
    fast = n_shot_accuracy(codes, groups, **options)
    monkeypatch.setattr(nearest, "_one_variance", lambda codes: False)
    assert n_shot_accuracy(codes, groups, **options) == fast
    assert 0.3 < fast.mean < 0.9


@BOTH
def test_compact_codes_have_the_same_distances_and_scores(distance):
    codes, groups = clusters([5, 4, 4], dim=200, spread=6.0)
    codes = DiagonalGaussian(codes.mean, torch.full_like(codes.mean, 0.3))
    few = compact(codes)
    assert few.mean.shape == few.log_variance.shape == (13, 13)
    options = {"distance": distance, "galleries": 5}
    for score in (partial(n_shot_accuracy, shots=2), partial(verification, pairs=100)):
        assert score(few, groups, **options) == score(codes, groups, **options)
    for a, b in itertools.combinations(range(13), 2):
        ends = torch.tensor([[a], [b]])
        expected = pair_distances(codes, ends, distance)
        assert pair_distances(few, ends, distance) == pytest.approx(expected, rel=1e-9)


def test_compact_returns_codes_of_unequal_variances_unchanged():
    codes, _ = clusters([3, 3], dim=20)
    assert compact(codes) is codes
    assert compact(points(torch.randn(9, 9))).mean.shape == (9, 9)


@BOTH
def test_compact_keeps_equal_codes_equal(distance):
    # Only two different codes: most distances are ties, which rounding must not break.
    images = torch.randn(2, 500)
    codes, groups = points(images[torch.arange(40) % 2]), Groups(torch.arange(40) // 10)
    few = compact(codes)
    assert few.mean.shape == (40, 2)
    options = {"distance": distance, "galleries": 3}
    assert n_shot_accuracy(few, groups, shots=1, **options).mean == pytest.approx(0.25, abs=0.1)
    assert verification(few, groups, **options).auc.mean == pytest.approx(0.5, abs=0.05)
    single = compact(points(torch.ones(40, 500)))
    assert n_shot_accuracy(single, groups, shots=1, **options).mean == pytest.approx(0.25)


def test_codes_may_be_means_and_groups_may_be_labels():
    mean = torch.randn(40, 3) + 2 * torch.eye(4)[torch.arange(40) % 4][:, :3]
    labels = [f"name {i % 4}" for i in range(40)]
    codes = DiagonalGaussian(mean, torch.zeros_like(mean))
    groups = Groups.of(labels)
    for same in (mean, mean.numpy()):
        assert n_shot_accuracy(same, labels, shots=2) == n_shot_accuracy(codes, groups, shots=2)
        assert verification(same, labels) == verification(codes, groups)
    numbers: Any = mean.tolist()
    with pytest.raises(InputError, match=r"codes.* list"):
        n_shot_accuracy(numbers, labels, shots=1)


def test_mixtures_are_scored_by_their_moments(small_model):
    model, x = small_model(accumulation="mixture"), torch.rand(30, 1, 8, 8)
    with torch.no_grad():
        codes = model.infer_content(x)
    labels = [i % 3 for i in range(30)]
    expected = n_shot_accuracy(codes.moments(), labels, shots=2)
    assert n_shot_accuracy(codes, labels, shots=2) == expected
