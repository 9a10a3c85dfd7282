"""Where do codes lie?

Codes in the plane, by label, and the same codes for TensorBoard's projector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mlvae.data import GroupedData
from mlvae.errors import check_choice, check_integer
from mlvae.evaluation.answer import Answer, Figure
from mlvae.evaluation.charts import scatter
from mlvae.evaluation.codes import encode, representations
from mlvae.evaluation.subject import Subject

__all__ = ["Embedding"]

METHODS = ("tsne", "pca")
MOST_LABELS = 10
SPRITE = 32  # height and width at most of a picture in the projector, in pixels


@dataclass(frozen=True)
class Embedding:
    """The question, and how it is asked.

    Args:
        method: "tsne" (van der Maaten and Hinton 2008) shows which codes are near to each other;
            "pca" the two directions in which they differ most.
        points: number of codes at most, of the first ten groups in the figure, of all in the
            projector.
    """

    method: str = "tsne"
    points: int = 1000

    def __post_init__(self) -> None:
        check_choice("evaluation.embedding.method", self.method, METHODS)
        check_integer("evaluation.embedding.points", self.points, minimum=10)

    def ask(self, subject: Subject) -> Answer:
        """Encode and embed the test split, and unseen groups if there are some."""
        figures, embeddings = [], {}
        for name in ("test", "unseen"):
            data = getattr(subject.splits, name)
            if data is None:
                continue
            few = _some(data, self.points)
            for code, representation in representations(subject.model, few).items():
                means = encode(representation, few).mean.cpu()
                embeddings[f"{code}_{name}"] = (means, _labels(few), _sprites(few))
            figures.append(self._figure(subject, data, name))
        return Answer(
            "Where do codes lie?",
            [
                "Clusters by label in the content and none in the style are what one hopes to "
                "see; distances between clusters mean nothing. For all dimensions at once: "
                "tensorboard --logdir on the projector folder beside this page."
            ],
            figures=figures,
            embeddings=embeddings,
        )

    def _figure(self, subject: Subject, data: GroupedData, name: str) -> Figure:
        chosen = (data.groups.index < MOST_LABELS).nonzero()[:, 0]
        few = _some(data.subset(chosen), self.points)
        panels = {
            code: self._plane(encode(representation, few).mean.cpu().numpy())
            for code, representation in representations(subject.model, few).items()
        }
        how = "t-SNE" if self.method == "tsne" else "two principal components"
        of = "the test split" if name == "test" else "groups never seen in training"
        return scatter(
            f"embedding_{name}",
            f"Posterior means of {len(few)} observations of {of} in the plane ({how}), "
            "by label"
            + (f"; the first {MOST_LABELS} groups only." if len(data.group_names) > 10 else "."),
            panels,
            _labels(few),
        )

    def _plane(self, codes: np.ndarray) -> np.ndarray:
        # Seconds that `import mlvae` need not take.
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE

        if len(codes) == 1:
            return np.zeros((1, 2))
        if codes.shape[1] == 1:
            return np.column_stack((codes[:, 0], np.zeros(len(codes))))
        if self.method == "pca" or len(codes) < 10:
            return PCA(2, random_state=0).fit_transform(codes)
        perplexity = min(30, (len(codes) - 1) / 3)
        return TSNE(perplexity=perplexity, random_state=0, n_jobs=1).fit_transform(codes)


def _some(data: GroupedData, number: int) -> GroupedData:
    """A random choice of ``number`` observations, always the same."""
    if len(data) <= number:
        return data
    generator = torch.Generator(data.device).manual_seed(0)
    return data.subset(
        torch.randperm(len(data), generator=generator, device=data.device)[:number].sort()[0]
    )


def _labels(data: GroupedData) -> list[str]:
    names = [" ".join(str(name).split()) for name in data.group_names]  # a line each, no tabs
    return [names[group] for group in data.groups.index.tolist()]


def _sprites(data: GroupedData) -> Tensor | None:
    """Small pictures of the observations, if they are images."""
    if len(data.shape) != 3 or data.shape[0] not in (1, 3):
        return None
    x = data.observations(torch.arange(len(data), device=data.device)).cpu()
    if max(x.shape[-2:]) > SPRITE:
        x = functional.interpolate(x, (SPRITE, SPRITE), mode="area")
    return x
