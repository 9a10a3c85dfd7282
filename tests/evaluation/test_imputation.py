"""Hidden cells of a table: mechanisms, errors, and the question."""

import numpy as np
import pandas as pd
import pytest
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.data import Splits, donors, uci
from mlvae.data.sources.donors import exact_values
from mlvae.data.tables.mechanisms import MECHANISMS, hidden
from mlvae.evaluation import Imputation, Subject
from mlvae.evaluation.measures.imputers import GROUPED, fitted, means_of_others
from mlvae.evaluation.measures.missing import errors
from mlvae.likelihoods import ColumnScale, MixedColumns
from mlvae.models import MLVAE, VAE, VSAE
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
    known = np.ones_like(cells)
    found = errors(filled, true, cells, columns, known)
    deviation = np.std([1.0, 3.0, 5.0])
    assert found.numbers == pytest.approx(np.sqrt((1 + 9) / 2) / deviation)
    assert found.categories == pytest.approx((0.5 + 0.5) / 2) and found.cells == 6
    nothing = errors(filled, true, np.zeros_like(cells), columns, known)
    assert np.isnan(nothing.numbers) and nothing.cells == 0
    known[2, 0] = False
    assert errors(filled, true, cells, columns, known).numbers == pytest.approx(np.sqrt(5) / 1)


def test_the_metric_of_hivae_is_that_of_an_example_by_hand():
    kinds = ("positive", "ordinal", "categorical", "binary", "real")
    levels = (1, 4, 2, 1, 1)
    columns = tuple(
        ColumnScale(kind, kind, levels=width) for kind, width in zip(kinds, levels, strict=True)
    )
    true = np.array([[2.0, 1, 0, 0, 0, 1, 0, 1, 5], [12, 0, 0, 1, 0, 1, 0, 0, 9]])
    filled = np.array([[5.0, 0, 0, 0, 1, 1, 0, 0.2, 0], [8, 0, 0, 1, 0, 0, 1, 0, 11]])
    cells = np.array([[True, True, True, True, False], [True, True, True, True, True]])
    found = errors(filled, true, cells, columns, np.ones_like(cells))
    number = np.sqrt((9 + 16) / 2) / 10  # over the range
    ordinal = (3 + 0) / 2 / 4  # mean shift over the number of levels
    expected = np.mean([number, ordinal, 1 / 2, 1 / 2, 2 / 4])
    assert found.hivae == pytest.approx(expected)
    squares = [9 / 25, 16 / 25, 4 / 4]  # over the variances 25 and 4
    assert found.pooled == pytest.approx(np.sqrt(np.mean(squares)))


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


# Groups


def test_the_means_of_other_rows_leave_out_the_row_itself():
    random = np.random.default_rng(0)
    rows, group = random.normal(size=(40, 3)), random.integers(0, 9, 40)
    rows[random.random(rows.shape) < 0.4] = np.nan
    found = means_of_others(rows, group)
    for row in range(40):
        others = rows[(group == group[row]) & (np.arange(40) != row)]
        for column in range(3):
            seen = others[:, column][~np.isnan(others[:, column])]
            expected = seen.mean() if len(seen) else np.nan
            assert found[row, column] == pytest.approx(expected, nan_ok=True)


def test_imputers_of_groups_use_the_other_rows_of_the_group():
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(200), 5)
    true = random.normal(size=(200, 1))[group] * [1, 1, 1] + 0.3 * random.normal(size=(1000, 3))
    gaps = np.where(random.random(true.shape) < 0.5, np.nan, true)
    errors_of = {}
    for name in ("mean", "iterative", *GROUPED):
        filled = fitted(name, gaps[:500], group[:500])(gaps[500:], group[500:])
        assert np.isfinite(filled).all() and filled.shape == (500, 3)
        seen = ~np.isnan(gaps[500:])
        assert (filled[seen] == true[500:][seen]).all()
        errors_of[name] = np.sqrt(np.square(filled - true[500:])[~seen].mean())
    assert errors_of["iterative_group"] < 0.8 * errors_of["iterative"]
    assert errors_of["group"] < 0.8 * errors_of["mean"]


def test_regressions_use_the_other_columns_for_a_category():
    random = np.random.default_rng(0)
    number = random.normal(size=600)
    level = (number > 0.2).astype(int)
    rows = np.column_stack((5 + 10 * number, np.eye(2)[level]))
    gaps, hidden_rows = rows.copy(), random.random(600) < 0.4
    gaps[hidden_rows, 1:] = np.nan
    columns = (ColumnScale("a"), ColumnScale("b", "categorical", levels=2))
    filled = fitted("iterative", gaps, np.arange(600), columns=columns)(gaps, np.arange(600))
    np.testing.assert_allclose(filled[:, 1:].sum(1), 1, atol=1e-9)
    wrong = filled[hidden_rows, 1:].argmax(1) != level[hidden_rows]
    assert wrong.mean() < 0.15 < 0.35 < level[hidden_rows].mean()
    assert (filled[~hidden_rows] == rows[~hidden_rows]).all()


