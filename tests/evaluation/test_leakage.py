"""The strongest probe finds a known number of bits, and nothing where there is nothing."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mlvae import DiagonalGaussian, GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Leakage, Subject, leakage
from mlvae.evaluation.measures.leakage import networks, trees
from mlvae.evaluation.measures.leakage.drawn import Drawn, Scale
from mlvae.evaluation.measures.leakage.kinds import NETWORKS, PROBES, fit_probes
from mlvae.evaluation.measures.leakage.networks import Fit, Schedule, fit_networks
from mlvae.evaluation.measures.leakage.scores import Rows
from mlvae.evaluation.measures.leakage.strongest import (
    Codes,
    _source,
    strongest,
    strongest_of_each,
)
from mlvae.evaluation.measures.leakage.targets import target_of
from mlvae.evaluation.measures.leakage.trees import fit_trees

LABELS, DIM, NOISE = 10, 4, 0.8

#: Numbers of training codes by source.
SOURCES = {"few": 400, "more": 1000}


def centres(distance):
    """Centres of the labels' normals, (LABELS, DIM)."""
    return distance * torch.randn(LABELS, DIM, generator=torch.Generator().manual_seed(5))


def posteriors(number, distance, seed):
    """Posteriors whose samples are normals N(centre of the label, I), and their labels."""
    noise = torch.Generator().manual_seed(seed)
    y = torch.randint(LABELS, (number,), generator=noise)
    spread = math.sqrt(1 - NOISE**2)
    mean = centres(distance)[y] + spread * torch.randn(number, DIM, generator=noise)
    return DiagonalGaussian(mean, torch.full_like(mean, 2 * math.log(NOISE))), y


def information(distance, codes, y):
    """Bits about the label in samples: log2 of p(code | label) over its mean, averaged."""
    x = codes.sample(generator=torch.Generator().manual_seed(6)).double()
    logs = -0.5 * torch.cdist(x, centres(distance).double()) ** 2
    right = logs.log_softmax(1).gather(1, y[:, None])
    return float(right.mean() / math.log(2)) + math.log2(LABELS)


def fit_of(distance, *, train=40_000, held=10_000):
    codes, held_codes = posteriors(train, distance, 1), posteriors(held, distance, 2)
    return Fit(Drawn(*codes), Drawn(*held_codes), LABELS, 0)


@pytest.fixture
def quick(monkeypatch):
    """Networks of 300 steps."""
    set_steps(monkeypatch, 300)


@pytest.fixture
def quickest(monkeypatch):
    """Networks of 100 steps, for labels that are easy."""
    set_steps(monkeypatch, 100)


def set_steps(monkeypatch, steps):
    for kind, (hidden, schedule) in NETWORKS.items():
        changed = schedule._replace(least=steps, most=steps)
        monkeypatch.setitem(NETWORKS, kind, (hidden, changed))


# Distances with 0.05, 0.3, 1 and 3 bits.
@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("distance", "bits"), [(0.135, 0.05), (0.35, 0.3), (0.73, 1.0), (4.0, 3.0)]
)
def test_a_known_number_of_bits_is_found_to_five_percent(distance, bits):
    codes, y = posteriors(200_000 if bits < 0.1 else 40_000, distance, 3)
    known = information(distance, codes, y)
    assert known == pytest.approx(bits, rel=0.2)
    found = strongest({"a": fit_of(distance)}, Drawn(codes, y), ("logistic", "mlp"), curve=False)
    assert found.bits == pytest.approx(known, rel=0.05)
    assert found.entropy == pytest.approx(math.log2(LABELS), abs=0.01)


def test_one_draw_and_few_codes_do_not_find_the_known_bits():
    distance = 0.35
    codes, y = posteriors(50_000, distance, 3)
    known = information(distance, codes, y)
    weak = fit_of(distance, train=400, held=100)
    once = Drawn(weak.train.draw(torch.Generator().manual_seed(0)), weak.train.y)
    found = strongest({"a": weak._replace(train=once)}, Drawn(codes, y), ("mlp",), curve=False)
    assert found.bits < 0.8 * known


