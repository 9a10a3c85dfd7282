"""Families of posteriors: Gaussian, mixture, point."""

from mlvae.posteriors.family import Family, GroupFamily
from mlvae.posteriors.gaussian import DiagonalGaussian
from mlvae.posteriors.mixture import GroupMixture
from mlvae.posteriors.point import Point

__all__ = ["DiagonalGaussian", "Family", "GroupFamily", "GroupMixture", "Point"]
