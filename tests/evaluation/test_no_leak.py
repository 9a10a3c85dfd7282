"""No measure uses the labels of test rows before it computes the score.

Every case runs twice: with the labels (or factors) of the test rows, and with a permutation of
them. Everything that was fitted or predicted must be equal, and only the score may change.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression

from mlvae import DiagonalGaussian, GroupedData
from mlvae.data import Splits
from mlvae.evaluation import Factors, Fidelity, Separation, Subject
from mlvae.evaluation.measures import nearest
from mlvae.evaluation.measures.codes import encode
from mlvae.evaluation.measures.leakage import testing
from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import PROBES
from mlvae.evaluation.measures.leakage.networks import Fit
from mlvae.evaluation.measures.leakage.strongest import strongest
from mlvae.evaluation.measures.metrics import (
    beta_vae_score,
    calibrated_bits,
    dci,
    factor_vae_score,
    sap,
)
from mlvae.evaluation.measures.metrics.table import split_rows
from mlvae.evaluation.measures.probe_grid import GridCode, ProbeGrid
from mlvae.evaluation.measures.probe_sets import probe_sets
from mlvae.evaluation.questions import fidelity
from mlvae.evaluation.subject import Code

METRICS = "mlvae.evaluation.measures.metrics."


def permuted(values):
    """A permutation of the rows that keeps the frequency of every value."""
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(len(values), generator=generator)
    return values[order] if isinstance(values, torch.Tensor) else values[order.numpy()]


class Bench(NamedTuple):
    """What a case works with.

    Attributes:
        known: a model with known codes.
        data: builds data for it.
        poison: permutes the labels of test rows, or leaves them.
        seen: the fitted state, which the spies fill.
        patch: pytest's monkeypatch.
    """

    known: Any
    data: Any
    poison: Callable
    seen: list
    patch: pytest.MonkeyPatch


def codes_of(seed=0, number=120, labels=3):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(labels, (number,), generator=generator)
    noise = torch.randn(number, 4, generator=generator)
    return torch.nn.functional.one_hot(y, 4).float() + 0.6 * noise, y


def table(seed=0, number=240):
    """Codes with one noisy dimension per factor, and the factors."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=(number, 3))
    return y + 0.4 * rng.standard_normal(y.shape), y


def splits_of(bench):
    """Splits of the known model; the labels of the test split may be permuted."""
    train, test = bench.data(200), bench.data(200, seed=1)
    test = GroupedData(test.x, bench.poison(test.groups.index))
    return Splits(train, test=test)


# Cases: each returns the score.


def single_probe(kind):
    def case(bench):
        train, held, (x, y) = (codes_of(seed) for seed in (0, 2, 1))
        fit = Fit(Drawn(*train), Drawn(*held), 3, 0)
        found = strongest({"a": fit}, Drawn(x, bench.poison(y)), (kind,), curve=False)
        return [found.accuracy, found.bits]

    return case


def probes_of_sets(bench):
    splits = splits_of(bench)
    return probe_sets(
        lambda batch: bench.known.codes(batch)["content"],
        splits.train,
        cast("GroupedData", splits.test),
        k_train=2,
        kind="logistic",
    )


def noisy(batch):
    """A code of some information, with samples that differ from its mean."""
    mean = batch.x[:, 0, 0] + batch.x[:, 0, 1]
    return DiagonalGaussian(mean, torch.full_like(mean, -2.0))


def probe_grid(bench):
    splits = splits_of(bench)
    test = cast("GroupedData", splits.test)
    grid = ProbeGrid(splits.train, test, (1, 3), 3, ("logistic",), 1)
    code = GridCode(
        Code("noisy", "noisy", noisy), encode(noisy, splits.train), encode(noisy, test)
    )
    return [record["accuracy"].mean for record in grid.records([code])]


def separation(bench):
    question = Separation(k=(1, 2), probes=("logistic",), seeds=1)
    records = question.ask(Subject(bench.known, splits_of(bench))).metrics["records"]
    return [record["accuracy"].mean for record in cast("list[dict]", records)]


def bits(classifier):
    def case(bench):
        (x, y), (test_x, test_y) = codes_of(0), codes_of(1)
        test = test_x.numpy(), bench.poison(test_y).numpy()
        return calibrated_bits(classifier(), (x.numpy(), y.numpy()), test)

    return case


def factors(bench):
    def part(seed, poison):
        data = bench.data(150, seed=seed)
        light = data.x[:, 0, 1, 0].clone()
        values = {"light": poison(light), "side": poison((light > 0.4).float())}
        return GroupedData(data.x, data.groups.index, values)

    splits = Splits(part(0, lambda values: values), test=part(1, bench.poison))
    subject = Subject(bench.known, splits)
    records = Factors(categories=("side",), trees=10).ask(subject).metrics["records"]
    return [record.get("r2", record.get("bits")) for record in cast("list[dict]", records)]


def votes(bench, module):
    """Permute the factors of the second table of votes; returns the first table and the second."""
    module = sys.modules[METRICS + module]
    tables = []
    draw = module.vote_tables

    def spy(*args, **kwargs):
        first, (vote, factor) = draw(*args, **kwargs)
        tables.extend([first, (vote, bench.poison(factor))])
        return tables[-2:]

    bench.patch.setattr(module, "vote_tables", spy)
    return tables