def test_new_draws_find_more_than_one_draw():
    fit = fit_of(0.73, train=300, held=2000)
    once = Drawn(fit.train.draw(torch.Generator().manual_seed(0)), fit.train.y)
    anew, one = fit_networks(
        [fit, fit._replace(train=once)], (64,), Schedule(least=1000, most=1000)
    )
    assert anew.held_out < one.held_out - 0.01


@pytest.mark.parametrize("kind", PROBES)
def test_shuffled_labels_leave_chance(kind, quick):
    codes, y = posteriors(6000, 4.0, 1)
    shuffled = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    found = leakage(codes, shuffled, probes=(kind,), curve=False)
    assert found.bits < 0.01 and found.accuracy < found.chance + 3 * found.accuracy_error + 0.01


@pytest.mark.parametrize("kind", PROBES)
def test_every_probe_finds_labels_that_are_easy(kind, quick):
    found = leakage(*posteriors(3000, 20.0, 1), probes=(kind,), curve=False)
    assert found.probe == kind
    assert found.accuracy > 0.97 and found.bits > 0.85 * found.entropy


def test_a_label_of_no_linear_form_is_found_by_a_probe_that_is_not_linear():
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()  # no linear probe finds it
    found = leakage(x, y, probes=("logistic", "mlp"), curve=False)
    assert found.probe == "mlp" and found.accuracy > 0.9
    assert found.scores["codes", "logistic"].accuracy < 0.6


def test_a_label_in_differences_far_below_the_spread_is_found():
    y = torch.arange(2000) % 2
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 1e-3 * (y - 0.5)
    assert leakage(x, y, probes=("logistic",), curve=False).accuracy > 0.99


def test_the_test_labels_decide_nothing(quick):
    codes, y = posteriors(2000, 0.7, 1)
    fit, test = fit_of(0.7, train=2000, held=500), Drawn(codes, y)
    wrong = Drawn(codes, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))])
    kinds = ("logistic", "knn", "trees")
    one, other = (strongest({"a": fit}, part, kinds, curve=False) for part in (test, wrong))
    assert (one.probe, one.accuracy_probe) == (other.probe, other.accuracy_probe)
    assert one.bits > 0.5 and other.bits < 0.05


def test_the_probe_is_chosen_among_the_sources_by_held_out_codes(quick):
    good, codes = fit_of(0.7, train=3000, held=1000), posteriors(2000, 0.7, 3)
    noise = torch.randint(LABELS, (3000,), generator=torch.Generator().manual_seed(0))
    bad = good._replace(train=Drawn(good.train.codes, noise))
    for fits in ({"bad": bad, "good": good}, {"good": good, "bad": bad}):
        assert strongest(fits, Drawn(*codes), ("logistic",), curve=False).source == "good"


def test_the_curve_has_the_bits_by_number_of_codes(quick):
    found = leakage(*posteriors(6000, 0.73, 1), probes=("mlp",))
    numbers = [number for number, _ in found.curve]
    assert numbers == sorted(numbers) and len(numbers) == 4
    assert found.curve[-1][1] == pytest.approx(found.bits)
    assert found.curve[0][1] < found.curve[-1][1]


def test_a_network_does_not_depend_on_the_networks_trained_with_it(monkeypatch):
    fits = [fit_of(d, train=1000, held=300) for d in (0.7, 0.3)]
    together = fit_networks(fits, (16,), Schedule(least=200, most=200))
    alone = [fit_networks([fit], (16,), Schedule(least=200, most=200))[0] for fit in fits]
    x = torch.randn(50, DIM, generator=torch.Generator().manual_seed(0))
    for one, other in zip(together, alone, strict=True):
        logs = one.log_probabilities(x), other.log_probabilities(x)
        torch.testing.assert_close(*logs, rtol=0, atol=1e-4)


