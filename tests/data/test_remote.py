"""Shards at addresses, opened by fsspec: its file system in memory stands for a store."""

import sys

import fsspec
import pytest

from mlvae.arguments import as_path
from mlvae.commands.cli import with_absolute_paths
from mlvae.data import PartedData, collection, faces
from mlvae.data.collections.remote import Remote
from mlvae.data.sources.identities import celeba, lfw
from mlvae.errors import InputError

OPTIONS = {"size": 6, "colour": False, "workers": 0, "validation": 0, "test": 0}


@pytest.fixture
def store():
    """An empty file system in memory, emptied at the end."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture
def shards(store, write, people):
    """Two shards in the store and on the disk, two people in each; the folder on the disk."""
    files = people(("ann", "bob", "cid", "dan"))
    for number, names in enumerate((("ann", "bob"), ("cid", "dan"))):
        own = {name: content for name, content in files.items() if name[:3] in names}
        path = write(f"shard-{number}.tar", own)
        store.pipe(f"/bucket/{path.name}", path.read_bytes())
    return path.parent


def test_shards_at_addresses_are_the_collection_of_the_same_files(shards, tmp_path):
    local = faces(shards / "shard-*.tar", cache=tmp_path / "a", **OPTIONS).train
    for address in ("memory://bucket/shard-*.tar", "simplecache::memory://bucket/shard-*.tar"):
        remote = faces(address, cache=tmp_path / "b", **OPTIONS).train
        assert remote.group_names == local.group_names == ["ann", "bob", "cid", "dan"]
        assert remote.batch().x.equal(local.batch().x)
        assert remote.groups.index.equal(local.groups.index)
    by_file = faces((shards / "shard-0.tar").as_uri(), cache=tmp_path / "c", **OPTIONS).train
    assert by_file.group_names == ["ann", "bob"]


def test_samples_and_zips_at_addresses_are_read(store, write, png, people, tmp_path):
    files = {}
    for number in range(4):
        files |= {f"{number}.png": png(number), f"{number}.cls": b"ab"[number % 2 :][:1]}
    store.pipe("/samples.tar", write("samples.tar", files).read_bytes())
    store.pipe("/people.zip", write("people.zip", people()).read_bytes())
    found = faces("memory://samples.tar", labels="cls", cache=tmp_path / "a", **OPTIONS).train
    assert found.group_names == ["a", "b"] and found.groups.sizes.tolist() == [2, 2]
    zipped = faces("memory://people.zip", cache=tmp_path / "a", **OPTIONS).train
    local = faces(tmp_path / "people.zip", cache=tmp_path / "b", **OPTIONS).train
    assert zipped.group_names == local.group_names and zipped.batch().x.equal(local.batch().x)


def test_parquet_shards_at_addresses_are_prepared_in_parts(store, png, tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for shard in range(2):
        rows = range(6 * shard, 6 * shard + 6)
        table = {"image": [png(row) for row in rows], "identity": [f"p{row % 3}" for row in rows]}
        with store.open(f"/shards/{shard}.parquet", "wb") as file:
            parquet.write_table(pa.table(table), file, row_group_size=2)
    address = "memory://shards/*.parquet"
    data = faces(address, cache=tmp_path / "cache", parts=2, **OPTIONS).train
    assert isinstance(data, PartedData) and len(data) == 12
    (merged,) = (tmp_path / "cache").iterdir()
    assert len(collection(merged, validation=0, test=0).train) == 12  # without its sources


def test_a_changed_shard_is_prepared_again(shards, store, write, people, tmp_path):
    address = "memory://bucket/shard-0.tar"
    faces(address, cache=tmp_path / "cache", **OPTIONS)
    store.pipe("/bucket/shard-0.tar", write("new.tar", people(("eve", "fay"))).read_bytes())
    assert faces(address, cache=tmp_path / "cache", **OPTIONS).train.group_names == ["eve", "fay"]


@pytest.mark.parametrize(
    ("root", "match"),
    [
        ("memory://bucket/none.tar", r"memory://bucket/none\.tar .*no such file"),
        ("memory://bucket/none-*.tar", r"none-\*\.tar .*no file"),
        ("memory://bucket", "memory://bucket .*folder"),
        ("nosuch://bucket/x.tar", r"nosuch://bucket/x\.tar"),
    ],
)
def test_an_address_that_cannot_be_opened_is_named(shards, tmp_path, root, match):
    with pytest.raises(InputError, match=match):
        faces(root, cache=tmp_path / "cache", **OPTIONS)


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"s3://bucket/x\.tar.*s3fs"):
        faces("s3://bucket/x.tar", cache=tmp_path, **OPTIONS)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(InputError, match=r"fsspec.*pip install 'mlvae\[remote\]'"):
        faces("memory://x.tar", cache=tmp_path, **OPTIONS)


def test_a_store_that_fails_is_one_line(shards, store, monkeypatch, tmp_path):
    def fails(*args, **options):
        raise RuntimeError("no credentials\nand more")

    monkeypatch.setattr(type(store), "isdir", fails)
    with pytest.raises(InputError, match=r"shard-0\.tar .*no credentials$"):
        faces("memory://bucket/shard-0.tar", cache=tmp_path, **OPTIONS)


def test_addresses_are_refused_where_paths_are_needed(shards):
    for name in ("run", "dataset.cache"):
        with pytest.raises(InputError, match=f"{name} .*'s3://bucket/run'"):
            as_path(name, "s3://bucket/run")
    with pytest.raises(InputError, match=r"dataset\.root=memory://bucket .*dataset\.table"):
        celeba("memory://bucket")
    with pytest.raises(InputError, match=r"memory://bucket/none\.tar"):
        lfw("memory://bucket/none.tar")


def test_a_run_has_addresses_as_they_were_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    roots = ["s3://bucket/a-*.tar", "people"]
    found = with_absolute_paths({"name": "faces", "root": roots})["root"]
    assert found == ["s3://bucket/a-*.tar", str(tmp_path / "people")]
    assert with_absolute_paths({"name": "faces", "root": roots[0]})["root"] == roots[0]


def test_the_name_and_the_ending_of_an_address():
    assert Remote("s3://bucket/a/shard.0.tar").name == "shard.0.tar"
    assert Remote("s3://bucket/a/shard.0.tar").suffix == ".tar"
    assert Remote("s3://bucket/a/shard").suffix == ""
