"""The causal role of each column of a table.

Shapes: C columns, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlvae.errors import InputError, check_text, check_texts
from mlvae.likelihoods import MixedColumns
from mlvae.parts import take_lists

__all__ = ["Roles", "features_of"]


@dataclass(frozen=True)
class Roles:
    """Which column is intervened on, which columns it causes, and which is the outcome.

    Args:
        intervention: name of the column a that is intervened on, of the kind binary.
        outcome: name of the column y whose change is of interest.
        caused: names of the columns :math:`x_d` that a causes. All other columns are
            :math:`x_r`, the rest: they may correlate with a, but an intervention on a does not
            change them.

    Example:
        >>> Roles("sex", "income", ("hours", "education"))
        Roles(intervention='sex', outcome='income', caused=('hours', 'education'))
    """

    intervention: str = ""
    outcome: str = ""
    caused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        take_lists(self, "model.roles", "caused")
        for name in ("intervention", "outcome"):
            check_text(f"model.roles.{name}", getattr(self, name))
        check_texts("model.roles.caused", self.caused)

    def columns(self, likelihood: MixedColumns) -> dict[str, list[int]]:
        """The numbers of the columns of each role: intervention, outcome, caused, rest.

        Raises:
            InputError: if a name is no column, has two roles, or the intervention is not binary.
        """
        names = [column.column for column in likelihood.columns]
        given = [self.intervention, self.outcome, *self.caused]
        for name in given:
            if name not in names:
                raise InputError(
                    f"model.roles must name columns of the table ({', '.join(names)}), not "
                    f"{name!r}"
                )
            if given.count(name) > 1:
                raise InputError(f"model.roles must give column {name!r} one role, not two")
        place = {name: number for number, name in enumerate(names)}
        kind = likelihood.columns[place[self.intervention]].kind
        if kind != "binary":
            raise InputError(
                f"model.roles.intervention={self.intervention} must be a binary column, not of "
                f"the kind {kind}"
            )
        return {
            "intervention": [place[self.intervention]],
            "outcome": [place[self.outcome]],
            "caused": [place[name] for name in self.caused],
            "rest": [number for name, number in place.items() if name not in given],
        }


def features_of(columns: Sequence[int], likelihood: MixedColumns) -> list[int]:
    """The features of columns, by their numbers."""
    widths = [column.levels for column in likelihood.columns]
    starts = [sum(widths[:number]) for number in range(len(widths))]
    return [starts[number] + level for number in columns for level in range(widths[number])]
