"""dataset=table: CSV and Parquet files."""

import gzip

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

import mlvae
from mlvae import InputError
from mlvae.commands.configs import CONFIGS
from mlvae.data import open_dataset, table

COLUMNS = {
    "donor": np.repeat(["ann", "bob", "eve", "joe"], 10),
    "age": np.arange(40),
    "city": ["x", "y"] * 20,
}
FRAME = pd.DataFrame(COLUMNS)


def written(path, frame=FRAME):
    if path.suffix in (".parquet", ".pq"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "T.CSV", "t.csv.gz"])
def test_files_of_every_kind_have_the_same_rows(tmp_path, name):
    path = written(tmp_path / name)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(FRAME.to_csv(index=False).encode()))
    splits = table(path, group="donor", categories=["city"])
    assert splits.train.feature_names == ["age", "city=x", "city=y"]
    assert [len(part) for _, part in splits] == [32, 4, 4]
    whole = np.concatenate([part.x[:, 0] for _, part in splits])
    assert sorted(whole) == list(range(40))


def test_whole_groups_are_split(tmp_path):
    path = written(tmp_path / "t.csv")
    splits = table(path, group="donor", features=["age"], split="groups", validation=1, test=1)
    names = [set(part.group_names) for _, part in splits]
    assert len(splits.unseen) == 10 and not set.union(*names[:-1]) & names[-1]


def test_a_column_of_words_splits_the_rows(tmp_path):
    words = np.repeat(["train", "validation", "test", "test"], 10)
    path = written(tmp_path / "t.csv", FRAME.assign(split=words))
    splits = table(path, group="donor", features=["age"])
    assert splits.train.group_names == ["ann"] and splits.unseen.group_names == ["eve", "joe"]
    assert table(path, group="donor", categories=["city"], split="members").train.shape == (3,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "group"),
        ({"group": "donor"}, "column city is text"),
        ({"group": "donor", "split": "rows"}, "dataset.split"),
        ({"group": ""}, "dataset.group"),
    ],
)
def test_options_that_do_not_fit_are_named(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        table(written(tmp_path / "t.csv"), **options)


@pytest.mark.parametrize("name", ["t.xlsx", "gone.csv", "damaged.parquet", "empty.csv"])
def test_files_that_cannot_be_read_are_named(tmp_path, name):
    if not name.startswith("gone"):
        (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"PAR1")
    with pytest.raises(InputError, match=name):
        table(tmp_path / name)


def test_the_config_of_the_dataset_has_the_options_of_its_function(tmp_path):
    path = written(tmp_path / "t.csv")
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        overrides = ["dataset=table", f"dataset.root={path}", "dataset.group=donor"]
        config = compose("train", [*overrides, "dataset.categories=[city]"])
    splits = open_dataset(**config.dataset)
    assert isinstance(splits, mlvae.data.Splits)
    defaults = table.__kwdefaults__
    assert {key: config.dataset[key] for key in defaults} == {
        **{key: list(v) if isinstance(v, tuple) else v for key, v in defaults.items()},
        "group": "donor",
        "categories": ["city"],
    }


TYPES = "type,dim,nclass\npos,1,\ncount,1,\ncat,2,2\nordinal,1,3\nreal,1,\n"


def test_a_table_without_names_has_the_kinds_of_a_file(tmp_path):
    (tmp_path / "types.csv").write_text(TYPES)
    lines = [f"{0.5 + n},{n},{1 + n % 2},{n % 3},{n - 5.5}" for n in range(20)]
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n3.5,,1,2,\n")
    options = {"header": False, "group": None, "kinds": str(tmp_path / "types.csv")}
    splits = table(tmp_path / "data.csv", **options, missing="keep", validation=0, test=5)
    columns = splits.train.columns.features
    assert [column.name for column in columns] == ["1", "2", "3", "4", "5"]
    kinds = ["positive", "count", "categorical", "ordinal", "real"]
    assert [column.kind for column in columns] == kinds
    assert columns[2].categories == (1, 2) and columns[3].categories == (0, 1, 2)
    assert len(splits.train) == 16 and splits.train.groups.num_groups == 16


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (TYPES.replace("cat", "word"), "column 3.*'word'"),
        (TYPES.replace("real,1,\n", ""), "kinds.*5 columns.*4 lines"),
        (TYPES.replace("pos,1", "pos,2"), "dim of column 1.*2"),
        (TYPES.replace("cat,2", "cat,3"), "dim of column 3.*3"),
        ("pos,1,\n", "kinds.*type,dim,nclass"),
        ("", "kinds.*type,dim,nclass"),
    ],
)
def test_files_of_kinds_that_do_not_fit_are_refused(tmp_path, text, match):
    (tmp_path / "types.csv").write_text(text)
    (tmp_path / "data.csv").write_text("1.5,2,1,0,3\n2.5,3,2,1,4\n3.5,3,2,2,4\n")
    options = {"header": False, "group": None, "kinds": tmp_path / "types.csv"}
    with pytest.raises(InputError, match=match):
        table(tmp_path / "data.csv", **options)


def test_a_file_of_kinds_that_is_not_there_is_named(tmp_path):
    (tmp_path / "data.csv").write_text("a,b\n1.5,2\n")
    with pytest.raises(InputError, match=r"kinds=.*no\.csv"):
        table(tmp_path / "data.csv", group=None, kinds=tmp_path / "no.csv")
