"""mlvae.sklearn.Imputer: the checks of scikit-learn, and values that may be there."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlvae import InputError
from mlvae.sklearn import Imputer


@parametrize_with_checks([Imputer(epochs=1, hidden=(8,), samples=2)])
def test_every_check_of_scikit_learn_passes(estimator, check):
    check(estimator)


def samples(number=600, missing=0.3, seed=0):
    """Five features of two hidden numbers, and which values are missing."""
    random = np.random.default_rng(seed)
    hidden = random.normal(size=(number, 2))
    X = hidden @ random.normal(size=(2, 5)) + 0.1 * random.normal(size=(number, 5))
    return X * [1, 10, 100, 0.1, 1] + 50, random.random(X.shape) < missing


@pytest.mark.no_cover
def test_imputed_values_are_nearer_than_the_mean():
    X, missing = samples()
    hidden = np.where(missing, np.nan, X)
    train, test = hidden[:500], hidden[500:]
    gone = missing[500:]

    def error(imputer):
        found = imputer.fit(train).transform(test)
        assert np.array_equal(found[~gone], test[~gone])
        return np.mean(
            [
                np.sqrt(np.square((found - X[500:])[gone[:, f], f]).mean()) / X[:, f].std()
                for f in range(5)
            ]
        )

    assert error(Imputer(random_state=0)) < 0.5 * error(SimpleImputer())


def test_codes_stay_codes_and_draws_differ():
    X, missing = samples()
    X[:, 1] = (X[:, 1] > 50) * 2 + 1  # the codes 1 and 3
    X[:, 2] = np.round(np.abs(X[:, 2] - 50))
    hidden = np.where(missing, np.nan, X)
    kinds = ["real", "categorical", "count", "positive", "real"]
    imputer = Imputer(kinds, epochs=3, sample_posterior=True, random_state=0).fit(hidden)
    found = imputer.transform(hidden)
    assert set(np.unique(found[:, 1])) == {1.0, 3.0}
    assert (found[:, 2] % 1 == 0).all() and (found[:, 3] > 0).all()
    assert np.array_equal(found, clone(imputer).fit(hidden).transform(hidden))
    with pytest.raises(InputError, match=r"x1.*7"):
        imputer.transform(np.where(np.arange(5) == 1, 7.0, hidden[:1]))


def test_it_is_a_step_of_a_pipeline():
    X, missing = samples()
    hidden = np.where(missing, np.nan, X)
    pipeline = make_pipeline(Imputer(epochs=5, random_state=0), LinearRegression())
    assert pipeline.fit(hidden, X[:, 0]).score(hidden, X[:, 0]) > 0.5


@pytest.mark.parametrize(
    ("kinds", "match"),
    [(["real"], "5 kinds"), ("real", "5 kinds"), (["real"] * 4 + ["words"], "'words'")],
)
def test_kinds_that_do_not_fit_are_refused(kinds, match):
    with pytest.raises(InputError, match=match):
        Imputer(kinds, epochs=1).fit(samples()[0])


def test_a_column_without_a_value_is_refused():
    X, _ = samples()
    X[:, 2] = np.nan
    with pytest.raises(InputError, match="x2"):
        Imputer(epochs=1).fit(X)


def test_features_that_lose_their_digits_in_float32_are_refused():
    X, missing = samples(60)
    X[missing] = np.nan
    X[:, 3] += 1e9
    with pytest.raises(InputError, match=r"column x3 .*subtract an offset"):
        Imputer(epochs=1).fit(X)


def test_dates_texts_and_masked_values_are_refused():
    day = pd.DataFrame({"day": pd.date_range("2020", periods=4), "x": range(4)})
    masked = np.ma.masked_less(np.arange(8.0).reshape(4, 2), 3)
    for samples, match in (
        (day, "column day"),
        (day[["x"]].astype(str), "texts"),
        (masked, "nan"),
    ):
        with pytest.raises(InputError, match=match):
            Imputer(epochs=1).fit(samples)
