"""Errors of imputed cells on published tables: python scripts/imputation.py mushroom --root DIR.

DIR has the files of the UCI repository (``mushroom/agaricus-lepiota.data``, ``wine/wine.data``),
or those of HI-VAE's Wine (``data.csv``, ``data_types.csv``, ``Missing20_1.csv``, ...:
github.com/probabilistic-learning/HI-VAE). Each line is one mask: the model and simple imputers
see the same cells.

Shapes: N rows, C columns.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import mlvae


class Case(NamedTuple):
    """A table with hidden cells.

    Attributes:
        frame: the complete table.
        hidden: the hidden cells, booleans (N, C).
        train: rows that the imputers are fitted to.
        test: rows whose hidden cells are imputed and measured.
        kinds: kind of each column.
        words: name of the case.
    """

    frame: pd.DataFrame
    hidden: np.ndarray
    train: np.ndarray
    test: np.ndarray
    kinds: Any
    words: str


def at_random(frame: pd.DataFrame, kinds: Any, seeds: list[int]) -> Iterator[Case]:
    """Cells that are missing at random in all rows; 80 percent of the rows are for training."""
    for fraction in (0.3, 0.5, 0.7):
        for seed in seeds:
            random = np.random.default_rng(seed)
            order = random.permutation(len(frame))
            hidden = random.random(frame.shape) < fraction
            cut = int(0.8 * len(frame))
            words = f"{fraction:.0%} seed {seed}"
            yield Case(frame, hidden, order[:cut], order[cut:], kinds, words)


def mushroom(root: Path, seeds: list[int]) -> Iterator[Case]:
    """22 categorical columns of 8,124 mushrooms, without the class."""
    path = root / "mushroom" / "agaricus-lepiota.data"
    raw = pd.read_csv(path, header=None, sep=r"[, ]+", engine="python", dtype=str)
    frame = raw.iloc[:, 1:].add_prefix("c")
    return at_random(frame, dict.fromkeys(frame, "categorical"), seeds)


def wine(root: Path, seeds: list[int]) -> Iterator[Case]:
    """13 numbers of 178 wines, without the class; and the mask of MissingDataOT's notebook."""
    path = root / "wine" / "wine.data"
    raw = pd.read_csv(path, header=None, sep=r"[, ]+", engine="python")
    frame = raw.iloc[:, 1:].astype(float).add_prefix("c")
    yield from at_random(frame, None, seeds)
    np.random.seed(42)
    hidden = np.random.rand(*frame.shape) < 0.5
    rows = np.arange(len(frame))
    for seed in seeds:
        yield Case(frame, hidden, rows, rows, None, f"published mask, seed {seed}")


def hivae(root: Path, seeds: list[int]) -> Iterator[Case]:
    """HI-VAE's Wine, 6,497 rows and 13 columns of its own kinds, with its masks."""
    types = root / "data_types.csv"
    frame = pd.read_csv(root / "data.csv", header=None).add_prefix("c")
    rows = np.arange(len(frame))
    for percent in (20, 50):
        for number in (1, 2, 3):
            cells = pd.read_csv(root / f"Missing{percent}_{number}.csv", header=None).to_numpy()
            hidden = np.zeros(frame.shape, bool)
            hidden[cells[:, 0] - 1, cells[:, 1] - 1] = True
            yield Case(frame, hidden, rows, rows, types, f"{percent} % mask {number}")


CASES = {"mushroom": mushroom, "wine": wine, "hivae": hivae}


