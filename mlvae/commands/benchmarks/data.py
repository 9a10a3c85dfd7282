"""The measurements of data: names, order and tables.

A measurement writes its files to a given folder and returns the rows of a table.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mlvae.commands.benchmarks import grouping, memory, parts, prepare, reading
from mlvae.commands.benchmarks.tables import Rows, table
from mlvae.errors import InputError, check_integer, check_number

__all__ = ["MEASUREMENTS", "run"]

#: By the name on the command line: the heading, and the function of folder and options that
#: returns the rows.
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
    "parts": (
        "Memory and time of one rank to open its parts of a collection and to plan an epoch",
        lambda folder, args: parts.measure(folder, args.images),
    ),
}

#: Measurements that "data" leaves out: they need minutes and gigabytes.
LONG = ("parts",)


def run(args: argparse.Namespace) -> dict[str, Rows]:
    """Make the measurements that ``args.what`` names, and print each table when it is complete."""
    _check(args)
    all_of_data = [name for name in MEASUREMENTS if name not in LONG]
    names = all_of_data if args.what == "data" else [args.what]
    results: dict[str, Rows] = {}
    with tempfile.TemporaryDirectory(prefix="mlvae-benchmark-", dir=args.folder) as folder:
        _check_room(Path(folder), args, names)
        for name in names:
            heading, measure = MEASUREMENTS[name]
            results[name] = measure(Path(folder), args)
            print(f"\n{heading}\n\n{table(results[name])}", flush=True)
    return results


def _check(args: argparse.Namespace) -> None:
    """Raise :class:`~mlvae.InputError` for an option outside its range."""
    if args.device != "cpu":
        raise InputError(
            f"--device={args.device} applies to training; {args.what} is measured on cpu"
        )
    check_integer("--rounds", args.rounds, minimum=1)
    check_number("--seconds", args.seconds, minimum=0)
    check_number("--gigabytes", args.gigabytes, minimum=0, exclusive=True)
    check_integer("--identities", args.identities, minimum=10)
    if args.images is not None:
        check_integer("--images", args.images, minimum=1)
    if args.folder is not None and not Path(args.folder).is_dir():
        raise InputError(f"--folder={args.folder} must be an existing folder")


def _check_room(folder: Path, args: argparse.Namespace, names: list[str]) -> None:
    """Raise :class:`~mlvae.InputError` if the disk has no room for all collections.

    The smaller collections, which exist beside the largest one, take a third of its size.
    """
    needed, free = 1.4 * args.gigabytes, shutil.disk_usage(folder).free / 1e9
    if {"batches", "disk", "memory"} & set(names) and needed > free:
        raise InputError(
            f"--gigabytes={args.gigabytes:g} needs {needed:.1f} GB, but {folder.parent} has "
            f"{free:.1f} GB free; choose another with --folder"
        )
