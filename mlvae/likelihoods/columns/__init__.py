"""Likelihoods of tables: each column by the formula of its kind."""

from mlvae.likelihoods.columns.layout import ColumnScale
from mlvae.likelihoods.columns.mixed import MixedColumns

__all__ = ["ColumnScale", "MixedColumns"]
