"""The question on codes of groups: the nearest code beside controls, and which codes are alike."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier

import mlvae
from mlvae import GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Codebook, Subject, evaluate
from mlvae.evaluation.measures.classes import CLASSIFIERS
from mlvae.evaluation.subject import known_splits
from mlvae.likelihoods import Gaussian
from mlvae.models import MLVAE, SVQVAE
from mlvae.networks import MLP

NAMES = ["ann", "bob", "eve", "joe"]


def data(number, seed):
    """Four groups with the means 0, 1, 2 and 3 in all of eight dimensions, and noise."""
    random = np.random.default_rng(seed)
    group = np.arange(number) % 4
    x = group[:, None] + random.normal(0, 0.7, (number, 8))
    return GroupedData(x.astype(np.float32), np.array(NAMES)[group])


def subject(model=None, **parts):
    torch.manual_seed(0)
    if model is None:
        model = SVQVAE(
            (8,), group_names=NAMES, latent_dim=6, network=MLP(()), likelihood=Gaussian()
        )
    splits = Splits(data(40, 0), **parts) if parts else Splits(data(40, 0), test=data(20, 1))
    return Subject(model, known_splits(model, splits)[0])


def accuracies(answer):
    return {
        (record["code"], record["classifier"], record["split"]): record["accuracy"].mean
        for record in answer.metrics["records"]
    }


def test_the_nearest_code_has_the_accuracy_of_the_models_own_classification():
    found = subject()
    answer = Codebook().ask(found)
    for split in ("train", "test"):
        part = getattr(found.splits, split)
        right = np.array(found.model.classify(part)) == part.labels
        measured = accuracies(answer)["latent", "nearest code", split]
        assert measured == pytest.approx(right.mean())
    assert "test split in percent: nearest code of latent" in answer.summary[0]


def test_codes_at_the_means_of_z_classify_as_the_nearest_mean_of_z():
    found = subject()
    train = found.splits.train
    z = found.model.infer(train.x).mean
    with torch.no_grad():
        found.model.codebook.copy_(train.groups.sum(z) / train.groups.sizes[:, None])
    measured = accuracies(Codebook().ask(found))
    for split in ("train", "test"):
        mean = measured["latent", "class_mean", split]
        assert measured["latent", "nearest code", split] == mean
    assert measured["raw", "class_mean", "test"] > 0.7  # 0.25 is chance
    # The model of this test is not trained: its encoder is that of the control.
    assert measured["untrained", "class_mean", "test"] > 0.4


def test_controls_are_those_of_scikit_learn():
    train, test = data(200, 0), data(90, 1)
    x, known = test.x, train.x
    label, number = train.groups.index, 4
    rows = torch.arange(150)
    few, classes = known[:150].numpy(), label[:150].numpy()
    means = np.array([known.numpy()[label.numpy() == k].mean(0) for k in range(4)])
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    expected = {
        "class_mean": cdist(x, means).argmin(1),
        "neighbours": KNeighborsClassifier(1).fit(few, classes).predict(x),
        "correlation": classes[cdist(x, few, "correlation").argmin(1)],
        "lda": lda.fit(few.astype(float), classes).predict(x.double()),
    }
    assert expected.keys() == CLASSIFIERS.keys()
    for name, classifier in CLASSIFIERS.items():
        found = classifier(x, known, label, number, rows=rows, neighbours=1)
        assert found.tolist() == expected[name].tolist(), name


def test_the_majority_of_the_neighbours_decides_and_of_equal_votes_the_nearer():
    train, label = torch.tensor([[0.0], [1.0], [1.2], [9.0]]), torch.tensor([0, 1, 1, 2])
    options = {"rows": torch.arange(4), "neighbours": 3}
    classify = CLASSIFIERS["neighbours"]
    assert classify(torch.tensor([[0.1]]), train, label, 3, **options).tolist() == [1]
    options["neighbours"] = 2
    assert classify(torch.tensor([[0.1]]), train, label, 3, **options).tolist() == [0]
    assert classify(torch.tensor([[0.9]]), train, label, 3, **options).tolist() == [1]


@pytest.mark.parametrize("name", ["class_mean", "neighbours"])
def test_units_with_a_large_offset_change_no_class(name):
    train, test = data(200, 0), data(90, 1)
    label, options = train.groups.index, {"rows": torch.arange(200), "neighbours": 5}
    shifted = [(x.double() + 2.0**14).float() for x in (test.x, train.x)]
    exact = [x - 2.0**14 for x in shifted]  # the same numbers without the offset
    found, expected = (CLASSIFIERS[name](*pair, label, 4, **options) for pair in (shifted, exact))
    assert torch.equal(found, expected)


def test_a_class_without_training_observations_is_never_the_nearest_mean():
    train, label = torch.tensor([[5.0], [9.0]]), torch.tensor([1, 2])
    options = {"rows": torch.arange(2), "neighbours": 1}
    found = CLASSIFIERS["class_mean"](torch.tensor([[0.0], [8.0]]), train, label, 3, **options)
    assert found.tolist() == [1, 2]


def test_distances_of_codes_are_correlations_and_mutual_neighbours_are_marked():
    found = subject()
    with torch.no_grad():  # ann and bob are alike, and eve and joe
        base = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
        noise = 0.1 * torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
        found.model.codebook.copy_(3 * base[[0, 0, 1, 1]] + noise)
    answer = Codebook().ask(found)
    codes = found.model.codebook.detach().double().numpy()
    np.testing.assert_allclose(answer.metrics["distance"], 1 - np.corrcoef(codes), atol=1e-9)
    nearest = {record["group"]: record for record in answer.metrics["nearest"]}
    assert {name: record["nearest"] for name, record in nearest.items()} == {
        "ann": "bob", "bob": "ann", "eve": "joe", "joe": "eve",
    }  # fmt: skip
    assert all(record["mutual"] for record in nearest.values())
    assert [row[:2] for row in answer.tables[2].rows] in (
        [["ann", "bob"], ["eve", "joe"]],
        [["eve", "joe"], ["ann", "bob"]],
    )
    assert answer.figures[0].name == "codes" and answer.figures[0].png[:4] == b"\x89PNG"
    means = found.splits.train.groups.sum(found.splits.train.x.double())
    pairs = np.triu_indices(4, 1)
    expected = np.corrcoef((1 - np.corrcoef(codes))[pairs], (1 - np.corrcoef(means))[pairs])[0, 1]
    assert answer.metrics["agreement"] == pytest.approx(expected)


def test_errors_are_those_of_the_decoded_code_and_of_the_means():
    found = subject()
    errors = {
        (record["value"], record["split"]): record["error"]
        for record in Codebook().ask(found).metrics["errors"]
    }
    train, test = found.splits.train, found.splits.test
    objective = found.model(test.batch())
    own = objective.per_observation["reconstruction"].mean().item()
    assert errors["decoded code", "test"] == pytest.approx(own, rel=1e-5)
    means = train.groups.sum(train.x) / train.groups.sizes[:, None]
    for split, part in (("train", train), ("test", test)):
        floor = (part.x - means[part.given["label"]]).square().mean().item()
        assert errors["mean of the group", split] == pytest.approx(floor, rel=1e-5)
    whole = train.x.var(0, correction=0).mean().item()
    assert errors["mean of all", "train"] == pytest.approx(whole, rel=1e-5)


def test_without_a_test_split_the_training_split_is_classified():
    model = subject().model
    found = Subject(model, known_splits(model, Splits(data(40, 0)))[0])
    answer = Codebook(controls=("neighbours",)).ask(found)
    assert list(accuracies(answer)) == [("latent", "nearest code", "train")]
    assert "on the train split" in answer.summary[0]


def test_a_model_without_codes_of_groups_has_one_line():
    answer = Codebook().ask(subject(MLVAE((8,), likelihood=Gaussian(), network=MLP(()))))
    assert answer.reason and "SVQVAE" in answer.reason and not answer.tables


@pytest.mark.parametrize(
    "options", [{"controls": ("svm",)}, {"neighbours": 0}, {"most": 1}, {"groups": 1}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"evaluation\.codebook\.{next(iter(options))}"):
        Codebook(**options)


def test_the_report_of_the_model_has_the_questions_that_fit_it(tmp_path):
    """z is probed; the code of the label is not; swaps and new groups are refused."""
    parts = {"test": data(24, 1), "unseen": GroupedData(torch.rand(8, 8), ["zoe"] * 8)}
    model, splits = subject().model, Splits(data(60, 0), validation=data(24, 2), **parts)
    questions = [
        mlvae.evaluation.Separation(k=(1,), probes=("logistic",), seeds=1),
        mlvae.evaluation.Unseen(),
        mlvae.evaluation.Fidelity(epochs=1),
        Codebook(),
        mlvae.evaluation.Likelihood(),
    ]
    metrics = evaluate(
        model, splits, tmp_path / "report", questions=questions, progress=False, workers=1
    )
    probed = {record["code"] for record in metrics["separation"]["records"]}
    assert probed == {"latent", "untrained", "raw"}
    assert "unseen split" in metrics["facts"] and metrics["unseen"] == metrics["fidelity"] == {}
    html = (tmp_path / "report" / "report.html").read_text()
    assert "no bound" in html and "no content and style to swap" in html
    assert "latent given the label" not in html
    assert "untrained encoder as control" not in metrics["facts"]


def test_discriminant_analysis_takes_images_in_colour_and_a_class_with_one_observation():
    noise = torch.Generator().manual_seed(0)
    label = torch.arange(61) % 3
    label[60] = 3
    x = torch.randn(61, 3 * 32 * 32, generator=noise) + 3 * label[:, None]
    options = {"rows": torch.arange(61), "neighbours": 1}
    assert torch.equal(CLASSIFIERS["lda"](x, x, label, 4, **options), label)