def test_the_gradients_of_networks_are_those_of_automatic_differentiation():
    generator = torch.Generator().manual_seed(0)
    for labels in (3, networks.FEW + 1):
        sizes = ((5, 7), (7, 6), (6, labels))
        weights = [
            torch.randn(3, *shape, generator=generator, dtype=torch.double).requires_grad_()
            for inputs, outputs in sizes
            for shape in ((inputs, outputs), (1, outputs))
        ]
        x = torch.randn(3, 9, 5, generator=generator, dtype=torch.double)
        y = torch.randint(labels, (3, 9), generator=generator)
        logits = networks._forward(weights, x)
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), y.flatten(), reduction="none"
        )
        losses = losses.view(3, 9).mean(1)
        expected = torch.autograd.grad(losses.sum(), weights)
        found = networks._differentiate(weights, x, y)
        torch.testing.assert_close(found, losses.detach())
        for weight, gradient in zip(weights, expected, strict=True):
            torch.testing.assert_close(weight.grad, gradient)


def test_a_network_that_memorises_ends_early_and_one_that_has_found_nothing_does_not(monkeypatch):
    steps = []
    differentiate = networks._differentiate
    monkeypatch.setattr(
        networks, "_differentiate", lambda *given: (steps.append(1), differentiate(*given))[1]
    )
    schedule = Schedule(least=400, most=400, rate=3e-3, full=1, patience=3)

    def found(fit, patience):
        steps.clear()
        (network,) = fit_networks([fit], (64,), schedule._replace(patience=patience))
        return network.held_out, len(steps)

    noise = torch.Generator().manual_seed(0)
    x, y = torch.randn(100, 20, generator=noise), torch.randint(4, (100,), generator=noise)
    x[:, 0] += y
    memorised = Fit(Drawn(x[:60], y[:60]), Drawn(x[60:], y[60:]), 4, 0)
    (early, fewer), (whole, most) = found(memorised, 3), found(memorised, None)
    assert fewer < 300 < most == 400 and early == whole
    plateau = fit_of(0.0, train=2000, held=500)  # no information: both entropies stay equal
    assert found(plateau, 1)[1] == 400


def test_several_codes_have_the_results_of_each_alone(monkeypatch):
    for kind, (hidden, schedule) in NETWORKS.items():
        few = schedule._replace(least=60, most=60)
        monkeypatch.setitem(NETWORKS, kind, (hidden, few))
    kinds, codes = ("logistic", "mlp", "knn"), []
    for distance in (0.35, 2.0):
        sources = {name: fit_of(distance, train=n, held=300) for name, n in SOURCES.items()}
        test = Drawn(*posteriors(500, distance, 3))
        codes.append(Codes(sources, test, curve=distance == 2.0))
    for found, each in zip(strongest_of_each(codes, kinds), codes, strict=True):
        alone = strongest(each.fits, each.test, kinds, curve=each.curve)
        assert (found.probe, found.source) == (alone.probe, alone.source)
        assert (found.bits, found.accuracy) == pytest.approx(
            (alone.bits, alone.accuracy), abs=0.01
        )
        assert list(found.scores) == list(alone.scores) and found.trained == alone.trained
        assert [n for n, _ in found.curve] == [n for n, _ in alone.curve]
        bits = [[value for _, value in one.curve] for one in (found, alone)]
        assert bits[0] == pytest.approx(bits[1], abs=0.01)
    assert len(found.curve) == 4  # of the last code alone


