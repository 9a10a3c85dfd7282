"""Tables of pandas, polars and pyarrow as grouped data, and new tables in the same way."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.data import Column, Columns, Splits
from mlvae.likelihoods import LearnedGaussian
from mlvae.networks import MLP

QUIET = mlvae.Reports(progress=False, pictures_every=None)


def frame(**changed):
    """Six cells of three donors with a column of every kind."""
    columns = {
        "donor": ["ann", "ann", "bob", "eve", "bob", "eve"],
        "age": [4, 5, 7, 5, 6, 9],
        "weight": [0.5, 1.5, 2.5, -1.0, 0.0, 3.25],
        "smoker": [True, False, True, True, False, False],
        "colour": pd.Categorical(["red", "blue", "red", "red", "blue", "blue"]),
    }
    return pd.DataFrame({**columns, **changed})


LIBRARIES = {
    "pandas": lambda df: df,
    "polars": lambda df: pl.from_pandas(df),
    "pyarrow": lambda df: pa.Table.from_pandas(df, preserve_index=False),
}
every_library = pytest.mark.parametrize("convert", LIBRARIES.values(), ids=LIBRARIES)
NAMES = ["age", "weight", "smoker", "colour=blue", "colour=red"]
X = [
    [4, 0.5, 1, 0, 1],
    [5, 1.5, 0, 1, 0],
    [7, 2.5, 1, 0, 1],
    [5, -1, 1, 0, 1],
    [6, 0, 0, 1, 0],
    [9, 3.25, 0, 1, 0],
]


@every_library
def test_columns_of_every_kind_become_features_with_names(convert, capsys):
    data = GroupedData.from_frame(convert(frame()), group="donor")
    assert data.feature_names == NAMES
    assert data.x.tolist() == X and data.x.dtype == torch.float32
    assert data.labels.tolist() == frame()["donor"].tolist()
    assert data.names.tolist() == list(range(6))
    said = capsys.readouterr().out
    assert "smoker" in said and "colour=blue, colour=red" in said and said.count("\n") == 1


@every_library
def test_numbers_alone_are_not_announced(convert, capsys):
    GroupedData.from_frame(convert(frame()), "donor", features=["age", "weight"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=np.uint8),
        np.arange(6, dtype=np.float16),
        pd.array([0, 1, 2, 3, 4, 5], dtype="Int64"),
        pd.array([0, 1, 2, 3, 4, 5], dtype="Float32"),
        pd.array([0, 1, 2, 3, 4, 5], dtype="int64[pyarrow]"),
        [Decimal(number) for number in range(6)],
        np.array([0, 1.0, 2, 3, 4, 5], dtype=object),
    ],
    ids=lambda values: str(getattr(values, "dtype", "decimal")),
)
def test_numbers_of_every_type_are_numbers(values):
    data = GroupedData.from_frame(frame(age=values), "donor", features=["age"])
    assert data.x[:, 0].tolist() == [0, 1, 2, 3, 4, 5]  # 8-bit integers are no grey levels


@pytest.mark.parametrize("dtype", ["bool", "boolean", object])
def test_booleans_of_every_type_are_1_and_0(dtype):
    values = pd.Series([True, False, True, True, False, False], dtype=dtype)
    data = GroupedData.from_frame(frame(smoker=values), "donor", features=["smoker"])
    assert data.x[:, 0].tolist() == [1, 0, 1, 1, 0, 0]


@every_library
def test_text_and_integers_are_categories_if_they_are_listed(convert):
    table = convert(frame(city=["x", "y", "x", "z", "z", "x"]))
    data = GroupedData.from_frame(
        table, "donor", features=["city", "age"], categories=["city", "age"]
    )
    assert data.feature_names == [
        "city=x",
        "city=y",
        "city=z",
        *[f"age={n}" for n in (4, 5, 6, 7, 9)],
    ]
    assert data.x.sum(1).tolist() == [2.0] * 6


REFUSED = {
    "text": ({"age": list("abcdef")}, r"column age is text.*categories=\['age'\]"),
    "NaN": ({"weight": [np.nan, 1, 2, np.nan, 4, 5]}, r"column weight has 2 of 6.*dropna"),
    "pandas.NA": (
        {"age": pd.array([1, None, 3, 4, 5, 6], dtype="Int64")},
        "column age has 1 of 6",
    ),
    "None": ({"smoker": [True, None, True, True, True, True]}, "column smoker has 1 of 6"),
    "no category": ({"colour": pd.Categorical(["a", None] * 3)}, "column colour has 3 of 6"),
    "infinity": ({"weight": [np.inf, 1, 2, 3, 4, -np.inf]}, "column weight.*2 of 6"),
    "1e300": ({"weight": [1e300, 1, 2, 3, 4, 5]}, "column weight.*1e\\+300"),
    "dates": ({"age": pd.to_datetime(["2020-01-01"] * 6)}, "column age has dates"),
    "lists": ({"age": [[1], [2], [3], [4], [5], [6]]}, "column age must be numbers"),
    "an offset": ({"age": 1e9 + np.arange(6)}, "column age loses its digits"),
    "no group": ({"donor": ["ann", None, "bob", "bob", "eve", "eve"]}, "column donor.*1 of 6"),
}


@pytest.mark.parametrize(("changed", "message"), REFUSED.values(), ids=REFUSED)
def test_a_column_that_cannot_be_converted_is_named(changed, message):
    with pytest.raises(InputError, match=message) as raised:
        GroupedData.from_frame(frame(**changed), "donor")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_cells_of_polars_are_counted(missing):
    table = pl.DataFrame({"donor": ["a", "b", "b"], "age": [1.0, missing, None]})
    with pytest.raises(InputError, match="column age has 2 of 3"):
        GroupedData.from_frame(table, "donor")


MISUSED = {
    "unknown group": (lambda: {"group": "doner"}, "group.*'doner'.*'donor'"),
    "unknown feature": (lambda: {"features": ["age", "wight"]}, "features.*'wight'.*'weight'"),
    "unknown factor": (lambda: {"factors": ["sex"]}, "factors.*'sex'"),
    "unknown split": (lambda: {"split": "part"}, "split.*'part'"),
    "unknown category": (lambda: {"categories": ["town"]}, "categories.*'town'"),
    "no group": (lambda: {"group": None}, "group"),
    "group as feature": (lambda: {"features": ["donor", "age"]}, "features.*'donor'"),
    "a feature twice": (lambda: {"features": ["age", "age"]}, "features.*'age' twice"),
    "no features": (lambda: {"features": []}, "must have a column"),
    "a number": (lambda: {"features": 3}, "features.*3"),
    "wrong length": (
        lambda: {"group": ["a", "b"], "features": ["age"]},
        "group.*each of the 6 rows.*'a', 'b'",
    ),
    "an array": (lambda: {"frame": np.zeros((6, 2))}, "frame.*ndarray"),
    "lazy": (lambda: {"frame": pl.from_pandas(frame()).lazy()}, "frame.*collect"),
    "numbers as names": (
        lambda: {"frame": pd.DataFrame(np.zeros((2, 2)))},
        "names that are text",
    ),
    "equal names": (lambda: {"frame": pd.DataFrame(np.zeros((2, 2)), columns=["a", "a"])}, "'a'"),
    "no rows": (lambda: {"frame": frame()[:0]}, "at least one row"),
    "nothing to follow": (lambda: {"group": None, "like": GroupedData(X, range(6))}, "like"),
    "not a record": (lambda: {"group": None, "like": 3}, "like.*3"),
    "both": (lambda: {"like": Columns((Column("age"),)), "features": ["age"]}, "features.*like"),
}


@pytest.mark.parametrize(("options", "message"), MISUSED.values(), ids=MISUSED)
def test_arguments_that_do_not_fit_are_named(options, message):
    with pytest.raises(InputError, match=message):
        GroupedData.from_frame(**{"frame": frame(), "group": "donor", **options()})


def test_labels_of_groups_may_be_in_no_column():
    labels = ["x", "y", "x", "y", "x", "y"]
    data = GroupedData.from_frame(frame(), labels, features=["age"])
    assert data.labels.tolist() == labels and data.columns.group is None


def test_factors_of_words_are_numbered_and_unknown_ones_are_nan(capsys):
    table = frame(kind=["T", "B", None, "T", "B", "B"], phase=[1, None, 3, 4, 5, 6])
    data = GroupedData.from_frame(table, "donor", factors=["kind", "phase"])
    np.testing.assert_array_equal(data.factors["kind"], [1, 0, np.nan, 1, 0, 0])
    np.testing.assert_array_equal(data.factors["phase"], [1, np.nan, 3, 4, 5, 6])
    assert data.feature_names == NAMES
    assert "B is 0, T is 1" in capsys.readouterr().out


def test_a_column_of_words_splits_the_rows():
    words = ["train", "train", "train", "validation", "train", "test"]
    splits = GroupedData.from_frame(frame(part=words), "donor", split="part")
    assert isinstance(splits, Splits)
    assert splits.train.names.tolist() == [0, 1, 2, 4] and splits.unseen.names.tolist() == [5]
    assert splits.unseen.feature_names == NAMES and splits.unseen.columns == splits.train.columns


# New tables


def test_a_new_table_becomes_the_same_features(capsys):
    data = GroupedData.from_frame(frame(), "donor")
    capsys.readouterr()
    rows = frame()[["colour", "smoker", "weight", "age", "donor"]].iloc[[5, 0]]
    new = GroupedData.from_frame(rows.astype({"colour": str}), like=data)
    assert new.x.tolist() == [X[5], X[0]] and new.feature_names == NAMES
    assert new.labels.tolist() == ["eve", "ann"] and new.names.tolist() == [5, 0]
    assert capsys.readouterr().out == ""


def test_a_new_table_without_groups_has_rows_as_groups():
    data = GroupedData.from_frame(frame(), "donor")
    new = GroupedData.from_frame(frame().drop(columns="donor"), like=data.columns)
    assert new.group_names == list(range(6))


CHANGED = {
    "another category": (
        lambda t: t.assign(colour=["red"] * 5 + ["pink"]),
        "column colour.*'pink'",
    ),
    "a missing column": (lambda t: t.drop(columns=["age", "smoker"]), "age, smoker are missing"),
    "text for numbers": (lambda t: t.assign(age=list("abcdef")), "column age must have numbers"),
    "numbers for flags": (lambda t: t.assign(smoker=range(6)), "column smoker must have booleans"),
    "a missing cell": (
        lambda t: t.assign(weight=[None, 1, 2, 3, 4, 5]),
        "column weight has 1 of 6",
    ),
}


@pytest.mark.parametrize(("change", "message"), CHANGED.values(), ids=CHANGED)
def test_a_new_table_of_another_kind_is_refused(change, message):
    data = GroupedData.from_frame(frame(), "donor")
    with pytest.raises(InputError, match=message):
        GroupedData.from_frame(change(frame()), like=data)


def test_a_run_keeps_the_record_of_its_table(tmp_path):
    data = GroupedData.from_frame(frame(), "donor")
    model = mlvae.models.MLVAE(
        data.shape, network=MLP((4,)), likelihood=LearnedGaussian(), standardise="feature"
    )
    run = tmp_path / "run"
    mlvae.train(model, data, run=run, epochs=1, device="cpu", reports=QUIET)
    assert model.table_columns == data.columns
    assert mlvae.load(run).table_columns == data.columns
    assert GroupedData.from_frame(frame(), like=run).x.tolist() == X
    plain = GroupedData(X, data.labels)
    mlvae.train(model, plain, run=tmp_path / "plain", epochs=1, device="cpu", reports=QUIET)
    assert mlvae.load(tmp_path / "plain").table_columns is None
    with pytest.raises(InputError, match=r"like.*plain"):
        GroupedData.from_frame(frame(), like=tmp_path / "plain")


def test_the_record_survives_as_plain_values():
    columns = GroupedData.from_frame(frame(), "donor", categories=["age"]).columns
    assert Columns.of_plain(columns.plain()) == columns
    older = columns.plain()
    older["features"][0]["kind"] = "category"
    assert Columns.of_plain(older) == columns
    with pytest.raises(InputError, match="columns"):
        Columns.of_plain({"features": [{"name": "a", "kind": "real", "unit": "m"}]})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Column("a", "colour"), "'colour'"),
        (lambda: Column("", "real"), "name"),
        (lambda: Column("a", "categorical"), "categories"),
        (lambda: Column("a", "real", ("x",)), "categories"),
        (lambda: Columns(()), "features"),
        (lambda: Columns((Column("a=b"), Column("a", "categorical", ("b",)))), "'a=b'"),
    ],
)
def test_records_that_make_no_sense_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


# Names of features


def test_names_of_features_are_kept_by_subsets_and_splits():
    data = GroupedData.from_frame(frame(), "donor")
    for part in (data.subset([0, 2]), data.to("cpu"), data.labelled(["ann", "bob", "eve"])):
        assert part.feature_names == NAMES and part.columns == data.columns
    for _, part in mlvae.data.split(data, validation=1, unseen_groups=["eve"]):
        assert part.feature_names == NAMES


def test_a_frame_of_floats_and_a_list_name_the_features_too():
    numbers = frame()[["age", "weight"]].astype(float)
    assert GroupedData(numbers, frame()["donor"]).feature_names == ["age", "weight"]
    assert GroupedData(X, range(6)).feature_names is None
    assert GroupedData(X, range(6), feature_names=list("abcde")).feature_names == list("abcde")


@pytest.mark.parametrize(
    "names", [["a", "b"], "abcde", list("abcda"), [1, 2, 3, 4, 5], 3, ["a", "b", "c", "d", ""]]
)
def test_names_that_do_not_fit_the_features_are_refused(names):
    with pytest.raises(InputError, match="feature_names"):
        GroupedData(X, range(6), feature_names=names)


def test_images_have_no_names_of_features():
    with pytest.raises(InputError, match="feature_names"):
        GroupedData(np.zeros((2, 8, 8), np.uint8), [0, 1], feature_names=["a"])


def test_messages_name_the_feature():
    numbers = frame()[["age", "weight"]].astype(float)
    numbers.loc[3, "weight"] = np.nan
    with pytest.raises(InputError, match=r"observation 3 .* weight"):
        GroupedData(numbers, frame()["donor"])
    from mlvae.training.advice import advice_on_columns

    numbers = frame()[["age", "weight"]].astype(float) * [1.0, 1e6]
    text = advice_on_columns(GroupedData(numbers, frame()["donor"]))
    assert text is not None and "smallest: age, largest: weight" in text


# Kinds of columns, and missing cells


def cells():
    return pd.DataFrame(
        {
            "age": [31, 40, None, 52],
            "price": [1.5, 2.0, 4.5, None],
            "smokes": [0, 1, 1, 0],
            "city": ["Rome", None, "Oslo", "Rome"],
            "grade": [1, 2, 2, 3],
        }
    )


def test_kinds_are_inferred_and_shown(capsys):
    data = GroupedData.from_frame(cells(), range(4), kinds="inferred", missing="keep")
    kinds = {column.name: column.kind for column in data.columns.features}
    assert kinds == {
        "age": "count",
        "price": "real",
        "smokes": "binary",
        "city": "categorical",
        "grade": "count",
    }
    shown = capsys.readouterr().out
    assert "age, grade: count" in shown and "smokes: binary" in shown and "city=Oslo" in shown


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_missing_cells_are_kept_in_every_library(library):
    frame = cells()
    if library == "polars":
        frame = pl.from_pandas(frame)
    if library == "pyarrow":
        frame = pa.Table.from_pandas(frame)
    data = GroupedData.from_frame(frame, range(4), categories=["city"], missing="keep")
    assert (~data.given["observed"]).nonzero().tolist() == [[1, 3], [2, 0], [3, 1]]
    assert data.x[2, 0] == 0 and data.x[3, 1] == 0 and data.x[1, 3:5].tolist() == [0, 0]
    assert data.subset([3]).given["observed"].tolist() == [[True, False, True, True, True]]


def test_a_new_table_may_have_other_missing_cells():
    data = GroupedData.from_frame(cells(), range(4), kinds="inferred", missing="keep")
    new = cells().iloc[:1].assign(price=[None], city=[None])
    other = GroupedData.from_frame(new, like=data, missing="keep")
    assert other.given["observed"].tolist() == [[True, False, True, False, True]]
    with pytest.raises(InputError, match="price"):
        GroupedData.from_frame(new, like=data)


def test_an_ordinal_column_has_its_values_in_order():
    for kind in ("ordinal", [1, 2, 3]):
        data = GroupedData.from_frame(cells()[["grade"]], range(4), kinds={"grade": kind})
        assert data.columns.features[0] == Column("grade", "ordinal", (1, 2, 3))
    ordered = pd.Categorical(["mid", "low", "top", "low"], ["low", "mid", "top"], ordered=True)
    frame = pd.DataFrame({"level": ordered})
    data = GroupedData.from_frame(frame, range(4), kinds={"level": "ordinal"})
    assert data.columns.features[0].categories == ("low", "mid", "top")


@pytest.mark.parametrize(
    ("kinds", "match"),
    [
        ({"city": "ordinal"}, r"city.*\['first'"),
        ({"city": ["Rome"]}, "city.*'Oslo'"),
        ({"price": "count"}, r"price.*count.*1\.5"),
        ({"smokes": "positive"}, "smokes.*positive"),
        ({"age": "binary"}, "age.*binary"),
        ({"city": "real"}, "city.*categorical"),
        ({"size": "real"}, "size"),
        ({"age": "integer"}, "'integer'"),
        ("guess", "'guess'"),
        (3, "kinds.*3"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused(kinds, match):
    with pytest.raises(InputError, match=match):
        GroupedData.from_frame(cells(), range(4), kinds=kinds, missing="keep")


def test_a_column_without_a_value_is_refused():
    with pytest.raises(InputError, match="age"):
        GroupedData.from_frame(cells().assign(age=None), range(4), missing="keep")
