"""mlvae.sklearn.ContentStyle: the checks of scikit-learn, pipelines, searches, routing."""

import logging
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlvae
from mlvae import InputError
from mlvae.errors import Diverged
from mlvae.likelihoods import Bernoulli
from mlvae.networks import Conv
from mlvae.sklearn import ContentStyle


@parametrize_with_checks(
    [
        ContentStyle(epochs=1, hidden=(8,)),
        ContentStyle(epochs=1, hidden=(8,), style_given_content=True, members=2),
    ]
)
def test_every_check_of_scikit_learn_passes(estimator, check):
    check(estimator)


DONORS = np.repeat([f"donor{number}" for number in range(10)], 12)


def cells(seed=0):
    """Five measurements of twelve cells of ten donors, in different units."""
    random = np.random.default_rng(seed)
    donor = random.normal(size=(10, 2))[np.repeat(range(10), 12)]
    both = np.hstack([donor, random.normal(size=(120, 1))])
    noise = 0.1 * random.normal(size=(120, 5))
    return (both @ random.normal(size=(3, 5)) + noise) * [1, 10, 100, 0.1, 1] + 50


X = cells()


def small(**options):
    return ContentStyle(
        **{"content_dim": 3, "style_dim": 2, "hidden": (16,), "epochs": 3, **options}
    )