def test_boosting_ends_early_without_information_and_chooses_as_many_iterations(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(400, 2, generator=generator), torch.arange(400) % 3
    train, held = Drawn(x[:300], y[:300]), Drawn(x[300:], y[300:])
    early = fit_trees(train, held, 3, 0)
    assert early.classifier.n_iter_ == trees.STAGE
    monkeypatch.setattr(trees, "PATIENCE", trees.ITERATIONS)
    late = fit_trees(train, held, 3, 0)
    assert late.classifier.n_iter_ == trees.ITERATIONS
    assert early.iterations == late.iterations and early.held_out == pytest.approx(late.held_out)
    torch.testing.assert_close(early.log_probabilities(x), late.log_probabilities(x))
    # Where there is information, all iterations are made.
    train, held = (Drawn(part.codes + 10 * part.y[:, None], part.y) for part in (train, held))
    assert fit_trees(train, held, 3, 0).classifier.n_iter_ == trees.ITERATIONS


def test_probabilities_sum_to_one(quick):
    fit = fit_of(0.7, train=600, held=200)
    x = torch.randn(40, DIM, generator=torch.Generator().manual_seed(0))
    for kind in PROBES:
        logs = fit_probes(kind, [fit])[0].log_probabilities(x)
        assert logs.shape == (40, LABELS)
        torch.testing.assert_close(logs.exp().sum(1), torch.ones(40, dtype=torch.float64))


def test_a_dimension_without_variance_does_not_become_infinite():
    x = torch.cat((torch.randn(50, 1), torch.ones(50, 1)), 1)
    assert Scale.of(x)(x).isfinite().all()
    assert Scale.of(x)(torch.tensor([[0.0, 3.0]])).abs().max() <= 10
    assert Scale.of(torch.zeros(4, 2))(torch.zeros(4, 2)).isfinite().all()


def test_the_seed_determines_the_result(quick):
    codes, y = posteriors(1500, 0.7, 1)
    options = {"probes": ("logistic", "knn"), "curve": False}
    first, second, other = (leakage(codes, y, seed=s, **options) for s in (0, 0, 1))
    assert (first.bits, first.accuracy) == (second.bits, second.accuracy)
    assert first.bits != other.bits


def test_codes_and_labels_of_several_types_are_taken(quick):
    codes, y = posteriors(600, 4.0, 1)
    names = [f"person {number}" for number in y.tolist()]
    options = {"probes": ("logistic",), "curve": False}
    found = [
        leakage(values, labels, **options).accuracy
        for values in (codes.mean, codes.mean.double().numpy(), codes.mean.tolist())
        for labels in (y, y.numpy(), names)
    ]
    assert min(found) > 0.9


def test_the_codes_of_a_model_are_taken_with_their_gradients(small_model, digits, quick):
    posterior = small_model().codes(digits.test.batch())["style"]
    assert posterior.mean.requires_grad
    detached = DiagonalGaussian(posterior.mean.detach(), posterior.log_variance.detach())
    labels, options = digits.test.groups.index, {"probes": ("logistic", "knn"), "curve": False}
    for codes, plain in ((posterior, detached), (posterior.mean, detached.mean)):
        assert leakage(codes, labels, **options) == leakage(plain, labels, **options)


@pytest.mark.parametrize(
    ("codes", "labels", "message"),
    [
        (torch.zeros(6, 2), [0, 1] * 2, "6.*4"),
        (torch.zeros(6), [0, 1] * 3, r"\(N, D\)"),
        (torch.full((6, 2), math.nan), [0, 1] * 3, "NaN"),
        (np.array([["a"]] * 6), [0, 1] * 3, r"\(N, D\)"),
        (torch.zeros(6, 2), [0] * 6, "1"),
        (torch.zeros(6, 2), [0, 0, 0, 0, 0, 7], "7.*1"),
        (torch.zeros(6, 2), None, "labels"),
    ],
)
def test_codes_and_labels_that_do_not_fit_are_refused(codes, labels, message):
    with pytest.raises(InputError, match=message):
        leakage(codes, labels)


@pytest.mark.parametrize(
    ("option", "value"), [("probes", ()), ("probes", "mlp"), ("probes", ("forest",)), ("seed", -1)]
)
def test_wrong_options_are_refused(option, value):
    with pytest.raises(InputError, match=option):
        leakage(*posteriors(100, 1.0, 0), **{option: value})


def test_the_question_has_a_record_for_each_code(small_model, digits, quickest):
    answer = Leakage(probes=("logistic", "knn")).ask(Subject(small_model(), digits))
    records = {(r["code"], r["values"]): r for r in answer.metrics["records"]}
    assert set(records) == {
        *(
            (code, values)
            for code in ("content", "style", "untrained")
            for values in ("samples", "means")
        ),
        ("raw", "means"),
    }
    raw = records["raw", "means"]
    assert raw["accuracy"] > 0.85 and raw["num_test_codes"] == len(digits.test)
    assert {probe["trained_on"] for probe in raw["probes"]} == {"validation", "train"}
    assert records["content", "means"]["curve"] and not raw["curve"]
    assert len(answer.tables[0].rows) == len(records) + 2


def test_codes_beside_those_of_the_model_can_be_left_out(small_model, digits, quickest):
    subject = Subject(small_model(), digits)
    for controls, names in ((["raw"], {"content", "style", "raw"}), ([], {"content", "style"})):
        answer = Leakage(probes=("logistic",), controls=controls).ask(subject)
        assert {record["code"] for record in answer.metrics["records"]} == names
    with pytest.raises(InputError, match=r"evaluation\.leakage\.controls"):
        Leakage(controls=("pca",))


def test_batches_of_all_sizes_train(monkeypatch):
    monkeypatch.setattr(networks, "BATCH", 64)
    fit = fit_of(0.7, train=65, held=20)  # the last batch has one code
    assert math.isfinite(fit_networks([fit], (8,), Schedule(least=50, most=50))[0].held_out)


@pytest.mark.no_cover
def test_fine_structure_is_found_by_the_slow_probe_alone():
    """Six seconds: a fast probe reports half of the bits of a fine checkerboard, or fewer."""

    def board(number, seed):
        generator = torch.Generator().manual_seed(seed)
        z = torch.rand(number, 2, generator=generator)
        flipped = torch.rand(number, generator=generator) < 0.2
        return Drawn(z, ((6 * z).floor().sum(1) % 2).long() ^ flipped)

    train, held, test = (board(number, seed) for seed, number in enumerate((20_000, 2000, 5000)))
    x, y = test.draws(1, torch.Generator())
    truth = 1 + 0.2 * math.log2(0.2) + 0.8 * math.log2(0.8)
    found = {}
    for name in ("mlp", "large_mlp"):
        (network,) = fit_networks([Fit(train, held, 2, 0)], *NETWORKS[name])
        error = -network.log_probabilities(x)[torch.arange(len(y)), y].mean()
        found[name] = 1 - float(error) / math.log(2)
    assert found["mlp"] < 0.5 * truth < found["large_mlp"] < 1.05 * truth


@pytest.mark.parametrize(
    ("few", "many", "source"),
    [(2.300, 2.302, "many"), (2.302, 2.300, "many"), (2.200, 2.302, "few"), (2.302, 2.2, "many")],
)
def test_slow_probes_are_trained_on_the_most_codes_if_fast_ones_find_as_much(few, many, source):
    """A slow probe may find with many codes what a fast one does not find with any."""
    probes = {
        (name, kind): SimpleNamespace(held_out=loss)
        for name, best in (("few", few), ("many", many))
        for kind, loss in (("none", 2.303), ("mlp", best))
    }
    fits = {name: fit_of(0.1, train=number, held=10) for name, number in SOURCES.items()}
    fits = {"few": fits["few"], "many": fits["more"]}
    assert _source(probes, fits) == source


def test_the_matrix_has_each_grouping_and_each_factor_from_each_code(two, two_images, quickest):
    generator = torch.Generator().manual_seed(0)
    pairs = [(i, j) for i in range(3) for j in range(4)]
    poses = torch.randint(2, (480,), generator=generator).float()
    train, test = (two_images(n * pairs, poses[: 12 * n]) for n in (40, 20))
    question = Leakage(probes=("logistic",), factors=("pose", "light"))
    answer = question.ask(Subject(two, Splits(train, test=test)))
    found = {
        (r["grouping"], r["code"]): r["bits"]
        for r in answer.metrics["records"]
        if r["values"] == "means"
    }
    assert {grouping for grouping, _ in found} == {"first", "second", "pose"}
    own = {"first": "content_first", "second": "content_second", "pose": "style"}
    for grouping, code in found:
        bits = found[grouping, code]
        entropy = {"first": math.log2(3), "second": 2, "pose": 1}[grouping]
        if code == own[grouping] or code == "raw":
            assert bits > 0.9 * entropy
        elif code in own.values():
            assert bits < 0.1
    matrix = answer.tables[0]
    assert list(matrix.columns) == ["code", "first", "second", "pose"]
    assert [row[0] for row in matrix.rows[:3]] == list(own.values())
    assert "light" in " ".join(answer.summary)  # no such factor
    assert [figure.name for figure in answer.figures][:2] == ["leakage_first", "leakage_second"]


def test_observations_without_a_label_are_left_out_of_its_row(two, two_images, quickest):
    pairs = [(i, j) for i in range(3) for j in range(4)]
    data = two_images(40 * pairs, torch.zeros(480))
    second = data.groupings["second"].labels.tolist()
    second[::3] = [None] * 160
    groups = {"first": data.groupings["first"].labels, "second": second}
    part = GroupedData(data.x, groups=groups)
    answer = Leakage(probes=("logistic",)).ask(Subject(two, Splits(part, test=part)))
    number = {r["grouping"]: r["num_test_codes"] for r in answer.metrics["records"]}
    assert number == {"first": 480, "second": 320}
    best = max(r["bits"] for r in answer.metrics["records"] if r["grouping"] == "second")
    assert best > 1.8


# Groups that do not occur in training


def splits_with_unseen(digits, **others):
    """Digits 0 to 6 for the training, 7 to 9 as unseen groups."""
    new = torch.tensor([int(name) > 6 for name in digits.train.group_names])
    unseen = new[digits.train.groups.index]
    known = digits.train.subset((~unseen).nonzero()[:, 0])
    return Splits(known, unseen=digits.train.subset(unseen.nonzero()[:, 0]), **others)


def test_observations_of_unseen_groups_are_divided(small_model, digits, quickest):
    splits = splits_with_unseen(digits)
    answer = Leakage(probes=("logistic", "mlp")).ask(Subject(small_model(), splits))
    records = {(r["code"], r["values"]): r for r in answer.metrics["records"]}
    raw = records["raw", "means"]
    assert raw["accuracy"] > 0.95 and raw["bits"] > 0.9 * raw["label_entropy_bits"]
    assert raw["label_entropy_bits"] == pytest.approx(math.log2(3), abs=0.01)
    assert {r["tested_on"] for r in records.values()} == {"unseen"}
    assert {probe["trained_on"] for probe in raw["probes"]} == {"part of unseen"}
    used = len(splits.unseen)
    assert raw["num_test_codes"] == pytest.approx(0.3 * used, abs=3)
    held = 0.2 * (used - raw["num_test_codes"])
    trained = {probe["num_training_codes"] for probe in raw["probes"]}
    assert trained == {round(used - raw["num_test_codes"] - int(held))}
    assert f"{raw['num_test_codes']:,} others of the same groups" in " ".join(answer.summary)


def test_probes_of_unseen_groups_are_never_tested_on_their_training_codes(digits):
    target = target_of(splits_with_unseen(digits), digits.train.grouping, 0)
    assert target.divided and target.number == 3
    (source,) = target.sources
    trained, tested = set(target.rows[source].tolist()), set(target.rows["test"].tolist())
    assert not trained & tested and len(trained | tested) == len(target.test)
    assert len(target.labels["test"][target.rows["test"]].unique()) == 3


def test_a_probe_of_unseen_groups_learns_from_the_groups_of_the_training(small_model, digits):
    splits = splits_with_unseen(digits)
    target = target_of(splits, digits.train.grouping, 0)
    assert target.others.data is splits.train and len(target.others.rows) == len(splits.train)
    known = Splits(digits.train, test=digits.test)
    assert target_of(known, digits.train.grouping, 0).others is None
    answer = Leakage(probes=("plda",), controls=("raw",)).ask(Subject(small_model(), splits))
    told = f"PLDA was also trained on codes of {len(splits.train):,} observations"
    assert told in " ".join(answer.summary)
    (raw,) = [each for each in answer.metrics["records"] if each["code"] == "raw"]
    assert raw["probe"] == "plda" and raw["accuracy"] > 0.95


def test_a_divided_label_that_is_shuffled_leaves_chance(small_model, digits, quickest):
    unseen = splits_with_unseen(digits).unseen
    noise = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (len(unseen),), generator=noise).tolist()
    splits = Splits(splits_with_unseen(digits).train, unseen=GroupedData(unseen.x, labels))
    answer = Leakage(probes=("logistic", "mlp"), controls=("raw",)).ask(
        Subject(small_model(), splits)
    )
    for found in answer.metrics["records"]:
        assert found["bits"] < 0.05


