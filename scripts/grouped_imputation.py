"""Imputation with groups of real tables: python scripts/grouped_imputation.py wine --root DIR.

DIR has the files of the UCI repository (``wine/wine.data``, ``winequality-red.csv``), or a plate
of LINCS L1000. Half of the cells of all rows are hidden at random; all imputers are fitted to the
other cells, and the hidden ones are measured.

Shapes: N rows, C columns.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

import mlvae
from mlvae.evaluation.measures.imputers import IMPUTERS, fitted
from mlvae.evaluation.measures.missing import errors


class Table(NamedTuple):
    """A table of numbers with groups.

    Attributes:
        frame: the rows.
        group: label of each row, (N,).
        batch: groups and members of a training batch.
    """

    frame: pd.DataFrame
    group: np.ndarray
    batch: tuple[int, int]


def wine(root: Path) -> Table:
    """13 measurements of 178 wines of three cultivars."""
    raw = pd.read_csv(root / "wine" / "wine.data", header=None, sep=r"[, ]+", engine="python")
    return Table(raw.iloc[:, 1:].astype(float).add_prefix("c"), raw[0].to_numpy(), (3, 32))


def red_wine(root: Path) -> Table:
    """11 measurements of 1,599 red wines in six grades of quality."""
    path = next(root.rglob("original/winequality-red.csv"))
    raw = pd.read_csv(path, sep=";")
    return Table(raw.iloc[:, :11].astype(float), raw["quality"].to_numpy(), (6, 32))


def l1000(root: Path) -> Table:
    """The 50 genes with the largest variance in 351 wells of 59 compounds."""
    with contextlib.redirect_stdout(io.StringIO()):
        data = mlvae.data.l1000(root).train
    x = data.observations(torch.arange(len(data))).numpy()
    genes = np.sort(np.argsort(-x.var(0))[:50])
    frame = pd.DataFrame(x[:, genes].astype(float)).add_prefix("gene")
    return Table(frame, np.asarray(data.labels), (16, 6))


TABLES = {"wine": wine, "red_wine": red_wine, "l1000": l1000}


def trained(table: Table, gaps: pd.DataFrame, options: argparse.Namespace, seed: int) -> Any:
    """A model of the observed cells: with groups, or a VSAE."""
    with contextlib.redirect_stdout(io.StringIO()):
        data = mlvae.GroupedData.from_frame(gaps, table.group, missing="keep")
    likelihood = mlvae.likelihoods.MixedColumns.of(data)
    torch.manual_seed(seed)
    network = mlvae.networks.MLP((options.width,))
    if options.model == "vsae":
        model: Any = mlvae.models.VSAE(
            data.shape, likelihood=likelihood, network=network, mask="none"
        )
        batching: Any = mlvae.data.Shuffled(64)
    else:
        model = mlvae.models.MLVAE(
            data.shape,
            likelihood=likelihood,
            network=network,
            content_dim=options.content,
            style_dim=options.style,
            cells=options.model,
            accumulation="prior_product",
            style_given_content=True,
        )
        batching = mlvae.data.Grouped(*table.batch, small_groups="keep")
    with tempfile.TemporaryDirectory() as folder:
        result = mlvae.train(
            model,
            data,
            run=Path(folder, "run"),
            epochs=max(1, options.steps // batching.num_batches(data)),
            batching=batching,
            optimizer=mlvae.Adam(options.rate, schedule="cosine"),
            seed=seed,
            reports=mlvae.Reports(progress=False, advice=False, pictures_every=None),
        )
    if not result.finished:
        raise SystemExit("interrupted")
    return model, data


def completed(
    table: Table, gaps: pd.DataFrame, options: argparse.Namespace, seed: int
) -> dict[str, np.ndarray]:
    """The rows with values in hidden cells, by the name of the imputer."""
    found = {}
    for name in options.models:
        options.model = name
        model, data = trained(table, gaps, options, seed)
        found[name] = mlvae.impute(model, data, samples=50).numpy()
        if name != "vsae":
            rows = np.arange(len(data))
            found[f"{name}, row by row"] = mlvae.impute(
                model, data, groups=rows, samples=50
            ).numpy()
    mean, deviation = np.nanmean(gaps, 0), np.nanstd(gaps, 0)
    z = ((gaps - mean) / deviation).to_numpy()
    index = np.unique(table.group, return_inverse=True)[1]
    for name in IMPUTERS:
        found[IMPUTERS[name]] = fitted(name, z, index)(z, index) * deviation + mean
    return found


def main() -> None:
    """Print the error of each imputer for each seed, and the means."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--models", nargs="+", default=["evidence", "vsae"], choices=["evidence", "mask", "vsae"]
    )
    parser.add_argument("--fraction", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--content", type=int, default=4)
    parser.add_argument("--style", type=int, default=4)
    options = parser.parse_args()
    table = TABLES[options.table](options.root)
    true = table.frame.to_numpy()
    columns = tuple(mlvae.likelihoods.ColumnScale(name) for name in table.frame)
    all_found: dict[str, list[float]] = {}
    for seed in options.seeds:
        began = time.process_time()
        hidden = np.random.default_rng(seed).random(true.shape) < options.fraction
        for name, filled in completed(table, table.frame.mask(hidden), options, seed).items():
            error = errors(filled, true, hidden, columns, true.std(0)).numbers
            all_found.setdefault(name, []).append(error)
        seconds = time.process_time() - began
        text = ", ".join(f"{name} {each[-1]:.3f}" for name, each in all_found.items())
        print(f"{options.table} seed {seed}: {text} ({seconds:.0f} s)", flush=True)
    for name, each in all_found.items():
        spread = np.std(each, ddof=1) / len(each) ** 0.5 if len(each) > 1 else 0.0
        print(f"{options.table}: {name}: {np.mean(each):.3f} ± {spread:.3f}", flush=True)


if __name__ == "__main__":
    main()
