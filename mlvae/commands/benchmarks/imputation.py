"""Time and memory of a VSAE on a large table, beside scikit-learn's IterativeImputer.

Both have the same rows with the same missing cells. Each way runs in a separate process, which
prints one line of JSON:
``python -m mlvae.commands.benchmarks.imputation WAY ROWS COLUMNS THREADS``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

import mlvae
from mlvae.commands.benchmarks.machine import facts, line
from mlvae.commands.benchmarks.tables import Rows, table
from mlvae.errors import InputError

__all__ = ["measure", "report"]

#: Rows and columns of the table; a quick run has a hundredth of the rows.
ROWS, COLUMNS = 100_000, 50

#: Fraction of missing cells.
MISSING = 0.2

#: Rows of a training step, and samples of the latents of an imputed cell.
BATCH, SAMPLES = 256, 10

#: Levels of a categorical column.
LEVELS = 5

WAYS = ("VSAE", "IterativeImputer")


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Seconds and megabytes of each way, on the CPU."""
    rows: Rows = []
    number = ROWS // 100 if quick else ROWS
    for way in WAYS:
        found = _in_a_process(way, number, COLUMNS)
        memory = found.pop("megabytes")
        rows += [{"way": way, "work": work, "value": seconds} for work, seconds in found.items()]
        rows.append({"way": way, "work": "memory beyond the table, megabytes", "value": memory})
    return {
        "rows_of_table": number,
        "columns": COLUMNS,
        **facts(torch.device("cpu")),
        "rows": rows,
    }


def report(result: dict[str, Any]) -> str:
    """The result as a table."""
    title = (
        f"imputation of {result['rows_of_table']:,} rows of {result['columns']} mixed columns, "
        f"{MISSING:.0%} of the cells missing"
    )
    return f"{title}\n{line(result)}\n\n{table(result['rows'])}"


def mixed_table(number: int, columns: int) -> Any:
    """A frame with missing cells: numbers, counts, flags and words of a few hidden numbers."""
    import pandas as pd

    random = np.random.default_rng(0)
    hidden = random.normal(size=(number, 4))
    values: dict[str, Any] = {}
    for place in range(columns):
        signal = hidden @ random.normal(size=4) / 2 + 0.3 * random.normal(size=number)
        kind = ("real", "real", "real", "count", "binary", "word")[place % 6]
        name = f"{kind}{place}"
        if kind == "real":
            values[name] = signal
        elif kind == "count":
            values[name] = pd.array(random.poisson(np.exp(1 + 0.5 * signal)), dtype="Int64")
        elif kind == "binary":
            values[name] = pd.array(signal > 0, dtype="boolean")
        else:
            edges = np.quantile(signal, np.linspace(0, 1, LEVELS + 1)[1:-1])
            words = np.array([f"w{level}" for level in range(LEVELS)])
            values[name] = words[np.digitize(signal, edges)]
    frame = pd.DataFrame(values)
    return frame.mask(random.random(frame.shape) < MISSING)


def by_vsae(frame: Any) -> dict[str, float]:
    """Seconds of reading, of a training epoch, and of imputation; and megabytes."""
    start = peak()
    found: dict[str, float] = {}

    def read() -> mlvae.GroupedData:
        return mlvae.GroupedData.from_frame(
            frame, range(len(frame)), kinds="inferred", missing="keep"
        )

    found["read the table, seconds"], data = _timed(read)
    torch.manual_seed(0)
    likelihood = mlvae.likelihoods.MixedColumns.of(data)
    model = mlvae.models.VSAE(data.shape, likelihood=likelihood, mask="none")
    quiet = mlvae.Reports(
        progress=False, advice=False, tensorboard=False, figures=False, pictures_every=None
    )
    with tempfile.TemporaryDirectory() as folder:
        found["train one epoch, seconds"], _ = _timed(
            lambda: mlvae.train(
                model,
                data,
                run=Path(folder, "run"),
                epochs=1,
                batching=mlvae.data.Shuffled(BATCH),
                reports=quiet,
                device="cpu",
            )
        )
    found[f"impute with {SAMPLES} samples, seconds"], _ = _timed(
        lambda: mlvae.impute(model, data, samples=SAMPLES)
    )
    return {**found, "megabytes": peak() - start}


def by_regressions(frame: Any) -> dict[str, float]:
    """Seconds of one round of linear regressions of each feature on the others; megabytes."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence after one round
        data = mlvae.GroupedData.from_frame(
            frame, range(len(frame)), kinds="inferred", missing="keep"
        )
        likelihood = mlvae.likelihoods.MixedColumns.of(data)
        seen = likelihood.spread(data.given["observed"]).numpy()
        x = np.where(seen, likelihood.inputs(data.x).numpy(), np.nan).astype(np.float64)
        start = peak()
        imputer = IterativeImputer(max_iter=1, random_state=0)
        seconds, _ = _timed(lambda: imputer.fit_transform(x))
    return {
        "one round of fit and imputation (10 are usual), seconds": seconds,
        "megabytes": peak() - start,
    }


def peak() -> float:
    """Largest resident memory of this process so far, in megabytes."""
    try:
        import resource
    except ImportError as error:
        raise InputError("the memory of a process needs Unix") from error
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = perf_counter()
    result = work()
    return perf_counter() - began, result


def _in_a_process(way: str, rows: int, columns: int) -> dict[str, float]:
    """The measurement of a way in a new process."""
    command = [sys.executable, "-m", "mlvae.commands.benchmarks.imputation"]
    sizes = [way, str(rows), str(columns), str(torch.get_num_threads())]
    places = [str(Path(mlvae.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [*command, *sizes],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[4]))
    rows = mixed_table(int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps((by_vsae if sys.argv[1] == "VSAE" else by_regressions)(rows)))
