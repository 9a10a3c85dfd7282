"""Measure the speed of training, its distance from the limit of the machine, and data handling.

    mlvae benchmark                     # training, random images of MNIST's shape
    mlvae benchmark --root data         # training, MNIST from data/MNIST/raw
    mlvae benchmark limit               # training beside its floor, by recipe
    mlvae benchmark growth --figure growth.png
    mlvae benchmark all --device cuda --json gpu.json
    mlvae benchmark data                # all measurements of data except parts
    mlvae benchmark disk --gigabytes 5
    mlvae benchmark --json result.json

The variants of a measurement take turns in one process, round after round, so that other load on
the machine slows all of them alike. The ratio within a round is the most reliable figure. The
command does not import Hydra.

Measurements of speed, which ``all`` makes one after the other, on a GPU in a few minutes:

- training: the author's recipe beside the same step written the common way;
- limit: recipes, precisions and threads beside the lower limit ("floor") of their step;
- growth: cost of an image against batch, groups, content dimensions and images;
- kernels: time of a step by kernel or operation;
- encoding: ``mlvae.encode`` beside a plain loop over the same batches;
- export: an exported encoder in ONNX Runtime beside PyTorch; not part of ``all``, because it needs
  the extra ``export``;
- codebook: the S-VQ-VAE beside plain loops of its published objective;
- groupings: a step with two and three groupings beside one with one grouping;
- rotations: a step of the model Rotations beside loops over episodes, steps and planes;
- topics: an epoch of DirVAE beside a pass of scikit-learn's LDA, on the CPU;
- tables: a VSAE on 100,000 rows of 50 columns beside scikit-learn's IterativeImputer, on the CPU.

Measurements of data:

- prepare: decoding a collection;
- batches: drawing batches from the disk and from memory;
- disk: training from the disk and from memory;
- memory: resident memory of a training from the disk;
- grouping: planning an epoch and accumulating evidence;
- parts: memory and time of one rank of 1, 2 and 4 to plan an epoch of a collection in parts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import mlvae
from mlvae.commands.benchmarks import (
    codebook,
    encoding,
    groupings,
    growth,
    growth_figure,
    imputation,
    kernels,
    limit,
    onnx_encoding,
    rotations,
    topics,
    training,
)
from mlvae.commands.benchmarks.data import MEASUREMENTS, run
from mlvae.commands.benchmarks.machine import facts, line
from mlvae.commands.benchmarks.recipes import AUTHOR, small
from mlvae.errors import InputError, check_integer, check_number
from mlvae.training.checks import resolve_device

Result = dict[str, Any]

#: By the name on the command line: the measurement, and the function that formats its result.
SPEED: dict[str, tuple[Callable[..., Result], Callable[[Result], str]]] = {
    "training": (
        lambda args, device: training.measure(
            device,
            root=args.root,
            rounds=args.rounds,
            seconds=args.seconds,
            recipe=small(AUTHOR) if args.quick else AUTHOR,
            compile=not args.quick,  # compiling takes a minute
        ),
        training.report,
    ),
    "limit": (
        lambda args, device: limit.limit(
            device,
            root=args.root,
            threads=args.threads,
            rounds=args.rounds,
            seconds=args.seconds,
            quick=args.quick,
            compile=not args.quick,
        ),
        limit.report,
    ),
    "growth": (
        lambda args, device: growth.growth(
            device, rounds=args.rounds, seconds=args.seconds / 3, quick=args.quick
        ),
        growth.report,
    ),
    "kernels": (lambda args, device: kernels.kernels(device, quick=args.quick), kernels.report),
    "encoding": (
        lambda args, device: encoding.measure(
            device, rounds=args.rounds, seconds=args.seconds, quick=args.quick
        ),
        encoding.report,
    ),
    "export": (
        lambda args, device: onnx_encoding.measure(
            device, rounds=args.rounds, seconds=args.seconds / 10, quick=args.quick
        ),
        onnx_encoding.report,
    ),
    "codebook": (
        lambda args, device: codebook.measure(
            device,
            root=args.root,
            rounds=args.rounds,
            seconds=args.seconds,
            quick=args.quick,
        ),
        training.report,
    ),
    "groupings": (
        lambda args, device: groupings.measure(
            device,
            root=args.root,
            rounds=args.rounds,
            seconds=args.seconds,
            quick=args.quick,
        ),
        groupings.report,
    ),
    "rotations": (
        lambda args, device: rotations.measure(
            device, rounds=args.rounds, seconds=args.seconds, quick=args.quick
        ),
        rotations.report,
    ),
    "topics": (
        lambda args, device: topics.measure(
            root=args.root if args.what == "topics" else None,  # of "all" it is that of MNIST
            rounds=args.rounds,
            seconds=args.seconds,
            quick=args.quick,
        ),
        topics.report,
    ),
    "tables": (
        lambda args, device: imputation.measure(quick=args.quick),
        imputation.report,
    ),
}

#: Measurements that need an extra, and are made by their names alone.
APART = ("export",)


def speed(args: argparse.Namespace) -> Result:
    """Make the measurements of speed that ``args.what`` names, and print each when it is complete.

    Returns:
        The result of a single measurement; with "all", the results by name.
    """
    check_integer("--rounds", args.rounds, minimum=1)
    check_number("--seconds", args.seconds, minimum=0)
    device = resolve_device(args.device)
    results: Result = {}
    for name in [n for n in SPEED if n not in APART] if args.what == "all" else [args.what]:
        measure, report = SPEED[name]
        results[name] = measure(args, device)
        print(("\n" if len(results) > 1 else "") + report(results[name]), flush=True)
        write(args, results)  # keeps complete results if a later measurement fails
    if args.figure:
        growth_figure.draw(results["growth"], Path(args.figure))
    return results if args.what == "all" else results[args.what]


def write(args: argparse.Namespace, result: Result) -> None:
    """Write the results so far to the file named by ``--json``, if any."""
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


def handling(args: argparse.Namespace) -> Result:
    """Make the measurements of data that ``args.what`` names."""
    if args.quick:
        raise InputError(f"--quick applies to measurements of speed, not to {args.what}")
    result = facts(torch.device("cpu"))
    print(line(result))
    return result | run(args)


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    choices = (*SPEED, "all", "data", *MEASUREMENTS)
    add("what", nargs="?", default="training", choices=choices, help="default: training")
    add(
        "--root",
        help="folder with MNIST/raw, or a collection to prepare; default: random images",
    )
    add("--device", default="cpu", choices=("cpu", "cuda"), help="device of measurements of speed")
    add(
        "--threads",
        type=int,
        help="CPU threads; default: torch's own choice; of limit: one, and torch's own choice",
    )
    add("--rounds", type=int, help="turns of each variant; default: 5 for training, else 3")
    add("--seconds", type=float, help="length of a turn; default: 5 for training, else 1")
    add("--json", help="also write the result to this file")
    add("--figure", help="also draw the curves of growth to this PNG")
    add("--quick", action="store_true", help="tiny models: checks that everything runs")
    data = parser.add_argument_group("measurements of data")
    add = data.add_argument
    add(
        "--folder",
        help="where to write temporary collections; default: the system's temporary folder",
    )
    add(
        "--gigabytes",
        type=float,
        default=0.25,
        help="size of the collection on the disk; default: 0.25",
    )
    add(
        "--images",
        type=int,
        help="images to prepare; default: 1000 per format, or all of --root; of parts: 10,000,000",
    )
    add(
        "--identities",
        type=int,
        default=1_000_000,
        help="largest number of identities to group; default: 1,000,000",
    )
    return parser


def command() -> None:
    """Run the command with the arguments of the process: measure and print."""
    args = options().parse_args()
    rounds, seconds = (5, 5.0) if args.what == "training" else (3, 1.0)
    if args.quick:
        rounds, seconds = 1, 0.02
    args.rounds = rounds if args.rounds is None else args.rounds
    args.seconds = seconds if args.seconds is None else args.seconds
    try:
        if args.threads is not None:
            check_integer("--threads", args.threads, minimum=1)
            torch.set_num_threads(args.threads)
        if args.figure and args.what not in ("growth", "all"):
            raise InputError(f"--figure needs growth or all, not {args.what}")
        result = speed(args) if args.what in (*SPEED, "all") else handling(args)
    except (mlvae.InputError, OSError) as error:
        sys.exit(f"error: {error}")
    write(args, result)
