"""Each rule of a measure's protocol, on codes for which a broken rule changes the score."""

import sys
from typing import cast

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression

from mlvae import DiagonalGaussian, GroupedData
from mlvae.data import Splits
from mlvae.evaluation import Factors, Fidelity, Likelihood, Separation, Subject, Unseen
from mlvae.evaluation.measures.codes import (
    accumulate_sets,
    encode,
    principal_components,
)
from mlvae.evaluation.measures.importance import importance_weighted_bound
from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import fit_probes
from mlvae.evaluation.measures.leakage.networks import Fit
from mlvae.evaluation.measures.leakage.scores import entropy
from mlvae.evaluation.measures.metrics import (
    beta_vae_score,
    calibrated_bits,
    dci,
    factor_vae_score,
)
from mlvae.evaluation.measures.probe_grid import GridCode, ProbeGrid
from mlvae.evaluation.questions import fidelity, unseen
from mlvae.evaluation.subject import Code
from mlvae.evidence.rules import ACCUMULATIONS
from mlvae.models import MLVAE, VAE
from mlvae.networks import MLP
from mlvae.posteriors import Point

RULES = sorted(ACCUMULATIONS)


def table(seed, number, dims, factors=4, values=3):
    """Codes of noise and factors that are independent of them."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((number, dims)), rng.integers(values, size=(number, factors))


# The bound


def test_one_draw_of_a_style_given_the_content_is_the_group_elbo():
    torch.manual_seed(0)
    model = MLVAE(
        (1, 8, 8), content_dim=3, style_dim=2, network=MLP((16,)), style_given_content=True
    )
    model = model.double().eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "encoder" in name:
                weights.mul_(3)
    # Copies of the groups are further groups, with noise of their own.
    copies = (torch.tensor([2, 0, 1, 0, 2, 2, 2]) + 3 * torch.arange(1000)[:, None]).flatten()
    data = GroupedData(torch.rand(7, 1, 8, 8).repeat(1000, 1, 1, 1), copies)
    drawn = importance_weighted_bound(model, data, num_content=1, num_style=1).view(1000, 3)
    batch = data.batch()
    batch = type(batch)(batch.x.double(), batch.groups, batch.given)
    with torch.no_grad():
        elbo = cast("torch.Tensor", model(batch).elbo).view(1000, 3)
    error = ((drawn.var(0) + elbo.var(0)) / 1000).sqrt()
    assert ((drawn.mean(0) - elbo.mean(0)).abs() < 4 * error).all(), (drawn.mean(0), elbo.mean(0))


def test_the_likelihood_of_groups_is_per_observation_for_the_model_and_the_vae(digits):
    torch.manual_seed(0)
    model = MLVAE((1, 8, 8), content_dim=2, style_dim=2, network=MLP((8,))).eval()
    vae = VAE((1, 8, 8), latent_dim=3, network=MLP((8,))).eval()
    question = Likelihood(sizes=(1, 4), groups=30, num_content=(4,), num_style=2)
    records = question.ask(Subject(model, digits, vae=vae)).metrics["importance_weighted"]
    bound = {
        (r["model"], r["group_size"]): r["bound_per_observation"].mean
        for r in cast("list[dict]", records)
    }
    test = digits.test
    for name, own in (("MLVAE", model), ("plain VAE", vae)):
        exact = float(importance_weighted_bound(own, test, num_content=4, num_style=2).sum())
        for size in (1, 4):
            assert bound[name, size] == pytest.approx(exact / len(test), rel=0.15)


# Codes


@pytest.mark.parametrize("rule", RULES)
def test_codes_of_sets_are_those_of_the_model_under_every_rule(rule, digits, small_model):
    model = small_model(accumulation=rule).eval()
    codes = {code.name: code for code in Subject(model, digits).codes()}
    content, data = codes["content"], digits.test
    sets = torch.stack([(data.groups.index == g).nonzero()[:5, 0] for g in range(3)])
    found = accumulate_sets(
        encode(content.representation, data), sets, accumulation=content.accumulation
    )
    with torch.no_grad():
        labels = torch.arange(3).repeat_interleave(5)
        expected = model.infer_content(data.x[sets.flatten()], labels).moments()
    torch.testing.assert_close(found.moments().mean, expected.mean)
    torch.testing.assert_close(found.moments().log_variance, expected.log_variance)
    assert codes["untrained"].accumulation == content.accumulation
    assert codes["style"].accumulation is None
    assert codes["raw"].accumulation is None


def test_a_prior_product_counts_the_prior_once(small_model, digits):
    model = small_model(accumulation="prior_product").eval()
    codes = {code.name: code for code in Subject(model, digits).codes()}
    assert codes["content"].accumulation == "prior_corrected"


def test_rules_of_accumulation_differ():
    torch.manual_seed(0)
    q = DiagonalGaussian(torch.randn(8, 3), torch.rand(8, 3) - 2)
    sets = torch.arange(8).view(2, 4)
    found = [accumulate_sets(q, sets, accumulation=rule).moments() for rule in (None, *RULES)]
    torch.testing.assert_close(
        found[0].mean, found[1 + RULES.index("product")].mean, rtol=0, atol=0
    )
    pairs = {(str(code.mean.tolist()), str(code.log_variance.tolist())) for code in found}
    assert len(pairs) >= len(RULES) - 1


def test_principal_components_of_some_observations_are_those_of_sorted_data():
    x = torch.zeros(1000, 3)
    x[:500, 0] = torch.linspace(-1, 1, 500)
    x[500:, 1] = torch.linspace(-5, 5, 500)
    data = GroupedData(x, [0] * 1000)
    first = encode(principal_components(data, 1, most=20), data).mean[:, 0]
    assert float(first[500:].std()) > 1 and float(first[:500].std()) < 0.5


# Probes


def test_a_probe_standardises_test_codes_by_the_training_codes(quick):
    labels = torch.arange(400) % 2
    codes = torch.randn(400, 3) + 8.0 * labels[:, None] + 5
    for kind in ("mlp", "logistic", "knn"):
        part = Drawn(codes, labels)
        (fitted,) = fit_probes(kind, [Fit(part, part, 2, 0)])
        for label in (0, 1):
            logs = fitted.log_probabilities(codes[labels == label])
            assert (logs.argmax(1) == label).all()


def grid_of(known_data, **options):
    train, test = known_data(80), known_data(80, seed=1)
    options = {"ks": (1, 2), "train_k": 2, "kinds": ("logistic",), "seeds": 2} | options
    return ProbeGrid(train, test, **options)


def encoded(code, grid):
    return GridCode(code, *(encode(code.representation, part) for part in (grid.train, grid.test)))


def test_samples_of_wide_posteriors_have_less_information_than_means(known_data, quick):
    def wide(batch):
        mean = batch.x[:, 0, 0]
        return DiagonalGaussian(2 * mean, torch.ones_like(mean))

    grid = ProbeGrid(known_data(400), known_data(400, seed=1), (1,), 1, ("logistic",), 1)
    records = grid.records([encoded(Code("wide", "wide", wide), grid)])
    found = {record["values"]: record["accuracy"].mean for record in records}
    assert found["means"] == 1 and found["samples"] < 0.8


def test_every_seed_has_other_training_and_test_sets(known_data):
    grid = grid_of(known_data)
    for k in (1, 2):
        assert not torch.equal(grid.train_sets(k, 0)[0], grid.train_sets(k, 1)[0])
        assert not torch.equal(grid.test_sets(k, 0), grid.test_sets(k, 1))
        assert torch.equal(grid.train_sets(k, 1)[0], grid_of(known_data).train_sets(k, 1)[0])


def test_no_observation_of_a_held_out_set_is_trained_on(known_data):
    def noise(batch):
        return Point(batch.x[:, 0, 1])

    train, test = known_data(1500), known_data(1500, seed=1)
    grid = ProbeGrid(train, test, (1, 5), 5, ("mlp",), 1)
    for k in (1, 5):
        own, held = grid.train_sets(k, 0)
        assert len(held) == 4 * (375 // k // 10) and not set(own.flatten().tolist()) & set(
            held.flatten().tolist()
        )
    records = grid.records([encoded(Code("noise", "noise", noise, random=False), grid)])
    for record in records:  # weights that fit the noise of the training sets are not kept
        if record["same_k"]:
            assert record["conditional_entropy_bits"].mean < record["label_entropy_bits"] + 0.1


def test_groups_without_two_sets_have_no_held_out_set(known_data):
    grid = grid_of(known_data, ks=(1, 11), train_k=11)  # 20 observations a group
    own, held = grid.train_sets(11, 0)
    assert torch.equal(own, held) and grid.without_held_out() == [11]


def test_networks_of_codes_of_several_dimensions_are_trained_in_one_batch(known_data, monkeypatch):
    grid = grid_of(known_data, seeds=2)
    codes = [
        encoded(Code(f"{dim} pixels", "", lambda b, n=dim: Point(b.x.flatten(1)[:, :n])), grid)
        for dim in (4, 7, 16)
    ]
    together = grid.records(codes)
    alone = [record for code in codes for record in grid.records([code])]
    assert len(together) == len(alone)
    for one, other in zip(together, alone, strict=True):
        assert {**one, "accuracy": 0, "conditional_entropy_bits": 0} == {
            **other,
            "accuracy": 0,
            "conditional_entropy_bits": 0,
        }
        for key in ("accuracy", "conditional_entropy_bits"):
            assert one[key] == pytest.approx(other[key], rel=1e-3)


def test_the_label_entropy_is_that_of_the_test_split(known, known_data, quick):
    test = known_data(160, seed=2)
    rare = torch.cat([(test.groups.index == g).nonzero()[: 4 * (g + 1), 0] for g in range(4)])
    splits = Splits(known_data(80), known_data(120, seed=1), test.subset(rare))
    answer = Separation(k=(1,), probes=("logistic",), seeds=1).ask(Subject(known, splits))
    frequency = np.array([4, 8, 12, 16]) / 40
    expected = -(frequency * np.log2(frequency)).sum()
    assert answer.metrics["label_entropy_bits"] == pytest.approx(expected)
    assert entropy(splits.train.groups.index) == pytest.approx(2)
    assert answer.metrics["chance_accuracy"] == pytest.approx(0.4)


# Factors


def test_categories_that_nothing_can_predict_have_no_bits(known, known_data):
    def noise(seed, number):
        data = known_data(number, seed=seed)
        data.x[:] = torch.rand(data.x.shape, generator=torch.Generator().manual_seed(seed))
        side = torch.randint(2, (number,), generator=torch.Generator().manual_seed(9 + seed))
        return GroupedData(data.x, data.groups.index, {"side": side.float()})

    splits = Splits(noise(1, 200), test=noise(2, 200))
    answer = Factors(categories=("side",), trees=30).ask(Subject(known, splits))
    records = cast("list[dict]", answer.metrics["records"])
    assert records and all(record["bits"] < 0.05 for record in records)


@pytest.mark.parametrize(
    "classifier", [LogisticRegression(), ExtraTreesClassifier(30, random_state=0)]
)
def test_calibrated_bits_of_noise_are_zero_for_every_seed(classifier):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((120, 5)), rng.integers(2, size=120)
        bits, entropy_bits, _ = calibrated_bits(
            classifier, (x[:60], y[:60]), (x[60:], y[60:]), seed=seed
        )
        assert bits == 0 and entropy_bits > 0.9


# Disentanglement


def test_votes_of_noise_are_tested_on_votes_that_assigned_nothing():
    x, y = table(0, 400, 40, factors=5, values=4)
    assert factor_vae_score(x, y, train=200, test=100) < 0.4


def test_votes_do_not_depend_on_the_scale_of_dimensions():
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=(2000, 2))
    x = (y + 0.1 * rng.standard_normal(y.shape)) * np.array([1, 100])
    assert factor_vae_score(x, y, train=200, test=100) == 1


def test_differences_of_noise_are_tested_on_other_draws():
    x, y = table(0, 400, 40, factors=5, values=4)
    assert beta_vae_score(x, y, train=100, test=400) < 0.4


def test_noise_has_an_informativeness_of_zero_not_below():
    x, y = table(0, 200, 4, factors=3, values=100)
    found = dci(x, y.astype(float), continuous=True, number=10)
    assert found.informativeness == 0


def test_the_seed_changes_the_trees_also_for_the_same_rows(monkeypatch):
    rows = np.arange(200)[60:], np.arange(200)[:60]
    module = sys.modules["mlvae.evaluation.measures.metrics.dci"]
    monkeypatch.setattr(module, "split_rows", lambda *_: rows)
    x, y = table(0, 200, 4, factors=2)
    first, again, other = (dci(x, y, number=5, seed=seed).importance for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


# Unseen groups


def test_the_components_of_the_control_are_those_of_the_training_split(
    known, known_data, monkeypatch
):
    fitted = []

    def spy(data, dim, **options):
        fitted.append(data)
        return principal_components(data, dim, **options)

    monkeypatch.setattr(unseen, "principal_components", spy)
    splits = Splits(known_data(40), unseen=known_data(40, seed=1))
    Unseen(shots=(1,), galleries=2, pairs=10).ask(Subject(known, splits))
    assert len(fitted) == 1 and fitted[0] is splits.train


def test_codes_with_equal_posteriors_have_equal_scores(known_data):
    class Twice(torch.nn.Module):
        """Content and style are the same code."""

        shape = (1, 4, 4)

        def __init__(self):
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.zeros(()))

        def codes(self, batch):
            row = batch.x[:, 0, 0] + batch.x[:, 0, 1]
            q = DiagonalGaussian(row, torch.zeros_like(row))
            return {"content": q, "style": q}

        def decode(self, content, style):
            raise NotImplementedError

    splits = Splits(known_data(40), unseen=known_data(60, seed=1))
    answer = Unseen(shots=(1, 3), galleries=3, pairs=50).ask(Subject(Twice(), splits))
    for kind in ("identification", "verification"):
        by_code = {"content": [], "style": []}
        for record in cast("list[dict]", answer.metrics[kind]):
            if (code := record["code"]) in by_code:
                by_code[code].append({k: v for k, v in record.items() if k != "code"})
        assert by_code["content"] == by_code["style"] and by_code["content"]
        assert 0 < by_code["content"][0].get("accuracy", by_code["content"][0].get("auc")).mean < 1


# Fidelity


def test_kept_classifiers_differ_by_seed_epochs_and_labels(digits, small_model, tmp_path):
    model = small_model().eval()
    few = Splits(digits.train.subset(range(300)), test=digits.test)

    def means(splits, *, seeds=2, epochs=1, **keep):
        answer = Fidelity(swaps=200, seeds=seeds, epochs=epochs, **keep).ask(
            Subject(model, splits)
        )
        return [record["accuracy"] for record in cast("list[dict]", answer.metrics["records"])]

    keep = {"keep": str(tmp_path)}
    plain = means(few)
    assert means(few, **keep) == plain and len(list(tmp_path.iterdir())) == 2
    assert means(few, **keep) == plain and len(list(tmp_path.iterdir())) == 2
    means(few, epochs=2, seeds=1, **keep)
    assert len(list(tmp_path.iterdir())) == 3
    train = few.train
    other = GroupedData(train.x, (train.groups.index + 1) % 10)
    means(Splits(other, test=digits.test), seeds=1, **keep)
    assert len(list(tmp_path.iterdir())) == 4


def test_every_seed_of_the_fidelity_has_other_pairs(digits, small_model, monkeypatch):
    shown = []
    monkeypatch.setattr(fidelity, "_classifier", lambda *_: None)

    def predict(classifier, pieces, observe):
        shown.append(torch.cat(pieces, 1))
        return torch.zeros(shown[-1].shape[1], dtype=torch.long)

    monkeypatch.setattr(fidelity, "_predict", predict)
    Fidelity(swaps=50, seeds=2).ask(Subject(small_model().eval(), digits))
    assert len(shown) == 6 and torch.equal(shown[0], shown[2])
    assert not torch.equal(shown[0], shown[3])
    assert not torch.equal(shown[0][0], shown[0][1])
