"""The memory and the processor time of one rank to plan an epoch of a collection in parts.

The collection has images of one pixel, so its disk holds the index and little else. Each rank is
measured in a process of its own, one after the other, without the exchange of batch sizes:
``python -m mlvae.commands.benchmarks.parts FOLDER RANKS BATCHING``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np

import mlvae
from mlvae.data import Grouped, PartedData, Shuffled
from mlvae.data.collections.cache import FORMAT
from mlvae.data.collections.merge import COLLECTION
from mlvae.data.collections.parts import part_folder
from mlvae.data.collections.prepare import INDEX, LINES, MANIFEST, hash_of
from mlvae.data.sources.collection import collection
from mlvae.errors import InputError
from mlvae.training.dealt import Dealt
from mlvae.training.ranks import Ranks

__all__ = ["measure", "write_collection"]

#: Parts, images of a group, and numbers of ranks.
PARTS, MEMBERS, RANKS = 16, 20, (1, 2, 4)

#: Images, unless --images gives another number.
IMAGES = 10_000_000

BATCHINGS = {
    "shuffled": Shuffled(6400),
    "grouped": Grouped(groups=6400 // MEMBERS, members=MEMBERS, small_groups="keep"),
}


def measure(folder: Path, images: int | None) -> list[dict[str, object]]:
    """Memory and time of the first rank of 1, 2 and 4, by batching."""
    count = images or IMAGES
    if count < PARTS * MEMBERS * max(RANKS):
        least = PARTS * MEMBERS * max(RANKS)
        raise InputError(f"--images must be at least {least:,} for parts, not {count:,}")
    resident("VmHWM")  # raises an error before any work
    where = write_collection(folder / "parts", count)
    rows = []
    for name in BATCHINGS:
        for ranks in RANKS:
            found = _in_a_process(where, ranks, name)
            rows.append({"batching": name, "ranks": ranks, **found})
    return rows


def write_collection(folder: Path, images: int) -> Path:
    """Write a collection of ``images`` black images of one pixel, in groups of 20."""
    names = ("size", "channels", "crop", "pattern", "group", "parts", "limit", "table", "format")
    values = (1, 1, 1.0, None, "identity", PARTS, None, None, FORMAT)
    header = {"settings": dict(zip(names, values, strict=True)), "sources": []}
    groups = images // PARTS // MEMBERS
    records = []
    for part in range(PARTS):
        path = part_folder(folder, part, PARTS)
        path.mkdir(parents=True)
        records.append(_write_part(path, part, groups, header))
    record = header | {"images": PARTS * groups * MEMBERS, "skipped": 0, "parts": records}
    (folder / COLLECTION).write_text(json.dumps(record))
    return folder


def _write_part(path: Path, part: int, groups: int, header: dict) -> dict[str, object]:
    """Write one part; its entry of the record."""
    count = groups * MEMBERS
    with (path / "images.u8").open("wb") as file:
        file.truncate(count)
    index = {
        "crc32": np.full(count, zlib.crc32(b"\0"), np.uint32),
        "values/identity": np.char.mod(f"{part:02}-%08d", np.arange(groups)),
        "codes/identity": np.arange(groups, dtype=np.int32).repeat(MEMBERS),
    }
    with (path / INDEX).open("wb") as file:
        np.savez(file, **index)  # type: ignore[arg-type] # arrays by name
    (path / LINES).write_text("")
    manifest = {
        "settings": header["settings"] | {"part": part},
        "sources": header["sources"],
        "images": count,
        "skipped": 0,
        "left_out": 0,
        "sha256": {INDEX: hash_of(path / INDEX), LINES: hash_of(path / LINES)},
    }
    (path / MANIFEST).write_text(json.dumps(manifest))
    sizes, manifest_hash = [[MEMBERS, groups]], hash_of(path / MANIFEST)
    counts: dict[str, object] = {
        "images": count,
        "known": count,
        "sizes": sizes,
        "dropped": [],
        "whole": True,
    }
    return counts | {"manifest": manifest_hash}


def resident(name: str) -> float:
    """Resident memory of this process in megabytes: VmRSS now, or VmHWM at its largest."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError as error:
        raise InputError("resident memory needs /proc, which this system lacks") from error
    (kilobytes,) = re.findall(rf"^{name}:\s+(\d+) kB", status, flags=re.MULTILINE)
    return int(kilobytes) * 1024 / 1e6


def of_rank(folder: Path, ranks: int, name: str) -> dict[str, object]:
    """Open and plan the share of the first of some ranks in this process."""
    data = collection(folder, validation=0, test=0, hands=ranks).train
    assert isinstance(data, PartedData)
    dealt = Dealt(data, BATCHINGS[name], seed=0, ranks=Ranks(count=ranks))
    before, start = resident("VmRSS"), time.process_time()
    opened = [data.parts[part].opened() for hand in dealt.own for part in dealt.parts(0)[hand]]
    opening, index = time.process_time() - start, resident("VmHWM") - before
    del opened
    start = time.process_time()
    plan = dealt.slices(0)
    planning = time.process_time() - start - opening
    own = len(plan.order)
    held, peak = resident("VmRSS") - before, resident("VmHWM") - before
    return {
        "images": len(data),
        "images_of_the_rank": own,
        "batches": len(plan),
        "opening_cpu_s": opening,
        "planning_cpu_s": planning,
        "largest_MB_to_open": index,
        "held_MB": held,
        "largest_MB": peak,
        "largest_bytes_per_image_of_the_rank": peak * 1e6 / own,
    }


def _in_a_process(folder: Path, ranks: int, name: str) -> dict[str, object]:
    """:func:`of_rank` in a new process."""
    command = [sys.executable, "-m", "mlvae.commands.benchmarks.parts", str(folder)]
    places = [str(Path(mlvae.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [*command, str(ranks), name],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(json.dumps(of_rank(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