def test_a_known_group_in_the_test_leaves_the_training_codes_to_the_probes(digits):
    splits = splits_with_unseen(digits, test=digits.test)
    # The test has unseen digits too, so no other split has all of its groups.
    assert target_of(splits, digits.train.grouping, 0).divided
    splits = Splits(digits.train, test=digits.test)
    target = target_of(splits, digits.train.grouping, 0)
    assert not target.divided and list(target.sources) == ["train"]


def test_the_tested_split_can_be_chosen(small_model, digits, quickest):
    splits = splits_with_unseen(digits)
    known = splits.train
    splits = Splits(known, test=known, unseen=splits.unseen)
    grouping = known.grouping
    assert target_of(splits, grouping, 0).number == target_of(splits, grouping, 0, "test").number
    target = target_of(splits, grouping, 0, "unseen")
    assert target.divided and target.test is splits.unseen
    answer = Leakage(("knn",), controls=(), split="unseen").ask(Subject(small_model(), splits))
    assert {record["tested_on"] for record in answer.metrics["records"]} == {"unseen"}
    for split, present in (("unseen", {"test": known}), ("test", {"unseen": splits.unseen})):
        answer = Leakage(split=split).ask(Subject(small_model(), Splits(known, **present)))
        assert answer.reason.endswith(f"evaluation.leakage.split is {split}")
    with pytest.raises(InputError, match=r"evaluation\.leakage\.split.*test.*unseen.*'train'"):
        Leakage(split="train")


