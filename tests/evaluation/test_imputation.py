"""Hidden cells of a table: mechanisms, errors, and the question."""

import numpy as np
import pandas as pd
import pytest
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Imputation, Subject
from mlvae.evaluation.measures.missing import MECHANISMS, errors, hidden
from mlvae.likelihoods import ColumnScale, MixedColumns
from mlvae.models import VAE, VSAE
from mlvae.networks import MLP


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_fraction_is_that_of_the_cells_that_may_be_hidden(mechanism):
    random = np.random.default_rng(0)
    values = random.normal(size=(5000, 6))
    observed = random.random(values.shape) < 0.8
    cells = hidden(values, observed, 0.3, mechanism, 1)
    assert not (cells & ~observed).any()
    columns = [c for c in range(6) if cells[:, c].any()]
    assert len(columns) == (3 if mechanism == "mar" else 6)
    assert cells[:, columns].sum() / observed[:, columns].sum() == pytest.approx(0.3, abs=0.02)
    gap = values[cells].mean() - values[observed & ~cells].mean()
    assert (gap > 1) == (mechanism == "mnar")
    assert (hidden(values, observed, 0.3, mechanism, 1) == cells).all()
    assert (hidden(values, observed, 0.3, mechanism, 2) != cells).any()


def test_errors_are_those_of_the_formulas():
    columns = (
        ColumnScale("a", deviation=2.0),
        ColumnScale("b", "categorical", levels=3),
        ColumnScale("c", "binary"),
    )
    true = np.array([[1.0, 0, 1, 0, 1], [3.0, 1, 0, 0, 0], [5.0, 0, 0, 1, 1]])
    filled = np.array([[2.0, 0.1, 0.7, 0.2, 0.9], [3, 0.2, 0.3, 0.5, 0.6], [8, 0, 0, 1, 0.4]])
    cells = np.array([[True, True, True], [False, True, True], [True, False, False]])
    found = errors(filled, true, cells, columns, np.array([2.0, 0, 0]))
    assert found.numbers == pytest.approx(np.sqrt((1 + 9) / 2) / 2)
    assert found.categories == pytest.approx((0.5 + 0.5) / 2) and found.cells == 6
    nothing = errors(filled, true, np.zeros_like(cells), columns, np.array([2.0, 0, 0]))
    assert np.isnan(nothing.numbers) and nothing.cells == 0


def table(number, seed):
    random = np.random.default_rng(seed)
    hidden_numbers = random.normal(size=(number, 2))
    weights = np.random.default_rng(9).normal(size=(2, 4))
    numbers = hidden_numbers @ weights + 0.1 * random.normal(size=(number, 4))
    frame = pd.DataFrame(numbers * [1, 10, 100, 1] + 5, columns=list("abcd"))
    frame["e"] = np.where(hidden_numbers[:, 0] > 0, "up", "down")
    return frame.mask(random.random(frame.shape) < 0.1)


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    train = GroupedData.from_frame(table(500, 0), np.arange(500), categories=["e"], missing="keep")
    test = GroupedData.from_frame(table(150, 1), np.arange(150), like=train, missing="keep")
    torch.manual_seed(0)
    model = VSAE(train.shape, likelihood=MixedColumns.of(train), network=MLP((64,)), mask="none")
    mlvae.train(
        model,
        train,
        run=tmp_path_factory.mktemp("runs") / "table",
        epochs=150,
        batching=mlvae.data.Shuffled(50),
        optimizer=mlvae.Adam(3e-3),
        reports=mlvae.Reports(progress=False, pictures_every=None),
    )
    return Subject(model.eval(), Splits(train, test=test))


def test_the_model_and_the_controls_are_compared(subject):
    answer = Imputation(fractions=(0.3,), seeds=2, samples=20).ask(subject)
    records = {record["imputer"]: record for record in answer.metrics["records"]}
    assert set(records) == {"model", "mean", "neighbours", "iterative"}
    numbers = {name: record["numbers"].mean for name, record in records.items()}
    wrong = {name: record["categories"].mean for name, record in records.items()}
    assert numbers["mean"] == pytest.approx(1, abs=0.1)
    assert numbers["iterative"] < 0.7 and numbers["model"] < 0.7
    assert wrong["mean"] > 0.35 and wrong["model"] < 0.25
    assert len(answer.tables) == 2 and answer.tables[0].rows[0][0] == "the model"


def test_models_without_missing_cells_are_not_asked():
    data = GroupedData(torch.rand(6, 12), [0, 1, 2] * 2, kind="array")
    answer = Imputation().ask(Subject(VAE((12,)), Splits(data, test=data)))
    assert "missing cells" in answer.reason


@pytest.mark.parametrize(
    "options",
    [{"fractions": (1.0,)}, {"mechanism": "none"}, {"controls": ("forest",)}, {"seeds": 0}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=r"evaluation\.imputation"):
        Imputation(**options)
