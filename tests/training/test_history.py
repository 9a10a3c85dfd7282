"""The reports of a run as records and as a table."""

import json
import sys

import pytest

import mlvae
from mlvae import InputError

RECORDS = [
    {"step": 4, "epoch": 1.0, "split": "train", "loss": 3.0, "learning_rate": 0.001},
    {"step": 4, "epoch": 1.0, "split": "validation", "loss": 2.5},
    {"step": 8, "epoch": 2.0, "split": "train", "loss": 2.0, "learning_rate": 0.001},
]


@pytest.fixture
def run(tmp_path):
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    (tmp_path / "metrics.jsonl").write_text(lines + '{"step": 8, "epo')
    return tmp_path


def test_a_history_has_every_whole_record_in_order(run):
    assert mlvae.history(run) == RECORDS
    assert mlvae.history(str(run)) == RECORDS


def test_a_frame_has_a_row_for_each_report(run):
    pandas = pytest.importorskip("pandas")
    table = mlvae.history(run, frame=True)
    assert isinstance(table, pandas.DataFrame) and len(table) == 3
    assert table["loss"].tolist() == [3.0, 2.5, 2.0]
    assert table["learning_rate"].isna().tolist() == [False, True, False]


def test_without_pandas_a_frame_gives_one_line(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pandas.*frame=False"):
        mlvae.history(run, frame=True)
    assert mlvae.history(run) == RECORDS


@pytest.mark.parametrize("run", ["nowhere", "a\0b"])
def test_a_folder_without_reports_gives_one_line(run, tmp_path):
    with pytest.raises(InputError, match=r"metrics\.jsonl|null"):
        mlvae.history(tmp_path / run)
    with pytest.raises(InputError, match="frame"):
        mlvae.history(tmp_path, frame="yes")
