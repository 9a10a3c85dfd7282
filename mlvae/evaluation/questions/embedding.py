"""Question: how are the codes arranged?

Codes in the plane, by label, and the same codes for TensorBoard's projector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mlvae.data import GroupedData
from mlvae.data.collections.members import printable
from mlvae.evaluation.answer import Answer, Figure
from mlvae.evaluation.charts import scatter
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import CONTROLS, SOURCES, Code, Subject

__all__ = ["Embedding"]

METHODS = ("tsne", "pca")
MOST_LABELS = 10  # largest number of groups in a figure
MOST_SPREAD = 1e12  # a larger or smaller spread is scaled to one before t-SNE
SPRITE = 32  # largest height and width of an image in the projector, in pixels


@dataclass(frozen=True)
class Embedding:
    """The question and its options.

    Args:
        method: "tsne" (van der Maaten and Hinton 2008), which shows neighbouring codes, or "pca",
            the two directions of largest variance.
        points: largest number of codes. The figure shows the first ten groups, the projector all
            groups.
    """

    method: str = "tsne"
    points: int = 1000

    title: ClassVar[str] = "How are the codes arranged?"

    def __post_init__(self) -> None:
        check_question(self, minimum={"points": 10}, choices={"method": METHODS})

    def ask(self, subject: Subject) -> Answer:
        """Encode and embed the test split, and unseen groups if there are any."""
        figures, embeddings, equal = [], {}, []
        for name, data in subject.splits:
            if name not in SOURCES:
                continue
            rows = _some(torch.arange(len(data), device=data.device), self.points)
            few = data.subset(rows)
            for code in _own(subject):
                means = subject.encoded(code, data, rows).mean.cpu()
                embeddings[f"{code.name}_{name}"] = (means, _labels(few), _sprites(few))
                if len(few) > 1 and bool((means == means[:1]).all()):
                    equal.append(f"{code.name} of {SOURCES[name]}")
            figures.append(self._figure(subject, data, name))
        return Answer(
            self.title,
            [
                "The goal is one cluster per label in the content and no such clusters in the "
                "style. Distances between clusters of t-SNE have no meaning. For all dimensions, "
                "run tensorboard --logdir projector in the folder of this page.",
                *[f"All codes are equal: {what}. The figure has one point." for what in equal],
            ],
            figures=figures,
            embeddings=embeddings,
        )

    def _figure(self, subject: Subject, data: GroupedData, name: str) -> Figure:
        rows = _some((data.groups.index < MOST_LABELS).nonzero()[:, 0], self.points)
        few = data.subset(rows)
        panels = {
            code.name: self._plane(subject.encoded(code, data, rows).mean.cpu().numpy())
            for code in _own(subject)
        }
        method = "t-SNE" if self.method == "tsne" else "first two principal components"
        more = len(data.group_names) > MOST_LABELS
        limit = f"; the first {MOST_LABELS} groups only" if more else ""
        return scatter(
            f"embedding_{name}",
            f"Posterior means of {len(few)} observations of {SOURCES[name]} in the plane "
            f"({method}), by label{limit}.",
            panels,
            _labels(few),
        )

    def _plane(self, codes: np.ndarray) -> np.ndarray:
        """Coordinates in the plane, (N, 2), of codes (N, D).

        A code with an infinity or NaN has the coordinates NaN, which no figure shows.
        """
        finite = np.isfinite(codes).all(1)
        plane = np.full((len(codes), 2), np.nan)
        if finite.any():
            plane[finite] = self._finite_plane(codes[finite])
        return plane

    def _finite_plane(self, codes: np.ndarray) -> np.ndarray:
        """Coordinates in the plane, (N, 2), of codes (N, D) without infinities and NaN."""
        # Local imports: scikit-learn takes seconds, which `import mlvae` does not need.
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE

        centred = codes - codes.mean(0, dtype=np.float64)
        spread = float(np.ptp(codes.astype(np.float64), axis=0).max(initial=0.0))
        # t-SNE divides by the deviation of the first component. A deviation of zero gives it NaN,
        # and its tree of points then writes outside of its memory.
        if spread == 0:
            return np.zeros((len(codes), 2))
        if not 1 / MOST_SPREAD < spread < MOST_SPREAD or spread < 1e-5 * np.abs(codes).max():
            codes = centred / spread
        if 1 in codes.shape:
            return np.column_stack((codes[:, 0], np.zeros(len(codes))))
        if self.method == "pca" or len(codes) < 10:
            return PCA(2, random_state=0).fit_transform(codes)
        perplexity = min(30, (len(codes) - 1) / 3)
        return TSNE(perplexity=perplexity, random_state=0, n_jobs=1).fit_transform(codes)


def _own(subject: Subject) -> list[Code]:
    """The codes of the model."""
    return [code for code in subject.codes() if code.name not in CONTROLS]


def _some(rows: Tensor, number: int) -> Tensor:
    """At most ``number`` of ``rows``, drawn at random with a fixed seed, in their order."""
    if len(rows) <= number:
        return rows
    generator = torch.Generator(rows.device).manual_seed(0)
    order = torch.randperm(len(rows), generator=generator, device=rows.device)
    return rows[order[:number].sort()[0]]


def _labels(data: GroupedData) -> list[str]:
    """The group name of every observation in one line, with control characters escaped.

    TensorBoard skips empty lines, so an empty name has a text too.
    """
    words = [" ".join(str(name).split()) for name in data.group_names]
    names = [printable(word) or "(empty)" for word in words]
    return [names[group] for group in data.groups.index.tolist()]


def _sprites(data: GroupedData) -> Tensor | None:
    """Images of at most SPRITE pixels a side; None if the observations are not images."""
    if len(data.shape) != 3 or data.shape[0] not in (1, 3):
        return None
    x = data.observations(torch.arange(len(data), device=data.device)).cpu()
    if max(x.shape[-2:]) > SPRITE:
        x = functional.interpolate(x, (SPRITE, SPRITE), mode="area")
    return x
