"""The origin of a table's numbers: seeds, versions, machines, dates and commands."""

from __future__ import annotations

from mlvae.commands import cli

__all__ = ["Results", "ordered", "own_seeds", "provenance"]

#: The metrics of a run by its variant and seed.
Results = dict[tuple[str, int], cli.Config]


def provenance(name: str, table: cli.Config, results: Results, *, fast: bool) -> str:
    """A sentence on the seeds, the evaluations and the commands of some runs.

    Args:
        name: name of the table, as on the command line.
        table: config of the table.
        results: metrics of the runs.
        fast: whether the runs are those of the small version.
    """
    commands = " and ".join(f"`{each}`" for each in _commands(name, table, results, fast=fast))
    return f"{_repetitions(results)} {_circumstances(results)}: {commands}"


def own_seeds(variant: str, table: cli.Config, *, fast: bool) -> list[int]:
    """The seeds of a variant that a command without seeds takes."""
    if fast:
        return table["fast"]["seeds"]
    return table.get("seeds_of", {}).get(variant, table["seeds"])


def ordered(results: Results, table: cli.Config) -> Results:
    """The results in the order of the table's variants, and of the seeds."""
    order = list(table["variants"])
    return dict(sorted(results.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def _by_seeds(results: Results) -> dict[tuple[int, ...], list[str]]:
    """The variants that have the same seeds, by these seeds."""
    found: dict[str, list[int]] = {}
    for variant, seed in results:
        found.setdefault(variant, []).append(seed)
    alike: dict[tuple[int, ...], list[str]] = {}
    for variant, seeds in found.items():
        alike.setdefault(tuple(sorted(seeds)), []).append(variant)
    return alike


def _commands(name: str, table: cli.Config, results: Results, *, fast: bool) -> list[str]:
    """The commands that make these runs: one for all variants whose seeds are their own."""
    alike = _by_seeds(results)
    asked: dict[str, list[str]] = {}
    for seeds, variants in alike.items():
        own = [
            tuple(sorted(own_seeds(variant, table, fast=fast))) == seeds for variant in variants
        ]
        text = f" seeds=[{','.join(map(str, seeds))}]"
        for variant, usual in zip(variants, own, strict=True):
            usual = all(own) if len(alike) == 1 else usual  # one command, if one suffices
            asked.setdefault("" if usual else text, []).append(variant)
    command = f"mlvae reproduce {cli.argument('table', name)}{' fast=true' * fast}"
    return [
        command
        + text
        + f" variants=[{','.join(v for v in table['variants'] if v in variants)}]"
        * (len(variants) < len(table["variants"]))
        for text, variants in asked.items()
    ]


def _repetitions(results: Results) -> str:
    """A sentence on the seeds."""
    alike = _by_seeds(results)
    if len(alike) == 1:
        (seeds,) = alike
        return (
            f"Mean ± standard error over {len(seeds)} seed{'s' * (len(seeds) > 1)} "
            f"({', '.join(map(str, seeds))})."
        )
    texts = [
        f"{', '.join(map(str, seeds))} of {', '.join(variants)}"
        for seeds, variants in sorted(alike.items(), key=lambda pair: (-len(pair[0]), pair[0]))
    ]
    return f"Mean ± standard error over seeds; a value without ± has one seed. {'; '.join(texts)}."


def _circumstances(results: Results) -> str:
    """Versions, machines and dates of the evaluations."""
    evaluated = [metrics["facts"]["evaluated"].split(", ") for metrics in results.values()]
    dates = sorted({first for first, *_ in evaluated})
    rest = sorted({", ".join(others) for _, *others in evaluated})
    period = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return f"{' and '.join(rest)}, {period}"
