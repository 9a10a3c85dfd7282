"""Tables in files as other programs write them."""

import pandas as pd
import pytest

from mlvae import InputError
from mlvae.data import table

ALL = {"validation": 0, "test": 0}


def labels(tmp_path, cells, **options):
    """The labels of a CSV file whose rows have ``cells`` as labels."""
    lines = [f"{cell},{row}" for row, cell in enumerate(cells)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["g,x", *lines] if options.get("header", True) else lines))
    return table(path, **{"group": "g", **ALL, **options}).train.group_names


@pytest.mark.parametrize(
    "cells",
    [
        ["01", "1", "02"],  # identifiers with leading zeros
        ["10000000000000000000000001", "10000000000000000000000002"],  # beyond 64 bits
        ["1", "1.0", "2"],
        ["true", "True", "false"],
    ],
)
def test_texts_that_would_become_one_number_stay_different(tmp_path, cells):
    assert labels(tmp_path, cells) == sorted(cells)
    assert labels(tmp_path, cells, header=False, group="1") == sorted(cells)


@pytest.mark.parametrize(
    ("cells", "expected"), [(["3", "1", "3"], [1, 3]), (["2.5", "1.5"], [1.5, 2.5])]
)
def test_labels_that_are_written_as_numbers_are_numbers(tmp_path, cells, expected):
    assert labels(tmp_path, cells) == expected


def test_categories_are_labels_too(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("g,zip\na,01\na,1\n")
    for options in ({"categories": "zip"}, {"kinds": {"zip": "categorical"}}):
        assert table(path, group="g", **ALL, **options).train.feature_names == ["zip=01", "zip=1"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"g;x\na;1\n", "separated by commas.*'g;x'"),
        (b"g\tx\na\t1\n", "separated by commas"),
        ("g,x\nä,1\n".encode("latin-1"), "UTF-8.*column g"),
        ("g,x,y\na,ä,1\n".encode("latin-1"), "UTF-8.*column x"),
        (b",g,x\n0,a,1\n", "t.csv.*index=False"),
        (b"g,x,x\na,1,2\n", "t.csv.*'x'"),
        (b"g,x\n", "t.csv.*at least one row"),
    ],
)
def test_a_file_of_another_form_is_refused_with_a_remedy(tmp_path, content, match):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=match):
        table(tmp_path / "t.csv", group="g", **ALL)


def test_the_index_of_a_parquet_file_is_no_feature(tmp_path, capsys):
    frame = pd.DataFrame({"g": ["a", "b"], "x": [1.0, 2.0]}, index=[7, 3])
    frame.to_parquet(tmp_path / "t.parquet")
    data = table(tmp_path / "t.parquet", group="g", **ALL).train
    assert data.feature_names == ["x"]
    assert "index" in capsys.readouterr().out
