"""The measurements of data by the command benchmark, each at a small size."""

import json
import math
import mmap
import re
import sys

import numpy as np
import pytest
from PIL import Image

from mlvae.commands.benchmark import command

SMALL = ["--rounds", 1, "--seconds", 0.1, "--images", 12, "--gigabytes", 0.02, "--identities", 99]


@pytest.fixture
def benchmark(monkeypatch, tmp_path, capsys):
    """A function that runs the script in ``tmp_path``; returns its output and its result."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        names = ["benchmark.py", *arguments, "--json", "result.json", "--folder", tmp_path]
        monkeypatch.setattr(sys, "argv", [str(name) for name in names])
        command()
        assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
        return capsys.readouterr().out, json.loads((tmp_path / "result.json").read_text())

    return run


@pytest.mark.no_cover
def test_all_measurements_of_data_print_tables_and_write_json(benchmark, monkeypatch):
    # One collection instead of three: every process needs seconds to import torch.
    monkeypatch.setattr("mlvae.commands.benchmarks.memory.TIMES", (16,))
    out, result = benchmark("data", *SMALL)
    assert {"device", "threads", "torch", "python", "date"} < result.keys()
    names = ("prepare", "batches", "disk", "memory", "grouping")
    assert all(result[name] for name in names)
    for words in ("per core", "disk, cold", "times in memory", "beyond the model", "accumulate"):
        assert words in out
    kinds = {row["files"] for row in result["prepare"]}
    assert kinds == {"JPEG, 250x250", "PNG, 250x250"}
    assert [row["identities"] for row in result["grouping"]] == [10, 99]
    (memory,) = result["memory"]
    assert memory["images"] == 1628 and memory["megabytes"] == pytest.approx(20, rel=0.01)
    assert memory["resident_with_the_model"] > 100 > memory["beyond_the_model"]
    for row in (*result["prepare"], *result["batches"], *result["disk"]):
        assert len(row["images_per_second"]) == 1 and row["images_per_second"][0] > 0
    for row in result["grouping"]:
        assert row["images"] == 198 and min(row["plan_grouped"] + row["accumulate"]) > 0
    # A collection in memory does not read the disk.
    (share,) = result["batches"][0]["share_from_the_disk"]
    assert share == 0 or math.isnan(share)  # NaN if the system does not count reads


def test_a_given_collection_is_prepared(benchmark, tmp_path, tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    for i in range(6):
        (root / f"person{i % 2}").mkdir(exist_ok=True)
        pixels = np.full((9, 8), i, np.uint8)
        Image.fromarray(pixels).save(root / f"person{i % 2}" / f"{i}.png")
    _, result = benchmark("prepare", "--root", root, "--rounds", 1)
    assert {row["files"] for row in result["prepare"]} == {str(root)}
    assert "batches" not in result


def test_memory_is_measured_at_three_sizes_up_to_the_requested_size(monkeypatch, tmp_path):
    from mlvae.commands.benchmarks import memory

    monkeypatch.setattr(memory, "_in_a_process", lambda path, count: (100.0, 101.0))
    rows = memory.measure(tmp_path, 0.1)
    assert [row["images"] for row in rows] == [509, 2035, 8138]
    assert [row["megabytes"] for row in rows] == pytest.approx([6.25, 25, 100], rel=0.01)
    assert {row["beyond_the_model"] for row in rows} == {1.0}


def test_a_rank_of_two_plans_half_of_a_collection_in_parts(benchmark, monkeypatch):
    from mlvae.commands.benchmarks import parts

    monkeypatch.setattr(parts, "RANKS", (1, 2))
    monkeypatch.setattr(parts, "BATCHINGS", {"shuffled": parts.BATCHINGS["shuffled"]})
    monkeypatch.setattr(parts, "_in_a_process", parts.of_rank)
    out, result = benchmark("parts", "--images", 64_000)
    assert "planning cpu s" in out
    one, two = result["parts"]
    assert (one["images"], one["images_of_the_rank"], two["images_of_the_rank"]) == (
        64_000,
        64_000,
        32_000,
    )
    assert one["batches"] == two["batches"] == 10
    assert one["opening_cpu_s"] > 0 and one["largest_MB"] >= two["largest_MB_to_open"] >= 0


def test_a_table_shows_the_median_and_the_range():
    from mlvae.commands.benchmarks.tables import table

    rows = [{"name": "a", "per_core": [1.0, 3.0, 1234.5]}, {"name": "long", "per_core": [7]}]
    assert table(rows).splitlines() == [
        "name        per core",
        "a     3 (1 to 1,234)",
        "long               7",
    ]


def test_resident_memory_includes_mapped_pages():
    from mlvae.commands.benchmarks.memory import resident

    before = resident()  # mmap gets new pages; a tensor may reuse freed memory
    with mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        held[:: mmap.PAGESIZE] = b"1" * (len(held) // mmap.PAGESIZE)
        assert 60 < resident() - before < 80


def test_every_identity_has_an_image_and_the_groups_are_ragged():
    from mlvae.commands.benchmarks.grouping import ragged

    sizes = np.bincount(ragged(20_000, 1000), minlength=1000)
    assert sizes.sum() == 20_000 and sizes.min() >= 1 and sizes.max() > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "--device", "cuda"], "--device=cuda"),
        (["disk", "--gigabytes", 0], "--gigabytes .*, not 0"),
        (["disk", "--gigabytes", 1e9], "--gigabytes=1e[+]09 .*--folder"),
        (["grouping", "--identities", 3], "--identities .* 10, not 3"),
        (["parts", "--images", 1000], "--images .*, not 1,000"),
        (["prepare", "--rounds", 0], "--rounds .* 1, not 0"),
        (["prepare", "--root", "nowhere"], "nowhere"),
        (["batches", "--folder", "nowhere"], "--folder=nowhere"),
    ],
)
def test_bad_input_is_reported_in_one_line_and_leaves_no_files(
    monkeypatch, tmp_path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, arguments)])
    with pytest.raises(SystemExit, match=r"^error: ") as end:
        command()
    assert re.search(message, end.value.code) and "\n" not in end.value.code
    assert list(tmp_path.iterdir()) == []
