"""Images in Parquet files: shards with the labels of their rows."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mlvae.data import PartedData, faces
from mlvae.data.collections.parquet import Parquet
from mlvae.errors import InputError

OPTIONS = {"size": 6, "colour": False, "workers": 0, "validation": 0, "test": 0, "group": "label"}


@pytest.fixture
def shards(tmp_path, png):
    """Two shards of 12 rows with labels 0, 1, 2, in row groups of 5; one row has no image."""
    for shard in range(2):
        rows = [
            {"bytes": png(100 * shard + row) if (shard, row) != (1, 3) else None, "path": None}
            for row in range(12)
        ]
        table = pa.table(
            {
                "image": rows,
                "label": [row % 3 for row in range(12)],
                "angle": [None if row == 7 else row / 2 for row in range(12)],
                "box": [[0, row] for row in range(12)],
            }
        )
        parquet.write_table(table, tmp_path / f"part-{shard}.parquet", row_group_size=5)
    return tmp_path / "part-*.parquet"


def test_rows_have_the_columns_of_their_file(shards, png, write, tmp_path):
    data = faces(shards, cache=tmp_path / "cache", factors=["angle"], **OPTIONS).train
    assert len(data) == 23 and data.group_names == ["0", "1", "2"]
    assert data.labels.tolist()[:5] == ["0", "1", "2", "0", "1"]
    angle = data.factors["angle"]
    assert angle.isnan().nonzero()[:, 0].tolist() == [7, 18] and angle[6] == 3
    files = {f"p/{row:02}.png": png(row) for row in range(12)}
    same = faces(
        write("people", files), cache=tmp_path / "cache", **OPTIONS | {"group": "identity"}
    )
    assert np.array_equal(data.batch().x[:12], same.train.batch().x)
    reports = [path.read_text() for path in (tmp_path / "cache").glob("*/skipped.txt")]
    assert "part-1.parquet/000000003" in "".join(reports)


def test_shards_are_prepared_in_parts(shards, tmp_path):
    whole = faces(shards, cache=tmp_path / "whole", **OPTIONS).train
    parted = faces(shards, cache=tmp_path / "parts", parts=2, **OPTIONS).train
    assert isinstance(parted, PartedData) and len(parted) == len(whole) == 23

    def labelled(data):
        pixels = data.batch().x.numpy()
        return sorted(zip(data.labels.tolist(), (x.tobytes() for x in pixels), strict=True))

    assert labelled(parted) == labelled(whole)


def test_a_pattern_of_the_user_precedes_the_columns(shards, tmp_path):
    options = OPTIONS | {"group": "shard", "pattern": r"(?P<shard>part-\d)\.parquet/\d+"}
    data = faces(shards, cache=tmp_path / "cache", **options).train
    assert data.group_names == ["part-0", "part-1"]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"label": [1, 2]}, "image"),
        ({"a": [b"1", b"2"], "b": [b"1", b"2"], "label": [1, 2]}, "image, not a, b"),
        ({"image": [b"1", b"2"]}, "beside its images"),
    ],
    ids=str,
)
def test_files_without_images_or_labels_are_refused(tmp_path, columns, match):
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=match):
        Parquet(tmp_path / "x.parquet")


def test_damaged_missing_and_different_files_are_refused(shards, tmp_path, write, people):
    content = (tmp_path / "part-0.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.parquet"):
        faces(tmp_path / "cut.parquet", cache=tmp_path / "cache", **OPTIONS)
    with pytest.raises(InputError, match=r"dataset\.root=.*none-\*\.parquet"):
        faces(tmp_path / "none-*.parquet", cache=tmp_path / "cache", **OPTIONS)
    roots = [tmp_path / "part-0.parquet", write("people", people())]
    with pytest.raises(InputError, match="the same columns"):
        faces(roots, cache=tmp_path / "cache", **OPTIONS)
