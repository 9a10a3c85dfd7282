"""What questions are asked of: a trained model, its data, and the controls beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn

from mlvae.accumulation import OF_POSTERIORS
from mlvae.data import Grouped, GroupedData, Shuffled, Splits
from mlvae.errors import InputError
from mlvae.evaluation.codes import Representation, Told, pixels, representations
from mlvae.models import build, told_groups
from mlvae.training.seeding import seeded

__all__ = ["Code", "Subject", "known_splits"]


class Code(NamedTuple):
    """A representation that a question compares.

    Attributes:
        name: in records.
        label: in tables and figures.
        representation: from observations to posteriors, or from them and their groups.
        accumulation: name of the rule that pools it; None is the product of normals.
        random: whether its posteriors have variances to draw from.
    """

    name: str
    label: str
    representation: Representation | Told
    accumulation: str | None = None
    random: bool = True


@dataclass(frozen=True)
class Subject:
    """A trained model beside controls that a good figure must beat.

    Attributes:
        model: in evaluation mode.
        splits: the observations; the model was trained on ``splits.train``.
        vae: a plain VAE trained the same way, or None.
        batching: of the training, which sets the size of groups in the bound.
        seed: of the training; decides the weights of the untrained control.
        workers: processes that train probes.
        progress: whether to show progress on the terminal.
    """

    model: nn.Module
    splits: Splits
    vae: nn.Module | None = None
    batching: Shuffled | Grouped = field(default_factory=Shuffled)
    seed: int = 0
    workers: int = 1
    progress: bool = False

    def held_out(self) -> tuple[str, GroupedData]:
        """Observations of the test's groups to train probes on, and what they are called.

        Those of validation, which the model was not trained on, unless it has groups of its own.
        """
        test, validation = self.splits.test, self.splits.validation
        if validation is not None and set(test.group_names) <= set(validation.group_names):
            return "validation", validation
        return "train", self.splits.train

    def untrained(self) -> nn.Module | None:
        """The model as it was before its first step; None if it cannot be built from its config.

        The weights are those that ``scripts/train.py`` starts from with the same seed. None too of
        a model that is told the groups: untrained it would tell what it was told.
        """
        config = getattr(self.model, "config", None)
        if config is None or told_groups(self.model):
            return None
        with torch.random.fork_rng():
            seeded(torch.default_generator, self.seed, "initial weights")
            try:
                model = build(self.model.shape, config)
            except InputError:  # of a class, network or likelihood of one's own
                return None
        return model.to(next(self.model.parameters()).device).eval()

    def codes(self) -> list[Code]:
        """The model's own codes, then the controls."""
        own = representations(self.model)
        rule = getattr(self.model, "accumulation", None)
        rule = OF_POSTERIORS.get(rule, rule)
        codes = [
            Code(
                name,
                _label(name, representation),
                representation,
                rule if name == "content" else None,
            )
            for name, representation in own.items()
        ]
        if self.vae is not None:
            codes.append(Code("vae", "plain VAE, latent", self.vae.infer))
        if (untrained := self.untrained()) is not None:
            name, representation = next(iter(representations(untrained).items()))
            label, rule = f"untrained encoder, {name}", codes[0].accumulation
            codes.append(Code("untrained", label, representation, rule))
        return [*codes, Code("raw", self.raw_label, pixels, random=False)]

    @property
    def raw_label(self) -> str:
        """What observations themselves are called."""
        return "raw pixels" if len(self.splits.train.shape) == 3 else "raw observations"


def known_splits(model: nn.Module, splits: Splits) -> tuple[Splits, list[str]]:
    """The splits that the model can be asked of, and the names of those it cannot.

    A model that is told the groups, in training, knows no others.
    """
    if not told_groups(model):
        return splits, []
    known = {}
    for name, data in splits:
        try:
            model.check_groups(data.group_names)
        except InputError:
            if name == "train":
                raise
        else:
            known[name] = data
    return Splits(**known), [name for name, _ in splits if name not in known]


def _label(name: str, representation: Representation | Told) -> str:
    return f"{name} given the group" if isinstance(representation, Told) else name
