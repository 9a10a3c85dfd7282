"""The measurements of data: which there are, in what order, and their tables.

A measurement takes a folder for what it writes and returns rows: dictionaries with the same keys,
the columns. A list holds one value for each round, and is shown as its median and range.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import grouping, memory, prepare, reading
from mlvae.errors import InputError, check_integer, check_number

__all__ = ["MEASUREMENTS", "run", "table"]

Rows = list[dict[str, object]]

#: By the name on the command line: the heading, and from folder and options to rows.
MEASUREMENTS: dict[str, tuple[str, Callable[[Path, argparse.Namespace], Rows]]] = {
    "prepare": (
        "Preparing: images decoded to 64x64 in colour and written to the cache",
        lambda folder, args: prepare.measure(
            folder, root=args.root, images=args.images, rounds=args.rounds
        ),
    ),
    "batches": (
        f"Drawing batches of {reading.BATCH} random 64x64 colour images, without training",
        lambda folder, args: reading.measure(
            folder, args.gigabytes, rounds=args.rounds, seconds=args.seconds, train=False
        ),
    ),
    "disk": (
        f"Training a small network on the same batches of {reading.BATCH}",
        lambda folder, args: reading.measure(
            folder, args.gigabytes, rounds=args.rounds, seconds=args.seconds, train=True
        ),
    ),
    "memory": (
        "Resident memory of a process that trains from the disk, every image drawn once",
        lambda folder, args: memory.measure(folder, args.gigabytes),
    ),
    "grouping": (
        "Grouping, nanoseconds per image: planning an epoch, accumulating 10 dimensions",
        lambda folder, args: grouping.measure(args.identities, rounds=args.rounds),
    ),
}


def run(args: argparse.Namespace) -> dict[str, Rows]:
    """Make the measurements that ``args.what`` names, each table shown as soon as it is there."""
    _check(args)
    names = MEASUREMENTS if args.what == "data" else [args.what]
    results: dict[str, Rows] = {}
    with tempfile.TemporaryDirectory(prefix="mlvae-benchmark-", dir=args.folder) as folder:
        _check_room(Path(folder), args, names)
        for name in names:
            heading, measure = MEASUREMENTS[name]
            results[name] = measure(Path(folder), args)
            print(f"\n{heading}\n\n{table(results[name])}", flush=True)
    return results


def table(rows: Rows) -> str:
    """Rows under the names of their columns, words to the left and numbers to the right."""
    cells = [[key.replace("_", " ") for key in rows[0]]]
    cells += [[_shown(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [isinstance(value, str) for value in rows[0].values()]
    return "\n".join(
        "  ".join(
            f"{cell:{'<' if words else '>'}{width}}"
            for cell, width, words in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in cells
    )


def _shown(value: object) -> str:
    if isinstance(value, list):
        middle, low, high = (_shown(f(value)) for f in (statistics.median, min, max))
        return middle if len(value) == 1 else f"{middle} ({low} to {high})"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _check(args: argparse.Namespace) -> None:
    """Raise :class:`~mlvae.InputError` for an option that no measurement can use."""
    if args.device != "cpu":
        raise InputError(f"--device={args.device} is for training; {args.what} is measured on cpu")
    check_integer("--rounds", args.rounds, minimum=1)
    check_number("--seconds", args.seconds, minimum=0)
    check_number("--gigabytes", args.gigabytes, minimum=0, exclusive=True)
    check_integer("--identities", args.identities, minimum=10)
    if args.images is not None:
        check_integer("--images", args.images, minimum=1)
    if args.folder is not None and not Path(args.folder).is_dir():
        raise InputError(f"--folder={args.folder} must be a folder that is there")


def _check_room(folder: Path, args: argparse.Namespace, names: list[str]) -> None:
    """A third more than the collection: the smaller ones stand beside it."""
    needed, free = 1.4 * args.gigabytes, shutil.disk_usage(folder).free / 1e9
    if {"batches", "disk", "memory"} & set(names) and needed > free:
        raise InputError(
            f"--gigabytes={args.gigabytes:g} needs {needed:.1f} GB, but {folder.parent} has "
            f"{free:.1f} GB free; choose another with --folder"
        )