def test_exact_values_of_donors_have_the_smallest_error():
    splits = donors(number=300, test=40, validation=5, missing=0.3, seed=3)
    x, group = splits.test.x.numpy(), splits.test.groups.index.numpy()
    random = np.random.default_rng(0)
    observed = random.random(x.shape) > 0.5
    deviation = x.std(0)
    exact = exact_values(np.where(observed, x, np.nan_to_num(0)), observed, group, seed=3)
    assert (exact[observed] == x[observed]).all()
    error = np.sqrt(np.square((exact - x) / deviation)[~observed].mean())
    alone = exact_values(x, observed, np.arange(len(x)), seed=3)
    alone_error = np.sqrt(np.square((alone - x) / deviation)[~observed].mean())
    seen = splits.train.given["observed"].numpy()
    rows = np.where(seen, splits.train.x.numpy(), np.nan)
    scale = np.nanmean(rows, 0), np.nanstd(rows, 0)
    imputer = fitted(
        "iterative_group", (rows - scale[0]) / scale[1], splits.train.groups.index.numpy()
    )
    gaps = (np.where(observed, x, np.nan) - scale[0]) / scale[1]
    filled = imputer(gaps, group) * scale[1] + scale[0]
    regression = np.sqrt(np.square((filled - x) / deviation)[~observed].mean())
    assert error < regression and error < 0.9 * alone_error


@pytest.mark.parametrize(
    "options", [{"number": 0}, {"rows": 0}, {"missing": 1.0}, {"seed": -1}, {"test": 0}]
)
def test_odd_options_of_donors_are_refused(options):
    with pytest.raises(InputError, match=f"dataset.{next(iter(options))}"):
        donors(**options)


def test_a_model_with_groups_is_also_asked_row_by_row():
    splits = donors(number=10, test=5, validation=2)
    torch.manual_seed(0)
    model = MLVAE(
        splits.train.shape,
        likelihood=MixedColumns.of(splits.train),
        network=MLP((8,)),
        cells="evidence",
        accumulation="prior_product",
    )
    controls = ("mean", "group", "iterative_group")
    question = Imputation(fractions=(0.5,), seeds=1, samples=3, controls=controls)
    answer = question.ask(Subject(model.eval(), splits))
    names = [record["imputer"] for record in answer.metrics["records"]]
    assert names == ["model", "row", *controls]
    assert answer.tables[0].rows[1][0] == "the model, row by row"


# Cells that the dataset hides


def test_cells_that_the_dataset_hides_are_measured_without_a_test():
    train = uci(entry="wine", hidden=0.5, grouped=True, test=0).train
    torch.manual_seed(0)
    options = {"likelihood": MixedColumns.of(train), "network": MLP((8,))}
    model = VSAE(train.shape, **options, mask="none").eval()
    controls = ("mean", "neighbours", "group", "iterative_group")
    answer = Imputation(samples=2, controls=controls).ask(Subject(model, Splits(train)))
    records = {record["imputer"]: record for record in answer.metrics["records"]}
    assert set(records) == {"model", *controls} and answer.metrics["mechanism"] == "dataset"
    hidden_cells, x = train.hidden.cells, train.hidden.x
    known = np.where(hidden_cells, np.nan, x)
    z = (np.nanmean(known, 0) - x) / x.std(0)
    expected = np.sqrt(np.square(np.where(hidden_cells, z, 0)).sum() / hidden_cells.sum())
    assert records["mean"]["pooled"].mean == pytest.approx(expected, rel=1e-5)
    assert records["mean"]["cells"] == hidden_cells.sum()
    assert records["group"]["numbers"].mean < 0.8 * records["mean"]["numbers"].mean


def test_hidden_cells_of_the_test_are_measured_before_those_of_the_training():
    splits = uci(entry="wine", hidden=0.3)
    model = VSAE(
        splits.train.shape, likelihood=MixedColumns.of(splits.train), network=MLP((8,))
    ).eval()
    answer = Imputation(samples=2, controls=("mean",)).ask(Subject(model, splits))
    assert answer.metrics["records"][0]["cells"] == splits.test.hidden.cells.sum()


def test_the_mean_of_positive_numbers_is_that_of_their_raw_values():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.uniform(0.1, 10, (1000, 2)), columns=list("ab"))
    kinds = {"a": "positive", "b": "positive"}
    train = GroupedData.from_frame(frame, np.arange(1000), kinds=kinds, missing="keep")
    model = VSAE(train.shape, likelihood=MixedColumns.of(train), network=MLP((8,))).eval()
    question = Imputation(fractions=(0.5,), seeds=1, samples=2, controls=("mean",))
    records = question.ask(Subject(model, Splits(train, test=train))).metrics["records"]
    assert records[1]["numbers"].mean == pytest.approx(1, abs=0.05)  # 1.16 with that of logarithms