def test_unseen_groups_with_fewer_than_three_observations_are_left_out(digits):
    y, names = digits.train.groups.index, [int(name) for name in digits.train.group_names]
    rows = [
        i
        for digit, number in ((7, 2), (8, 30), (9, 30))
        for i in (y == names.index(digit)).nonzero()[:number, 0]
    ]
    splits = Splits(
        splits_with_unseen(digits).train, unseen=digits.train.subset(torch.stack(rows))
    )
    target = target_of(splits, digits.train.grouping, 0)
    assert target.number == 2 and target.count("test") == 18
    splits = Splits(splits.train, unseen=digits.train.subset(torch.stack(rows[:32])))
    reason = target_of(splits, digits.train.grouping, 0)
    assert "1 have 3 observations" in reason
    answer = Leakage().ask(Subject(None, Splits(splits.train)))
    assert "neither a test split nor groups outside" in answer.reason


# Standard errors


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_the_error_of_bits_is_that_of_the_entropy_where_the_probe_is_certain(share):
    y = (torch.arange(1000) < 1000 * share).long()
    rows = Rows.of(torch.nn.functional.one_hot(y, 2).double().clamp_min(1e-12).log(), y, 1)
    slope = abs(math.log2((1 - share) / share))  # of the entropy by the share
    expected = slope * math.sqrt(share * (1 - share) / 1000)
    assert rows.information_error(y) == pytest.approx(expected, rel=0.15, abs=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_bits_of_a_probe_that_knows_the_frequencies_alone_have_no_error(share):
    y = (torch.arange(1000) < 1000 * share).long()
    logs = torch.tensor([1 - share, share]).double().log().expand(1000, -1)
    rows = Rows.of(logs, y, 1)
    assert rows.information_error(y) < 1e-9
    assert (rows.errors()[1] > 0.01) == (share < 0.5)  # of the cross-entropy by itself


def test_the_error_of_the_strongest_probe_is_that_of_its_bits(quickest):
    noise = torch.Generator().manual_seed(0)
    codes, y = torch.randn(600, 2, generator=noise), (torch.arange(600) % 10 == 0).long()
    found = leakage(codes, y, probes=("logistic",), curve=False)
    assert found.bits < 0.01 and found.bits_error < 0.01