def beta_vae(bench):
    votes(bench, "betavae")
    return beta_vae_score(*table(), train=150, test=90, pairs=8)


def factor_vae(bench):
    tables = votes(bench, "factorvae")
    score = factor_vae_score(*table(), train=150, test=90, draws=3)
    # The assignment is not returned: it is checked by its predictions of the second table.
    (dimension, factor), (test_dimension, test_factor) = tables
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (factor, dimension), 1)
    expected = np.mean(counts.argmax(0)[test_dimension] == test_factor)
    bench.seen.append(round(score - expected, 9))
    return score


def with_poisoned_rows(bench, y):
    rows = split_rows(len(y), 1 / 3, 0)[1]
    y = y.copy()
    y[rows] = bench.poison(y[rows])
    return y


def trees(continuous):
    def case(bench):
        x, y = table()
        found = dci(x, with_poisoned_rows(bench, y), continuous=continuous, number=10)
        bench.seen.append((found.importance, found.disentanglement, found.completeness))
        return found.informativeness

    return case


def machines(bench):
    x, y = table()
    return sap(x, with_poisoned_rows(bench, y))


def few_shots(distance):
    def case(bench):
        x, y = codes_of(0)
        right, distance_of = nearest._right, nearest.DISTANCES[distance]

        def spy(codes, probes, gallery, own, distance):
            bench.seen.append((gallery.mean, gallery.variance, probes))
            return right(codes, probes, gallery, bench.poison(own), distance)

        def measured(*pair):
            bench.seen.append(distance_of(*pair))
            return cast("torch.Tensor", bench.seen[-1])

        bench.patch.setattr(nearest, "_right", spy)
        bench.patch.setitem(nearest.DISTANCES, distance, measured)
        q = DiagonalGaussian(x, torch.randn(x.shape, generator=torch.Generator().manual_seed(3)))
        return nearest.n_shot_accuracy(q, y, shots=3, galleries=4, distance=distance).mean

    return case


def classifier_of_swaps(bench):
    trained = fidelity._classifier

    def spy(*args):
        classifier = trained(*args)
        images = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            bench.seen.append(classifier(images)[0].mean)
        return classifier

    predict = fidelity._predict

    def predicted(*args):
        bench.seen.append(predict(*args))
        return cast("torch.Tensor", bench.seen[-1])

    bench.patch.setattr(fidelity, "_classifier", spy)
    bench.patch.setattr(fidelity, "_predict", predicted)
    answer = Fidelity(epochs=5, swaps=100, seeds=1).ask(Subject(bench.known, splits_of(bench)))
    return [record["accuracy"].mean for record in cast("list[dict]", answer.metrics["records"])]


CASES = {
    **{f"probe {kind}": single_probe(kind) for kind in PROBES},
    "probe of sets": probes_of_sets,
    "probe grid": probe_grid,
    "separation": separation,
    "calibrated bits, linear": bits(LogisticRegression),
    "calibrated bits, forest": bits(lambda: ExtraTreesClassifier(10, random_state=0)),
    "factors": factors,
    "beta_vae": beta_vae,
    "factor_vae": factor_vae,
    "dci of categories": trees(False),
    "dci of quantities": trees(True),
    "sap": machines,
    "n-shot, cosine": few_shots("cosine"),
    "n-shot, mahalanobis": few_shots("mahalanobis"),
    "fidelity": classifier_of_swaps,
}


def watch(patch, seen):
    """Record the predictions of every probe and of every estimator of scikit-learn."""
    tested = testing.tested

    def spied(probe, test, seed, **options):
        # The sets of a grid depend on the labels, so the predictions are those of fixed codes.
        fixed = torch.randn(30, test.dim, generator=torch.Generator().manual_seed(0))
        seen.append(probe.log_probabilities(fixed))
        return tested(probe, test, seed, **options)

    for name in ("leakage.strongest", "probe_grid", "probe_sets"):
        patch.setattr(sys.modules[f"mlvae.evaluation.measures.{name}"], "tested", spied)
    for mixin in (ClassifierMixin, RegressorMixin):

        def scored(self, x, y, *args, _score=mixin.score, **kwargs):
            seen.append((x, self.predict(x)))
            return _score(self, x, y, *args, **kwargs)

        patch.setattr(mixin, "score", scored)
    calibration = sys.modules[METRICS + "calibration"]
    cross_entropy = calibration._cross_entropy

    def calibrated(probabilities, y, *choice):
        seen.append((probabilities, *choice))  # the last has the chosen w and a
        return cross_entropy(probabilities, y, *choice)

    patch.setattr(calibration, "_cross_entropy", calibrated)


def flat(state):
    """All numbers of a nested state."""
    if isinstance(state, list | tuple):
        return [number for part in state for number in flat(part)]
    return np.asarray(state, dtype=np.float64).ravel().tolist()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_labels_of_test_rows_change_the_score_only(case, known, known_data):
    states, found = [], []
    for poison in (lambda values: values, permuted):
        with pytest.MonkeyPatch.context() as patch:
            seen: list = []
            watch(patch, seen)
            torch.manual_seed(0)
            score = case(Bench(known, known_data, poison, seen, patch))
            states.append(flat(seen))
            found.append(flat(score))
    assert states[0] and states[0] == states[1]
    assert found[0] != found[1]
