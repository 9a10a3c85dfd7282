"""The subject of the questions: a trained model, its data, and the controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlvae.data import Grouped, GroupedData, Shuffled, Splits
from mlvae.errors import InputError
from mlvae.evaluation.measures.codes import (
    Representation,
    encode,
    encode_all,
    pixels,
    representations,
    standardised,
)
from mlvae.models import rebuilt, traits
from mlvae.posteriors import DiagonalGaussian, Dirichlet
from mlvae.training.checks import with_needs
from mlvae.training.seeding import seeded

__all__ = ["CONTROLS", "SOURCES", "Code", "Subject", "known_splits"]

#: Names of codes that are not the model's.
CONTROLS = ("vae", "untrained", "pca", "raw")

#: The splits that questions test on, in the text of a report.
SOURCES = {"test": "the test split", "unseen": "groups that do not occur in training"}


class Code(NamedTuple):
    """A representation that a question compares.

    Attributes:
        name: in records.
        label: in tables and figures.
        representation: from a batch of single observations to posteriors.
        accumulation: name of the rule that pools it; None is the product of normals.
        random: whether samples of its posteriors differ.
    """

    name: str
    label: str
    representation: Representation
    accumulation: str | None = None
    random: bool = True


@dataclass(frozen=True)
class Subject:
    """A trained model, and controls that it must exceed.

    Attributes:
        model: in evaluation mode.
        splits: the observations; the model was trained on ``splits.train``.
        vae: a plain VAE trained the same way, or None.
        others: further models that were trained the same way, by name.
        batching: batching of the training, which sets the sizes of groups in the bound.
        seed: seed of the training; it determines the weights of the untrained control.
        workers: processes that train probes.
        progress: whether the terminal shows progress.
    """

    model: Any
    splits: Splits
    vae: Any = None
    others: Mapping[str, Any] = field(default_factory=dict)
    batching: Shuffled | Grouped = field(default_factory=Shuffled)
    seed: int = 0
    workers: int = 1
    progress: bool = False

    def held_out(self) -> tuple[str, GroupedData]:
        """The observations to train probes on, with the name of their split.

        The validation split, on which the model was not trained, if it has all groups of the test
        split; else the training split.
        """
        test, validation = self.splits.test, self.splits.validation
        if test is None or validation is None:
            return "train", self.splits.train
        known = set(test.group_names) <= set(validation.group_names)
        return ("validation", validation) if known else ("train", self.splits.train)

    def tested(self) -> tuple[str, GroupedData | None]:
        """The name and the observations of the unseen groups, or else of the test split."""
        if self.splits.unseen is not None:
            return "unseen", self.splits.unseen
        return "test", self.splits.test

    def untrained(self) -> Any:
        """The model with its initial weights, or None if :attr:`without_untrained` says why.

        The weights are those of ``scripts/train.py`` with the same seed.
        """
        return self._untrained[0]

    @property
    def without_untrained(self) -> str:
        """Why there is no untrained control; empty if there is one."""
        return self._untrained[1]

    @cached_property
    def _untrained(self) -> tuple[Any, str]:
        """The untrained control, or None and the reason.

        Codes that depend on given values have no such control: without training they separate the
        groups already.
        """
        stated = traits(self.model)
        if stated.given_codes and not stated.unconditional_codes:
            return None, "codes that are looked up from labels separate the groups untrained"
        with torch.random.fork_rng():
            seeded(torch.default_generator, self.seed, "initial weights")
            try:
                model = rebuilt(self.model)
            except InputError as error:
                return None, str(error)
        if stated.standardise is not None:  # the scale is no part of the training
            model.standardise.load_state_dict(stated.standardise.state_dict())
        return model.to(next(self.model.parameters()).device).eval(), ""

    def controls(self) -> dict[str, tuple[str, Any]]:
        """The label and the model of each control that is a model, by name."""
        models = {
            "vae": ("plain VAE", self.vae),
            "untrained": ("untrained encoder", self.untrained()),
        }
        return {name: pair for name, pair in models.items() if pair[1] is not None}

    def codes(self) -> list[Code]:
        """The model's own codes, then the controls."""
        return self._codes

    @cached_property
    def _codes(self) -> list[Code]:
        data, stated = self.splits.train, traits(self.model)
        conditional = bool(stated.given_codes)
        codes = [
            Code(
                name,
                f"{name} given the label"
                if conditional and name not in stated.unconditional_codes
                else name,
                code,
                stated.pooling.get(name),
                _random(code, data),
            )
            for name, code in representations(self.model, data).items()
        ]
        rules = {"vae": None, "untrained": codes[0].accumulation}
        for control, (label, model) in self.controls().items():
            name, code = next(iter(representations(model, data).items()))
            label = f"{label}, {name}"
            codes.append(Code(control, label, code, rules[control], _random(code, data)))
        kind = "pixels" if len(data.shape) == 3 else "observations"
        raw = standardised(pixels, stated.standardise)
        return [*codes, Code("raw", f"raw {kind}", raw, random=False)]

    def encoded(
        self, code: Code, data: GroupedData, rows: Tensor | None = None
    ) -> DiagonalGaussian | Dirichlet:
        """The posterior of every observation of a split by itself, (N, D).

        Each split is encoded once, unless less than half of it is asked. Observations themselves,
        the control ``raw``, and codes that are not the subject's are encoded at each call.

        Args:
            code: one of :meth:`codes`, or a further code.
            data: a split of the subject. Other observations are encoded at each call.
            rows: indices of the observations that are asked; None: all.
        """
        place = next(((name, code.name) for name, split in self.splits if split is data), None)
        few = rows is not None and 2 * len(rows) < len(data)
        shared = code.name != "raw" and code in self.codes()
        if place is None or not shared or (few and place not in self._kept):
            return encode(code.representation, data if rows is None else data.subset(rows))
        self._keep(code, data, place)
        return self._kept[place] if rows is None else self._kept[place][rows]

    def _keep(self, code: Code, data: GroupedData, place: tuple[str, str]) -> None:
        """Encode a split, unless it was encoded: all codes of the model in one pass."""
        if place not in self._kept:
            own = [known.name for known in self.codes() if known.name not in CONTROLS]
            if code.name in own:
                for name, posterior in encode_all(self.model, own, data).items():
                    self._kept[place[0], name] = posterior
            else:
                self._kept[place] = encode(code.representation, data)

    @cached_property
    def _kept(self) -> dict[tuple[str, str], DiagonalGaussian | Dirichlet]:
        """Posteriors by split and code."""
        return {}


@torch.no_grad()
def _random(representation: Representation, data: GroupedData) -> bool:
    return representation(data.singles([0])).random


def known_splits(model: object, splits: Splits) -> tuple[Splits, list[str]]:
    """The splits with the given values that the model needs, and the names of unusable splits.

    A model whose codes are looked up from labels cannot encode groups outside its training data.
    """
    known, unknown = {}, []
    for name, data in splits:
        try:
            known[name] = with_needs(model, data, name)
        except InputError:
            if name == "train":
                raise
            if traits(model).given_codes:
                unknown.append(name)
            else:
                known[name] = data
    return Splits(**known), unknown
