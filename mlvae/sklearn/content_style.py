"""The Multi-Level VAE as a transformer of scikit-learn.

Shapes: n samples, f features, C content and S style dimensions, G groups.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted, validate_data

from mlvae.arguments import as_path
from mlvae.data import Grouped, GroupedData, Shuffled
from mlvae.data import split as split_data
from mlvae.encoding import encode
from mlvae.errors import Diverged, InputError, check_integer, check_number, shown
from mlvae.likelihoods import LearnedGaussian
from mlvae.models import MLVAE
from mlvae.networks import MLP
from mlvae.observations import check_shape
from mlvae.optimizers import Adam
from mlvae.sklearn.samples import check_numbers, labels_of
from mlvae.training.run import load
from mlvae.training.settings import Reports
from mlvae.training.trainer import train
from mlvae.training.validation import evaluate_bound

__all__ = ["ContentStyle"]

#: Bounds of the learned variance: standard deviations from 0.011 to 1.6 of standardised features.
LIKELIHOOD = LearnedGaussian(-9.0, 1.0, scope="scalar")


class ContentStyle(TransformerMixin, BaseEstimator):
    """Content that the samples of a group share, and style of each sample: a trained MLVAE.

    ``fit`` takes the label of each sample's group as ``y``, or as ``groups``. ``transform`` takes
    samples of any groups, also new ones. The columns are the posterior means of content and style.

    In a pipeline without a target the labels are ``y``. Beside a target they are routed:
    ``sklearn.set_config(enable_metadata_routing=True)`` and ``set_fit_request(groups=True)``.

    Args:
        content_dim: number C of content dimensions.
        style_dim: number S of style dimensions.
        hidden: widths of the hidden layers of encoder and decoder.
        activation: activation of these layers.
        network: another network, as ``mlvae.networks.Conv1d()``; None: an MLP of ``hidden``.
        likelihood: the observation model; None: normal with one learned standard deviation.
        standardise: "feature", "channel" or None, as in :class:`mlvae.models.MLVAE`. Likelihoods
            of bits and counts need None.
        accumulation: the rule that makes the content of a group from its members.
        evidence_from: the members whose evidence gives the content in training.
        style_given_content: whether the style is inferred given the content too.
        content_kl_weight: factor of the content KL; 1 is the bound.
        style_kl_weight: factor of the style KL; 1 is the bound.
        shape: shape of an observation whose features are flat, such as (1, 28, 28); None: (f,).
        epochs: passes over the samples.
        batch_size: samples of a training step.
        members: samples of each group in a training step; None: all samples in random order.
        learning_rate: of Adam, with a cosine schedule.
        patience: epochs without a better bound on held-out samples after which training stops;
            the best state is kept. None: no samples are held out.
        validation_fraction: fraction of each group's samples to hold out for ``patience``.
        device: "auto", "cpu", "cuda" or "mps".
        run: folder of a run to write; None: a temporary folder, which is removed.
        random_state: seed of initial weights, order of samples and noise.
        verbose: whether the terminal shows the progress and advice.

    Attributes:
        model_: the trained :class:`mlvae.models.MLVAE`.
        groups_: labels of the training groups, sorted.
        n_iter_: number of epochs done.
        run_: folder of the run, or None.
        n_features_in_: number of features.
        feature_names_in_: names of the features, if X was a data frame.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> model = ContentStyle(content_dim=4, style_dim=3, epochs=1, random_state=0)
        >>> model.fit(X, y).transform(X[:5]).shape
        (5, 7)
    """

    model_: MLVAE

    # Metadata routing passes groups to fit and score. A pipeline could not pass them to fit alone
    # if transform asked for them too.
    __metadata_request__transform = {"groups": UNUSED}  # noqa: RUF012

    def __init__(
        self,
        content_dim: int = 10,
        style_dim: int = 10,
        *,
        hidden: Sequence[int] = (128,),
        activation: str = "relu",
        network: Any = None,
        likelihood: Any = None,
        standardise: str | None = "feature",
        accumulation: str = "product",
        evidence_from: str = "all",
        style_given_content: bool = False,
        content_kl_weight: float = 1.0,
        style_kl_weight: float = 1.0,
        shape: Sequence[int] | None = None,
        epochs: int = 100,
        batch_size: int = 256,
        members: int | None = None,
        learning_rate: float = 1e-3,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        device: str = "auto",
        run: str | Path | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.content_dim, self.style_dim = content_dim, style_dim
        self.hidden, self.activation = hidden, activation
        self.network, self.likelihood = network, likelihood
        self.standardise = standardise
        self.accumulation, self.evidence_from = accumulation, evidence_from
        self.style_given_content = style_given_content
        self.content_kl_weight, self.style_kl_weight = content_kl_weight, style_kl_weight
        self.shape = shape
        self.epochs, self.batch_size, self.members = epochs, batch_size, members
        self.learning_rate = learning_rate
        self.patience, self.validation_fraction = patience, validation_fraction
        self.device, self.run = device, run
        self.random_state, self.verbose = random_state, verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags

    # Training

    def fit(self, X: Any, y: Any = None, *, groups: Any = None) -> Self:
        """Train a model.

        Args:
            X: samples (n, f), finite numbers; at least two.
            y: label of each sample's group, length n.
            groups: the same labels by another name; ``y`` then has no effect, so that it may be
                the target of a later step of a pipeline.

        Returns:
            The transformer itself.

        Raises:
            InputError: if the arguments do not fit each other.
            Diverged: if the training is not finite.
        """
        check_numbers(X)
        rows = X
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        labels = _labels(rows, y, groups)
        if labels is None:
            raise InputError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: the "
                "label of each sample's group, as y or as groups"
            )
        random = check_random_state(self.random_state)
        seed = int(random.randint(2**31 - 1))
        data = self._data(X, labels)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = self._model(data.shape)
        self.groups_ = np.asarray(data.group_names)
        if self.run is None:
            with TemporaryDirectory(prefix="mlvae-") as folder:
                self._train(model, data, Path(folder, "run"), seed)
            self.run_ = None
        else:
            self.run_ = self._train(model, data, as_path("run", self.run), seed)
        return self

    def _model(self, shape: Sequence[int]) -> MLVAE:
        """A model with initial weights."""
        return MLVAE(
            shape,
            content_dim=self.content_dim,
            style_dim=self.style_dim,
            network=self.network or self._mlp(),
            likelihood=self.likelihood or LIKELIHOOD,
            standardise=self.standardise,
            accumulation=self.accumulation,
            evidence_from=self.evidence_from,
            style_given_content=self.style_given_content,
            content_kl_weight=self.content_kl_weight,
            style_kl_weight=self.style_kl_weight,
        )

    def _mlp(self) -> MLP:
        try:
            widths = tuple(self.hidden)
        except TypeError as error:
            raise InputError(
                f"hidden must be a list of widths, as (128,), not {shown(self.hidden)}"
            ) from error
        return MLP(widths, activation=self.activation)

    def _train(self, model: MLVAE, data: GroupedData, run: Path, seed: int) -> Path:
        validation = None
        if self.patience is not None:
            data, validation = self._held_out(data, seed)
        batching, steps = self._batching(data), [0]
        try:
            result = train(
                model,
                data,
                validation=validation,
                run=run,
                batching=batching,
                optimizer=Adam(self.learning_rate, schedule="cosine"),
                epochs=self.epochs,
                patience=self.patience,
                reports=Reports(
                    progress=bool(self.verbose),
                    advice=bool(self.verbose),
                    tensorboard=self.run is not None,
                    figures=self.run is not None,
                ),
                device=self.device,
                seed=seed,
                on_report=lambda step, _: steps.append(step),
            )
        except Diverged as error:
            if self.run is not None:
                raise
            raise Diverged(
                f"{str(error).split(';')[0]}; lower learning_rate, or rescale X; run= keeps the "
                "state of before"
            ) from error
        if not result.finished:  # the loop takes the signal, so that a run can be saved
            raise KeyboardInterrupt
        self.model_ = model
        if self.patience is not None:
            device = next(model.parameters()).device
            self.model_ = load(run, best=True, model=model, device=device)
        self.n_iter_ = math.ceil(steps[-1] / batching.num_batches(data))
        return result.run

    def _held_out(self, data: GroupedData, seed: int) -> tuple[GroupedData, GroupedData | None]:
        """The samples for training, and those for validation."""
        fraction = self.validation_fraction
        check_number("validation_fraction", fraction, minimum=0, maximum=1, exclusive=True)
        largest = int(data.groups.sizes.max())
        if min(round(float(fraction) * largest), largest - 1) < 1:
            raise InputError(
                f"validation_fraction={fraction} must hold out a sample of a group, but the "
                f"largest group has {largest}; raise it, or set patience=None"
            )
        parts = split_data(data, by="members", validation=float(fraction), seed=seed)
        return parts.train, parts.validation

    def _batching(self, data: GroupedData | None = None) -> Shuffled | Grouped:
        if self.members is None:
            return Shuffled(self.batch_size)
        check_integer("members", self.members, minimum=1)
        if data is not None and self.members > (least := int(data.groups.sizes.min())):
            name = data.group_names[int(data.groups.sizes.argmin())]
            raise InputError(
                f"members={self.members} must not exceed the samples of a group in training, but "
                f"group {shown(name)} has {least}; lower it, or leave out small groups"
            )
        check_integer("batch_size", self.batch_size, minimum=1)
        return Grouped(groups=max(1, self.batch_size // self.members), members=self.members)

    # Codes

    def transform(self, X: Any, *, groups: Any = None) -> np.ndarray:
        """The content and the style of samples, (n, C + S) in float64.

        Args:
            X: samples (n, f).
            groups: label of each sample's group: the content is then that of the group, from all
                of its samples in X. None: the content of each sample by itself.
        """
        encoded = self._encoded(X, groups)
        return np.hstack([encoded.content[encoded.index], encoded.style])

    def fit_transform(self, X: Any, y: Any = None, *, groups: Any = None) -> np.ndarray:
        """Train on samples, and return their content and style: ``fit`` and then ``transform``.

        The content is of each sample by itself, as in ``transform`` of new samples.
        """
        return self.fit(X, y, groups=groups).transform(X)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The expected samples (n, f) of content and style X (n, C + S)."""
        check_is_fitted(self)
        try:
            codes = np.asarray(X, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"X must be numbers, as transform returns, not {shown(X)}") from error
        content = sum(self.model_.contents.values())
        width = content + self.model_.style_dim
        if codes.ndim != 2 or codes.shape[1] != width:
            raise InputError(f"X must have the shape (n, {width}) of transform, not {codes.shape}")
        return self._decoded(*np.split(codes, [content], axis=1))

    def content(self, X: Any, groups: Any) -> tuple[np.ndarray, np.ndarray]:
        """The content of groups.

        Args:
            X: samples (n, f).
            groups: label of each sample's group, length n.

        Returns:
            Posterior means (G, C), and the labels of the groups in the same order, (G,).
        """
        encoded = self._encoded(X, groups)
        return encoded.content, np.asarray(encoded.group_names)

    def swap(self, content_of: Any, style_of: Any) -> np.ndarray:
        """Samples (n, f) with the content of one sample and the style of another, pair by pair.

        Args:
            content_of: samples (n, f), or one sample (1, f).
            style_of: likewise.
        """
        content, style = self._encoded(content_of).content, self._encoded(style_of).style
        return self._decoded(content, style)

    def score(self, X: Any, y: Any = None, *, groups: Any = None) -> float:
        """The evidence lower bound in nats per sample; higher is better.

        It is a bound on the log-density of X in its own units, from one sample of each latent.

        Args:
            X: samples (n, f).
            y: label of each sample's group, length n; None: each sample is a group of its own.
            groups: the same labels by another name; ``y`` then has no effect.
        """
        rows = X
        X = self._validated(X)
        labels = _labels(rows, y, groups)
        data = self._data(X, np.arange(len(X)) if labels is None else labels)
        device = next(self.model_.parameters()).device
        values = evaluate_bound(self.model_, data.to(device), self._batching())
        return float(values["elbo_per_observation"])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of ``transform``: content0, content1, ..., style0, ..."""
        check_is_fitted(self)
        sizes = {"content": self.model_.content_dim, "style": self.model_.style_dim}
        names = [f"{code}{place}" for code, size in sizes.items() for place in range(size)]
        return np.array(names, dtype=object)

    def _encoded(self, X: Any, groups: Any = None) -> Any:
        rows = X
        X = self._validated(X)
        labels = _labels(rows, None, groups)
        data = self._data(X, np.arange(len(X)) if labels is None else labels)
        return encode(self._wide(), data, progress=bool(self.verbose))

    def _decoded(self, content: np.ndarray, style: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            decoded = self._wide().decode(content=content, style=style)
        return decoded.cpu().flatten(1).numpy()

    def _wide(self) -> MLVAE:
        """The model in float64: its results do not depend on the other rows to 14 digits."""
        model = copy.deepcopy(self.model_)
        if next(model.parameters()).device.type == "mps":  # which has no float64
            model = model.cpu()
        return model.double().eval()

    def _validated(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        check_numbers(X)
        return np.asarray(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def _data(self, X: np.ndarray, labels: Any) -> GroupedData:
        """The samples as observations of ``shape``."""
        shape = X.shape[1:] if self.shape is None else check_shape(self.shape)
        if math.prod(shape) != X.shape[1]:
            raise InputError(
                f"shape must have {X.shape[1]} elements, as X has, not {shown(shape)}"
            )
        return GroupedData(X.reshape(len(X), *shape), labels, kind="array")


def _labels(X: Any, y: Any, groups: Any) -> np.ndarray | None:
    """The labels of groups (n,), which are ``groups`` or else ``y``; None if there are none."""
    return labels_of(X, "y", y) if groups is None else labels_of(X, "groups", groups)
