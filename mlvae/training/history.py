"""The reports of a run, read from its metrics.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlvae.arguments import as_path
from mlvae.errors import InputError, check_flag

__all__ = ["history", "records"]


def history(run: str | Path, *, frame: bool = False) -> Any:
    """All reports of a run, in the order of training.

    Args:
        run: the run's folder.
        frame: return a pandas DataFrame with a row for each report, instead of a list.

    Returns:
        A list of dictionaries, or a table with a row for each report. Each report has "step",
        "epoch", "split" ("train" or "validation") and the averages by name, such as "loss" and
        "elbo_per_observation". A training report also has "learning_rate" and
        "steps_per_second". A report that is still being written is left out.

    Raises:
        InputError: if the folder has no metrics.jsonl, or pandas is needed and not installed.

    Example::

        table = mlvae.history("runs/first", frame=True)
        table[table["split"] == "validation"].plot("epoch", "elbo_per_observation")
    """
    check_flag("frame", frame)
    path = as_path("run", run) / "metrics.jsonl"
    try:
        found = [record for _, record in records(path.read_bytes())]
    except (OSError, ValueError) as error:  # a name may have a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{path.parent} must be the folder of a run, but its {path.name}: {reason}"
        ) from error
    if not frame:
        return found
    try:
        import pandas
    except ImportError as error:
        raise InputError(
            "history(frame=True) needs pandas, which is not installed; run `pip install pandas`, "
            "or take the list with frame=False"
        ) from error
    return pandas.DataFrame(found)


def records(content: bytes) -> list[tuple[bytes, dict[str, Any]]]:
    r"""Each line of a metrics.jsonl and its record, without broken lines.

    Example:
        >>> [record["step"] for _, record in records(b'{"step": 4}\n{"step": 8, "los')]
        [4]
    """
    found = []
    for line in content.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        step = record.get("step") if isinstance(record, dict) else None
        if isinstance(step, int | float) and not isinstance(step, bool):
            found.append((line + b"\n", record))
    return found