def with_gaps(case: Case) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test rows without hidden cells, and without words that no training row has."""
    gaps = case.frame.mask(case.hidden)
    train, test = gaps.iloc[case.train], gaps.iloc[case.test]
    if isinstance(case.kinds, dict):
        test = pd.DataFrame(
            {name: test[name].where(test[name].isin(train[name])) for name in test}
        )
    return train, test


def by_model(case: Case, seed: int, options: argparse.Namespace) -> pd.DataFrame:
    """The test rows with values of a VSAE in hidden cells."""
    some, rest = with_gaps(case)
    with contextlib.redirect_stdout(io.StringIO()):
        data = mlvae.GroupedData.from_frame(
            some, range(len(some)), kinds=case.kinds, missing="keep"
        )
    torch.manual_seed(seed)
    model = mlvae.models.VSAE(
        data.shape,
        likelihood=mlvae.likelihoods.MixedColumns.of(data),
        network=mlvae.networks.MLP((options.width,)),
        block_dim=options.block_dim,
        mask=options.mask,
        kl_weight=options.kl_weight,
    )
    batching = mlvae.data.Shuffled(64)
    with tempfile.TemporaryDirectory() as folder:
        result = mlvae.train(
            model,
            data,
            run=Path(folder, "run"),
            epochs=max(1, options.steps // batching.num_batches(data)),
            batching=batching,
            optimizer=mlvae.Adam(options.rate, schedule="cosine"),
            seed=seed,
            reports=mlvae.Reports(progress=False, pictures_every=None),
        )
    if not result.finished:
        raise SystemExit("interrupted")
    return mlvae.impute(model, rest, samples=50)


def by_controls(case: Case) -> dict[str, pd.DataFrame]:
    """The test rows with values of simple imputers in hidden cells."""
    train, test = with_gaps(case)
    if isinstance(case.kinds, dict):  # categories
        most = train.mode().iloc[0]
        return {"most frequent": test.fillna(most), "10 neighbours": hamming(train, test, most)}
    scale = train.mean(), train.std(ddof=0)
    found = {}
    for name, imputer in {
        "mean": SimpleImputer(),
        "10 neighbours": KNNImputer(n_neighbors=10),
        "regressions in turn": IterativeImputer(random_state=0),
    }.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            imputer.fit(((train - scale[0]) / scale[1]).to_numpy())
            filled = imputer.transform(((test - scale[0]) / scale[1]).to_numpy())
        filled = pd.DataFrame(filled, index=test.index, columns=test.columns)
        found[name] = filled * scale[1] + scale[0]
    return found


def hamming(train: pd.DataFrame, test: pd.DataFrame, most: pd.Series) -> pd.DataFrame:
    """Each hidden cell has the most frequent word of the 10 nearest rows that have one."""
    values = [sorted(train[name].dropna().unique()) for name in train]
    codes = [
        np.stack(
            [
                frame[n].map({v: float(i) for i, v in enumerate(vs)}.get).to_numpy(float)
                for n, vs in zip(train, values, strict=True)
            ],
            1,
        )
        for frame in (train, test)
    ]
    known, asked = (np.nan_to_num(code, nan=-1).astype(int) for code in codes)
    found = test.copy()
    for row in range(len(asked)):
        both = (known >= 0) & (asked[row] >= 0)
        equal = ((known == asked[row]) & both).sum(1) / np.maximum(both.sum(1), 1)
        order = np.argsort(-equal, kind="stable")
        for column in np.flatnonzero(asked[row] < 0):
            near = known[order, column]
            near = near[near >= 0][:10]
            if len(near):
                found.iat[row, column] = values[column][np.bincount(near).argmax()]
            else:
                found.iat[row, column] = most.iloc[column]
    return found


def error(case: Case, filled: pd.DataFrame, what: str) -> float:
    """The error of hidden test cells: wrong words, RMSE over the deviation, or HI-VAE's."""
    true, found = case.frame.iloc[case.test], filled
    hidden = case.hidden[case.test]
    each = []
    for place, name in enumerate(true):
        rows = hidden[:, place]
        if not rows.any():
            continue
        x, y = true[name].to_numpy()[rows], found[name].to_numpy()[rows]
        if isinstance(case.kinds, dict):
            each.append(np.mean(x != y))
        elif what == "hivae" and place == len(true.columns) - 1:
            each.append(np.mean(x != np.round(y.astype(float))))
        else:
            all_x = true[name].to_numpy()
            scale = np.ptp(all_x) if what == "hivae" else all_x.std()
            each.append(np.sqrt(np.square(x - y.astype(float)).mean()) / scale)
    return float(np.mean(each))


def main() -> None:
    """Measure each case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", choices=CASES)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--fractions", type=float, nargs="*")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--block-dim", type=int, default=2)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--kl-weight", type=float, default=1.0)
    parser.add_argument("--mask", default="none")
    parser.add_argument("--no-controls", action="store_true")
    options = parser.parse_args()
    for case in CASES[options.table](options.root, options.seeds):
        if options.fractions and not any(f"{f:.0%}" in case.words for f in options.fractions):
            continue
        seed = int(case.words.split()[-1])
        began = time.process_time()
        found = {"VSAE": error(case, by_model(case, seed, options), options.table)}
        seconds = time.process_time() - began
        if not options.no_controls:
            for name, filled in by_controls(case).items():
                found[name] = error(case, filled, options.table)
        text = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        print(f"{options.table} {case.words}: {text} ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
