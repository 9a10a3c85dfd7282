"""Imputation of missing values as a transformer of scikit-learn.

Shapes: n samples, f features, D features of the model: one for each level of a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from mlvae.data import Columns, GroupedData, Shuffled
from mlvae.data.tables.cells import check_digits
from mlvae.data.tables.columns import KINDS, LEVELLED, Column
from mlvae.errors import InputError, check_choice, shown
from mlvae.imputation import impute
from mlvae.likelihoods import MixedColumns
from mlvae.models import VSAE
from mlvae.networks import MLP
from mlvae.optimizers import Adam
from mlvae.sklearn.samples import check_numbers
from mlvae.training.settings import Reports
from mlvae.training.trainer import train

__all__ = ["Imputer"]


class Imputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Values in place of missing ones, NaN, by a trained :class:`mlvae.models.VSAE`.

    Numbers are standardised inside. ``fit`` takes X alone: rows need no groups. A table with words
    is imputed by :func:`mlvae.impute`.

    Args:
        kinds: kind of each column: "real", "positive", "count", "binary", or, for columns of
            codes, "ordinal" and "categorical". None: all are real.
        block_dim: latent dimensions of a column.
        hidden: widths of the hidden layers.
        mask: whether missing cells depend on the "latents", on their own "values", or on "none" of
            these, as in :class:`mlvae.models.VSAE`.
        samples: samples of the latents, whose expected values are averaged.
        sample_posterior: whether a missing value is one draw, for multiple imputation, instead of
            the expected value.
        epochs: passes over the samples; None: as many as give 3,000 steps, at least 20.
        batch_size: samples of a training step.
        learning_rate: of Adam, with a cosine schedule.
        device: "auto", "cpu", "cuda" or "mps".
        random_state: seed of initial weights, order of samples and noise.
        verbose: whether the terminal shows the progress and advice.

    Attributes:
        model_: the trained :class:`mlvae.models.VSAE`.
        columns_: the record of the columns.
        n_features_in_: number of features.
        feature_names_in_: names of the features, if X was a data frame.

    Example:
        >>> import numpy as np
        >>> X = np.array([[1.0, 2.0], [np.nan, 4.0], [3.0, np.nan], [4.0, 8.0]])
        >>> bool(np.isnan(Imputer(epochs=1, random_state=0).fit_transform(X)).any())
        False
    """

    model_: VSAE

    def __init__(
        self,
        kinds: Sequence[str] | None = None,
        *,
        block_dim: int = 2,
        hidden: Sequence[int] = (128,),
        mask: str = "none",
        samples: int = 100,
        sample_posterior: bool = False,
        epochs: int | None = None,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.kinds, self.block_dim, self.hidden, self.mask = kinds, block_dim, hidden, mask
        self.samples, self.sample_posterior = samples, sample_posterior
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.device, self.random_state, self.verbose = device, random_state, verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64"]  # type: ignore[union-attr]
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a model on samples X (n, f) with missing values; ``y`` has no effect.

        Raises:
            InputError: if a column has no value, or values that its kind does not have.
        """
        check_numbers(X)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan")
        self.columns_ = Columns(tuple(self._column(X, place) for place in range(X.shape[1])))
        data = self._data(X)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = VSAE(
                data.shape,
                likelihood=MixedColumns.of(data),
                block_dim=self.block_dim,
                network=MLP(tuple(self.hidden)),
                mask=self.mask,
            )
        batching = Shuffled(self.batch_size)
        epochs = self.epochs or max(20, 3000 // batching.num_batches(data))
        with TemporaryDirectory(prefix="mlvae-") as folder:
            result = train(
                model,
                data,
                run=Path(folder, "run"),
                batching=batching,
                optimizer=Adam(self.learning_rate, schedule="cosine"),
                epochs=epochs,
                reports=Reports(
                    progress=bool(self.verbose),
                    advice=bool(self.verbose),
                    tensorboard=False,
                    figures=False,
                ),
                device=self.device,
                seed=seed,
            )
        if not result.finished:  # the loop takes the signal, so that a run can be saved
            raise KeyboardInterrupt
        self.model_, self._seed = model, seed
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The samples (n, f) with a value in place of each NaN; other values stay as they are."""
        check_is_fitted(self)
        check_numbers(X)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        draws = 1 if self.sample_posterior else None
        x = impute(self.model_, self._data(X), draws=draws, samples=self.samples, seed=self._seed)
        values = self._values((x if draws is None else x[0]).numpy())
        return np.where(np.isnan(X), values, X)

    def _column(self, X: np.ndarray, place: int) -> Column:
        """The record of a column of training samples."""
        kinds = self.kinds
        if kinds is not None and (isinstance(kinds, str) or len(kinds) != X.shape[1]):
            raise InputError(f"kinds must be {X.shape[1]} kinds of columns, not {shown(kinds)}")
        kind = "real" if kinds is None else check_kind(kinds[place], place)
        names = getattr(self, "feature_names_in_", None)
        name = f"x{place}" if names is None else str(names[place])
        if kind not in LEVELLED:
            return Column(name, kind)
        seen = X[:, place][~np.isnan(X[:, place])]
        return Column(name, kind, tuple(float(value) for value in np.unique(seen)) or (0.0,))

    def _data(self, X: np.ndarray) -> GroupedData:
        """The samples as features, with the mask of the values that are there."""
        observed = ~np.isnan(X)
        parts = []
        for place, column in enumerate(self.columns_.features):
            seen = X[observed[:, place], place]
            if len(seen) and column.kind not in LEVELLED:
                check_digits(column.name, seen, seen.astype(np.float32))
            cells = np.where(observed[:, place], X[:, place], 0.0)[:, None]
            if column.kind in LEVELLED:
                known = np.array(column.categories)
                cells = (X[:, place, None] == known).astype(np.float64)
                if unknown := X[observed[:, place] & (cells.sum(1) == 0), place].tolist():
                    raise InputError(
                        f"column {column.name} must have the codes of the training samples, not "
                        f"{unknown[0]:g}"
                    )
            parts.append(cells)
        data = GroupedData(
            np.hstack(parts).astype(np.float32),
            np.arange(len(X)),
            given={"observed": observed},
            kind="array",
        )
        data.columns = self.columns_
        return data

    def _values(self, x: np.ndarray) -> np.ndarray:
        """The samples (n, f) of features (n, D)."""
        found, place = np.empty((len(x), len(self.columns_.features))), 0
        for number, column in enumerate(self.columns_.features):
            cells = x[:, place : place + len(column.features)]
            place += len(column.features)
            levelled = column.kind in LEVELLED
            known = np.array(column.categories) if levelled else None
            found[:, number] = cells[:, 0] if known is None else known[cells.argmax(1)]
        return found


def check_kind(kind: object, place: int) -> str:
    """A kind of a column, or :class:`InputError`."""
    check_choice(f"kinds of column {place}", kind, KINDS)
    return str(kind)
