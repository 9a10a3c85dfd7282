"""How fast training is, how near to what the machine can do; and how data are handled.

    python scripts/benchmark.py                     # training, random images of MNIST's shape
    python scripts/benchmark.py --root data         # training, MNIST from data/MNIST/raw
    python scripts/benchmark.py limit               # training beside its floor, by recipe
    python scripts/benchmark.py growth --figure growth.png
    python scripts/benchmark.py all --device cuda --json gpu.json
    python scripts/benchmark.py data                # all measurements of data, or one by its name
    python scripts/benchmark.py disk --gigabytes 5
    python scripts/benchmark.py --json result.json

What is compared takes turns in one process, round after round, so that a busy machine slows all
alike; the ratio of a round is the figure to trust. It imports no Hydra and runs wherever torch
does. The measurements of speed: training (the author's recipe beside the same step written the
common way), limit (recipes, precisions and threads beside the floor of their step), growth (cost
of an image against batch, groups, content, images), kernels (what a step's time goes into); "all"
is these four, on a GPU in a few minutes. The measurements of data: prepare, batches (drawn from
the disk and from memory), disk (training from the disk and from memory), memory, grouping.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # so that a checkout runs uninstalled

from benchmarks import growth, growth_figure, kernels, limit, training
from benchmarks.data import MEASUREMENTS, run
from benchmarks.machine import facts, line
from benchmarks.recipes import AUTHOR, small

import mlvae
from mlvae.errors import InputError, check_integer, check_number
from mlvae.training.checks import resolve_device

Result = dict[str, object]

#: By the name on the command line: from options and device to the result, and from it to text.
SPEED: dict[str, tuple[Callable[..., Result], Callable[[Result], str]]] = {
    "training": (
        lambda args, device: training.measure(
            device,
            root=args.root,
            rounds=args.rounds,
            seconds=args.seconds,
            recipe=small(AUTHOR) if args.quick else AUTHOR,
            compile=not args.quick,  # which takes a minute
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
}


def speed(args: argparse.Namespace) -> Result:
    """Make the measurements of speed that ``args.what`` names, each shown as soon as it is there.

    One by itself gives its result, all of them give theirs by name.
    """
    check_integer("--rounds", args.rounds, minimum=1)
    check_number("--seconds", args.seconds, minimum=0)
    device = resolve_device(args.device)
    results: Result = {}
    for name in SPEED if args.what == "all" else [args.what]:
        measure, report = SPEED[name]
        results[name] = measure(args, device)
        print(("\n" if len(results) > 1 else "") + report(results[name]), flush=True)
        write(args, results)  # a machine may be lent for minutes only
    if args.figure:
        growth_figure.draw(results["growth"], Path(args.figure))
    return results if args.what == "all" else results[args.what]


def write(args: argparse.Namespace, result: Result) -> None:
    """Write what there is so far, if the command line asks for it."""
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


def handling(args: argparse.Namespace) -> Result:
    """Make the measurements of data that ``args.what`` names."""
    if args.quick:
        raise InputError(f"--quick is for measurements of speed, not for {args.what}")
    result = facts(torch.device("cpu"))
    print(line(result))
    return result | run(args)


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    choices = (*SPEED, "all", "data", *MEASUREMENTS)
    add("what", nargs="?", default="training", choices=choices, help="default: training")
    add(
        "--root",
        help="folder with MNIST/raw, or a collection to prepare; without it, random images",
    )
    add("--device", default="cpu", choices=("cpu", "cuda"), help="of measurements of speed")
    add(
        "--threads",
        type=int,
        help="CPU threads; default: torch's own choice, of limit that and one",
    )
    add("--rounds", type=int, help="turns of each way; default: 5 of training, else 3")
    add("--seconds", type=float, help="length of a turn; default: 5 of training, else 1")
    add("--json", help="also write the result to this file")
    add("--figure", help="also draw the curves of growth, a PNG")
    add("--quick", action="store_true", help="tiny models, to see that all runs")
    data = parser.add_argument_group("measurements of data")
    add = data.add_argument
    add(
        "--folder",
        help="where to write what is measured, and removed again; default: the system's",
    )
    add("--gigabytes", type=float, default=0.25, help="images on the disk; default: 0.25")
    add(
        "--images", type=int, help="images to prepare; default: 1000 of each format, all of --root"
    )
    add("--identities", type=int, default=1_000_000, help="to group at most; default: 1,000,000")
    return parser


def main() -> None:
    """Parse the command line, measure, print."""
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
            raise InputError(f"--figure draws what growth or all measures, not {args.what}")
        result = speed(args) if args.what in (*SPEED, "all") else handling(args)
    except (mlvae.InputError, OSError) as error:
        sys.exit(f"error: {error}")
    write(args, result)


if __name__ == "__main__":
    main()