LONGER = {"epochs": 300, "learning_rate": 0.01, "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    return small(**LONGER).fit(X, DONORS)


def test_a_fit_is_quiet_and_leaves_no_files(tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with caplog.at_level(logging.WARNING, logger="mlvae"):
        model = small().fit(X, DONORS)
    assert capsys.readouterr() == ("", "") and caplog.text == ""
    assert list(tmp_path.iterdir()) == [] and model.run_ is None


def test_a_run_is_written_if_it_has_a_name(tmp_path):
    model = small(run=tmp_path / "run").fit(X, DONORS)
    loaded = mlvae.load(model.run_)
    found = loaded.infer_style(torch.from_numpy(X[:3]).float()).mean.detach()
    np.testing.assert_allclose(found, model.transform(X[:3])[:, 3:], rtol=1e-3, atol=1e-5)


def test_verbose_shows_advice(caplog):
    small(verbose=True, epochs=1).fit(X, DONORS)
    assert "steps" in caplog.text


def test_the_same_random_state_gives_the_same_model():
    first, second, other = (
        small(random_state=state).fit_transform(X, DONORS) for state in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)
    state = torch.get_rng_state()
    small(random_state=0).fit(X, DONORS)
    assert torch.equal(torch.get_rng_state(), state)


def test_labels_may_be_y_or_groups():
    by_y = small(random_state=0).fit(X, DONORS)
    by_groups = small(random_state=0).fit(X, groups=DONORS)
    both = small(random_state=0).fit(X, np.arange(120) % 2, groups=pd.Series(DONORS))
    for model in (by_groups, both):
        np.testing.assert_array_equal(by_y.transform(X), model.transform(X))
    assert by_y.groups_.tolist() == sorted(set(DONORS))


@pytest.mark.parametrize("dtype", [np.int64, "Int64", "int64[pyarrow]"])
def test_identifiers_of_64_bits_stay_different_groups(dtype):
    first = 2**53  # the next integer is no float64
    labels = pd.Series([first, first + 1] * (len(X) // 2), dtype=dtype)
    assert small().fit(X, labels).groups_.tolist() == [first, first + 1]


def test_content_with_groups_is_the_content_of_the_group(fitted):
    codes = fitted.transform(X, groups=DONORS)
    content, names = fitted.content(X, DONORS)
    assert codes.shape == (120, 5) and names.tolist() == sorted(set(DONORS))
    np.testing.assert_array_equal(codes[:, :3], content.repeat(12, axis=0))
    np.testing.assert_allclose(codes[:, 3:], fitted.transform(X)[:, 3:], rtol=1e-12)
    pooled = fitted.model_.double().infer_content(X.astype(np.float32), DONORS).mean.detach()
    fitted.model_.float()
    np.testing.assert_allclose(content, pooled, rtol=1e-6, atol=1e-9)


def test_decoded_codes_are_in_the_units_of_the_samples(fitted):
    decoded = fitted.inverse_transform(fitted.transform(X))
    error = ((decoded - X) ** 2).mean(0) / X.var(0)
    assert decoded.shape == X.shape and error.max() < 0.9  # 1 is the error of the mean
    np.testing.assert_allclose(fitted.swap(X[:4], X[:4]), decoded[:4])
    swapped = fitted.swap(content_of=X[:1], style_of=X[5:9])
    codes = fitted.transform(X[5:9])
    codes[:, :3] = fitted.transform(X[:1])[:, :3]
    np.testing.assert_allclose(swapped, fitted.inverse_transform(codes))


def test_the_score_is_a_bound_in_nats_of_the_raw_sample(fitted):
    score = fitted.score(X, DONORS)
    assert score == fitted.score(X, groups=DONORS) == fitted.score(X, DONORS)
    assert score > fitted.score(X[:, ::-1].copy(), DONORS)
    wider = small(**LONGER).fit(1024 * X, DONORS)
    assert wider.score(1024 * X, DONORS) == pytest.approx(score - 5 * np.log(1024), rel=1e-3)


def test_more_training_has_a_better_score():
    scores = [small(epochs=n, random_state=0).fit(X, DONORS).score(X, DONORS) for n in (1, 60)]
    assert scores[1] > scores[0] + 1


def test_patience_stops_and_keeps_the_best_state():
    options = {"epochs": 300, "learning_rate": 0.05, "validation_fraction": 0.25}
    model = small(patience=2, random_state=0, **options).fit(X, DONORS)
    assert 2 < model.n_iter_ < 300
    assert small(epochs=2).fit(X, DONORS).n_iter_ == 2


def test_images_are_given_flat_with_their_shape():
    images = np.random.default_rng(0).uniform(size=(20, 64))
    options = {"network": Conv(widths=(4,)), "likelihood": Bernoulli(), "standardise": None}
    model = ContentStyle(2, 2, shape=(1, 8, 8), epochs=1, **options).fit(images, np.arange(20) % 4)
    assert model.inverse_transform(model.transform(images)).shape == (20, 64)


def test_a_frame_in_and_a_frame_out():
    frame = pd.DataFrame(X, columns=list("abcde"), index=[f"cell{i}" for i in range(120)])
    model = small().set_output(transform="pandas").fit(frame, DONORS)
    found = model.transform(frame)
    assert found.columns.tolist() == ["content0", "content1", "content2", "style0", "style1"]
    assert found.index.equals(frame.index)
    assert model.feature_names_in_.tolist() == list("abcde")
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame.rename(columns={"a": "z"}))


def test_a_copy_and_a_pickle_have_the_same_codes(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params() and not hasattr(fresh, "model_")


# Pipelines, searches and routing


TARGET = (np.repeat(range(10), 12) < 5).astype(int)


def test_groups_as_y_work_in_a_pipeline_and_a_search():
    coder = small(standardise=None, learning_rate=0.01, random_state=0)
    pipe = make_pipeline(StandardScaler(), coder)
    search = GridSearchCV(pipe, {"contentstyle__epochs": [1, 100]}, cv=GroupKFold(2))
    search.fit(X, DONORS, groups=DONORS)
    assert search.best_params_ == {"contentstyle__epochs": 100}
    one, hundred = search.cv_results_["mean_test_score"]
    assert hundred > one + 1  # nats per sample of unseen donors
    assert search.best_estimator_.transform(X).shape == (120, 5)


def test_groups_are_routed_beside_a_target():
    with config_context(enable_metadata_routing=True):
        codes = small(random_state=0).set_fit_request(groups=True)
        pipe = make_pipeline(codes, LogisticRegression())
        found = cross_validate(
            pipe, X, TARGET, cv=GroupKFold(5), params={"groups": DONORS}, return_estimator=True
        )
    assert len(found["test_score"]) == 5 and np.isfinite(found["test_score"]).all()
    assert [len(part[0].groups_) for part in found["estimator"]] == [8] * 5


# Errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small().fit(X), "requires y to be passed"),
        (lambda: small().fit(X, DONORS[:5]), "inconsistent numbers"),
        (lambda: small(shape=(2, 2)).fit(X, DONORS), r"shape must have 5.*\(2, 2\)"),
        (lambda: small(likelihood=Bernoulli()).fit(X, DONORS), "standardise.*Bernoulli"),
        (lambda: small(epochs=0).fit(X, DONORS), "epochs"),
        (lambda: small(members=0).fit(X, DONORS), "members"),
        (lambda: small(hidden=("a",)).fit(X, DONORS), "hidden"),
        (lambda: small(hidden=8).fit(X, DONORS), "hidden .*8"),
        (lambda: small(shape=5).fit(X, DONORS), "shape .*5"),
        (lambda: small(run="").fit(X, DONORS), "run .*empty"),
        (lambda: small(members=99).fit(X, DONORS), "members=99 .*group"),
        (
            lambda: small(patience=1, validation_fraction=0.01).fit(X, DONORS),
            "validation_fraction=0.01 .*patience=None",
        ),
        (lambda: small(patience=1, validation_fraction="a").fit(X, DONORS), "validation_fraction"),
        (lambda: small().fit(X, [1, *DONORS[1:]]), "labels .*type"),
        (lambda: small().fit(X, [None, *DONORS[1:]]), "labels .*missing"),
        (lambda: small().fit(X.astype(str), DONORS), "X .*texts"),
        (lambda: small().fit(np.ma.masked_greater(X, 0), DONORS), "masked"),
        (
            lambda: small().fit(
                pd.DataFrame({"day": pd.date_range("2020", periods=len(X))}), DONORS
            ),
            "column day of X .*dates",
        ),
        (lambda: small().fit(pd.DataFrame({"zip": ["01"] * len(X)}), DONORS), "column zip of X"),
        (lambda: small().fit(pd.DataFrame(X), pd.Series(DONORS)[::-1]), "order of X"),
        (lambda: small().fit(pd.DataFrame(X), groups=pd.Series(DONORS)[::-1]), "order of X"),
    ],
)
def test_arguments_that_do_not_fit_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_codes_of_another_width_are_refused(fitted):
    with pytest.raises(InputError, match="X must be numbers"):
        fitted.inverse_transform([["a"] * 5])
    with pytest.raises(InputError, match=r"\(n, 5\).*\(3, 4\)"):
        fitted.inverse_transform(np.zeros((3, 4)))


def test_a_divergence_does_not_name_a_folder_that_is_gone():
    with pytest.raises(Diverged, match="learning_rate") as raised:
        small(learning_rate=1e30, standardise=None, epochs=20).fit(X, DONORS)
    assert "tmp" not in str(raised.value) and "run=" in str(raised.value)


def test_a_signal_ends_a_search(monkeypatch):
    monkeypatch.setattr(
        "mlvae.sklearn.content_style.train",
        lambda *_, run, **__: mlvae.training.trainer.Result(run, {}, False),
    )
    with pytest.raises(KeyboardInterrupt):
        small().fit(X, DONORS)
