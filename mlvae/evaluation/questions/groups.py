"""Question: which groups are alike, and is a known value of groups associated with their content?

A distance between two groups has a meaning only beside the distance of a group to itself: that of
two disjoint sets of its members. All sets have the same number of members, because the evidence of
more members makes a posterior narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.errors import check_choice, check_text
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, not_evaluated
from mlvae.evaluation.measures.association import Association, association
from mlvae.evaluation.measures.codes import (
    accumulate_sets,
    encode,
    principal_components,
    shuffled,
)
from mlvae.evaluation.measures.distances import (
    DISTANCES,
    GroupDistances,
    distances_between,
    group_distances,
)
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import SOURCES, Code, Subject
from mlvae.evidence.rules import accumulated
from mlvae.groups import Groups as Partition
from mlvae.models import traits
from mlvae.training.seeding import seeded

__all__ = ["Groups"]

#: Unit of each distance.
UNITS = {"symmetric_kl": "symmetric KL in nats", "wasserstein": "Wasserstein distance"}

#: Smallest number of groups whose covariates are predicted.
LEAST = 10

#: Pairs of groups in the table, the nearest ones.
PAIRS = 8


@dataclass(frozen=True)
class Groups:
    """The question and its options.

    Args:
        kind: distance of the figure, "symmetric_kl" or "wasserstein".
        members: largest number k of members in each of the two sets of a group; k is at most half
            the median size of the groups.
        groups: largest number of groups; of more, the first ones in random order are used.
        grouping: name of the grouping, for data with several; None: the first one.
        samples: bootstrap samples of the standard errors.
        permutations: permutations of each known value.
        seed: seed of the sets and of all samples.
    """

    kind: str = "symmetric_kl"
    members: int = 20
    groups: int = 40
    grouping: str | None = None
    samples: int = 50
    permutations: int = 100
    seed: int = 0

    title: ClassVar[str] = "Which groups are alike?"

    def __post_init__(self) -> None:
        check_question(
            self,
            minimum={"members": 1, "groups": 2, "samples": 2, "permutations": 1, "seed": 0},
            choices={"kind": DISTANCES},
        )
        if self.grouping is not None:
            check_text("evaluation.groups.grouping", self.grouping)

    def ask(self, subject: Subject) -> Answer:
        """Compare sets of the groups outside of training, and predict known values of groups."""
        name, data = subject.tested()
        if data is None:
            return not_evaluated(self.title, "this dataset has no test split")
        if self.grouping is not None:
            check_choice("evaluation.groups.grouping", self.grouping, list(data.groupings))
            data = data.regrouped(self.grouping)
        sets = self._sets(data)
        if sets is None:
            return not_evaluated(self.title, "no two groups have two members each")
        codes = subject.codes()
        of = traits(subject.model).grouping_of
        own = next(iter(data.groupings))
        content = next(
            (code for code in codes if code.name == "content" or of.get(code.name) == own),
            codes[0],
        )
        records = [_compared(code, data, sets) for code in codes]
        found = self._distances(content, data, sets)
        associated = self._associations(subject, content)
        names = [str(data.group_names[group]) for group in sets.groups]
        k, number = sets.first.shape[1], len(names)
        some = "" if number == len(data.group_names) else f" of {len(data.group_names)}"
        text = (
            f"Two disjoint sets of {k} members were drawn from each of {number}{some} groups "
            f"({SOURCES[name]}). A code separates groups if the two sets of a group are nearer to "
            "each other than to sets of other groups."
        )
        tables = [_table(records, {code.name: code.label for code in codes}, number)]
        tables.append(_pairs(found, names, self.kind, 2 * k))
        if associated:
            tables.append(_associated(associated))
        metrics = {
            "split": name,
            "members": k,
            "groups": names,
            "kind": self.kind,
            "distance": found.distance.tolist(),
            "standard_error": found.standard_error.tolist(),
            "records": records,
            "association": [
                {"covariate": covariate, "code": label, **result._asdict()}
                for covariate, label, result in associated
            ],
        }
        return Answer(
            self.title, [text], metrics, tables, [self._figure(found, names, content, 2 * k)]
        )

    def _sets(self, data: GroupedData) -> _Sets | None:
        """Two sets of each chosen group; None if no two groups have two members each."""
        sizes = data.groups.sizes
        k = max(1, min(self.members, int(sizes.median()) // 2))
        large = (sizes >= 2 * k).nonzero()[:, 0]
        if len(large) < 2:
            return None
        noise = seeded(torch.Generator(data.device), self.seed, "sets of groups")
        order = torch.randperm(len(large), generator=noise, device=data.device)
        chosen = large[order[: self.groups]].sort().values
        members, rank = shuffled(data.groups, noise)
        kept = torch.isin(data.groups.index[members], chosen) & (rank < 2 * k)
        rows = members[kept].view(len(chosen), 2 * k)
        return _Sets(chosen.tolist(), rows[:, :k], rows[:, k:])

    def _distances(self, code: Code, data: GroupedData, sets: _Sets) -> GroupDistances:
        """The distances of the figure, from all 2k members of each group."""
        rows = torch.cat((sets.first, sets.second), 1)
        members = encode(code.representation, data.subset(rows.flatten()))
        number = torch.arange(len(rows), device=rows.device).repeat_interleave(rows.shape[1])
        kind = self.kind if code.random else "wasserstein"
        found = group_distances(
            members,
            kind,
            groups=Partition(number),
            accumulation=code.accumulation,
            samples=self.samples,
            seed=self.seed,
        )
        return GroupDistances(*(values.cpu() for values in found))

    def _figure(
        self, found: GroupDistances, names: Sequence[str], code: Code, members: int
    ) -> Figure:
        from mlvae.show.clusters import group_distances as draw  # it imports matplotlib

        picture = draw(found.distance, names, title=UNITS[self.kind])
        caption = (
            f"Distances between the {code.name} of groups, each from {members} members "
            f"({UNITS[self.kind]}), and their clusters by average linkage."
        )
        width = float(picture.get_size_inches()[0])
        return Figure("groups", caption, picture.png(), width=width)

    def _associations(self, subject: Subject, content: Code) -> list[tuple[str, str, Association]]:
        """The association of each known value of training groups with codes and components."""
        data = subject.splits.train
        if self.grouping is not None:
            data = data.regrouped(self.grouping)
        covariates = _covariates(data)
        if not covariates or len(data.group_names) < LEAST:
            return []
        noise = seeded(torch.Generator(data.device), self.seed, "members of groups")
        members, rank = shuffled(data.groups, noise)
        data = data.subset(members[rank < 2 * self.members])
        plane = encode(content.representation, data)
        dim = plane.mean.shape[1]
        codes = [code for code in subject.codes() if code.name != "raw"]
        pca = principal_components(data, dim, scale=traits(subject.model).standardise)
        codes.append(Code("pca", f"{dim} principal components", pca, random=False))
        options = {"permutations": self.permutations, "seed": self.seed}
        found = []
        for code in codes:
            pooled = _pooled(code, data).cpu().numpy()
            for name, values in covariates.items():
                result = association(pooled, values.cpu().numpy(), **options)
                found.append((name, code.label, result))
        return sorted(found, key=lambda row: row[0])


class _Sets(NamedTuple):
    """Two disjoint sets of k members of each of G groups.

    Attributes:
        groups: numbers of the groups.
        first: indices of observations, (G, k).
        second: likewise.
    """

    groups: list[int]
    first: Tensor
    second: Tensor


def _compared(code: Code, data: GroupedData, sets: _Sets) -> dict[str, Any]:
    """Distances of sets of one group, and of sets of two groups, by one code."""
    rows = torch.cat((sets.first, sets.second))
    posterior = encode(code.representation, data.subset(rows.flatten()))
    cut = torch.arange(rows.numel(), device=rows.device).view_as(rows)
    pooled = accumulate_sets(posterior, cut, accumulation=code.accumulation).moments()
    number = len(sets.groups)
    matrix = distances_between(pooled[:number], pooled[number:], "wasserstein")
    own = matrix.diagonal()
    others = matrix[~torch.eye(number, dtype=torch.bool, device=matrix.device)]
    return {
        "code": code.name,
        "within": float(own.median()),
        "between": float(others.median()),
        "nearest": float(
            (matrix.argmin(1) == torch.arange(number).to(matrix.device)).double().mean()
        ),
        "chance": 1 / number,
    }


def _covariates(data: GroupedData) -> dict[str, Tensor]:
    """The factors that are known and equal for all members of each group, (G,) by name."""
    found = {}
    for name, values in data.factors.items():
        values = values.double()
        mean = data.groups.sum(values) / data.groups.sizes
        equal = (values - data.groups.spread(mean)).abs() <= 1e-6 * mean.abs().max()
        if bool(equal.all()) and bool((mean != mean[0]).any()):
            found[name] = mean
    return found


def _pooled(code: Code, data: GroupedData) -> Tensor:
    """The mean of the accumulated code of each group, (G, D)."""
    posterior = encode(code.representation, data)
    if not code.random:
        return data.groups.sum(posterior.mean) / data.groups.sizes[:, None]
    return accumulated(posterior, data.groups, code.accumulation).mean


def _table(records: list[dict], labels: dict[str, str], number: int) -> Table:
    rows = [
        [
            labels[record["code"]],
            f"{record['within']:.3g}",
            f"{record['between']:.3g}",
            f"{100 * record['nearest']:.1f}",
        ]
        for record in records
    ]
    rows.append(["chance", "", "", f"{100 / number:.1f}"])
    return Table(
        "Median Wasserstein distance of two sets of one group and of two groups, and the "
        "percentage of groups whose second set is the nearest one to their first set.",
        ["code", "one group", "two groups", "own group is nearest"],
        rows,
    )


def _pairs(found: GroupDistances, names: Sequence[str], kind: str, members: int) -> Table:
    number = len(names)
    above = torch.triu_indices(number, number, 1)
    values = found.distance[above[0], above[1]]
    order = values.argsort()
    rows = []
    for place in order[:PAIRS].tolist() if len(order) > PAIRS else order.tolist():
        i, j = above[:, place].tolist()
        text = Estimate(float(values[place]), float(found.standard_error[i, j])).text(2)
        rows.append([f"{names[i]}, {names[j]}", text])
    return Table(
        f"The nearest pairs of groups: {UNITS[kind]} of the content of {members} members each, ± "
        "standard error over bootstrap samples of the members.",
        ["groups", "distance"],
        rows,
    )


def _associated(found: list[tuple[str, str, Association]]) -> Table:
    rows = [
        [
            covariate,
            label,
            Estimate(result.score, result.standard_error).text(2),
            f"{result.chance:.2f}",
            f"{result.p_value:.3f}",
        ]
        for covariate, label, result in found
    ]
    return Table(
        f"R squared of a known value of groups, predicted by ridge regression from the code of "
        f"groups that the regression has not seen ({found[0][2].num_groups} training groups), ± "
        "standard error over groups; chance is the mean over permutations of the values, p the "
        "share of permutations that are at least as good.",
        ["known value", "code", "R squared", "chance", "p"],
        rows,
    )
