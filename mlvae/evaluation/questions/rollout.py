"""Does a model of trajectories predict long rollouts, and what is the group of its actions?

The error of frames after several numbers of steps, beside free maps of each action and a copy of
the first frame; the angles of the actions; and the identities of their group.

Shapes: M episodes, A actions, n dimensions of a state, P planes.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mlvae.data import Episodes, GroupedData, Truth
from mlvae.errors import InputError, check_choice, shown
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, not_evaluated
from mlvae.evaluation.charts import curves, grid_figure, signed_heatmap
from mlvae.evaluation.films import film_figure
from mlvae.evaluation.measures.rollouts import (
    group_errors,
    horizons_of,
    rollout_errors,
)
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import Subject
from mlvae.grids import Grid, drawable
from mlvae.grids.grid import labelled_grid
from mlvae.models.rotations import InvariantPlanes, planes, rotation_matrices

__all__ = ["Rollout"]

#: Kinds of transitions that a model of rotations can be compared with.
CONTROLS = ("matrix", "network")

#: Number of frames whose states give the planes that the actions turn.
FRAMES = 2000

#: Largest residual of planes that all actions keep.
RESIDUAL = 0.05

#: Labels of predictions in tables and figures.
LABELS = {
    "model": "the model",
    "matrix": "any matrix for each action",
    "network": "a network for each action",
    "copy": "a copy of the first frame",
}

#: Methods that the question needs of a model.
METHODS = ("encode", "path", "log_prob", "frames")


@dataclass(frozen=True)
class Rollout:
    """The question and its options.

    Args:
        horizons: numbers of steps after which the error is measured. Numbers beyond the length of
            the episodes of the test are not used.
        controls: kinds of transitions of further models that ``mlvae evaluate`` trains in the same
            way: "matrix", "network"; an empty list: none. In Python they are the models that are
            passed to :func:`~mlvae.evaluation.evaluate` as ``controls``.
        episodes: largest number of episodes.
        turns: tiles in a row of the traversal of a plane.
        planes: largest number of planes that are traversed.
        frames: frames of the film.
    """

    horizons: tuple[int, ...] = (1, 10, 100)
    controls: tuple[str, ...] = ("matrix", "network")
    episodes: int = 100
    turns: int = 9
    planes: int = 10
    frames: int = 50

    title: ClassVar[str] = "Does it predict long rollouts, and what is the group of the actions?"

    def __post_init__(self) -> None:
        least = {"horizons": 1, "episodes": 1, "turns": 2, "planes": 1, "frames": 1}
        check_question(self, "horizons", minimum=least)
        if not isinstance(self.controls, list | tuple):
            raise InputError(
                f"evaluation.rollout.controls must be a list of transitions, not "
                f"{shown(self.controls)}"
            )
        object.__setattr__(self, "controls", tuple(self.controls))
        for kind in self.controls:
            check_choice("evaluation.rollout.controls", kind, CONTROLS)

    def applies(self, model: Any) -> bool:
        """Whether a model is of the kind that this question is about; see :func:`.applies`."""
        return all(callable(getattr(model, method, None)) for method in METHODS)

    @torch.no_grad()
    def ask(self, subject: Subject) -> Answer:
        """Measure the errors and the group, and draw the planes and a film."""
        model, test = subject.model, subject.splits.test
        if not self.applies(model):
            return not_evaluated(self.title, "the model has no transitions by actions")
        if test is None or "action" not in test.given:
            return not_evaluated(self.title, "there is no test split with actions")
        episodes = _episodes(test).first(self.episodes)
        steps = horizons_of(episodes, self.horizons)
        errors = {"model": rollout_errors(model, episodes, steps)}
        for name, control in subject.others.items():
            errors[name] = rollout_errors(control, episodes, steps)
        errors["copy"] = rollout_errors(model, episodes, steps, copy=True)
        records = [
            {"prediction": name, **record} for name, found in errors.items() for record in found
        ]
        metrics: dict[str, Any] = {"episodes": len(episodes), "errors": records}
        errors = {LABELS.get(name, name): found for name, found in errors.items()}
        tables, figures, words = [_error_table(errors)], [], [_error_words(errors, len(episodes))]
        if len(steps) > 1:
            figures.append(_error_figure(errors))
        figures += self._film(model, episodes)
        actions = None if episodes.truth is None else episodes.truth.actions
        if _has_angles(model) and not (actions is None and model.options.continuous):
            group = _group(model, episodes.truth, actions)
            metrics["group"] = group
            names = list(group["actions"])
            tables.append(_group_table(group))
            words.append(_group_words(group))
            found = model.invariant_planes(episodes.floats().flatten(0, 1)[:FRAMES], actions)
            group["invariant"] = _invariant(found, group["actions"].values())
            words.append(_invariant_words(group["invariant"]))
            if found.residual < RESIDUAL:
                tables.append(_invariant_table(group["invariant"], names))
            figures.append(_angle_figure(model.angles(actions), names, model.latent_dim))
            figures += self._traversal(model, episodes, group["planes"])
        return Answer(self.title, words, metrics, tables, figures)

    def _film(self, model: Any, episodes: Episodes) -> list[Figure]:
        """The first episode beside its prediction: a film of images, or a table of vectors."""
        one = episodes.first(1)
        length = min(self.frames, one.action.shape[1])
        true = one.floats()[:, : length + 1]
        states = model.path(model.encode(true[:, 0]), one.action[:, :length])
        both = torch.cat((true, model.frames(states)))
        words = "Left: the first episode of the test. Right: its prediction from the first frame"
        if both.ndim == 5 and both.shape[2] in (1, 3):
            caption = f"{words} and the actions, {length} steps."
            return [film_figure("rollout_film", caption, both)]
        if both.ndim == 3:
            grid = _strip(both, ["episode", "prediction"])
            caption = f"{words} and the actions. A row is a frame, a column a feature."
            return [grid_figure("rollout_frames", caption, grid)]
        return []

    def _traversal(self, model: Any, episodes: Episodes, used: list) -> list[Figure]:
        """A row for each plane that the actions turn: one frame, turned once around."""
        frame = episodes.floats()[:1, 0]
        if not drawable(frame.shape[1:]) or not used:
            return []
        chosen = [tuple(plane) for plane in used][: self.planes]
        pairs = planes(model.latent_dim)
        angles = frame.new_zeros(len(chosen), self.turns, len(pairs))
        way = torch.linspace(0, 2 * math.pi, self.turns, device=frame.device)
        for row, plane in enumerate(chosen):
            angles[row, :, pairs.index(plane)] = way
        state, dim = model.encode(frame)[0], model.latent_dim
        turned = rotation_matrices(angles, dim) @ state[:dim]
        states = torch.cat((turned, state[dim:].expand(*turned.shape[:2], -1)), 2)
        grid = labelled_grid(
            model.frames(states),
            rows=[f"axes {i + 1}, {j + 1}" for i, j in chosen],
            columns=[f"{value:.2g}" for value in (way / (2 * math.pi)).tolist()],
            down="plane",
            across={0: "turns"},
            note="In a row, the state of one frame is turned in one plane.",
        )
        caption = (
            "The first frame of a test episode, turned in each plane that the actions turn. The "
            "first and the last tile of a row are equal."
        )
        return [grid_figure("rollout_planes", caption, grid)]


def _episodes(test: GroupedData) -> Episodes:
    """The long trajectories of the test, or else its observations."""
    if test.episodes is not None:
        return test.episodes
    rows = torch.arange(len(test), device=test.device)
    return Episodes(test.observations(rows), test.given["action"])


def _has_angles(model: Any) -> bool:
    return getattr(model.options, "transition", None) == "rotation"


def _group(model: Any, truth: Truth | None, actions: Tensor | None) -> dict[str, Any]:
    """The structure of the actions, and its errors where the truth is known."""
    found = model.structure(actions)
    names = [str(number) for number in range(len(found.turns))]
    periods: list[int | None] = [None] * len(names)
    errors: dict[str, Any] = {}
    if truth is not None:
        names, periods = list(truth.names), list(truth.periods)
        errors = group_errors(model.matrices(actions), truth)
    rows = zip(names, found.plane, found.turns, found.periods, periods, strict=True)
    sizes = [abs(turns) for turns in found.turns]
    return {
        "entanglement": found.entanglement,
        "planes": found.planes,
        "number_of_planes": len(found.planes),
        "periods_found": _periods_found(found.periods, periods),
        "smallest_turn": min(sizes),
        "largest_turn": max(sizes),
        **{
            f"largest_of_{name}": max(values.values()) for name, values in errors.items() if values
        },
        "actions": {
            name: {"plane": plane, "turns": turns, "period": period, "true_period": true}
            for name, plane, turns, period, true in rows
        },
        "errors": errors,
    }


def _periods_found(found: list[int | None], true: list[int | None]) -> float | None:
    """The share of the known true periods that are found; None: none is known."""
    known = [pair for pair in zip(found, true, strict=True) if pair[1] is not None]
    return sum(one == other for one, other in known) / len(known) if known else None


def _error_table(errors: dict[str, list[dict]]) -> Table:
    measures = [name for name in next(iter(errors.values()))[0] if name != "steps"]
    titles = {
        "nats": "nats per element",
        "excess": "above the floor",
        "squared_error": "squared error",
        "accuracy": "right frames",
    }
    rows = [
        [f"{label}, {record['steps']} steps", *[record[name].text(4) for name in measures]]
        for label, records in errors.items()
        for record in records
    ]
    return Table(
        "Errors of the frame after a number of steps, predicted from the first frame and the "
        "actions: minus the log-probability in nats per element, and this minus its smallest "
        "possible value; squared error per element; share of frames whose largest element is "
        "right. ± standard error over episodes.",
        ["prediction", *[titles[name] for name in measures]],
        rows,
    )


def _error_words(errors: dict[str, list[dict]], number: int) -> str:
    last = {label: records[-1] for label, records in errors.items()}
    steps = next(iter(last.values()))["steps"]
    name, unit = ("excess", " above the floor") if "excess" in last["the model"] else ("nats", "")
    found = [f"{label} {record[name].text(4)}" for label, record in last.items()]
    text = f"After {steps} steps, nats per element{unit}: {', '.join(found)}."
    if "accuracy" in last["the model"]:
        text += f" The model predicts {100 * last['the model']['accuracy'].mean:.1f} % right."
    return f"{number} episodes. {text}"


def _error_figure(errors: dict[str, list[dict]]) -> Figure:
    """Curves of the squared error, which is bounded where log-probabilities are not."""
    lines: dict[str, dict[float, Estimate]] = {
        label: {record["steps"]: record["squared_error"] for record in records}
        for label, records in errors.items()
    }
    return curves(
        "rollout_errors",
        "Squared error per element of the predicted frame against the number of steps. Bars: "
        "standard error over episodes.",
        {"squared error": lines},
        x_label="steps",
    )


def _group_table(group: dict[str, Any]) -> Table:
    near = group["errors"].get("periods", {})
    rows = [
        [
            name,
            f"{action['turns']:+.4f}",
            "{}, {}".format(*[axis + 1 for axis in action["plane"]]),
            str(action["period"] or "-"),
            str(action["true_period"] or "-"),
            f"{near[name]:.4f}" if name in near else "-",
        ]
        for name, action in group["actions"].items()
    ]
    columns = ["action", "largest angle", "plane", "period", "true period", "g^p - I"]
    return Table(
        "The rotation of each action: its largest angle in turns and the axes of its plane; the "
        "smallest power near the identity; and, with the true period p, the largest element of "
        "g^p - I.",
        columns,
        rows,
    )


def _group_words(group: dict[str, Any]) -> str:
    text = (
        f"The actions turn {len(group['planes'])} planes; their entanglement is "
        f"{group['entanglement']:.2g} (0: each action turns one plane)."
    )
    for name, words in (
        ("inverses", "opposite actions are inverse to within"),
        ("commutators", "commuting actions commute to within"),
    ):
        if values := group["errors"].get(name):
            text += f" In the matrices, {words} {max(values.values()):.2g}."
    return text


def _invariant(found: InvariantPlanes, actions: Collection[dict]) -> dict[str, Any]:
    """The planes in the span of the states, as plain values."""
    known = found.residual < RESIDUAL
    true = [action["true_period"] for action in actions]
    return {
        "residual": found.residual,
        "number_of_planes": len(found.shares) if known else None,
        "periods": found.periods if known else None,
        "periods_found": _periods_found(found.periods if known else [None] * len(true), true),
        "fixed": found.fixed,
        "planes": [
            {"share": share, "turns": turns}
            for share, turns in zip(found.shares.tolist(), found.turns.T.tolist(), strict=True)
        ],
    }


def _invariant_words(found: dict[str, Any]) -> str:
    if found["number_of_planes"] is None:
        return (
            "The actions have no planes in common in the span of the states: the residual is "
            f"{found['residual']:.2g}, so they do not commute."
        )
    periods = ", ".join(str(period or "none") for period in found["periods"])
    return (
        f"In the span of the states the actions turn {found['number_of_planes']} planes, of any "
        f"direction; periods of the actions: {periods}; residual {found['residual']:.2g}."
    )


def _invariant_table(found: dict[str, Any], names: list[str]) -> Table:
    rows = [
        [str(number), f"{100 * plane['share']:.1f}", *[f"{t:+.4f}" for t in plane["turns"]]]
        for number, plane in enumerate(found["planes"], 1)
    ]
    return Table(
        "The planes that all actions keep, of any direction in the span of the states: share of "
        "the squared length of the states in percent, and the angle of each action in turns.",
        ["plane", "share", *names],
        rows,
    )


def _angle_figure(angles: Tensor, names: list[str], dim: int) -> Figure:
    turns = (0.5 - (0.5 - angles / (2 * math.pi)) % 1).tolist()
    columns = [f"{i + 1}, {j + 1}" for i, j in planes(dim)]
    cells = {
        name: dict(zip(columns, row, strict=True)) for name, row in zip(names, turns, strict=True)
    }
    return signed_heatmap(
        "rollout_angles",
        "The angle of each action (rows) in each plane of two axes (columns), in turns. Without "
        "entanglement a row has one angle that is not 0.",
        cells,
        label="turns",
        limit=0.5,
    )


def _strip(both: Tensor, labels: list[str]) -> Grid:
    """Frames that are vectors, (2, L, features), as two grey images."""
    low, high = both.min(), both.max()
    grey = (both - low) / (high - low).clamp(min=1e-12)
    return labelled_grid(grey[None, :, None], columns=labels, note="Dark is small.")
